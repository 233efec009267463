"""Links, addresses, routes and neighbours over rtnetlink(7).

The functions here build requests, which are data; `RouteSocket` sends them and lists what there is. Link requests take
an interface by name or index; the others need the index, which `RouteSocket.index` looks up.
"""

import errno
import ipaddress
import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

from sampan.kernel import netlink, netns
from sampan.kernel.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Attributes,
    Request,
    attribute,
    attributes,
    nested,
    text,
    u8,
    u32,
)

NETLINK_ROUTE = 0
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER, IFLA_LINKINFO = 1, 3, 4, 5, 10, 18
IFLA_NET_NS_FD = 28
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2
VETH_INFO_PEER = 1
IFLA_VXLAN_ID, IFLA_VXLAN_LINK, IFLA_VXLAN_LOCAL, IFLA_VXLAN_LEARNING, IFLA_VXLAN_PORT = 1, 3, 4, 7, 15
IFA_ADDRESS, IFA_LOCAL, IFA_LABEL = 1, 2, 3
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_TABLE = 1, 4, 5, 6, 7, 15
NDA_DST, NDA_LLADDR = 1, 2
IFF_UP, IFF_RUNNING = 0x1, 0x40
RTNH_F_ONLINK = 4
NUD_PERMANENT = 0x80
NTF_SELF = 0x02

TABLE_MAIN = 254
PROTOCOL_BOOT, PROTOCOL_STATIC = 3, 4
SCOPE_UNIVERSE, SCOPE_LINK, SCOPE_HOST = 0, 253, 254
ROUTE_TYPES = {
    name: number
    for number, name in enumerate(
        ("unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit"), 1
    )
}
_NO_WAY = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL)
"""How a lookup ends at no route, or at one that turns packets away (unreachable, prohibit, blackhole)."""
_TYPE_NAMES = {number: name for name, number in ROUTE_TYPES.items()}

_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBi")
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")

Ref = str | int
"""An interface, by name or by index."""


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface; `peer` is the index of what it is attached to (a veth's other end, a VXLAN's device)."""

    index: int
    name: str
    kind: str
    mac: str
    mtu: int
    up: bool
    running: bool
    master: int
    peer: int


@dataclass(frozen=True, slots=True)
class Address:
    """An address of an interface, as `10.0.0.1/24`."""

    index: int
    address: str
    scope: int = SCOPE_UNIVERSE


@dataclass(frozen=True, slots=True)
class Route:
    """A route. `destination` is a network; `via` an address on the way or empty; `onlink` trusts it to be reachable."""

    destination: str
    index: int = 0
    via: str = ""
    source: str = ""
    scope: int = -1
    """-1: link if there is no `via`, else universe."""
    metric: int = 0
    table: int = TABLE_MAIN
    protocol: int = PROTOCOL_STATIC
    type: str = "unicast"
    onlink: bool = False


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Which hardware address belongs to an address on an interface."""

    index: int
    address: str
    mac: str
    state: int = NUD_PERMANENT


# --- links


def _link(ref: Ref, *, up: bool | None = None) -> bytes:
    index, name = (ref, b"") if isinstance(ref, int) else (0, text(IFLA_IFNAME, ref))
    flags, change = (0, 0) if up is None else (IFF_UP if up else 0, IFF_UP)
    return _LINK.pack(0, 0, index, flags, change) + name


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _common(mac: str, mtu: int, master: int) -> bytes:
    parts = (attribute(IFLA_ADDRESS, mac_bytes(mac)) if mac else b"", u32(IFLA_MTU, mtu) if mtu else b"")
    return b"".join(parts) + (u32(IFLA_MASTER, master) if master else b"")


