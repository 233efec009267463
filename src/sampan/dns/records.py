"""What every name of the cluster's zone means, from Services, EndpointSlices and Namespaces. Pure.

Follows the Kubernetes DNS specification 1.1 and, where that is silent, CoreDNS's kubernetes plugin (whose TTL, SOA and
SRV weights these are). Nothing is precomputed: an answer is made from the objects when it is first asked for, and
`responder` keeps it, as bytes, until the Service that it is about changes.
"""

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from struct import pack
from typing import Literal

from sampan.dns import wire
from sampan.dns.cluster import Cluster, Key, service_key
from sampan.dns.objects import Port, ReadyAddress, Service
from sampan.dns.reverse import address_of
from sampan.dns.wire import Record, Reply, encode_name
from sampan.machinery.selectors import LabelSelector

VERSION = "1.1.0"
VERSION_TTL = 28800
"""Eight hours, in CoreDNS and in the specification's example: it changes with the program only."""
TTL = 5
_MAX_CHAIN = 8
_REFRESH, _RETRY, _EXPIRE = 7200, 1800, 86400

PodsMode = Literal["disabled", "insecure", "verified"]


@dataclass(frozen=True, slots=True)
class ZoneOptions:
    """What an administrator may choose about the names of a cluster."""

    ttl: int = TTL
    pods: PodsMode = "disabled"
    """Whether names below `pod` exist: none, all that spell an address, or only those of pods that run."""
    namespaces: tuple[str, ...] = ()
    """The only namespaces that exist for DNS; if empty, all."""
    namespace_labels: LabelSelector | None = None
    """Which namespaces exist for DNS."""
    labels: LabelSelector | None = None
    """Which Services exist for DNS."""
    endpoints: bool = True
    """Whether headless Services and their endpoints exist."""
    endpoint_pod_names: bool = False
    """Endpoints without a name of their own are called as their pods (whose names may be too long for that)."""
    ignore_empty: bool = False
    """A Service with a virtual address but no ready endpoint does not exist."""
    dns_service: Key = ("kube-system", "kube-dns")


