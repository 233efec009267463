"""What a pod's failure means to its job, by the job's podFailurePolicy (KEP-3329): pure."""

from collections.abc import Iterable

from sampan.api import pods
from sampan.api.batch_v1 import ExitCodesRequirement, PodFailurePolicy, PodFailureRule
from sampan.api.core_v1 import ContainerStatus, Pod

COUNT, IGNORE, FAIL_JOB = "Count", "Ignore", "FailJob"


def action(policy: PodFailurePolicy | None, pod: Pod) -> tuple[str, str]:
    """The first matching rule's action, with a message for FailJob; Count when none matches."""
    for index, rule in enumerate(policy.rules if policy else ()):
        matched = _match(rule, pod)
        if matched is not None:
            return rule.action, f"{matched} matching {rule.action} rule at index {index}"
    return COUNT, ""


def _match(rule: PodFailureRule, pod: Pod) -> str | None:
    if rule.on_exit_codes is not None:
        statuses = (*pod.status.container_statuses, *pod.status.init_container_statuses)
        return _match_exit_codes(rule.on_exit_codes, statuses, pod)
    for pattern in rule.on_pod_conditions:
        found = pods.condition(pod, pattern.type)
        if found is not None and found.status == pattern.status:
            return f"Pod {pod.metadata.key} has condition {pattern.type}"
    return None


def _match_exit_codes(wanted: ExitCodesRequirement, statuses: Iterable[ContainerStatus], pod: Pod) -> str | None:
    for status in statuses:
        ended = status.state.terminated
        if ended is None or ended.exit_code == 0 or wanted.container_name not in (None, status.name):
            continue
        if (ended.exit_code in wanted.values) == (wanted.operator == "In"):
            return f"Container {status.name} for pod {pod.metadata.key} failed with exit code {ended.exit_code}"
    return None