def add_link(
    name: str, kind: str, *data: bytes, mac: str = "", mtu: int = 0, master: int = 0, up: bool = True
) -> Request:
    """Make an interface of a kind (`bridge`, `dummy`, `vxlan`…) with the kind's own attributes `data`."""
    info = (attribute(IFLA_INFO_KIND, kind.encode()), nested(IFLA_INFO_DATA, *data) if data else b"")
    payload = _link(name, up=up) + _common(mac, mtu, master) + nested(IFLA_LINKINFO, *info)
    return Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, payload, f"add {kind} {name}")


def add_bridge(name: str, *, mac: str = "", mtu: int = 0) -> Request:
    """Make a bridge and set it up."""
    return add_link(name, "bridge", mac=mac, mtu=mtu)


def add_veth(
    name: str,
    peer: str,
    *,
    peer_netns: int | None = None,
    mac: str = "",
    peer_mac: str = "",
    mtu: int = 0,
    master: int = 0,
) -> Request:
    """Make a pair of interfaces, the second in the network namespace whose open file is given.

    The first is set up; the kernel refuses to set up the second before the pair is complete.
    """
    there = b"" if peer_netns is None else u32(IFLA_NET_NS_FD, peer_netns)
    other = _link(peer) + _common(peer_mac, mtu, 0) + there
    return add_link(name, "veth", nested(VETH_INFO_PEER, other), mac=mac, mtu=mtu, master=master)


def add_vxlan(
    name: str, vni: int, *, local: str, device: int = 0, port: int = 8472, mac: str = "", mtu: int = 0
) -> Request:
    """Make a VXLAN interface that learns nothing by itself: its neighbours are given as entries."""
    data = (
        u32(IFLA_VXLAN_ID, vni),
        attribute(IFLA_VXLAN_LOCAL, socket.inet_aton(local)),
        u8(IFLA_VXLAN_LEARNING, 0),
        attribute(IFLA_VXLAN_PORT, struct.pack("!H", port)),
        u32(IFLA_VXLAN_LINK, device) if device else b"",
    )
    return add_link(name, "vxlan", *data, mac=mac, mtu=mtu)


def set_link(
    ref: Ref,
    *,
    up: bool | None = None,
    master: int | None = None,
    mtu: int = 0,
    mac: str = "",
    name: str = "",
    netns_fd: int | None = None,
) -> Request:
    """Change an interface; `master=0` takes it off its bridge. To rename it, refer to it by index."""
    payload = _link(ref, up=up) + _common(mac, mtu, 0)
    payload += b"" if master is None else u32(IFLA_MASTER, master)
    payload += text(IFLA_IFNAME, name) if name else b""
    payload += b"" if netns_fd is None else u32(IFLA_NET_NS_FD, netns_fd)
    return Request(RTM_NEWLINK, 0, payload, f"set link {ref}")


def delete_link(ref: Ref) -> Request:
    """Remove an interface; of a veth pair both ends go."""
    return Request(RTM_DELLINK, 0, _link(ref), f"delete link {ref}")


# --- addresses, routes, neighbours


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _packed(address: str) -> bytes:
    return socket.inet_pton(_family(address), address)


def _address(address: Address) -> bytes:
    interface = ipaddress.ip_interface(address.address)
    head = _ADDRESS.pack(_family(str(interface.ip)), interface.network.prefixlen, 0, address.scope, address.index)
    return head + attribute(IFA_LOCAL, interface.ip.packed) + attribute(IFA_ADDRESS, interface.ip.packed)


def add_address(index: int, address: str, *, scope: int = SCOPE_UNIVERSE) -> Request:
    """Give an interface an address such as `10.0.0.1/24`."""
    payload = _address(Address(index, address, scope))
    return Request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, payload, f"add address {address}")


def delete_address(index: int, address: str) -> Request:
    return Request(RTM_DELADDR, 0, _address(Address(index, address)), f"delete address {address}")