class Zone:
    """The zone of one cluster (`cluster.local`): answers from what the `Cluster` holds now."""

    def __init__(self, cluster: Cluster, domain: str = "cluster.local", options: ZoneOptions = ZoneOptions()) -> None:
        self.cluster = cluster
        self.domain = domain.rstrip(".").lower()
        self._suffix = f".{self.domain}"
        self._options = options

    # --- what is asked

    def answer(self, name: str, kind: int) -> Reply | None:
        """The reply to a question (the name in lower case, no dot at its end); None if it is not ours to answer.

        A name that ends as an address does, but belongs to nothing here, is not ours.
        """
        if name == self.domain or name.endswith(self._suffix):
            return self._resolve(name, kind, _MAX_CHAIN)
        if name.endswith((".in-addr.arpa", ".ip6.arpa")):
            return self._answer_reverse(name, kind)
        return None

    def only_service(self, name: str) -> Key | None:
        """The Service whose state alone decides the answers for a name below `svc`; None if there may be more."""
        labels = name[: -len(self._suffix)].split(".") if name.endswith(self._suffix) else []
        if len(labels) < 3 or labels[-1] != "svc":
            return None
        key = (labels[-2], labels[-3])
        service = self.cluster.services.get(key)
        return None if service is not None and service.spec.type == "ExternalName" else key

    def denial(self, zone: str = "") -> Reply:
        """There is no such name, says the zone, or a reverse zone that belongs to it."""
        return Reply(wire.NXDOMAIN, authority=(self._soa(zone or self.domain),))

    def _resolve(self, name: str, kind: int, chain: int) -> Reply:
        labels = name[: -len(self._suffix)].split(".") if name != self.domain else []
        if not labels:
            return self._apex(kind)
        match labels[-1]:
            case "svc":
                return self._answer_service(name, labels[:-1], kind, chain)
            case "pod":
                return self._answer_pod(name, labels[:-1], kind)
            case "dns-version" if len(labels) == 1:
                found = [Record(name, wire.TXT, bytes((len(VERSION),)) + VERSION.encode(), VERSION_TTL)]
                return self._reply(found if kind == wire.TXT else [])
            case "dns" if labels in (["dns"], ["ns", "dns"]):
                return self._reply(self._addresses(name, self._dns_addresses(), kind) if len(labels) == 2 else [])
        return self.denial()

    def _answer_service(self, name: str, labels: list[str], kind: int, chain: int) -> Reply:
        if not labels or (len(labels) == 1 and self._has_namespace(labels[0])):
            return self._reply([])
        service = self._service((labels[-1], labels[-2])) if len(labels) > 1 else None
        if service is None:
            return self.denial()
        before = labels[:-2]
        if service.spec.type == "ExternalName":
            return self.denial() if before else self._answer_alias(name, service, kind, chain)
        if not before:
            return self._answer_host(name, service, kind)
        if len(before) == 2 and before[0].startswith("_") and before[1].startswith("_"):
            return self._answer_port(name, service, before[0][1:], before[1][1:], kind)
        return self._answer_endpoint(name, service, before, kind)

    def _has_namespace(self, name: str) -> bool:
        labels, options = self.cluster.namespaces.get(name), self._options
        if labels is None or (options.namespaces and name not in options.namespaces):
            return False
        return options.namespace_labels is None or options.namespace_labels.matches(labels)

    def _service(self, key: Key) -> Service | None:
        """A Service, if it is there and DNS is to know of it."""
        service, options = self.cluster.services.get(key), self._options
        if service is None or (options.namespaces and key[0] not in options.namespaces):
            return None
        if options.namespace_labels is not None and not self._has_namespace(key[0]):
            return None
        if options.labels is not None and not options.labels.matches(service.metadata.labels):
            return None
        if service.spec.type == "ExternalName":
            return service
        if service.headless:
            return service if options.endpoints else None
        return None if options.ignore_empty and not any(self._endpoints(key)) else service

    def _answer_host(self, name: str, service: Service, kind: int) -> Reply:
        addresses = list(service.addresses)
        if service.headless:
            addresses = [found.address for found, _ in self._endpoints(service_key(service))]
        if not addresses:
            return self.denial()
        if kind == wire.SRV:
            return self._services_at(name, self._targets(service))
        return self._reply(self._addresses(name, addresses, kind))

    def _answer_port(self, name: str, service: Service, port: str, protocol: str, kind: int) -> Reply:
        targets = [
            target
            for target in self._targets(service)
            if (target[1].name or "").lower() == port and (target[1].protocol or "TCP").lower() == protocol
        ]
        if not targets or not port:
            return self.denial()
        return self._services_at(name, targets) if kind == wire.SRV else self._reply([])

    def _answer_endpoint(self, name: str, service: Service, before: list[str], kind: int) -> Reply:
        wanted = before[0] if len(before) == 1 else ""
        found = [
            (found.address, ports)
            for found, ports in self._endpoints(service_key(service))
            if self._hostname(found) == wanted
        ]
        if found and kind == wire.SRV:
            targets = [(name, port, [address]) for address, ports in found for port in ports]
            return self._services_at(name, targets)
        if found:
            return self._reply(self._addresses(name, [address for address, _ in found], kind))
        protocols = {f"_{(port.protocol or 'TCP').lower()}" for port in service.spec.ports if port.name}
        return self._reply([]) if wanted in protocols else self.denial()

    def _answer_alias(self, name: str, service: Service, kind: int, chain: int) -> Reply:
        """A CNAME, and for address questions what it leads to, if that is in the zone."""
        target = service.spec.external_name.rstrip(".").lower()
        try:
            if _packed(target):
                return self.denial()
            alias = self._record(name, wire.CNAME, encode_name(target))
        except ValueError:
            return self.denial()
        if kind not in (wire.A, wire.AAAA):
            return self._reply([alias])
        if not target.endswith(self._suffix):
            return Reply(answers=(alias,), chase=target)
        if not chain:
            return Reply(wire.SERVFAIL)
        behind = self._resolve(target, kind, chain - 1)
        return Reply(behind.rcode, (alias, *behind.answers), behind.authority, chase=behind.chase)

    def _answer_pod(self, name: str, labels: list[str], kind: int) -> Reply:
        """`10-1-2-3.namespace.pod`: the address that the name spells."""
        if self._options.pods == "disabled":
            return self.denial()
        if not labels or (len(labels) == 1 and self._has_namespace(labels[0])):
            return self._reply([])
        if len(labels) != 2 or not self._has_namespace(labels[1]):
            return self.denial()
        packed = _packed(labels[0].replace("-", ".")) or _packed(labels[0].replace("-", ":"))
        if not packed:
            return self.denial()
        address = str(ipaddress.ip_address(packed))
        if self._options.pods == "verified" and not self._pod_runs(labels[1], address):
            return self.denial()
        return self._reply(self._addresses(name, [address], kind))

    def _pod_runs(self, namespace: str, address: str) -> bool:
        return any(found == namespace for found, _ in self.cluster.pods_at(address))

    def _answer_reverse(self, name: str, kind: int) -> Reply | None:
        address = address_of(name)
        services = self.cluster.reverse.services(address) if address else ()
        names = [f"{key[1]}.{key[0]}.svc{self._suffix}" for key in services if self._service(key)]
        if address and not names:
            names = sorted(set(self._endpoint_names(address)))
        if not names:
            return None
        found = [self._record(name, wire.PTR, encode_name(target)) for target in names]
        return self._reply(found if kind == wire.PTR else [])

    def _endpoint_names(self, address: str) -> Iterator[str]:
        for key in self.cluster.endpoint_owners(address):
            service = self._service(key)
            if service is None or service.spec.type == "ExternalName":
                continue
            for found, _ in self._endpoints(key):
                if found.address == address:
                    yield f"{self._hostname(found)}.{key[1]}.{key[0]}.svc{self._suffix}"

    def _apex(self, kind: int) -> Reply:
        if kind == wire.SOA:
            return Reply(answers=(self._soa(self.domain),))
        if kind != wire.NS:
            return self._reply([])
        server = f"ns.dns{self._suffix}"
        glue = [
            record
            for family in (wire.A, wire.AAAA)
            for record in self._addresses(server, self._dns_addresses(), family)
        ]
        return Reply(answers=(self._record(self.domain, wire.NS, encode_name(server)),), additional=tuple(glue))

    # --- parts of answers

    def _endpoints(self, key: Key) -> Iterator[tuple[ReadyAddress, tuple[Port, ...]]]:
        """Every address of every ready endpoint of a Service, with the ports there."""
        if self._options.endpoints:
            for found, slice_ in self.cluster.endpoints(key):
                yield found, slice_.ports

    def _hostname(self, found: ReadyAddress) -> str:
        """The name of an endpoint below its Service: its own, or its pod's if so chosen, or its address with dashes."""
        pod = found.pod if self._options.endpoint_pod_names and len(found.pod) < 64 else ""
        return found.hostname or pod or found.address.replace(".", "-").replace(":", "-").lower()

    def _targets(self, service: Service) -> list[tuple[str, Port, list[str]]]:
        """(host, port, its addresses) for every port of a Service, at every endpoint if it is headless."""
        namespace, name = service_key(service)
        host = f"{name}.{namespace}.svc{self._suffix}"
        if not service.headless:
            return [(host, port, list(service.addresses)) for port in service.spec.ports]
        return [
            (f"{self._hostname(found)}.{host}", port, [found.address])
            for found, ports in self._endpoints((namespace, name))
            for port in ports
        ]

    def _services_at(self, name: str, targets: list[tuple[str, Port, list[str]]]) -> Reply:
        """SRV records of equal weight, with the addresses of their hosts beside them.

        As in CoreDNS, 100 is shared by all addresses, and nobody has less than 1: a client may never choose a 0.
        """
        weight = max(1, 100 // max(1, sum(len(addresses) for _, _, addresses in targets)))
        answers = {
            self._record(name, wire.SRV, pack("!3H", 0, weight, (port.port or 0) & 0xFFFF) + encode_name(host)): None
            for host, port, _ in targets
        }
        beside = {
            record: None
            for host, _, addresses in targets
            for family in (wire.A, wire.AAAA)
            for record in self._addresses(host, addresses, family)
        }
        return self._reply(list(answers), list(beside))

    def _addresses(self, name: str, addresses: Iterable[str], kind: int) -> list[Record]:
        """The records of one family, each address once."""
        if kind not in (wire.A, wire.AAAA):
            return []
        wanted = 4 if kind == wire.A else 16
        packed = map(_packed, dict.fromkeys(addresses))
        return [self._record(name, kind, data) for data in packed if len(data) == wanted]

    def _dns_addresses(self) -> tuple[str, ...]:
        service = self.cluster.services.get(self._options.dns_service)
        return service.addresses if service else ()

    def _reply(self, answers: list[Record], additional: Iterable[Record] = ()) -> Reply:
        """The name exists; without records of the type asked for, the SOA says so."""
        authority = () if answers else (self._soa(self.domain),)
        return Reply(answers=tuple(answers), authority=authority, additional=tuple(additional))

    def _soa(self, zone: str) -> Record:
        names = encode_name(f"ns.dns{self._suffix}") + encode_name(f"hostmaster{self._suffix}")
        times = pack("!5I", self.cluster.serial & 0xFFFFFFFF, _REFRESH, _RETRY, _EXPIRE, self._options.ttl)
        return self._record(zone, wire.SOA, names + times)

    def _record(self, name: str, kind: int, data: bytes) -> Record:
        return Record(name, kind, data, self._options.ttl)


def _packed(address: str) -> bytes:
    """An address in network order; empty for what is none, such as the names in slices of type FQDN."""
    try:
        return ipaddress.ip_address(address).packed
    except ValueError:
        return b""
