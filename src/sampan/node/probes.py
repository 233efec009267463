"""Probes of one running container: when to try, what a row of outcomes means, whom to tell.

Every probe is a task that sleeps between attempts, so hundreds cost next to nothing. A startup probe holds the others
back until it succeeds. A container that is not ready yet is probed more often than its period says, as the API allows,
so that it is announced as soon as it answers; only attempts at the period's pace count as failures.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sampan.api.core_v1 import Container, Probe
from sampan.node import probe_actions
from sampan.node.probe_actions import Outcome
from sampan.node.runtime.runtime import Runtime

log = logging.getLogger(__name__)

Kind = Literal["Startup", "Readiness", "Liveness"]

FIRST_EXTRA_SECONDS = 0.02
FIRST_EXTRA_COMMAND_SECONDS = 0.1
"""A command costs a process, other attempts next to nothing."""
EXTRA_GROWTH = 1.5
"""How much longer each pause is than the one before: what answers after a time is noticed half that time later."""
_NO_ACTION = Outcome(True)


class Streak:
    """Turns single outcomes into a verdict, by the probe's thresholds."""

    def __init__(self, probe: Probe) -> None:
        self._thresholds = {True: probe.success_threshold, False: probe.failure_threshold}
        self._last: bool | None = None
        self._length = 0

    def add(self, success: bool) -> bool | None:
        """The verdict, once as many outcomes in a row agree as are needed."""
        self._length = self._length + 1 if success == self._last else 1
        self._last = success
        return success if self._length >= max(self._thresholds[success], 1) else None


@dataclass(frozen=True, slots=True)
class Listener:
    """Who hears of verdicts and of failed attempts."""

    started: Callable[[], None]
    ready: Callable[[bool], None]
    unhealthy: Callable[[Kind], None]
    """A startup or liveness probe has failed for good: the container is to be restarted."""
    failed_attempt: Callable[[Kind, str], None]


class ContainerProbes:
    """The probes of one run of a container."""

    def __init__(
        self, runtime: Runtime, container: Container, container_id: str, pod_ip: str, started_at: float, to: Listener
    ) -> None:
        self._runtime = runtime
        self._container = container
        self._id = container_id
        self._pod_ip = pod_ip
        self._started_at = started_at
        self._listener = to
        self._tasks: dict[Kind, asyncio.Task[None]] = {}

    def begin(self, *, started: bool) -> None:
        """Start probing; `started` says that the startup probe succeeded earlier."""
        if self._container.startup_probe and not started:
            self._begin("Startup", self._container.startup_probe)
            return
        if self._container.readiness_probe:
            self._begin("Readiness", self._container.readiness_probe)
        if self._container.liveness_probe:
            self._begin("Liveness", self._container.liveness_probe)

    def end(self, *, keep_readiness: bool = False) -> None:
        """Stop probing. A container that is being stopped keeps its readiness probe."""
        for kind, task in self._tasks.items():
            if not (keep_readiness and kind == "Readiness"):
                task.cancel()

    def _begin(self, kind: Kind, probe: Probe) -> None:
        task = self._tasks[kind] = asyncio.get_running_loop().create_task(self._run(kind, probe))
        task.add_done_callback(lambda done: self._ended(kind, done))

    def _ended(self, kind: Kind, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            log.error("%s probe of container %s ended", kind, self._id, exc_info=error)

    async def _run(self, kind: Kind, probe: Probe) -> None:
        await asyncio.sleep(max(0.0, self._started_at + probe.initial_delay_seconds - time.time()))
        streak = Streak(probe)
        extra = FIRST_EXTRA_COMMAND_SECONDS if probe.exec else FIRST_EXTRA_SECONDS
        loop = asyncio.get_running_loop()
        while True:
            next_tick = loop.time() + max(probe.period_seconds, 1)
            outcome = await self._attempt(probe)
            if not outcome.success:
                self._listener.failed_attempt(kind, outcome.output)
            over = self._judge(kind, streak.add(outcome.success))
            while not over and not outcome.success and kind != "Liveness" and loop.time() + extra < next_tick:
                await asyncio.sleep(extra)
                extra *= EXTRA_GROWTH
                outcome = await self._attempt(probe)
                over = outcome.success and self._judge(kind, streak.add(True))
            if over:
                return
            await asyncio.sleep(max(0.0, next_tick - loop.time()))

    def _judge(self, kind: Kind, verdict: bool | None) -> bool:
        """Tell the listener; true when this probe has done its work."""
        if verdict is None:
            return False
        if kind == "Readiness":
            self._listener.ready(verdict)
            return False
        if not verdict:
            self._listener.unhealthy(kind)
            return True
        if kind == "Startup":
            self._listener.started()
            self.begin(started=True)
            return True
        return False

    async def _attempt(self, probe: Probe) -> Outcome:
        """One attempt; whatever goes wrong in it is a failure of the container's, never the end of probing."""
        try:
            return await self._act(probe)
        except Exception as error:
            log.exception("probing container %s", self._id)
            return Outcome(False, f"{type(error).__name__}: {error}")

    async def _act(self, probe: Probe) -> Outcome:
        timeout = float(max(probe.timeout_seconds, 1))
        if probe.http_get:
            return await probe_actions.http_get(probe.http_get, self._container, self._pod_ip, timeout)
        if probe.tcp_socket:
            return await probe_actions.tcp_socket(probe.tcp_socket, self._container, self._pod_ip, timeout)
        if probe.exec:
            return await probe_actions.exec_command(probe.exec, self._runtime, self._id, timeout)
        if probe.grpc:
            return await probe_actions.grpc(probe.grpc, self._pod_ip, timeout)
        return _NO_ACTION
