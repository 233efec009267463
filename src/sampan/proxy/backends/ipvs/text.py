"""The desired state in the words of ip, ipset, ipvsadm and iptables, for people and for golden files. Pure."""

from collections.abc import Iterator

from sampan.kernel.ipset import SetType
from sampan.kernel.ipvs import FLAG_PERSISTENT, FLAG_SCHEDULER_PORT, Key, Real, Service
from sampan.proxy.backends.ipvs import sets
from sampan.proxy.backends.ipvs.device import DEVICE
from sampan.proxy.backends.ipvs.ledger import Ledger
from sampan.proxy.backends.ipvs.rules import Fixed, whole
from sampan.proxy.state import IPV6

PROGRAMS = ("ip -batch -", "ipset restore", "ipvsadm --restore", "iptables-restore --noflush")
"""The headings of the parts: what each is the input of."""

_OPTIONS = {"TCP": "-t", "UDP": "-u", "SCTP": "--sctp-service"}


def script(ledger: Ledger, fixed: Fixed) -> str:
    """All parts, each under a comment that names its program."""
    parts = (_addresses(ledger), _sets(ledger, fixed.family), _servers(ledger), whole(fixed, {}).splitlines())
    return "".join(
        f"# {program}\n" + "".join(f"{line}\n" for line in part) for program, part in zip(PROGRAMS, parts, strict=True)
    )


def _addresses(ledger: Ledger) -> Iterator[str]:
    yield f"link add {DEVICE} type dummy"
    for ip in sorted(ledger.addresses):
        yield f"address add {ip}/{128 if ':' in ip else 32} dev {DEVICE}"


def _sets(ledger: Ledger, family: int) -> Iterator[str]:
    members = sorted(ledger.entries)
    inet = "inet6" if family == IPV6 else "inet"
    for name, kind in sets.SETS.items():
        options = "range 0-65535" if kind is SetType.BITMAP_PORT else f"family {inet} maxelem 1048576"
        own = sets.name_of(name, family)
        yield f"create {own} {kind.value[0]} {options}"
        yield from (f"add {own} {entry.member}" for entry in members if entry.set == name)


def _servers(ledger: Ledger) -> Iterator[str]:
    servers = ledger.servers
    for key in sorted(servers):
        service, reals = servers[key]
        at = f"{_OPTIONS[key.protocol]} {_address(key)}"
        yield f"-A {at} {_behaviour(service)}"
        yield from (f"-a {at} -r {_address(real)} -m -w 1" for real in sorted(reals))


def _behaviour(service: Service) -> str:
    text = f"-s {service.scheduler}"
    if service.flags & FLAG_PERSISTENT:
        text += f" -p {service.timeout}"
    if service.flags & FLAG_SCHEDULER_PORT:
        text += f" -b {service.scheduler}-port"
    return text


def _address(at: Key | Real) -> str:
    return f"[{at.ip}]:{at.port}" if ":" in at.ip else f"{at.ip}:{at.port}"
