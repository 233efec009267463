"""What an explanation is made from, as plain data: API objects (gather.py) and what the kernel says (collect.py)."""

import msgspec

from sampan.api.core_v1 import Node, Pod, Service
from sampan.api.meta_v1 import APIObject, ObjectReference, Struct
from sampan.proxy.objects import Slice

POD, NODE, OUTSIDE = "pod", "node", "outside"


class PodEvent(APIObject, frozen=True):
    """An Event, as far as it tells what is wrong with a pod."""

    involved_object: ObjectReference = ObjectReference()
    type: str = ""
    reason: str = ""
    message: str = ""


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks: a pod (`namespace/name`), a node, or somebody outside, and through which node the packets go.

    `ips` are its addresses, one of each family that it has.
    """

    kind: str = NODE
    name: str = ""
    node: str = ""
    ips: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.kind == OUTSIDE:
            return f"outside, by way of node {self.node}"
        return f"pod {self.name} on node {self.node}" if self.kind == POD else f"node {self.node}"


class ClusterFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the API server says. `services` are the keys (namespace, name) of all Services, `pods` are all pods."""

    namespace: str
    name: str
    client: Client
    domain: str = "cluster.local"
    service: Service | None = None
    services: tuple[tuple[str, str], ...] = ()
    pods: tuple[Pod, ...] = ()
    slices: tuple[Slice, ...] = ()
    events: tuple[PodEvent, ...] = ()
    nodes: tuple[Node, ...] = ()

    def node(self, name: str) -> Node | None:
        return next((node for node in self.nodes if node.metadata.name == name), None)


def place(ip: str, port: int) -> str:
    """An address with a port, as URLs write it."""
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


class Destination(Struct, frozen=True):
    """An address, protocol and port that a Service answers at."""

    ip: str
    protocol: str
    port: int

    def __str__(self) -> str:
        return f"{place(self.ip, self.port)}/{self.protocol}"


class Listening(Struct, frozen=True):
    """A socket that a process in a pod listens with."""

    protocol: str
    ip: str
    port: int

    @property
    def loopback(self) -> bool:
        return self.ip.startswith("127.") or self.ip == "::1"

    def hears(self, family: int) -> bool:
        """Whether others reach it by this family; `::` hears both, unless the program has forbidden it."""
        return not self.loopback and (self.ip == "::" or (":" in self.ip) == (family == 6))


ENDPOINTS, REFUSED, DROPPED, MISSING = "endpoints", "refused", "dropped", "missing"


class Rule(Struct, frozen=True):
    """What a node's kernel does with a destination; `targets` are places, None where the kernel does not know them.

    `lines` are the rules in the words of the mode's tool, with their counters. `fault` says what keeps packets from the
    rule, or from working with it, where that is something beside it.
    """

    destination: Destination
    outcome: str = MISSING
    targets: tuple[str, ...] | None = ()
    lines: tuple[str, ...] = ()
    fault: str = ""


class TrackedFlow(Struct, frozen=True):
    """A connection that the kernel remembers: who asked where, and who answers."""

    client: str
    destination: Destination
    backend: str


class DNSAnswer(Struct, frozen=True):
    """`failure` says why there are no `addresses`."""

    name: str
    addresses: tuple[str, ...] = ()
    failure: str = ""


class NodeFacts(Struct, frozen=True):
    """What the client's node says. `sockets` are by pod key; a pod that could not be looked into is missing there."""

    node: str
    mode: str = ""
    rules: tuple[Rule, ...] = ()
    flows: tuple[TrackedFlow, ...] = ()
    sockets: dict[str, tuple[Listening, ...]] = {}  # noqa: RUF012 (msgspec copies it)
    dns: DNSAnswer | None = None


class PodPlace(Struct, frozen=True):
    """Where to look for a pod's sockets: its network namespace."""

    key: str
    network: str


class Questions(Struct, frozen=True):
    """What to find out on a node."""

    node: str
    destinations: tuple[Destination, ...] = ()
    from_outside: bool = False
    pods: tuple[PodPlace, ...] = ()
    dns_server: str = ""
    dns_name: str = ""
