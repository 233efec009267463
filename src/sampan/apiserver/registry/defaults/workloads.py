"""Defaults of the kinds that keep pods running: Deployment, ReplicaSet, DaemonSet, StatefulSet, Job, CronJob."""

from sampan.apiserver.registry.defaults.fill import Table, child, each, fill
from sampan.apiserver.registry.defaults.pods import default_template
from sampan.machinery.objects import Object, metadata

_DEPLOYMENT: Table = {"replicas": 1, "strategy": dict, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600}
_ROLLING: Table = {"type": "RollingUpdate"}
_DEPLOYMENT_ROLLING: Table = {"maxUnavailable": "25%", "maxSurge": "25%"}
_DAEMON_SET: Table = {"updateStrategy": dict, "revisionHistoryLimit": 10}
_DAEMON_SET_ROLLING: Table = {"maxUnavailable": 1, "maxSurge": 0}
_STATEFUL_SET: Table = {
    "replicas": 1,
    "podManagementPolicy": "OrderedReady",
    "updateStrategy": dict,
    "revisionHistoryLimit": 10,
    "persistentVolumeClaimRetentionPolicy": dict,
}
_STATEFUL_SET_ROLLING: Table = {"partition": 0}
_CLAIM_RETENTION: Table = {"whenDeleted": "Retain", "whenScaled": "Retain"}
_CLAIM_TEMPLATE: Table = {"kind": "PersistentVolumeClaim", "apiVersion": "v1", "status": dict}
_JOB: Table = {
    "parallelism": 1,
    "backoffLimit": 6,
    "completionMode": "NonIndexed",
    "suspend": False,
    "podReplacementPolicy": "TerminatingOrFailed",
}
_CRON_JOB: Table = {
    "concurrencyPolicy": "Allow",
    "suspend": False,
    "successfulJobsHistoryLimit": 3,
    "failedJobsHistoryLimit": 1,
}
_LIMITLESS = 2**31 - 1


def default_deployment(obj: Object) -> None:
    spec = child(obj, "spec")
    fill(spec, _DEPLOYMENT)
    _rolling(spec["strategy"], _DEPLOYMENT_ROLLING)
    default_template(child(spec, "template"))
    fill(obj, {"status": dict})


def default_replica_set(obj: Object) -> None:
    spec = child(obj, "spec")
    fill(spec, {"replicas": 1})
    default_template(child(spec, "template"))


def default_replication_controller(obj: Object) -> None:
    """Selector and labels come from the template's labels, unlike in every later kind."""
    spec = child(obj, "spec")
    fill(spec, {"replicas": 1})
    template = spec.get("template")
    if not isinstance(template, dict):
        return
    default_template(template)
    labels = template["metadata"].get("labels")
    if labels:
        if not spec.get("selector"):
            spec["selector"] = dict(labels)
        if not metadata(obj).get("labels"):
            metadata(obj)["labels"] = dict(labels)


def default_daemon_set(obj: Object) -> None:
    spec = child(obj, "spec")
    fill(spec, _DAEMON_SET)
    _rolling(spec["updateStrategy"], _DAEMON_SET_ROLLING)
    default_template(child(spec, "template"))


def default_stateful_set(obj: Object) -> None:
    spec = child(obj, "spec")
    fill(spec, _STATEFUL_SET)
    _rolling(spec["updateStrategy"], _STATEFUL_SET_ROLLING)
    fill(spec["persistentVolumeClaimRetentionPolicy"], _CLAIM_RETENTION)
    default_template(child(spec, "template"))
    for claim in each(spec, "volumeClaimTemplates"):
        fill(claim, _CLAIM_TEMPLATE)
        fill(child(claim, "spec"), {"volumeMode": "Filesystem"})
        fill(claim["status"], {"phase": "Pending"})


def default_job(obj: Object) -> None:
    spec = child(obj, "spec")
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    if spec.get("backoffLimitPerIndex") is not None:
        fill(spec, {"backoffLimit": _LIMITLESS})
    if spec.get("podFailurePolicy"):
        fill(spec, {"podReplacementPolicy": "Failed"})
    fill(spec, _JOB)
    for rule in each(spec.get("podFailurePolicy") or {}, "rules"):
        for pattern in each(rule, "onPodConditions"):
            fill(pattern, {"status": "True"})
    template = child(spec, "template")
    default_template(template)
    labels = template["metadata"].get("labels")
    if labels and not metadata(obj).get("labels"):
        metadata(obj)["labels"] = dict(labels)


def default_cron_job(obj: Object) -> None:
    spec = child(obj, "spec")
    fill(spec, _CRON_JOB)
    template = child(spec, "jobTemplate")
    child(template, "metadata")
    default_template(child(child(template, "spec"), "template"))


def default_pod_template(obj: Object) -> None:
    default_template(child(obj, "template"))


def _rolling(strategy: Object, parameters: Table) -> None:
    """The strategy's type, and its parameters when it is a rolling update."""
    fill(strategy, _ROLLING)
    if strategy["type"] == "RollingUpdate":
        fill(child(strategy, "rollingUpdate"), parameters)
