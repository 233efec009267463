"""How long a cluster takes to start, how much memory it uses, and how fast pods become Ready.

Run as root, after `make setup`: `.venv/bin/python benchmarks/bench_cluster.py [--starts N] [--pods N]`.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from report import percentile, summary, table
from sampan.api.core_v1 import Pod
from sampan.api.pods import is_ready
from sampan.client.config import Config
from sampan.client.informer import Informer
from sampan.client.resources import PODS
from sampan.client.rest import Client
from sampan.machinery.objects import Object

SAMPAN = str(Path(sys.executable).parent / "sampan")
NAME = "bench"


def sampan(*arguments: str) -> str:
    done = subprocess.run([SAMPAN, *arguments], capture_output=True, text=True, check=True, timeout=180)
    return done.stdout


def pod(name: str) -> Object:
    container = {"name": "main", "image": "host", "command": ["sleep", "infinity"]}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    return {"metadata": {"name": name, "labels": {"bench": "pods"}}, "spec": spec}


def start_times(count: int) -> list[float]:
    """Wall time of `sampan up` (nodes Ready, DNS answering), after one warm-up. The last cluster is left running."""
    times = []
    for number in range(count + 1):
        begun = time.perf_counter()
        sampan("up", "--name", NAME, "--nodes", "3")
        times.append(time.perf_counter() - begun)
        if number < count:
            sampan("down", "--name", NAME)
    return times[1:]


class ReadyWatcher:
    """Notes when each pod is first seen Ready."""

    def __init__(self, client: Client) -> None:
        self.seen: dict[str, float] = {}
        self._change = asyncio.Event()
        self.informer = Informer(client, PODS, Pod, namespace="default")
        self.informer.add_handler(self._note)

    def _note(self, old: Pod | None, new: Pod | None) -> None:
        if new is not None and is_ready(new):
            self.seen.setdefault(new.metadata.name, time.perf_counter())
        self._change.set()

    async def wait(self, names: set[str]) -> None:
        async with asyncio.timeout(120):
            while not names <= self.seen.keys():
                self._change.clear()
                await self._change.wait()

    async def wait_gone(self) -> None:
        async with asyncio.timeout(120):
            while len(self.informer):
                self._change.clear()
                await self._change.wait()


async def pod_times(client: Client, count: int) -> tuple[list[float], float]:
    """Seconds from create to Ready, one pod after another; and pods a second when all are created at once."""
    watcher = ReadyWatcher(client)
    task = asyncio.ensure_future(watcher.informer.run())
    await watcher.informer.wait_synced()
    singles = []
    for number in range(count):
        name = f"single-{number}"
        begun = time.perf_counter()
        await client.create(PODS, pod(name), "default")
        await watcher.wait({name})
        singles.append(watcher.seen[name] - begun)
    await client.delete_collection(PODS, "default", grace_period=0)
    await watcher.wait_gone()
    names = [f"burst-{number}" for number in range(count * 3)]
    begun = time.perf_counter()
    await asyncio.gather(*(client.create(PODS, pod(name), "default") for name in names))
    await watcher.wait(set(names))
    rate = len(names) / (max(watcher.seen[name] for name in names) - begun)
    await client.delete_collection(PODS, "default", grace_period=0)
    await watcher.wait_gone()
    task.cancel()
    return singles, rate


async def measure_pods(kubeconfig: str, count: int) -> tuple[list[float], float]:
    client = Client(Config.from_kubeconfig(kubeconfig))
    try:
        return await pod_times(client, count)
    finally:
        await client.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--pods", type=int, default=30)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["SAMPAN_HOME"] = home
        os.environ["KUBECONFIG"] = f"{home}/kubeconfig"
        starts = start_times(options.starts)
        try:
            memory = json.loads(sampan("status", "--name", NAME, "-o", "json"))["memoryBytes"]
            singles, rate = asyncio.run(measure_pods(f"{home}/kubeconfig", options.pods))
        finally:
            sampan("down", "--name", NAME)
    median, _, worst = summary(starts)
    table(
        "A cluster of three nodes",
        ("what", "measured", "target"),
        [
            ("sampan up until nodes Ready and DNS answers, median (s)", median, "1.0"),
            ("the same, worst (s)", worst, ""),
            ("memory of all processes, PSS (MiB)", memory / 2**20, "150"),
            ("pod create → Ready seen by a watcher, p50 (ms)", percentile(singles, 0.5) * 1000, "100"),
            ("the same, p90 (ms)", percentile(singles, 0.9) * 1000, ""),
            (f"pods Ready a second, {options.pods * 3} created at once", rate, "100"),
        ],
    )


if __name__ == "__main__":
    main()
