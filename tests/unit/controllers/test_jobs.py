"""Jobs: counting ends, deciding the end, making and deleting pods."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.api.batch_v1 import Job
from sampan.api.core_v1 import Pod
from sampan.controllers.jobs import indexes
from sampan.controllers.jobs.decision import decide
from sampan.controllers.jobs.tally import FINALIZER, tally
from support.objects import START, at, made, metadata

NOW = START + 100


def job(status=None, **spec):
    return made(Job, metadata=metadata("work"), spec=spec, status={"startTime": at(0), **(status or {})})


def worker(name, phase="Running", *, held=True, index=None, exit_code=None, deleted=False, ended=0.0, restarts=0):
    meta = metadata(name, finalizers=[FINALIZER] if held else [])
    if index is not None:
        meta["annotations"] = {indexes.COMPLETION_INDEX: str(index)}
    if deleted:
        meta["deletionTimestamp"] = at(1)
    container = {"name": "main", "restartCount": restarts}
    if exit_code is not None:
        container["state"] = {"terminated": {"exitCode": exit_code, "finishedAt": at(ended)}}
    return made(Pod, metadata=meta, status={"phase": phase, "containerStatuses": [container]})


def after(wanted, *pods):
    return decide(wanted, tally(wanted, pods), NOW)


def reasons(verdict):
    return [(one.type, one.reason) for one in verdict.conditions]


COMPLETE = [("SuccessCriteriaMet", "CompletionsReached"), ("Complete", "CompletionsReached")]


@pytest.mark.parametrize(
    ("wanted", "pods", "create"),
    [
        (job(completions=1), [], 1),
        (job(completions=5, parallelism=2), [], 2),
        (job(completions=5, parallelism=2), [worker("a")], 1),
        (job({"succeeded": 4}, completions=5, parallelism=3), [], 1),
        (job(parallelism=3), [], 3),
        (job(parallelism=3), [worker("a"), worker("b", "Succeeded")], 0),
        (job(completions=5, parallelism=0), [], 0),
        (job(completions=5, suspend=True), [], 0),
        (job(completions=1, podReplacementPolicy="Failed"), [worker("a", deleted=True)], 0),
        (job(completions=1), [worker("a", deleted=True)], 1),
    ],
)
def test_as_many_pods_are_made_as_should_be_active(wanted, pods, create):
    assert len(after(wanted, *pods).create) == create


def test_too_many_active_pods_are_deleted_the_least_advanced_first():
    verdict = after(job(completions=9, parallelism=1), worker("runs"), worker("waits", "Pending"))
    assert [pod.metadata.name for pod in verdict.delete] == ["waits"]


def test_indexes_that_neither_completed_nor_run_are_made():
    wanted = job({"completedIndexes": "0-1"}, completions=6, parallelism=3, completionMode="Indexed")
    verdict = after(wanted, worker("a", index=3), worker("b", "Succeeded", index=4))
    assert (verdict.create, verdict.succeeded) == ((2, 5), 3)


@pytest.mark.parametrize(
    ("wanted", "pods", "expected"),
    [
        (job(completions=1), [worker("a", "Succeeded")], COMPLETE),
        (job(), [worker("a", "Succeeded")], COMPLETE),
        (job(), [worker("a", "Succeeded"), worker("b")], []),
        (job(completions=1), [worker("a", "Succeeded"), worker("b")], COMPLETE[:1]),
        (
            job(completions=1, backoffLimit=1),
            [worker("a", "Failed"), worker("b", "Failed")],
            [("FailureTarget", "BackoffLimitExceeded"), ("Failed", "BackoffLimitExceeded")],
        ),
        (
            job(completions=1, activeDeadlineSeconds=60),
            [worker("a")],
            [("FailureTarget", "DeadlineExceeded")],
        ),
        (
            job(completions=1, backoffLimit=2, template={"spec": {"restartPolicy": "OnFailure"}}),
            [worker("a", restarts=3)],
            [("FailureTarget", "BackoffLimitExceeded")],
        ),
        (job(completions=1, suspend=True), [worker("a")], [("Suspended", "JobSuspended")]),
    ],
)
def test_the_conditions_say_how_the_job_stands(wanted, pods, expected):
    """The decision comes first, the end when no pod is left."""
    assert reasons(after(wanted, *pods)) == expected


def test_failures_are_retried_later_and_later():
    first = after(job(completions=1), worker("a", "Failed", exit_code=1, ended=95))
    assert (first.create, first.wait) == ((), 5)
    pods = [worker(name, "Failed", exit_code=1, ended=95) for name in "ab"]
    assert after(job(completions=1), *pods).wait == 15
    cured = [*pods, worker("c", "Succeeded", exit_code=0, ended=99)]
    assert len(after(job(completions=3, parallelism=2), *cured).create) == 2


@pytest.mark.parametrize(
    ("rule", "pod", "failed", "end"),
    [
        ({"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}, 42, 1, "PodFailurePolicy"),
        ({"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}, 1, 1, ""),
        ({"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [42]}}, 1, 1, "PodFailurePolicy"),
        ({"action": "Ignore", "onExitCodes": {"operator": "In", "values": [42]}}, 42, 0, ""),
    ],
)
def test_a_failure_policy_decides_what_an_exit_code_means(rule, pod, failed, end):
    wanted = job(completions=1, podFailurePolicy={"rules": [rule]})
    verdict = after(wanted, worker("a", "Failed", exit_code=pod))
    assert verdict.failed == failed
    assert (reasons(verdict)[0][1] if verdict.conditions else "") == end


def test_an_end_is_counted_once_wherever_the_controller_dies():
    """Before the uid is noted, after that, after the finalizer went, and after the count: the total is the same."""
    noted = {"uncountedTerminatedPods": {"succeeded": ["uid-a"]}}
    for status, pods in (
        ({}, [worker("a", "Succeeded")]),
        (noted, [worker("a", "Succeeded")]),
        (noted, [worker("a", "Succeeded", held=False)]),
        (noted, []),
        ({"succeeded": 1}, [worker("a", "Succeeded", held=False)]),
    ):
        assert after(job(status, completions=5), *pods).succeeded == 1


@pytest.mark.parametrize(
    ("text", "found"), [("", set()), ("1", {1}), ("1,2", {1, 2}), ("0-2,5", {0, 1, 2, 5}), ("x,3", {3})]
)
def test_index_lists_are_read(text, found):
    assert indexes.parse(text) == found


@given(st.sets(st.integers(0, 60)))
def test_index_lists_are_written_as_they_are_read(found):
    assert indexes.parse(indexes.render(found)) == found
