"""The modes there are: a new one is a folder beside this file and a line here."""

from collections.abc import Callable

from sampan.proxy.backends.interface import Backend
from sampan.proxy.backends.iptables.backend import IptablesBackend
from sampan.proxy.backends.ipvs.backend import IpvsBackend
from sampan.proxy.backends.nftables.backend import NftablesBackend
from sampan.proxy.backends.userspace.backend import UserspaceBackend
from sampan.proxy.options import ProxyOptions

BACKENDS: dict[str, Callable[[ProxyOptions, int], Backend]] = {
    "nftables": NftablesBackend,
    "iptables": IptablesBackend,
    "ipvs": IpvsBackend,
    "userspace": UserspaceBackend,
}
