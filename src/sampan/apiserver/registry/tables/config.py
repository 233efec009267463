"""Tables of configuration, limits, disruption budgets, autoscaling and access."""

from sampan.apiserver.registry.tables.table import NONE, Cells, Table, age, boolean, columns, name
from sampan.machinery.objects import Object

_GONE = "N/A"


def _config_map(obj: Object, now: float) -> Cells:
    return [name(obj), len(obj.get("data") or ()) + len(obj.get("binaryData") or ()), age(obj, now)]


def _secret(obj: Object, now: float) -> Cells:
    return [name(obj), obj.get("type", ""), len(obj.get("data") or ()), age(obj, now)]


def _service_account(obj: Object, now: float) -> Cells:
    return [name(obj), len(obj.get("secrets") or ()), age(obj, now)]


def _resource_quota(obj: Object, now: float) -> Cells:
    status = obj.get("status") or {}
    used: Object = status.get("used") or {}
    requests: list[str] = []
    limits: list[str] = []
    for resource, hard in sorted((status.get("hard") or {}).items()):
        shown = f"{resource}: {used.get(resource, '0')}/{hard}"
        (limits if resource.startswith("limits") else requests).append(shown)
    return [name(obj), ", ".join(requests), ", ".join(limits), age(obj, now)]


def _named_at(obj: Object, now: float) -> Cells:
    return [name(obj), obj["metadata"].get("creationTimestamp") or "<unknown>"]


def _disruption_budget(obj: Object, now: float) -> Cells:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    return [
        name(obj),
        str(spec.get("minAvailable", _GONE)),
        str(spec.get("maxUnavailable", _GONE)),
        status.get("disruptionsAllowed", 0),
        age(obj, now),
    ]


def _autoscaler(obj: Object, now: float) -> Cells:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    target = spec.get("scaleTargetRef") or {}
    minimum = spec.get("minReplicas")
    return [
        name(obj),
        f"{target.get('kind')}/{target.get('name')}",
        _targets(spec, status),
        "<unset>" if minimum is None else str(minimum),
        spec.get("maxReplicas", 0),
        status.get("currentReplicas", 0),
        age(obj, now),
    ]


def _targets(spec: Object, status: Object) -> str:
    """What is measured against what is wanted, for at most two metrics."""
    if "targetCPUUtilizationPercentage" in spec:
        current = status.get("currentCPUUtilizationPercentage")
        shown = "<unknown>" if current is None else f"{current}%"
        return f"cpu: {shown}/{spec['targetCPUUtilizationPercentage']}%"
    metrics, current = spec.get("metrics") or (), status.get("currentMetrics") or ()
    shown_metrics = [
        _metric(metric, current[index] if index < len(current) else {}) for index, metric in enumerate(metrics)
    ]
    if not shown_metrics:
        return NONE
    more = f" + {len(shown_metrics) - 2} more..." if len(shown_metrics) > 2 else ""
    return ", ".join(shown_metrics[:2]) + more


def _metric(metric: Object, current: Object) -> str:
    kind = metric.get("type", "")
    field = kind[:1].lower() + kind[1:]
    held, seen = metric.get(field) or {}, (current.get(field) or {}).get("current") or {}
    target: Object = held.get("target") or {}
    prefix = f"{held['name']}: " if held.get("name") and kind.endswith("esource") else ""
    if target.get("averageUtilization") is not None:
        now = seen.get("averageUtilization")
        return f"{prefix}{'<unknown>' if now is None else f'{now}%'}/{target['averageUtilization']}%"
    if "averageValue" in target:
        return f"{prefix}{seen.get('averageValue', '<unknown>')}/{target['averageValue']}"
    return f"{prefix}{seen.get('value', '<unknown>')}/{target.get('value', '<unknown>')}"


def _role_binding(obj: Object, now: float) -> Cells:
    role = obj.get("roleRef") or {}
    by_kind: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for subject in obj.get("subjects") or ():
        shown = subject.get("name", "")
        if subject.get("kind") == "ServiceAccount":
            shown = f"{subject.get('namespace', '')}/{shown}"
        by_kind.setdefault(subject.get("kind", ""), []).append(shown)
    subjects = [", ".join(by_kind[kind]) for kind in ("User", "Group", "ServiceAccount")]
    return [name(obj), f"{role.get('kind')}/{role.get('name')}", age(obj, now), *subjects]


def _priority_class(obj: Object, now: float) -> Cells:
    return [
        name(obj),
        obj.get("value", 0),
        boolean(bool(obj.get("globalDefault"))),
        age(obj, now),
        obj.get("preemptionPolicy", ""),
    ]


def _runtime_class(obj: Object, now: float) -> Cells:
    return [name(obj), obj.get("handler", ""), age(obj, now)]


def _signing_request(obj: Object, now: float) -> Cells:
    spec = obj.get("spec") or {}
    return [
        name(obj),
        age(obj, now),
        spec.get("signerName") or NONE,
        spec.get("username", ""),
        f"{spec['expirationSeconds']}s" if spec.get("expirationSeconds") else NONE,
        _signing_state(obj),
    ]


def _signing_state(obj: Object) -> str:
    status = obj.get("status") or {}
    kinds = [one.get("type") for one in status.get("conditions") or ()]
    words = [kind for kind in ("Denied", "Approved", "Failed") if kind in kinds] or ["Pending"]
    return ",".join(words[:1] + (["Failed"] if words[0] != "Failed" and "Failed" in words else [])) + (
        ",Issued" if status.get("certificate") else ""
    )


def _webhooks(obj: Object, now: float) -> Cells:
    return [name(obj), len(obj.get("webhooks") or ()), age(obj, now)]


CONFIG_MAPS = Table(columns(("Name", "Data", "Age")), _config_map)
SECRETS = Table(columns(("Name", "Type", "#Data", "Age")), _secret)
SERVICE_ACCOUNTS = Table(columns(("Name", "Secrets", "Age")), _service_account)
RESOURCE_QUOTAS = Table(columns(("Name", "Request", "Limit", "Age")), _resource_quota)
LIMIT_RANGES = Table(columns(("Name", "Created At")), _named_at)
ROLES = LIMIT_RANGES
DISRUPTION_BUDGETS = Table(
    columns(("Name", "Min Available", "Max Unavailable", "#Allowed Disruptions", "Age")), _disruption_budget
)
AUTOSCALERS = Table(columns(("Name", "Reference", "Targets", "MinPods", "#MaxPods", "#Replicas", "Age")), _autoscaler)
ROLE_BINDINGS = Table(columns(("Name", "Role", "Age"), wide=("Users", "Groups", "ServiceAccounts")), _role_binding)
PRIORITY_CLASSES = Table(columns(("Name", "Value", "Global-Default", "Age", "PreemptionPolicy")), _priority_class)
RUNTIME_CLASSES = Table(columns(("Name", "Handler", "Age")), _runtime_class)
SIGNING_REQUESTS = Table(
    columns(("Name", "Age", "SignerName", "Requestor", "RequestedDuration", "Condition")), _signing_request
)
WEBHOOKS = Table(columns(("Name", "#Webhooks", "Age")), _webhooks)
