"""Host ports: sockets of the machine for published ports, and `extraPortMappings` of the configuration.

`extraPortMappings` have the fields of kind's. The command that starts the cluster binds their sockets, so that a port
in use is reported before anything is made; the supervisor inherits them.
"""

from __future__ import annotations

import ipaddress
import socket

import msgspec

from sampan.cluster.config import ClusterConfig, NodeConfig, PortMapping
from sampan.cluster.control import Publication
from sampan.dns import udp

BACKLOG = 128


class PortTaken(Exception):
    """A port cannot be used; the message says why."""


def bind(protocol: str, address: str, port: int) -> socket.socket:
    """A socket that receives and does not block; port 0 takes any free one. Raises OSError."""
    if protocol == "UDP":
        return udp.bind(address, port)
    family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def take(config: ClusterConfig) -> tuple[ClusterConfig, tuple[socket.socket, ...]]:
    """Binds all extraPortMappings. Returns the configuration with these ports, and the sockets. Raises PortTaken."""
    sockets: list[socket.socket] = []
    try:
        nodes = [_bind_node_ports(node, index, sockets) for index, node in enumerate(config.node_list)]
    except PortTaken:
        for one in sockets:
            one.close()
        raise
    if not sockets:
        return config, ()
    return msgspec.structs.replace(config, nodes=nodes), tuple(sockets)


def _bind_node_ports(node: NodeConfig, index: int, sockets: list[socket.socket]) -> NodeConfig:
    taken = []
    for number, mapping in enumerate(node.extra_port_mappings):
        place = f"{mapping.host_port}/{mapping.protocol} of {mapping.listen_address}"
        try:
            made = bind(mapping.protocol, mapping.listen_address, mapping.host_port)
        except OSError as error:
            field = f"nodes[{index}].extraPortMappings[{number}].hostPort"
            raise PortTaken(f"{field}: port {place} cannot be used ({error.strerror})") from error
        sockets.append(made)
        taken.append(msgspec.structs.replace(mapping, host_port=made.getsockname()[1]))
    return msgspec.structs.replace(node, extra_port_mappings=taken)


def mappings(config: ClusterConfig) -> list[Publication]:
    """What the configuration publishes, in the order of the sockets that `take` gives."""
    return [_publication(node, mapping) for node in config.node_list for mapping in node.extra_port_mappings]


def _publication(node: NodeConfig, mapping: PortMapping) -> Publication:
    return Publication(
        node=node.name,
        port=str(mapping.container_port),
        host_port=mapping.host_port,
        protocol=mapping.protocol,
        address=mapping.listen_address,
    )
