"""Services, EndpointSlices, Namespaces and Pods as cluster DNS reads them: names, addresses and ports, nothing else.

Types of its own, because DNS holds every endpoint of the cluster in memory and its pods must start quickly.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from msgspec import field
from msgspec.structs import force_setattr

from sampan.api.meta_v1 import APIObject, ObjectMeta, Struct

SERVICE_NAME = "kubernetes.io/service-name"
TRIGGERED = "endpoints.kubernetes.io/last-change-trigger-time"
_LABELS_KEPT = (SERVICE_NAME,)


class Port(Struct, frozen=True):
    """A port of a Service or an EndpointSlice."""

    name: str | None = None
    protocol: str | None = None
    port: int | None = None


class ServiceSpec(Struct, frozen=True):
    ports: tuple[Port, ...] = ()
    cluster_ip: str = field(default="", name="clusterIP")
    cluster_ips: tuple[str, ...] = field(default=(), name="clusterIPs")
    type: str = "ClusterIP"
    external_name: str = ""


class Service(APIObject, frozen=True):
    spec: ServiceSpec = ServiceSpec()

    @property
    def headless(self) -> bool:
        return self.spec.cluster_ip == "None"

    @property
    def addresses(self) -> tuple[str, ...]:
        """The virtual addresses, none for a headless Service or one that has not got them yet."""
        if self.headless:
            return ()
        return self.spec.cluster_ips or ((self.spec.cluster_ip,) if self.spec.cluster_ip else ())


class Conditions(Struct, frozen=True):
    ready: bool | None = None


class Target(Struct, frozen=True):
    kind: str = ""
    name: str = ""


class Endpoint(Struct, frozen=True):
    addresses: tuple[str, ...] = ()
    conditions: Conditions = Conditions()
    hostname: str | None = None
    target_ref: Target | None = None

    @property
    def ready(self) -> bool:
        """Unknown counts as ready, as the API says."""
        return self.conditions.ready is not False


class ReadyAddress(NamedTuple):
    """One address of a ready endpoint, with the endpoint's own name and its pod's, which may be empty."""

    address: str
    hostname: str
    pod: str


class EndpointSlice(APIObject, frozen=True):
    """Its endpoints are packed into one string as they are decoded: a cluster may have hundreds of thousands."""

    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[Port, ...] = ()
    packed: str = ""
    triggered: float = 0.0
    """When the change happened that the slice was last written for, in seconds since the epoch; 0: it does not say."""

    def __post_init__(self) -> None:
        ready = [
            f"{address}/{(endpoint.hostname or '').lower()}/{_pod_of(endpoint)}"
            for endpoint in self.endpoints
            if endpoint.ready
            for address in endpoint.addresses
        ]
        force_setattr(self, "packed", " ".join(ready))
        force_setattr(self, "endpoints", ())
        force_setattr(self, "triggered", _seconds(self.metadata.annotations.get(TRIGGERED, "")))
        force_setattr(self, "metadata", _narrow(self.metadata))

    def ready_addresses(self) -> Iterator[ReadyAddress]:
        for entry in self.packed.split():
            yield ReadyAddress(*entry.split("/", 2))

    @property
    def service(self) -> str:
        """The name of the Service it belongs to, or the empty string."""
        return self.metadata.labels.get(SERVICE_NAME, "")


class Namespace(APIObject, frozen=True):
    pass


class PodSpec(Struct, frozen=True):
    host_network: bool = False


class PodIP(Struct, frozen=True):
    ip: str = ""


class PodStatus(Struct, frozen=True):
    phase: str = ""
    pod_ips: tuple[PodIP, ...] = field(default=(), name="podIPs")


class Pod(APIObject, frozen=True):
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    def __post_init__(self) -> None:
        force_setattr(self, "metadata", _narrow(self.metadata))

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses that are this pod's alone: none with the node's network, or after it has ended."""
        if self.spec.host_network or self.status.phase in ("Succeeded", "Failed"):
            return ()
        return tuple(found.ip for found in self.status.pod_ips)


def _seconds(time: str) -> float:
    """A time as the API writes it, since the epoch; 0 for none."""
    try:
        return datetime.fromisoformat(time).timestamp() if time else 0.0
    except ValueError:
        return 0.0


def _pod_of(endpoint: Endpoint) -> str:
    target = endpoint.target_ref
    return target.name if target is not None and target.kind == "Pod" else ""


def _narrow(metadata: ObjectMeta) -> ObjectMeta:
    """Only what is used: annotations and owners of every slice and pod would be most of the memory."""
    labels = {name: metadata.labels[name] for name in _LABELS_KEPT if name in metadata.labels}
    return ObjectMeta(
        name=metadata.name,
        namespace=metadata.namespace,
        uid=metadata.uid,
        resource_version=metadata.resource_version,
        labels=labels,
    )
