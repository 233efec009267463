"""Frontends: the addresses and ports of a service port, and conflicts of Services that claim the same one. Pure.

A tenant can write any address into externalIPs, so claims are ranked by the kind of address: cluster IP, load balancer
IP, external IP, node port. Of equal claims the older Service wins, then the first by name. External and load balancer
IPs that are the cluster IP of a Service are served for nobody, nor are external IPs that are addresses of this node or
of the API server (the endpoints of default/kubernetes).

tracker.py passes every service port through `Frontends`, so that a `State` has each frontend once. Backends,
accounting, stale flows and `explain` never see a conflict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple, TypeVar

import msgspec

from sampan.proxy.state import ServicePort, ServicePortName

T = TypeVar("T", bound=Hashable)

ANY = ""
"""The `ip` of a node port's frontend: all addresses of the node that serve node ports."""
API_SERVER = ("default", "kubernetes")


class Kind(IntEnum):
    """The kind of a Service's address. Of two claims, the smaller kind wins."""

    CLUSTER_IP = 0
    LOAD_BALANCER_IP = 1
    EXTERNAL_IP = 2
    NODE_PORT = 3

    def __str__(self) -> str:
        return {0: "cluster IP", 1: "load balancer IP", 2: "external IP", 3: "node port"}[self.value]


class Frontend(NamedTuple):
    """Where packets for a service port arrive."""

    ip: str
    protocol: str
    port: int


class Refusal(NamedTuple):
    """A frontend that is not served for a service port, and the reason. `contender` has it instead, if any."""

    frontend: Frontend
    kind: Kind
    reason: str
    contender: ServicePortName | None = None

    def __str__(self) -> str:
        where = f"{self.frontend.ip}:{self.frontend.port}" if self.frontend.ip else str(self.frontend.port)
        return f"{self.kind} {where}/{self.frontend.protocol} is not served: {self.reason}"


class _Claim(NamedTuple):
    """A claim to a frontend. Claims sort by rank: the smallest wins."""

    kind: Kind
    created: str
    name: ServicePortName


def frontends(port: ServicePort) -> Iterator[tuple[Frontend, Kind]]:
    """Every frontend of a service port. A node port is one frontend at ANY."""
    yield Frontend(port.cluster_ip, port.protocol, port.port), Kind.CLUSTER_IP
    for ip in port.load_balancer_ips:
        yield Frontend(ip, port.protocol, port.port), Kind.LOAD_BALANCER_IP
    for ip in port.external_ips:
        yield Frontend(ip, port.protocol, port.port), Kind.EXTERNAL_IP
    if port.node_port:
        yield Frontend(ANY, port.protocol, port.node_port), Kind.NODE_PORT


