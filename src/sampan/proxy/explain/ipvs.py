"""What a node in ipvs mode does with a destination: its virtual server, and all that must be there for packets to come
to it (an address that the node takes packets for, members of sets, rules that ask the sets).

`read_ipvs` looks, `ipvs_rule` judges; ../backends/ipvs/README.md has the picture.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import NamedTuple

from sampan.kernel import iptables, sysctl
from sampan.kernel.ipset import Ipset, Member, SetType
from sampan.kernel.ipvs import FLAG_PERSISTENT, Ipvs, Key, Real, RealState, Service, Traffic
from sampan.proxy.backends.ipvs import sets
from sampan.proxy.backends.ipvs.device import DEVICE, Device
from sampan.proxy.backends.ipvs.rules import JUMPS, in_force
from sampan.proxy.explain.facts import DROPPED, ENDPOINTS, MISSING, REFUSED, Destination, Rule, place

CONNTRACK = "net/ipv4/vs/conntrack"
ADMITTING = (sets.CLUSTER_IP, sets.LOAD_BALANCER, sets.EXTERNAL_IP, sets.EXTERNAL_IP_LOCAL)
"""Sets of addresses with their ports; what is on kube-ipvs0 and in none of these is refused."""


class Seen(NamedTuple):
    """What a node's kernel has of one destination. `members` are by set; `rules` by table, as iptables-save -c says."""

    service: Service | None
    traffic: Traffic
    reals: Mapping[Real, RealState]
    device: str
    """The interface that has the address; empty if none has."""
    members: Mapping[str, Sequence[str]]
    rules: Mapping[str, Sequence[str]]
    conntrack: bool


async def read_ipvs(destination: Destination, outside: bool) -> Rule:
    """From the virtual server of that address, and what leads there. Raises OSError."""
    key = Key(destination.protocol, destination.ip, destination.port)
    with closing(Ipvs()) as ipvs:
        service = ipvs.services(key.family).get(key)
        traffic = ipvs.traffic(key.family).get(key, Traffic(0, 0))
        reals = ipvs.reals(key) if service else {}
    device = _device(destination.ip, key.family)
    try:
        rules = {table: await iptables.counted(key.family, table) for table in JUMPS}
    except iptables.IptablesError as error:
        raise OSError(str(error)) from error
    members = dict(_members(destination, key.family, device))
    seen = Seen(service, traffic, reals, device, members, rules, sysctl.read(CONNTRACK) == "1")
    return ipvs_rule(destination, outside, seen)


def _device(ip: str, family: int) -> str:
    with closing(Device(family)) as device:
        if ip in device.addresses():
            return DEVICE
        return "the node's own" if ip in device.local_addresses() else ""


def _members(destination: Destination, family: int, device: str) -> Iterator[tuple[str, list[str]]]:
    """The members of our sets that are about this destination, by the sets' names."""
    protocol = destination.protocol.lower()
    with closing(Ipset()) as ipset:
        there = ipset.names()
        for name, kind in sets.SETS.items():
            own = sets.name_of(name, family)
            if own not in there or not _is_asked(name, destination.protocol, device):
                continue
            wanted = {
                SetType.HASH_IP: (destination.ip, "", 0),
                SetType.BITMAP_PORT: ("", "", destination.port),
            }.get(kind, (destination.ip, protocol, destination.port))
            if found := sorted(str(member) for member in ipset.members(own) if _about(member) == wanted):
                yield name, found


def _about(member: Member) -> tuple[str, str, int]:
    return member.ip, member.protocol, member.port


def _is_asked(name: str, protocol: str, device: str) -> bool:
    """Sets of node ports are not asked about addresses of kube-ipvs0; two more are about other things altogether."""
    ports = (*sets.NODE_PORT.values(), *sets.NODE_PORT_LOCAL.values())
    if name in ports:
        return device != DEVICE and name in (sets.NODE_PORT[protocol], sets.NODE_PORT_LOCAL[protocol])
    return name not in (sets.LOOP_BACK, sets.HEALTH_CHECK)


# --- judging


def ipvs_rule(destination: Destination, outside: bool, seen: Seen) -> Rule:
    """What the kernel does with a destination, and the first thing that keeps packets from its virtual server."""
    if seen.service is None:
        return Rule(destination=destination, outcome=MISSING, lines=tuple(_lines(destination, seen)))
    targets = tuple(sorted(place(real.ip, real.port) for real, state in seen.reals.items() if state.weight))
    if sets.NO_LOCAL_INTERNAL in seen.members or (outside and sets.NO_LOCAL_EXTERNAL in seen.members):
        outcome, targets = DROPPED, ()
    else:
        outcome = ENDPOINTS if targets else REFUSED
    return Rule(
        destination=destination,
        outcome=outcome,
        targets=targets,
        lines=tuple(_lines(destination, seen)),
        fault=next(_faults(destination, seen), ""),
    )


def _faults(destination: Destination, seen: Seen) -> Iterator[str]:
    """In the order in which a packet meets them."""
    where = f"{destination.ip} port {destination.port}"
    rules = {table: [_uncounted(line) for line in lines] for table, lines in seen.rules.items()}
    for table, jumps in JUMPS.items():
        yield from (f"iptables -t {table} lacks {jump}" for jump in jumps if jump not in rules[table])
    if not in_force(rules["nat"]):
        yield "the chain KUBE-SERVICES asks no sets: its rules are not those of this mode"
    if not seen.device:
        yield f"{destination.ip} is not on {DEVICE}, so the node does not take packets to it"
    if seen.device == DEVICE and sets.ADDRESSES in seen.members and not seen.members.keys() & set(ADMITTING):
        yield f"KUBE-IPVS-FILTER refuses {where}: it is in none of the sets {', '.join(ADMITTING)}"
    if not seen.members.keys() & {*ADMITTING, sets.NODE_PORT[destination.protocol]}:
        yield f"{where} is in none of our sets, so nothing masquerades its connections"
    if not seen.conntrack:
        yield f"{CONNTRACK.replace('/', '.')} is 0, so nothing can masquerade connections of virtual servers"


# --- showing


def _lines(destination: Destination, seen: Seen) -> Iterator[str]:
    """The virtual server as `ipvsadm -Ln` has it, then address, sets and rules."""
    if seen.service is not None:
        yield _server(destination, seen.service, seen.traffic)
        yield from (_real(real, state) for real, state in sorted(seen.reals.items()))
    if seen.device:
        yield f"address {destination.ip}: {f'on {DEVICE}' if seen.device == DEVICE else seen.device}"
    for name, members in seen.members.items():
        yield f"{name}: {' '.join(members)}"
    for line in (line for lines in seen.rules.values() for line in lines):
        if any(f"--match-set {name} " in line for name in seen.members):
            yield line


def _server(destination: Destination, service: Service, traffic: Traffic) -> str:
    persistent = f" persistent {service.timeout}" if service.flags & FLAG_PERSISTENT else ""
    at = place(destination.ip, destination.port)
    had = f"{traffic.connections} connections, {traffic.bytes} bytes"
    return f"{destination.protocol} {at} {service.scheduler}{persistent}: {had}"


def _real(real: Real, state: RealState) -> str:
    leaving = ", taking no more connections" if not state.weight else ""
    counts = f"{state.active} active, {state.inactive} inactive"
    return f"-> {place(real.ip, real.port)} Masq weight {state.weight}, {counts}{leaving}"


def _uncounted(line: str) -> str:
    """A rule without its counters."""
    return line.partition("] ")[2]
