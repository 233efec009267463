"""What a new agent makes of the records that the last one left."""

from pathlib import Path
from typing import cast

import msgspec
import pytest

from sampan.api.core_v1 import Pod
from sampan.node.adoption import recognized, reconcile
from sampan.node.containers import PodContainers
from sampan.node.records import Record
from sampan.node.runtime.types import ContainerState

PROBE = {"tcpSocket": {"port": 80}}
RUNNING = ContainerState(
    id="one", pod_uid="uid", name="main", attempt=0, status="running", started_at=5.0, log_path=Path("0.log")
)
NOT_ASKED = cast(PodContainers, None)


def pod(**container: object) -> Pod:
    return msgspec.convert(
        {"metadata": {"name": "web"}, "spec": {"containers": [{"name": "main", **container}]}}, Pod, strict=False
    )


@pytest.mark.parametrize(
    ("probes", "started", "ready"),
    [
        ({}, True, True),
        ({"readinessProbe": PROBE}, True, False),
        ({"startupProbe": PROBE}, False, False),
        ({"livenessProbe": PROBE}, True, True),
    ],
    ids=["none", "readiness", "startup", "liveness"],
)
@pytest.mark.parametrize("saved", [True, False], ids=["saved", "not even saved"])
def test_a_run_whose_begin_was_not_told_is_told_by_the_next_agent(
    probes: dict[str, object], started: bool, ready: bool, saved: bool
) -> None:
    """The last agent died between the container's start and the record that says so."""
    records = {"main": Record().begin("one", "host", "host", 5.0)} if saved else {}
    found = reconcile(pod(**probes), recognized(records, [RUNNING]), [RUNNING], NOT_ASKED, 9.0)["main"]
    assert (found.running, found.started, found.ready) == (True, started, ready)


def test_what_probes_have_said_is_kept() -> None:
    record = Record(container_id="one", running_since=5.0, started=True, ready=False)
    assert reconcile(pod(), {"main": record}, [RUNNING], NOT_ASKED, 9.0)["main"] == record
