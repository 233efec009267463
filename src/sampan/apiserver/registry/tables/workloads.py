"""Tables of the kinds that keep pods running."""

from sampan.apiserver.registry.tables.table import (
    NONE,
    Cells,
    Table,
    age,
    columns,
    containers,
    human_duration,
    is_true,
    label_selector,
    labels,
    name,
    since,
    title_boolean,
)
from sampan.machinery import times
from sampan.machinery.objects import Object, controller_of

_WIDE = ("Containers", "Images", "Selector")
_JOB_STATES = (
    ("Complete", "Complete"),
    ("Failed", "Failed"),
)
_LATER_JOB_STATES = ("Suspended", "FailureTarget", "SuccessCriteriaMet")


def _pod_spec(obj: Object) -> Object:
    found: Object = (((obj.get("spec") or {}).get("template")) or {}).get("spec") or {}
    return found


def _deployment(obj: Object, now: float) -> Cells:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    return [
        name(obj),
        f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}",
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
        age(obj, now),
        *containers(_pod_spec(obj)),
        label_selector(spec.get("selector")),
    ]


def _replicas(obj: Object, now: float) -> Cells:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    return [
        name(obj),
        spec.get("replicas", 0),
        status.get("replicas", 0),
        status.get("readyReplicas", 0),
        age(obj, now),
        *containers(_pod_spec(obj)),
    ]


def _replica_set(obj: Object, now: float) -> Cells:
    return [*_replicas(obj, now), label_selector((obj.get("spec") or {}).get("selector"))]


def _replication_controller(obj: Object, now: float) -> Cells:
    return [*_replicas(obj, now), labels((obj.get("spec") or {}).get("selector"))]


def _daemon_set(obj: Object, now: float) -> Cells:
    status = obj.get("status") or {}
    return [
        name(obj),
        status.get("desiredNumberScheduled", 0),
        status.get("currentNumberScheduled", 0),
        status.get("numberReady", 0),
        status.get("updatedNumberScheduled", 0),
        status.get("numberAvailable", 0),
        labels(_pod_spec(obj).get("nodeSelector")),
        age(obj, now),
        *containers(_pod_spec(obj)),
        label_selector((obj.get("spec") or {}).get("selector")),
    ]


def _stateful_set(obj: Object, now: float) -> Cells:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    ready = f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}"
    return [name(obj), ready, age(obj, now), *containers(_pod_spec(obj))]


def _job(obj: Object, now: float) -> Cells:
    return [
        name(obj),
        _job_state(obj),
        _completions(obj),
        _duration(obj, now),
        age(obj, now),
        *containers(_pod_spec(obj)),
        label_selector((obj.get("spec") or {}).get("selector")),
    ]


def _job_state(obj: Object) -> str:
    for kind, word in _JOB_STATES:
        if is_true(obj, kind):
            return word
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return next((kind for kind in _LATER_JOB_STATES if is_true(obj, kind)), "Running")


def _completions(obj: Object) -> str:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    succeeded = status.get("succeeded", 0)
    if spec.get("completions") is not None:
        return f"{succeeded}/{spec['completions']}"
    parallelism = spec.get("parallelism") or 0
    return f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"


def _duration(obj: Object, now: float) -> str:
    status = obj.get("status") or {}
    started, ended = status.get("startTime"), status.get("completionTime")
    if not started:
        return ""
    return human_duration((times.epoch(ended) if ended else now) - times.epoch(started))


def _cron_job(obj: Object, now: float) -> Cells:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    job = (spec.get("jobTemplate") or {}).get("spec") or {}
    last = status.get("lastScheduleTime")
    return [
        name(obj),
        spec.get("schedule", ""),
        spec.get("timeZone") or NONE,
        title_boolean(spec.get("suspend")),
        len(status.get("active") or ()),
        since(last, now) if last else NONE,
        age(obj, now),
        *containers((job.get("template") or {}).get("spec") or {}),
        label_selector(job.get("selector")),
    ]


def _pod_template(obj: Object, now: float) -> Cells:
    template = obj.get("template") or {}
    return [name(obj), *containers(template.get("spec") or {}), labels((template.get("metadata") or {}).get("labels"))]


def _controller_revision(obj: Object, now: float) -> Cells:
    owner = controller_of(obj)
    controller = NONE
    if owner:
        group = owner.get("apiVersion", "").rpartition("/")[0]
        kind = str(owner.get("kind", "")).lower()
        controller = f"{kind}.{group}/{owner.get('name')}" if group else f"{kind}/{owner.get('name')}"
    return [name(obj), controller, obj.get("revision", 0), age(obj, now)]


DEPLOYMENTS = Table(columns(("Name", "Ready", "Up-to-date", "Available", "Age"), wide=_WIDE), _deployment)
REPLICA_SETS = Table(columns(("Name", "#Desired", "#Current", "#Ready", "Age"), wide=_WIDE), _replica_set)
REPLICATION_CONTROLLERS = Table(REPLICA_SETS.columns, _replication_controller)
DAEMON_SETS = Table(
    columns(
        ("Name", "#Desired", "#Current", "#Ready", "#Up-to-date", "#Available", "Node Selector", "Age"), wide=_WIDE
    ),
    _daemon_set,
)
STATEFUL_SETS = Table(columns(("Name", "Ready", "Age"), wide=_WIDE[:2]), _stateful_set)
JOBS = Table(columns(("Name", "Status", "Completions", "Duration", "Age"), wide=_WIDE), _job)
CRON_JOBS = Table(
    columns(("Name", "Schedule", "Timezone", "Suspend", "#Active", "Last Schedule", "Age"), wide=_WIDE), _cron_job
)
POD_TEMPLATES = Table(columns(("Name", "Containers", "Images", "Pod Labels")), _pod_template)
CONTROLLER_REVISIONS = Table(columns(("Name", "Controller", "#Revision", "Age")), _controller_revision)
