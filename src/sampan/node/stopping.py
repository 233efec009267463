"""End one container gracefully: preStop hook, stop signal, patience, SIGKILL."""

import asyncio
import logging
import signal
from dataclasses import dataclass

from sampan.api.core_v1 import Container, Pod
from sampan.node import hooks
from sampan.node.node import Node
from sampan.node.records import Record
from sampan.node.runtime.types import ContainerError, ContainerNotFound

log = logging.getLogger(__name__)

LEAST_SECONDS = 2.0
"""What a container gets between its stop signal and SIGKILL when the preStop hook took all the time."""


class Patience:
    """How long is left until a container is killed; may become shorter meanwhile."""

    def __init__(self, seconds: float) -> None:
        self._end = asyncio.get_running_loop().time() + seconds
        self._shortened = asyncio.Event()

    @property
    def left(self) -> float:
        return max(0.0, self._end - asyncio.get_running_loop().time())

    def shorten(self, seconds: float) -> None:
        """End in `seconds`, if that is earlier."""
        end = asyncio.get_running_loop().time() + seconds
        if end < self._end:
            self._end = end
            self._shortened.set()

    async def allows(self, task: asyncio.Task[None], least: float = 0.0) -> bool:
        """Wait for a task while patience lasts; whether it ended in time."""
        while not task.done():
            self._shortened.clear()
            left = max(self.left, least)
            if left <= 0:
                return False
            hurry = asyncio.create_task(self._shortened.wait())
            done, _ = await asyncio.wait({task, hurry}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            hurry.cancel()
            if not done:
                return task.done()
            least = 0.0 if hurry in done else least
        return True


@dataclass(frozen=True, slots=True)
class Stopper:
    """Stops containers of one pod."""

    node: Node
    pod: Pod

    async def stop(self, container: Container, record: Record, pod_ip: str, patience: Patience, message: str) -> None:
        """Return when the container has ended. `message` is that of the Killing event."""
        self.node.event(self.pod, "Normal", "Killing", message, container.name)
        ended = asyncio.create_task(self._ended(record.container_id))
        try:
            hooked = await self._pre_stop(container, record, pod_ip, patience, ended)
            if not ended.done():
                await self._signal(record.container_id, self._stop_signal(container, record))
            if not await patience.allows(ended, LEAST_SECONDS if hooked else 0.0):
                await self._signal(record.container_id, signal.SIGKILL)
            await ended
        finally:
            ended.cancel()

    async def _ended(self, container_id: str) -> None:
        try:
            await self.node.runtime.wait(container_id)
        except ContainerNotFound:
            return

    async def _pre_stop(
        self, container: Container, record: Record, pod_ip: str, patience: Patience, ended: asyncio.Task[None]
    ) -> bool:
        """Run the hook, if there is one, while patience lasts and the container runs."""
        hook = container.lifecycle.pre_stop if container.lifecycle else None
        if hook is None or patience.left <= 0:
            return False
        run = hooks.run(self.node.runtime, container, record.container_id, pod_ip, hook)
        running = asyncio.create_task(run)
        either = asyncio.create_task(_first(running, ended))
        await patience.allows(either)
        either.cancel()
        if not running.done():
            running.cancel()
        elif error := running.exception():
            log.info("%s: preStop hook of %s: %s", self.pod.metadata.key, container.name, error)
            self.node.event(self.pod, "Warning", "FailedPreStopHook", "PreStopHook failed", container.name)
        return True

    async def _signal(self, container_id: str, number: int) -> None:
        try:
            await self.node.runtime.kill(container_id, number)
        except ContainerError as error:
            log.warning("%s: signal %s: %s", self.pod.metadata.key, number, error)

    def _stop_signal(self, container: Container, record: Record) -> int:
        image = self.node.images.find(record.image or container.image)
        own = container.lifecycle.stop_signal if container.lifecycle else ""
        return parse_signal(own or (image.config.stop_signal if image else ""))


def parse_signal(text: str) -> int:
    """`SIGQUIT`, `QUIT` or `3` → 3; anything else is SIGTERM."""
    if text.isdigit():
        return int(text)
    name = text.upper() if text.upper().startswith("SIG") else f"SIG{text.upper()}"
    known = signal.Signals.__members__.get(name)
    if name.startswith("SIGRTMIN"):
        offset = name.removeprefix("SIGRTMIN").removeprefix("+")
        return int(signal.SIGRTMIN) + (int(offset) if offset.isdigit() else 0)
    return int(known) if known else int(signal.SIGTERM)


async def _first(*tasks: asyncio.Task[None]) -> None:
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
