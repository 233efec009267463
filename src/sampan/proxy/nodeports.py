"""At which of the node's own addresses node ports are served."""

import ipaddress
import logging
from collections.abc import Callable
from contextlib import closing

from sampan.kernel.addresswatch import AddressWatch
from sampan.kernel.rtnetlink import RouteSocket
from sampan.proxy.backends.ipvs.device import DEVICE
from sampan.proxy.options import ProxyOptions

log = logging.getLogger(__name__)


def node_port_ips(options: ProxyOptions) -> tuple[str, ...]:
    """The node's addresses, or all local ones within `node_port_addresses`, but no loopback ones, nor Services'.

    Raises ValueError.
    """
    if not options.node_port_addresses:
        return options.node_ips
    networks = [ipaddress.ip_network(each) for each in options.node_port_addresses]
    with RouteSocket() as routes:
        services = routes.link(DEVICE)
        local = [
            ipaddress.ip_interface(each.address).ip
            for each in routes.addresses()
            if services is None or each.index != services.index
        ]
    return tuple(
        sorted(
            str(ip)
            for ip in local
            if not (ip.is_loopback or ip.is_link_local) and any(ip in network for network in networks)
        )
    )


async def follow_addresses(options: ProxyOptions, changed: Callable[[tuple[str, ...]], None]) -> None:
    """Tell which addresses serve node ports whenever that changes, until cancelled.

    Returns at once where the Node alone says so.
    """
    if not options.node_port_addresses:
        return
    with closing(AddressWatch()) as watch:
        known = node_port_ips(options)
        changed(known)
        async for _ in watch.changes():
            now = node_port_ips(options)
            if now != known:
                log.info("node ports are served at %s", ", ".join(now) or "no address")
                changed(now)
            known = now


def health_check_hosts(options: ProxyOptions, node_port_ips: tuple[str, ...]) -> tuple[str, ...]:
    """Where healthCheckNodePorts listen: where node ports are served, if that is restricted, and else everywhere."""
    return node_port_ips if options.node_port_addresses else everywhere(options, "0.0.0.0")


def everywhere(options: ProxyOptions, host: str) -> tuple[str, ...]:
    """Addresses to listen at: where one stands for a whole family, the other family, too, if the node has it."""
    if host not in ("0.0.0.0", "::"):
        return (host,)
    return tuple(dict.fromkeys((host, "0.0.0.0", *(("::",) if 6 in options.families else ()))))
