"""Pods in random shapes are made and removed at random moments; afterwards the node is as it was before.

`make soak` runs the same for longer (SAMPAN_SOAK_PODS pods).
"""

import asyncio
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sampan.client.resources import PODS
from sampan.kernel import cgroups, mounts
from sampan.machinery.errors import NotFound
from sampan.node import leftovers
from support import isolated as isolation
from support.agent import Cluster, cluster, eventually, ready
from support.apiserver import make_pki
from support.isolated import isolated

pytestmark = pytest.mark.kernel
make_pki()

PODS_IN_ALL = int(os.environ.get("SAMPAN_SOAK_PODS", "150"))
AT_ONCE = 12
isolation.LIMIT_SECONDS = max(isolation.LIMIT_SECONDS, PODS_IN_ALL)
WAITS = (0.0, 0.01, 0.03, 0.06, 0.1, 0.2, 0.6)


def traces(one: Cluster) -> dict[str, Any]:
    """Everything that pods may leave, of the node and of the agent's process."""
    root = one.options.root
    own = {str(root / "host" / "rootfs"), str(one.options.mask_layers)}
    folders = ("pods", "logs", "run/runtime/containers", "run/runtime/exits", "run/runtime/crun",
               "run/network/sandboxes", "run/network/addresses")  # fmt: skip
    return {
        "mounts": sorted(point.target for point in mounts.below(root) if point.target not in own),
        "links": sorted(name for name in os.listdir("/sys/class/net") if name.startswith("pod")),
        "groups": sorted(cgroups.children(one.options.cgroup_parent)),
        "files": sorted(str(path.relative_to(root)) for folder in folders for path in (root / folder).glob("*")),
        "processes": sorted(_programs().elements()),
        "descriptors": _descriptors(),
        "tasks": Counter(task.get_coro().__qualname__ for task in asyncio.all_tasks()),
    }


def _programs() -> Counter[str]:
    found: Counter[str] = Counter()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                name = Path(f"/proc/{entry}/comm").read_text().strip()
            except (FileNotFoundError, ProcessLookupError):
                continue
            found[name] += name in ("conmon", "crun", "sleep", "sh", "exe")
    return +found


def _descriptors() -> Counter[str]:
    """By what they are; connections to the API server come and go."""
    found: Counter[str] = Counter()
    for entry in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{entry}")
        except FileNotFoundError:
            continue
        kind = target.partition(":[")[0]
        found[kind] += kind not in ("socket", "/proc/self/fd") and not kind.startswith("/proc")
    return +found


def _shape(numbers: random.Random) -> tuple[tuple[str, ...], dict[str, Any], dict[str, Any]]:
    """A command, a pod's spec, and its container's further fields."""
    spec: dict[str, Any] = {"terminationGracePeriodSeconds": numbers.choice((0, 0, 1))}
    container: dict[str, Any] = {}
    command = numbers.choice((("sleep", "1000"), ("sh", "-c", "exit 0"), ("sh", "-c", "exit 1"), ("absent",)))
    spec["restartPolicy"] = numbers.choice(("Always", "Never"))
    if numbers.random() < 0.3:
        spec["volumes"] = [{"name": "v", "emptyDir": {}}, {"name": "m", "emptyDir": {"medium": "Memory"}}]
        container["volumeMounts"] = [{"name": "v", "mountPath": "/v"}, {"name": "m", "mountPath": "/m"}]
    if numbers.random() < 0.2:
        spec["hostNetwork"] = True
    if numbers.random() < 0.2:
        container["readinessProbe"] = {"exec": {"command": ["true"]}, "periodSeconds": 1}
    if numbers.random() < 0.2:
        container["lifecycle"] = {"postStart": {"exec": {"command": ["true"]}}}
    if numbers.random() < 0.2:
        spec["initContainers"] = [{"name": "init", "image": "host", "command": ["true"]}]
    return command, spec, container


async def _live(one: Cluster, name: str, numbers: random.Random) -> None:
    command, spec, container = _shape(numbers)
    await one.create(name, *command, spec=spec, **container)
    await asyncio.sleep(numbers.choice(WAITS))
    forced = numbers.random() < 0.5
    try:
        await one.client.delete(PODS, name, "default", grace_period=0 if forced else None)
    except NotFound:
        return
    await one.until_gone(name)


@isolated
async def test_nothing_is_left_of_pods_removed_at_random_moments(tmp_path: Path) -> None:
    """Without the sweep that would repair it later, and with an agent that stops and starts amid all that."""
    pytest.MonkeyPatch().setattr(leftovers, "SWEEP_SECONDS", 3600.0)
    numbers = random.Random(7)
    failures: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failures.append(context))
    async with cluster(tmp_path) as one:
        async with one.agent():
            await one.create("warm", "sleep", "1000", spec={"terminationGracePeriodSeconds": 0})
            await one.until("warm", ready)
            await one.client.delete(PODS, "warm", "default")
            await one.until_gone("warm")
            await asyncio.sleep(1)
            before = traces(one)
        slots = asyncio.Semaphore(AT_ONCE)

        async def limited(name: str) -> None:
            async with slots:
                await _live(one, name, numbers)

        async with one.agent(), asyncio.TaskGroup() as group:
            for number in range(PODS_IN_ALL // 2):
                group.create_task(limited(f"pod-{number}"))
        halfway = asyncio.gather(*(limited(f"late-{number}") for number in range(PODS_IN_ALL // 4)))
        for _ in range(3):
            async with one.agent():
                await asyncio.sleep(numbers.uniform(0.3, 1.0))
        async with one.agent():
            await halfway
            async with asyncio.TaskGroup() as group:
                for number in range(PODS_IN_ALL // 4):
                    group.create_task(limited(f"last-{number}"))
            wanted = {key: before[key] for key in ("mounts", "links", "groups", "files", "processes")}

            async def as_before() -> bool:
                now = traces(one)
                more = {key: now[key] - before[key] for key in ("descriptors", "tasks")}
                return {key: now[key] for key in wanted} == wanted and not any(+rest for rest in more.values())

            def different() -> str:
                now = traces(one)
                return str({key: (now[key], before[key]) for key in now if now[key] != before[key]})

            await eventually(as_before, different)
    import gc

    gc.collect()
    assert not failures, failures
