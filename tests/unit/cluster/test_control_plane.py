"""Controllers and scheduler as one component."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from sampan.client.config import Config
from sampan.cluster import control_plane
from sampan.controllers.manager import ControllersOptions
from sampan.scheduler.main import SchedulerOptions

CONFIG = Config(server="https://127.0.0.1:1")
OPTIONS = control_plane.ControlPlaneOptions(ControllersOptions(config=CONFIG), SchedulerOptions(config=CONFIG))


def _ready_when(allowed: asyncio.Event) -> Callable[[object, Callable[[], None]], Awaitable[None]]:
    async def run(_options: object, ready: Callable[[], None]) -> None:
        await allowed.wait()
        ready()
        await asyncio.Event().wait()

    return run


def test_it_is_ready_once_both_are(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        first, second, ready = asyncio.Event(), asyncio.Event(), asyncio.Event()
        monkeypatch.setattr("sampan.controllers.manager.run", _ready_when(first))
        monkeypatch.setattr("sampan.scheduler.main.run", _ready_when(second))
        running = asyncio.create_task(control_plane.run(OPTIONS, ready.set))
        first.set()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not ready.is_set()
        second.set()
        await asyncio.wait_for(ready.wait(), 5)
        running.cancel()

    asyncio.run(main())


def test_it_ends_when_one_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_options: object, _ready: Callable[[], None]) -> None:
        raise OSError("the port is taken")

    async def main() -> None:
        monkeypatch.setattr("sampan.controllers.manager.run", _ready_when(asyncio.Event()))
        monkeypatch.setattr("sampan.scheduler.main.run", fail)
        with pytest.raises(ExceptionGroup, match="unhandled errors"):
            await asyncio.wait_for(control_plane.run(OPTIONS, lambda: None), 5)

    asyncio.run(main())