def _route(route: Route) -> bytes:
    network = ipaddress.ip_network(route.destination)
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    scope = route.scope if route.scope >= 0 else (SCOPE_LINK if route.index and not route.via else SCOPE_UNIVERSE)
    flags = RTNH_F_ONLINK if route.onlink else 0
    kind = ROUTE_TYPES[route.type]
    table = min(route.table, 255)
    parts = [_ROUTE.pack(family, network.prefixlen, 0, 0, table, route.protocol, scope, kind, flags)]
    if network.prefixlen:
        parts.append(attribute(RTA_DST, network.network_address.packed))
    if route.via:
        parts.append(attribute(RTA_GATEWAY, _packed(route.via)))
    if route.source:
        parts.append(attribute(RTA_PREFSRC, _packed(route.source)))
    for kind, value in ((RTA_OIF, route.index), (RTA_PRIORITY, route.metric), (RTA_TABLE, route.table)):
        if value:
            parts.append(u32(kind, value))
    return b"".join(parts)


def add_route(route: Route) -> Request:
    """Add a route; FileExistsError if there is one to this destination already."""
    return Request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, _route(route), f"add route {route.destination}")


def replace_route(route: Route) -> Request:
    """Add a route, in the place of one to the same destination."""
    return Request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, _route(route), f"replace route {route.destination}")


def delete_route(route: Route) -> Request:
    return Request(RTM_DELROUTE, 0, _route(route), f"delete route {route.destination}")


def _neighbour(entry: Neighbour, family: int, flags: int) -> bytes:
    head = _NEIGHBOUR.pack(family, entry.index, entry.state, flags, 0)
    return head + attribute(NDA_DST, _packed(entry.address)) + attribute(NDA_LLADDR, mac_bytes(entry.mac))


def replace_neighbour(entry: Neighbour) -> Request:
    """Fix the hardware address of a neighbour, so that nobody asks for it by ARP."""
    payload = _neighbour(entry, _family(entry.address), 0)
    return Request(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, payload, f"replace neighbour {entry.address}")


def delete_neighbour(entry: Neighbour) -> Request:
    return Request(RTM_DELNEIGH, 0, _neighbour(entry, _family(entry.address), 0), f"delete neighbour {entry.address}")


def append_forwarding(entry: Neighbour) -> Request:
    """Have a VXLAN interface send frames for a hardware address to the machine with this address."""
    payload = _neighbour(entry, socket.AF_BRIDGE, NTF_SELF)
    return Request(
        RTM_NEWNEIGH, NLM_F_CREATE | netlink.NLM_F_APPEND, payload, f"forward {entry.mac} to {entry.address}"
    )


# --- reading


def _number(found: Attributes, kind: int) -> int:
    value = found.get(kind)
    return int(struct.unpack("=I", value)[0]) if value else 0


def _ip(found: Attributes, kind: int) -> str:
    value = found.get(kind)
    return str(ipaddress.ip_address(value)) if value else ""


def _mac(value: bytes) -> str:
    return value.hex(":") if value else ""


