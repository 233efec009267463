"""EndpointSlices as the proxy reads them: what routing needs and nothing else, since a cluster may have very many.

Node and zone names and condition sets repeat endlessly, so each distinct one is kept once.
"""

from sys import intern

import msgspec

from sampan.api.core_v1 import Taint
from sampan.api.discovery_v1 import EndpointConditions, EndpointHints, EndpointPort
from sampan.api.meta_v1 import APIObject, Struct

SERVICE_NAME = "kubernetes.io/service-name"
SERVICE_PROXY_NAME = "service.kubernetes.io/service-proxy-name"
IPVS_SCHEDULER = "sampan.dev/ipvs-scheduler"
"""The ipvs mode's scheduler for one Service, instead of the proxy's."""
HEADLESS = "service.kubernetes.io/headless"

SERVICES_SELECTOR = SLICES_SELECTOR = f"!{SERVICE_PROXY_NAME},!{HEADLESS}"
"""What has one of these labels, with whatever value, is another's business, or nobody's."""

TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"
"""When what a slice reports happened: the beginning of the programming latency."""

TAINT_TO_BE_DELETED = "ToBeDeletedByClusterAutoscaler"

_conditions: dict[EndpointConditions, EndpointConditions] = {}


class SliceEndpoint(Struct, frozen=True):
    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions = EndpointConditions()
    node_name: str | None = None
    hints: EndpointHints | None = None

    def __post_init__(self) -> None:
        if self.node_name is not None:
            msgspec.structs.force_setattr(self, "node_name", intern(self.node_name))
        msgspec.structs.force_setattr(self, "conditions", _conditions.setdefault(self.conditions, self.conditions))


class Slice(APIObject, frozen=True):
    """An EndpointSlice."""

    address_type: str = ""
    endpoints: tuple[SliceEndpoint, ...] = ()
    ports: tuple[EndpointPort, ...] = ()


def service_of(slice_: Slice) -> tuple[str, str] | None:
    """The Service a slice belongs to, as (namespace, name)."""
    name = slice_.metadata.labels.get(SERVICE_NAME)
    return (slice_.metadata.namespace, name) if name else None


def trigger_time(slice_: Slice | None) -> str:
    """When the latest change that a slice reports happened (RFC 3339); empty if it does not say."""
    return slice_.metadata.annotations.get(TRIGGER_TIME, "") if slice_ else ""


class NodeSpec(Struct, frozen=True):
    taints: tuple[Taint, ...] = ()


class ProxyNode(APIObject, frozen=True):
    """This proxy's Node: its labels tell the zone; its deletion and taints, whether it should get external traffic."""

    spec: NodeSpec = NodeSpec()

    @property
    def is_terminating(self) -> bool:
        """Whether the Node is being deleted, or tainted because the cluster autoscaler will delete it."""
        tainted = any(taint.key == TAINT_TO_BE_DELETED for taint in self.spec.taints)
        return bool(self.metadata.deletion_timestamp) or tainted
