"""The agent's health port: silence and a hanging port count as death, a port that never was counts for nothing."""

import asyncio
import socket
from collections.abc import Callable

import pytest

from sampan.http.health import Health
from sampan.loadbalancer import nodehealth
from sampan.loadbalancer.nodehealth import NodeHealth


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodehealth, "INTERVAL", 0.02)
    monkeypatch.setattr(nodehealth, "ANSWER_SECONDS", 0.1)
    monkeypatch.setattr(nodehealth, "UNHEALTHY_AFTER", 0.2)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def asking(port: int) -> tuple[NodeHealth, asyncio.Task[None]]:
    health = NodeHealth(f"http://127.0.0.1:{port}/healthz", lambda: None)
    health.is_enabled = True
    return health, asyncio.ensure_future(health.run())


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.01)


def test_an_agent_that_ends_is_dead_until_it_is_back() -> None:
    async def main() -> None:
        port, now = free_port(), asyncio.get_running_loop().time
        server = await Health().serve("127.0.0.1", port)
        health, task = asking(port)
        await until(lambda: health._last_success is not None)
        assert health.is_healthy(now())
        await server.close()
        await until(lambda: not health.is_healthy(now()))
        server = await Health().serve("127.0.0.1", port)
        await until(lambda: health.is_healthy(now()))
        task.cancel()
        await server.close()

    asyncio.run(main())


def test_an_agent_that_hangs_is_dead_even_if_it_has_never_answered() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            health, task = asking(silent.getsockname()[1])
            await until(lambda: not health.is_healthy(asyncio.get_running_loop().time()))
            task.cancel()

    asyncio.run(main())


def test_where_nobody_has_ever_listened_nothing_is_held_against_the_agent() -> None:
    async def main() -> None:
        health, task = asking(free_port())
        await asyncio.sleep(0.5)
        assert health.is_healthy(asyncio.get_running_loop().time())
        task.cancel()

    asyncio.run(main())


def test_without_a_url_nobody_is_asked() -> None:
    async def main() -> None:
        health = NodeHealth("", lambda: None)
        health.is_enabled = True
        await asyncio.wait_for(health.run(), 5)
        assert health.is_healthy(asyncio.get_running_loop().time())

    asyncio.run(main())