def _string(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def read_link(payload: bytes) -> Link:
    """Decode an RTM_NEWLINK payload."""
    _family, _kind, index, flags, _change = _LINK.unpack_from(payload)
    found = attributes(payload, _LINK.size)
    info = attributes(found.get(IFLA_LINKINFO, b""))
    return Link(
        index=index,
        name=_string(found.get(IFLA_IFNAME, b"")),
        kind=_string(info.get(IFLA_INFO_KIND, b"")),
        mac=_mac(found.get(IFLA_ADDRESS, b"")),
        mtu=_number(found, IFLA_MTU),
        up=bool(flags & IFF_UP),
        running=bool(flags & IFF_RUNNING),
        master=_number(found, IFLA_MASTER),
        peer=_number(found, IFLA_LINK),
    )


def read_address(payload: bytes) -> Address:
    """Decode an RTM_NEWADDR payload."""
    _family, prefix, _flags, scope, index = _ADDRESS.unpack_from(payload)
    found = attributes(payload, _ADDRESS.size)
    return Address(index, f"{_ip(found, IFA_LOCAL) or _ip(found, IFA_ADDRESS)}/{prefix}", scope)


def read_route(payload: bytes) -> Route:
    """Decode an RTM_NEWROUTE payload."""
    family, prefix, _src, _tos, table, protocol, scope, kind, flags = _ROUTE.unpack_from(payload)
    found = attributes(payload, _ROUTE.size)
    nowhere = "0.0.0.0" if family == socket.AF_INET else "::"
    return Route(
        destination=f"{_ip(found, RTA_DST) or nowhere}/{prefix}",
        index=_number(found, RTA_OIF),
        via=_ip(found, RTA_GATEWAY),
        source=_ip(found, RTA_PREFSRC),
        scope=scope,
        metric=_number(found, RTA_PRIORITY),
        table=_number(found, RTA_TABLE) or table,
        protocol=protocol,
        type=_TYPE_NAMES.get(kind, str(kind)),
        onlink=bool(flags & RTNH_F_ONLINK),
    )


def read_neighbour(payload: bytes) -> Neighbour:
    """Decode an RTM_NEWNEIGH payload."""
    _family, index, state, _flags, _kind = _NEIGHBOUR.unpack_from(payload)
    found = attributes(payload, _NEIGHBOUR.size)
    return Neighbour(index, _ip(found, NDA_DST), _mac(found.get(NDA_LLADDR, b"")), state)


class RouteSocket(netlink.Socket):
    """An rtnetlink socket, in the calling thread's network namespace or in the one kept at a path."""

    def __init__(self, network: Path | str | None = None) -> None:
        if network is None:
            super().__init__(NETLINK_ROUTE)
        else:
            netns.run_in(network, lambda: netlink.Socket.__init__(self, NETLINK_ROUTE))

    def link(self, ref: Ref) -> Link | None:
        """One interface, or None."""
        answer = self.ask(Request(RTM_GETLINK, 0, _link(ref), f"get link {ref}"))
        return None if answer is None else read_link(answer)

    def index(self, name: str) -> int:
        """The index of an interface. Raises FileNotFoundError if there is none of that name."""
        link = self.link(name)
        if link is None:
            raise FileNotFoundError(2, os.strerror(2), f"network interface {name}")
        return link.index

    def links(self) -> list[Link]:
        """All interfaces of the namespace."""
        return [read_link(one) for one in self.dump(Request(RTM_GETLINK, 0, _LINK.pack(0, 0, 0, 0, 0)))]

    def addresses(self, index: int = 0) -> list[Address]:
        """The addresses of one interface, or of all."""
        request = Request(RTM_GETADDR, 0, _ADDRESS.pack(0, 0, 0, 0, index))
        return [read_address(one) for one in self.dump(request)]

    def routes(self, *, family: int = socket.AF_INET, table: int = TABLE_MAIN) -> list[Route]:
        """The routes of one table."""
        request = Request(RTM_GETROUTE, 0, _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0) + u32(RTA_TABLE, table))
        return [read_route(one) for one in self.dump(request)]

    def is_local(self, address: str) -> bool:
        """Whether packets to this address are for this namespace itself."""
        packed = _packed(address)
        head = _ROUTE.pack(_family(address), 8 * len(packed), 0, 0, 0, 0, 0, 0, 0)
        try:
            answer = self.ask(Request(RTM_GETROUTE, 0, head + attribute(RTA_DST, packed), f"get route to {address}"))
        except OSError as error:
            if error.errno in _NO_WAY:
                return False
            raise
        return answer is not None and read_route(answer).type == "local"

    def neighbours(self, *, family: int = socket.AF_INET, index: int = 0) -> list[Neighbour]:
        """The neighbours known, on one interface or on all."""
        request = Request(RTM_GETNEIGH, 0, _NEIGHBOUR.pack(family, 0, 0, 0, 0))
        found = [read_neighbour(one) for one in self.dump(request)]
        return [one for one in found if index in (0, one.index)]
