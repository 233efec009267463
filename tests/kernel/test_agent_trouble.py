"""What nobody thought of in a start, a checkpoint, an image or a worker: it is told, tried again later and later, and
touches no other pod.
"""

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest

from sampan.client.resources import PODS, SECRETS
from sampan.node import containers, leftovers
from sampan.node.checkpoints import Checkpoint
from sampan.node.images.store import ImageStore
from sampan.node.images.types import Image
from sampan.node.runtime import users
from sampan.node.worker import PodWorker
from support.agent import Cluster, cluster, eventually, ready, restarts, state
from support.apiserver import make_pki
from support.isolated import isolated

pytestmark = pytest.mark.kernel
make_pki()

QUICK = {"terminationGracePeriodSeconds": 0}


def _waiting(status: dict[str, Any]) -> str:
    return state(status).get("waiting", {}).get("reason", "")


@isolated
async def test_an_unexpected_error_at_any_step_of_a_start_is_a_back_off(tmp_path: Path) -> None:
    """Each step fails with an error that it never has; three seconds later it was tried once or twice."""
    steps = {
        "image": (ImageStore, "ensure", "ErrImagePull"),
        "environment": (containers.PodContainers, "_environment", "CreateContainerError"),
        "root file system": (containers.rootfs, "mount_rootfs", "CreateContainerError"),
        "user": (users, "read_inside", "CreateContainerError"),
    }
    patch = pytest.MonkeyPatch()
    for what, (owner, name, reason) in steps.items():
        tried = []

        def fail(*_arguments: Any, tried: list[int] = tried, **_more: Any) -> None:
            tried.append(1)
            raise LookupError("nobody thought of this")

        async with cluster(tmp_path / what.replace(" ", "-")) as one, one.agent():
            patch.setattr(owner, name, fail)
            await one.create("odd", "sleep", "1000", spec=QUICK)
            pod = await one.until("odd", lambda status, reason=reason: _waiting(status) == reason, what)
            assert "nobody thought of this" in state(pod["status"])["waiting"]["message"]
            await asyncio.sleep(2)
            assert len(tried) <= 2, what
            patch.undo()
            await one.create("plain", "sleep", "1000", spec=QUICK)
            await one.until("plain", ready)


@isolated
async def test_a_secret_that_is_not_text_is_told_and_not_tried_all_the_time(tmp_path: Path) -> None:
    async with cluster(tmp_path) as one, one.agent():
        data = {"key": base64.b64encode(b"\xff\xfe").decode()}
        await one.client.create(SECRETS, {"metadata": {"name": "binary"}, "data": data}, "default")
        env = [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "binary", "key": "key"}}}]
        await one.create("odd", "sleep", "1000", env=env, spec=QUICK)
        await one.until("odd", lambda status: _waiting(status) == "CreateContainerError")
        assert "utf-8" in (await one.until_event("odd", "Failed")).lower()


async def _with_image(one: Cluster, root: Path) -> None:
    """Let the host image of the node have this root file system instead."""
    original = ImageStore._builtin
    image = Image(id="host:odd", reference="odd", layers=(root,))

    def builtin(self: ImageStore, name: str) -> Image:
        return image if name == "sampan" else original(self, name)

    pytest.MonkeyPatch().setattr(ImageStore, "_builtin", builtin)


@isolated
async def test_an_image_with_anything_for_its_passwd_file_stops_nobody(tmp_path: Path) -> None:
    import os

    root = tmp_path / "odd-root"
    (root / "etc").mkdir(parents=True)
    passwd = root / "etc" / "passwd"
    async with cluster(tmp_path) as one, one.agent():
        await _with_image(one, root)
        makers = {
            "fifo": lambda: os.mkfifo(passwd),
            "device": lambda: os.mknod(passwd, 0o666 | 0o020000, os.makedev(1, 5)),
            "directory": passwd.mkdir,
            "huge": lambda: os.truncate(os.open(passwd, os.O_CREAT | os.O_WRONLY), 1 << 40),
            "loop": lambda: passwd.symlink_to("passwd"),
        }
        for what, make in makers.items():
            make()
            await one.create(what, "sh", image="sampan", spec=QUICK)
            await one.until(what, lambda status: _waiting(status) == "CreateContainerError", what)
            if passwd.is_dir() and not passwd.is_symlink():
                passwd.rmdir()
            else:
                passwd.unlink()
        await one.create("plain", "sleep", "1000", spec=QUICK)
        await one.until("plain", ready)


@isolated
async def test_a_checkpoint_that_cannot_be_written_does_not_end_the_care_for_a_pod(tmp_path: Path) -> None:
    patch = pytest.MonkeyPatch()
    async with cluster(tmp_path) as one, one.agent():
        await one.create("web", "sh", "-c", "test -e /dev/shm/x || exec sleep 1; exec sleep 1000", spec=QUICK)
        await one.until("web", ready)

        def full(*_: Any) -> int:
            raise OSError(28, "No space left on device")

        patch.setattr(Checkpoint, "_append", full)
        await one.until("web", lambda status: restarts(status) >= 1)
        patch.undo()
        records = next((one.options.pods).glob("*/records.jsonl"))

        async def saved() -> bool:
            return b'"restart_count":1' in records.read_bytes().splitlines()[-1]

        await eventually(saved, lambda: f"not saved: {records.read_text()}")


@isolated
async def test_a_worker_that_fails_is_followed_by_one_that_adopts(tmp_path: Path) -> None:
    patch = pytest.MonkeyPatch()
    async with cluster(tmp_path) as one, one.agent():
        await one.create("web", "sleep", "1000", spec=QUICK)
        before = (await one.until("web", ready))["status"]["containerStatuses"][0]["containerID"]
        step, failed = PodWorker._step, []

        def fail_once(self: PodWorker, now: float) -> float | None:
            if not failed:
                failed.append(1)
                raise LookupError("nobody thought of this")
            return step(self, now)

        patch.setattr(PodWorker, "_step", fail_once)
        await one.client.patch(PODS, "web", {"metadata": {"labels": {"a": "b"}}}, "default")
        while not failed:
            await asyncio.sleep(0.02)
        await one.client.delete(PODS, "web", "default")
        await one.until_gone("web")
        await one.create("next", "sleep", "1000", spec=QUICK)
        await one.until("next", ready)
        patch.undo()
        assert before


@isolated
async def test_whatever_a_pod_left_is_swept_away(tmp_path: Path) -> None:
    """What could not be removed when the pod ended is removed later, by whatever it can be found."""
    pytest.MonkeyPatch().setattr(leftovers, "SWEEP_SECONDS", 0.2)
    async with cluster(tmp_path) as one, one.agent():
        run = one.options.volatile / "network"
        (run / "sandboxes" / "gone-1").mkdir(parents=True)
        (run / "sandboxes" / "gone-1" / "net").touch()
        (one.options.pods / "gone-2" / "volumes").mkdir(parents=True)
        (one.options.logs / "default_web_gone-3").mkdir(parents=True)
        places = [run / "sandboxes", one.options.pods, one.options.logs]

        async def clean() -> bool:
            return not any(list(place.iterdir()) for place in places)

        await eventually(clean, lambda: f"left: {[list(place.iterdir()) for place in places]}")