class Frontends:
    """The claims to all frontends of one family, kept up to date incrementally."""

    def __init__(self) -> None:
        self._claims: dict[Frontend, set[_Claim]] = {}
        self._ports: dict[ServicePortName, tuple[str, ServicePort]] = {}
        self._by_ip: dict[str, Counter[ServicePortName]] = {}
        self._cluster_ips: Counter[str] = Counter()
        self._node_ips: frozenset[str] = frozenset()
        self._api_server: frozenset[str] = frozenset()

    def claim(self, name: ServicePortName, port: ServicePort | None, created: str = "") -> set[ServicePortName]:
        """Set the claims of a service port; `created` is its Service's creationTimestamp.

        Returns the service ports whose frontends may have changed.
        """
        known = self._ports.pop(name, None)
        if known is not None and port is not None and _same_claims(known[1], port) and known[0] == created:
            self._ports[name] = (created, port)
            return {name}
        touched = {name}
        if known is not None:
            touched |= self._count(name, *known, by=-1)
        if port is not None:
            self._ports[name] = (created, port)
            touched |= self._count(name, created, port, by=1)
        return touched

    def set_node_ips(self, ips: Iterable[str]) -> set[ServicePortName]:
        """Set this node's addresses. Returns the service ports whose frontends may have changed."""
        before, self._node_ips = self._node_ips, frozenset(ips)
        return self._at(before ^ self._node_ips)

    def set_api_server(self, ips: Iterable[str]) -> set[ServicePortName]:
        """Set the API server's addresses. Returns the service ports whose frontends may have changed."""
        before, self._api_server = self._api_server, frozenset(ips)
        return self._at(before ^ self._api_server)

    def granted(self, name: ServicePortName) -> tuple[ServicePort | None, tuple[Refusal, ...]]:
        """The service port with the frontends that it won, and the refused ones. None if it lost its cluster IP."""
        known = self._ports.get(name)
        if known is None:
            return None, ()
        created, port = known
        refused = tuple(
            refusal
            for frontend, kind in frontends(port)
            if (refusal := self._refusal(frontend, _Claim(kind, created, name)))
        )
        if not refused:
            return port, ()
        lost = {(each.kind, each.frontend.ip) for each in refused}
        if (Kind.CLUSTER_IP, port.cluster_ip) in lost:
            return None, refused
        return (
            msgspec.structs.replace(
                port,
                load_balancer_ips=_without(port.load_balancer_ips, Kind.LOAD_BALANCER_IP, lost),
                external_ips=_without(port.external_ips, Kind.EXTERNAL_IP, lost),
                node_port=0 if (Kind.NODE_PORT, ANY) in lost else port.node_port,
            ),
            refused,
        )

    def _refusal(self, frontend: Frontend, claim: _Claim) -> Refusal | None:
        """Why a claim does not get its frontend; None if it does."""
        kind, first = claim.kind, min(self._claims[frontend])
        if kind in (Kind.LOAD_BALANCER_IP, Kind.EXTERNAL_IP) and frontend.ip in self._cluster_ips:
            return Refusal(frontend, kind, "the address is a Service's cluster IP")
        if kind is Kind.EXTERNAL_IP and frontend.ip in self._node_ips:
            return Refusal(frontend, kind, "the address is the node's own")
        if kind is Kind.EXTERNAL_IP and frontend.ip in self._api_server:
            return Refusal(frontend, kind, "the address is the API server's")
        if first == claim:
            return None
        return Refusal(frontend, kind, f"it is the {first.kind} of {first.name}", first.name)

    def _count(self, name: ServicePortName, created: str, port: ServicePort, *, by: int) -> set[ServicePortName]:
        """Add (1) or remove (-1) the claims of a service port; returns all service ports that claim the same."""
        touched: set[ServicePortName] = set()
        for frontend, kind in frontends(port):
            claims = self._claims.setdefault(frontend, set())
            (claims.add if by > 0 else claims.discard)(_Claim(kind, created, name))
            touched.update(claim.name for claim in claims)
            if not claims:
                del self._claims[frontend]
            if kind is not Kind.NODE_PORT:
                _add(self._by_ip.setdefault(frontend.ip, Counter()), name, by)
                if not self._by_ip[frontend.ip]:
                    del self._by_ip[frontend.ip]
        before = port.cluster_ip in self._cluster_ips
        _add(self._cluster_ips, port.cluster_ip, by)
        if before != (port.cluster_ip in self._cluster_ips):
            touched |= self._at((port.cluster_ip,))
        return touched

    def _at(self, ips: Iterable[str]) -> set[ServicePortName]:
        return {name for ip in ips for name in self._by_ip.get(ip, ())}


def _same_claims(one: ServicePort, other: ServicePort) -> bool:
    return list(frontends(one)) == list(frontends(other))


def _without(ips: tuple[str, ...], kind: Kind, lost: set[tuple[Kind, str]]) -> tuple[str, ...]:
    return tuple(ip for ip in ips if (kind, ip) not in lost)


def _add(counter: Counter[T], key: T, by: int) -> None:
    counter[key] += by
    if not counter[key]:
        del counter[key]
