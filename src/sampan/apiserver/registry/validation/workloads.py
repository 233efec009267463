"""Checks of Deployment, ReplicaSet, DaemonSet, StatefulSet, ReplicationController, Job and CronJob."""

from sampan.apiserver.registry.validation.labels import is_empty, label_errors, selector_errors
from sampan.apiserver.registry.validation.pods import template_errors
from sampan.apiserver.registry.validation.rules import Errors, Rules, immutable, non_negative, optional_one_of
from sampan.apiserver.registry.validation.schedules import schedule_errors
from sampan.machinery.errors import FieldError
from sampan.machinery.intstr import IntOrString, is_percent
from sampan.machinery.objects import Object
from sampan.machinery.selectors import SelectorError, from_label_selector

_TEMPLATE = "spec.template"
_STATEFUL_SET_FIELDS = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
_STATEFUL_SET_UPDATABLE = frozenset(
    {
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    }
)
_CRON_NAME_MAX = 52


def _deployment(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    errors = _common_errors(spec, "deployment", "Deployment")
    errors += _strategy_errors(spec.get("strategy") or {}, "spec.strategy")
    errors += non_negative(spec.get("revisionHistoryLimit"), "spec.revisionHistoryLimit")
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None:
        errors += non_negative(deadline, "spec.progressDeadlineSeconds")
        if deadline <= (spec.get("minReadySeconds") or 0):
            message = "must be greater than minReadySeconds"
            errors.append(FieldError.invalid("spec.progressDeadlineSeconds", deadline, message))
    return errors


def _replica_set(obj: Object) -> Errors:
    return _common_errors(obj.get("spec") or {}, "deployment", "ReplicaSet")


def _daemon_set(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    errors = _common_errors(spec, "daemonset", "DaemonSet")
    strategy = spec.get("updateStrategy") or {}
    errors += optional_one_of(strategy.get("type"), ("OnDelete", "RollingUpdate"), "spec.updateStrategy.type")
    rolling = strategy.get("rollingUpdate") or {}
    path = "spec.updateStrategy.rollingUpdate"
    errors += _share_errors(rolling.get("maxUnavailable"), f"{path}.maxUnavailable")
    errors += _share_errors(rolling.get("maxSurge"), f"{path}.maxSurge")
    if strategy.get("type") == "RollingUpdate":
        surge, unavailable = _is_zero(rolling.get("maxSurge")), _is_zero(rolling.get("maxUnavailable"))
        if surge and unavailable:
            message = "cannot be 0 when maxSurge is 0"
            errors.append(FieldError.required(f"{path}.maxUnavailable", message))
        elif not surge and not unavailable:
            message = "may not be set when maxUnavailable is non-zero"
            errors.append(FieldError.invalid(f"{path}.maxSurge", rolling.get("maxSurge"), message))
    return errors


def _stateful_set(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    errors = _common_errors(spec, "statefulset", "StatefulSet")
    policies = ("OrderedReady", "Parallel")
    errors += optional_one_of(spec.get("podManagementPolicy"), policies, "spec.podManagementPolicy")
    strategy = spec.get("updateStrategy") or {}
    errors += optional_one_of(strategy.get("type"), ("OnDelete", "RollingUpdate"), "spec.updateStrategy.type")
    rolling = strategy.get("rollingUpdate") or {}
    return errors + non_negative(rolling.get("partition"), "spec.updateStrategy.rollingUpdate.partition")


def _stateful_set_update(new: Object, old: Object) -> Errors:
    errors = _stateful_set(new)
    after, before = _fixed(new), _fixed(old)
    return errors if after == before else [*errors, FieldError.forbidden("spec", _STATEFUL_SET_FIELDS)]


def _fixed(obj: Object) -> Object:
    """What may never change; a claim template's status is not the client's business."""
    spec = {name: value for name, value in (obj.get("spec") or {}).items() if name not in _STATEFUL_SET_UPDATABLE}
    claims = spec.get("volumeClaimTemplates") or ()
    spec["volumeClaimTemplates"] = [
        {name: value for name, value in claim.items() if name in ("metadata", "spec")} for claim in claims
    ]
    return spec


def _replication_controller(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    errors = non_negative(spec.get("replicas"), "spec.replicas")
    selector = spec.get("selector")
    if not selector:
        errors.append(FieldError.required("spec.selector"))
    template = spec.get("template")
    if not isinstance(template, dict):
        return [*errors, FieldError.required(_TEMPLATE)]
    labels = (template.get("metadata") or {}).get("labels") or {}
    if selector and any(labels.get(key) != value for key, value in selector.items()):
        errors.append(_mismatch(labels))
    errors += label_errors(selector, "spec.selector")
    return errors + _template_errors(template, "ReplicationController")


def _job(obj: Object) -> Errors:
    return _job_spec_errors(obj.get("spec") or {}, "spec") + _selector_match_errors(obj.get("spec") or {}, "job")


def _job_update(new: Object, old: Object) -> Errors:
    errors = _job(new)
    after, before = new.get("spec") or {}, old.get("spec") or {}
    for field in ("completions", "selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex"):
        if field == "completions" and _is_elastic(after, before):
            continue
        errors += immutable(after.get(field), before.get(field), f"spec.{field}")
    if not (before.get("suspend") and _is_unstarted(old)):
        errors += immutable(after.get("template"), before.get("template"), _TEMPLATE)
    return errors


def _is_elastic(after: Object, before: Object) -> bool:
    """An indexed job may change completions together with parallelism."""
    indexed = before.get("completionMode") == "Indexed"
    return indexed and after.get("completions") == after.get("parallelism")


def _is_unstarted(job: Object) -> bool:
    return not (job.get("status") or {}).get("startTime")


def _job_spec_errors(spec: Object, path: str) -> Errors:
    errors: Errors = []
    for field in ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"):
        errors += non_negative(spec.get(field), f"{path}.{field}")
    mode = spec.get("completionMode")
    errors += optional_one_of(mode, ("Indexed", "NonIndexed"), f"{path}.completionMode")
    if mode == "Indexed" and spec.get("completions") is None:
        message = "when completion mode is Indexed"
        errors.append(FieldError.required(f"{path}.completions", message))
    template = spec.get("template") or {}
    errors += template_errors(template, f"{path}.template")
    policy = (template.get("spec") or {}).get("restartPolicy")
    if policy not in ("OnFailure", "Never"):
        message = 'valid values: "OnFailure", "Never"'
        errors.append(FieldError.required(f"{path}.template.spec.restartPolicy", message))
    return errors


def _cron_job(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    errors = schedule_errors(spec)
    for field in ("startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        errors += non_negative(spec.get(field), f"spec.{field}")
    policies = ("Allow", "Forbid", "Replace")
    errors += optional_one_of(spec.get("concurrencyPolicy"), policies, "spec.concurrencyPolicy")
    name = (obj.get("metadata") or {}).get("name", "")
    if len(name) > _CRON_NAME_MAX:
        message = f"must be no more than {_CRON_NAME_MAX} characters"
        errors.append(FieldError.invalid("metadata.name", name, message))
    job = (spec.get("jobTemplate") or {}).get("spec") or {}
    return errors + _job_spec_errors(job, "spec.jobTemplate.spec")


# --- what they share


def _common_errors(spec: Object, selecting: str, owner: str) -> Errors:
    """Replicas, selector and template."""
    errors = non_negative(spec.get("replicas"), "spec.replicas")
    errors += non_negative(spec.get("minReadySeconds"), "spec.minReadySeconds")
    selector = spec.get("selector")
    if selector is None:
        errors.append(FieldError.required("spec.selector"))
    else:
        errors += selector_errors(selector, "spec.selector")
        if is_empty(selector):
            message = f"empty selector is invalid for {selecting}"
            errors.append(FieldError.invalid("spec.selector", selector, message))
    errors += _selector_match_errors(spec, selecting)
    return errors + _template_errors(spec.get("template") or {}, owner)


def _selector_match_errors(spec: Object, selecting: str) -> Errors:
    selector = spec.get("selector")
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if selector is None:
        return []
    try:
        matches = from_label_selector(selector).matches(labels)
    except SelectorError:
        message = f"invalid label selector for {selecting}"
        return [FieldError.invalid("spec.selector", selector, message)]
    return [] if matches or is_empty(selector) else [_mismatch(labels)]


def _mismatch(labels: Object) -> FieldError:
    return FieldError.invalid(
        f"{_TEMPLATE}.metadata.labels", labels or None, "`selector` does not match template `labels`"
    )


def _template_errors(template: Object, owner: str) -> Errors:
    """A template whose pods run for ever."""
    errors = template_errors(template, _TEMPLATE)
    spec = template.get("spec") or {}
    if spec.get("restartPolicy") != "Always":
        path = f"{_TEMPLATE}.spec.restartPolicy"
        errors.append(FieldError.not_supported(path, spec.get("restartPolicy"), ("Always",)))
    if spec.get("activeDeadlineSeconds") is not None:
        path = f"{_TEMPLATE}.spec.activeDeadlineSeconds"
        errors.append(FieldError.forbidden(path, f"activeDeadlineSeconds in {owner} is not Supported"))
    return errors


def _strategy_errors(strategy: Object, path: str) -> Errors:
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    if kind == "Recreate":
        message = "may not be specified when strategy `type` is 'Recreate'"
        return [FieldError.forbidden(f"{path}.rollingUpdate", message)] if rolling is not None else []
    if kind != "RollingUpdate":
        return [FieldError.not_supported(f"{path}.type", kind, ("Recreate", "RollingUpdate"))]
    rolling = rolling or {}
    where = f"{path}.rollingUpdate"
    errors = _share_errors(rolling.get("maxUnavailable"), f"{where}.maxUnavailable", most=100)
    errors += _share_errors(rolling.get("maxSurge"), f"{where}.maxSurge")
    if _is_zero(rolling.get("maxUnavailable")) and _is_zero(rolling.get("maxSurge")):
        message = "may not be 0 when `maxSurge` is 0"
        errors.append(FieldError.invalid(f"{where}.maxUnavailable", rolling.get("maxUnavailable"), message))
    return errors


def _share_errors(value: IntOrString | None, path: str, most: int | None = None) -> Errors:
    """A number or a percentage."""
    if value is None:
        return []
    if isinstance(value, int):
        return non_negative(value, path)
    if not is_percent(value):
        message = (
            "a valid percent string must be a numeric string followed by an ending '%' "
            "(e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"
        )
        return [FieldError.invalid(path, value, message)]
    if most is not None and int(value[:-1]) > most:
        return [FieldError.invalid(path, value, f"must not be greater than {most}%")]
    return []


def _is_zero(value: IntOrString | None) -> bool:
    return value in (None, 0, "0%")


def _with_fixed_selector(rules: Rules) -> Rules:
    """The same checks, and on update the selector stays."""

    def update(new: Object, old: Object) -> Errors:
        after, before = (new.get("spec") or {}).get("selector"), (old.get("spec") or {}).get("selector")
        return rules.update(new, old) + immutable(after, before, "spec.selector")

    return Rules(rules.create, update)


DEPLOYMENTS = _with_fixed_selector(Rules.of(_deployment))
REPLICA_SETS = _with_fixed_selector(Rules.of(_replica_set))
DAEMON_SETS = _with_fixed_selector(Rules.of(_daemon_set))
STATEFUL_SETS = Rules(_stateful_set, _stateful_set_update)
REPLICATION_CONTROLLERS = Rules.of(_replication_controller)
JOBS = Rules(_job, _job_update)
CRON_JOBS = Rules.of(_cron_job)
POD_TEMPLATES = Rules.of(lambda obj: template_errors(obj.get("template") or {}, "template"))
