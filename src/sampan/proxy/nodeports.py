"""At which of the node's own addresses node ports are served."""

import ipaddress

from sampan.kernel.rtnetlink import RouteSocket
from sampan.proxy.backends.ipvs.device import DEVICE
from sampan.proxy.options import ProxyOptions


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
