"""The agent is killed again and again while pods come, run and go: containers do not notice, and nothing is left."""

import asyncio
import multiprocessing
import os
import random
from collections import Counter
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from sampan.client.resources import PODS
from sampan.kernel import cgroups, mounts
from sampan.machinery.errors import NotFound
from sampan.machinery.objects import Object
from sampan.node import main
from sampan.node.options import AgentOptions
from sampan.node.runtime.runtime import Runtime
from support.agent import Cluster, cluster, eventually, ready
from support.apiserver import make_pki
from support.isolated import isolated

pytestmark = pytest.mark.kernel
make_pki()

KILLS = 20
PAUSES = (0.05, 0.4)
STEADY = ("steady-0", "steady-1")


def _run(options: AgentOptions) -> None:
    asyncio.run(main.run(options))


class KilledAgent:
    """An agent in a process of its own."""

    def __init__(self, options: AgentOptions) -> None:
        self._options = options
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__, "sampan.node.main"])
        self._process: BaseProcess | None = None

    def start(self) -> None:
        self._process = self._context.Process(target=_run, args=(self._options,), daemon=True)
        self._process.start()

    def kill(self) -> None:
        assert self._process is not None
        assert self._process.is_alive(), "the agent ended by itself"
        self._process.kill()
        self._process.join()


def _traces(one: Cluster) -> dict[str, object]:
    """Everything that pods can leave on a machine."""
    root = one.options.root
    the_nodes_own = {str(root / "host" / "rootfs"), str(one.options.mask_layers)}
    programs = Counter(_program(entry) for entry in os.listdir("/proc") if entry.isdigit())
    return {
        "mounts": [point.target for point in mounts.below(root) if point.target not in the_nodes_own],
        "links": sorted(name for name in os.listdir("/sys/class/net") if name.startswith("pod")),
        "groups": sorted(cgroups.children(one.options.cgroup_parent)),
        "processes": {name: programs[name] for name in ("conmon", "crun", "sleep") if programs[name]},
        "files": sorted(
            str(path.relative_to(root))
            for folder in ("pods", "logs", "run/runtime/containers", "run/runtime/exits", "run/runtime/crun",
                           "run/network/sandboxes", "run/network/addresses")
            for path in (root / folder).glob("*")
        ),
    }  # fmt: skip


def _program(pid: str) -> str:
    try:
        path = os.readlink(f"/proc/{pid}/exe")
        return os.path.basename(path).removeprefix("memfd:").removesuffix(" (deleted)")
    except OSError:
        return ""


async def _churn(one: Cluster, random_numbers: random.Random) -> None:
    """Make pods that last and pods that end, and delete some of both."""
    for number in range(1000):
        name = f"churn-{number}"
        command = ("sleep", "1000") if number % 3 else ("sh", "-c", "exit 0")
        spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": number % 2}
        await one.create(name, *command, spec=spec)
        await asyncio.sleep(random_numbers.uniform(0.02, 0.2))
        try:
            victim = f"churn-{random_numbers.randint(0, number)}"
            await one.client.delete(PODS, victim, "default", grace_period=0 if number % 4 == 0 else None)
        except NotFound:
            continue


def _running(options: AgentOptions) -> Counter[tuple[str, str]]:
    states = Runtime(options.volatile / "runtime").list()
    return Counter((state.pod_uid, state.name) for state in states if state.status == "running")


@isolated
async def test_nothing_is_restarted_doubled_or_left_behind(tmp_path: Path) -> None:
    numbers = random.Random(20)
    async with cluster(tmp_path) as one:
        agent = KilledAgent(one.options)
        agent.start()
        for name in STEADY:
            await one.create(name, "sleep", "1000", spec={"terminationGracePeriodSeconds": 0})
        ids = [(await one.until(name, ready))["status"]["containerStatuses"][0]["containerID"] for name in STEADY]
        churn = asyncio.create_task(_churn(one, numbers))
        for _ in range(KILLS):
            await asyncio.sleep(numbers.uniform(*PAUSES))
            agent.kill()
            agent.start()
        churn.cancel()
        await asyncio.gather(churn, return_exceptions=True)
        pods: list[Object] = []

        async def settled() -> bool:
            pods[:] = (await one.client.list(PODS, "default")).items
            return all(ready(pod["status"]) or pod["status"]["phase"] == "Succeeded" for pod in pods)

        await eventually(settled, lambda: f"not settled: {[pod['status'] for pod in pods if not ready(pod['status'])]}")
        after = [(await one.pod(name))["status"]["containerStatuses"][0] for name in STEADY]
        assert [(one["containerID"], one["restartCount"]) for one in after] == [(known, 0) for known in ids]
        assert set(_running(one.options).values()) == {1}
        for pod in pods:
            await one.client.delete(PODS, pod["metadata"]["name"], "default")

        async def clean() -> bool:
            return not (await one.client.list(PODS, "default")).items and not any(_traces(one).values())

        await eventually(clean, lambda: f"left behind: {_traces(one)}")
        agent.kill()
