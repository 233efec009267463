"""What is started, restarted and stopped, and when: the decisions, without a runtime."""

from dataclasses import replace

import pytest

from sampan.api.core_v1 import Container, Pod, PodSpec
from sampan.node.backoff import BackOff, go_duration
from sampan.node.plan import Plan, plan
from sampan.node.records import Exit, Record

NOW = 1_000_000.0
RUNNING = Record(container_id="x", running_since=NOW - 60, started=True, ready=True)
UNSTARTED = replace(RUNNING, started=False)


def ended(code: int, ago: float = 1.0, backoff: BackOff = BackOff()) -> Record:  # noqa: B008
    finished = Exit(code, "Completed" if code == 0 else "Error", NOW - ago - 5, NOW - ago, "x")
    return Record(container_id="x", exit=finished, backoff=backoff)


def pod(policy: str = "Always", inits: tuple[Container, ...] = (), mains: tuple[str, ...] = ("a",)) -> Pod:
    containers = tuple(Container(name=name) for name in mains)
    return Pod(spec=PodSpec(restart_policy=policy, containers=containers, init_containers=inits))


INIT = Container(name="init")
SIDECAR = Container(name="side", restart_policy="Always")


@pytest.mark.parametrize(
    ("why", "of", "records", "expected"),
    [
        ("a new pod starts all its containers", pod(mains=("a", "b")), {}, Plan(start=("a", "b"))),
        ("what runs is left alone", pod(), {"a": RUNNING}, Plan()),
        ("Always restarts a success", pod(), {"a": ended(0)}, Plan(start=("a",))),
        ("OnFailure restarts a failure", pod("OnFailure"), {"a": ended(1)}, Plan(start=("a",))),
        ("OnFailure does not restart a success", pod("OnFailure"), {"a": ended(0)}, Plan(over=True)),
        ("Never restarts nothing", pod("Never"), {"a": ended(1)}, Plan(over=True)),
        ("one that still runs keeps the pod", pod("Never", mains=("a", "b")), {"a": ended(1), "b": RUNNING}, Plan()),
        ("init comes first", pod(inits=(INIT,)), {}, Plan(start=("init",))),
        ("a running init holds the others back", pod(inits=(INIT,)), {"init": UNSTARTED}, Plan()),
        ("after init, main", pod(inits=(INIT,)), {"init": ended(0)}, Plan(start=("a",))),
        ("a failed init is retried", pod(inits=(INIT,)), {"init": ended(1)}, Plan(start=("init",))),
        ("unless nothing restarts", pod("Never", inits=(INIT,)), {"init": ended(1)}, Plan(over=True)),
        ("a sidecar starts in its turn", pod(inits=(SIDECAR, INIT)), {}, Plan(start=("side",))),
        ("and holds back until started", pod(inits=(SIDECAR, INIT)), {"side": UNSTARTED}, Plan()),
        ("then the next init runs", pod(inits=(SIDECAR, INIT)), {"side": RUNNING}, Plan(start=("init",))),
        (
            "a sidecar that died restarts beside main",
            pod(inits=(SIDECAR,)),
            {"side": ended(1), "a": RUNNING},
            Plan(start=("side",)),
        ),
        (
            "sidecars stop when the pod is over",
            pod("Never", inits=(SIDECAR,)),
            {"side": RUNNING, "a": ended(0)},
            Plan(stop=("side",), over=True),
        ),
    ],
)
def test_decisions(why: str, of: Pod, records: dict[str, Record], expected: Plan) -> None:
    assert plan(of, records, NOW) == expected, why


def test_a_second_crash_waits() -> None:
    crashed = ended(1, ago=4, backoff=BackOff(10, NOW - 20))
    decided = plan(pod(), {"a": crashed}, NOW)
    assert decided.start == ()
    assert decided.wake_at == NOW + 6


def test_back_off_doubles_up_to_five_minutes_and_is_forgotten_after_ten() -> None:
    backoff, delays = BackOff(), []
    for _ in range(7):
        backoff = backoff.grown(NOW, NOW)
        delays.append(backoff.delay)
    assert delays == [10, 20, 40, 80, 160, 300, 300]
    assert backoff.retry_at(NOW + 601) == NOW + 601
    assert backoff.grown(NOW + 601, NOW + 601).delay == 10


@pytest.mark.parametrize(("seconds", "text"), [(10, "10s"), (80, "1m20s"), (300, "5m0s"), (3600, "1h0m0s")])
def test_durations_read_as_upstream_prints_them(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text
