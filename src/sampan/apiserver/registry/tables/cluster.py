"""Tables of nodes, namespaces, events, leases and component statuses."""

from sampan.apiserver.registry.tables.table import (
    NONE,
    Cells,
    Table,
    age,
    columns,
    condition,
    name,
    or_none,
    since,
)
from sampan.apiserver.strategy import Column
from sampan.machinery.objects import Object

_ROLE_PREFIX = "node-role.kubernetes.io/"
_ROLE_LABEL = "kubernetes.io/role"


def _node(obj: Object, now: float) -> Cells:
    status = obj.get("status") or {}
    info = status.get("nodeInfo") or {}
    return [
        name(obj),
        _node_status(obj),
        ",".join(_roles(obj)) or NONE,
        age(obj, now),
        info.get("kubeletVersion", ""),
        _address(status, "InternalIP"),
        _address(status, "ExternalIP"),
        info.get("osImage") or "<unknown>",
        info.get("kernelVersion") or "<unknown>",
        info.get("containerRuntimeVersion") or "<unknown>",
    ]


def _node_status(obj: Object) -> str:
    ready = condition(obj, "Ready") or {}
    words = [{"": "Unknown", "True": "Ready"}.get(ready.get("status", ""), "NotReady")]
    if (obj.get("spec") or {}).get("unschedulable"):
        words.append("SchedulingDisabled")
    return ",".join(words)


def _roles(obj: Object) -> list[str]:
    found = set()
    for key, value in (obj["metadata"].get("labels") or {}).items():
        if key.startswith(_ROLE_PREFIX) and len(key) > len(_ROLE_PREFIX):
            found.add(key[len(_ROLE_PREFIX) :])
        elif key == _ROLE_LABEL and value:
            found.add(value)
    return sorted(found)


def _address(status: Object, kind: str) -> str:
    found = (one.get("address") for one in status.get("addresses") or () if one.get("type") == kind)
    return next(found, None) or NONE


def _namespace(obj: Object, now: float) -> Cells:
    return [name(obj), (obj.get("status") or {}).get("phase", ""), age(obj, now)]


def _event(obj: Object, now: float) -> Cells:
    """An event in either group's form."""
    series = obj.get("series") or {}
    first_seen = obj.get("firstTimestamp") or obj.get("deprecatedFirstTimestamp") or obj.get("eventTime")
    last_seen = obj.get("lastTimestamp") or obj.get("deprecatedLastTimestamp") or first_seen
    about = obj.get("involvedObject") or obj.get("regarding") or {}
    return [
        since(series.get("lastObservedTime") or last_seen, now),
        obj.get("type", ""),
        obj.get("reason", ""),
        f"{about.get('kind', '').lower()}/{about.get('name', '')}",
        about.get("fieldPath", ""),
        _source(obj),
        (obj.get("message") or obj.get("note") or "").strip(),
        since(first_seen, now),
        series.get("count") or obj.get("count") or obj.get("deprecatedCount") or 1,
        name(obj),
    ]


def _source(obj: Object) -> str:
    source = obj.get("source") or obj.get("deprecatedSource") or {}
    component = source.get("component") or obj.get("reportingComponent") or obj.get("reportingController") or ""
    host = source.get("host") or obj.get("reportingInstance") or ""
    return f"{component}, {host}" if host else component


def _lease(obj: Object, now: float) -> Cells:
    return [name(obj), or_none((obj.get("spec") or {}).get("holderIdentity")), age(obj, now)]


def _component_status(obj: Object, now: float) -> Cells:
    healthy = condition({"status": obj}, "Healthy") or {}
    state = {"True": "Healthy", "False": "Unhealthy"}.get(healthy.get("status", ""), "Unknown")
    return [name(obj), state, healthy.get("message", ""), healthy.get("error", "")]


NODES = Table(
    columns(
        ("Name", "Status", "Roles", "Age", "Version"),
        wide=("Internal-IP", "External-IP", "OS-Image", "Kernel-Version", "Container-Runtime"),
    ),
    _node,
)
NAMESPACES = Table(columns(("Name", "Status", "Age")), _namespace)
EVENTS = Table(
    (
        *columns(("Last Seen", "Type", "Reason", "Object"), wide=("Subobject", "Source")),
        *columns(("Message",), wide=("First Seen", "#Count")),
        Column("Name", format="name", priority=1),
    ),
    _event,
)
LEASES = Table(columns(("Name", "Holder", "Age")), _lease)
COMPONENT_STATUSES = Table(columns(("Name", "Status", "Message", "Error")), _component_status)
