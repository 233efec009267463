"""A node's proxy and speaker as one component."""

import asyncio
from collections.abc import Callable

import pytest

from sampan.client.config import Config
from sampan.cluster import nodeservices
from sampan.loadbalancer.speaker import SpeakerOptions
from sampan.proxy.options import ProxyOptions

CONFIG = Config(server="https://127.0.0.1:1")
OPTIONS = nodeservices.NodeServicesOptions(
    ProxyOptions(node_name="a", node_ips=("10.0.0.1",), config=CONFIG),
    SpeakerOptions(node_name="a", config=CONFIG, key=b"k"),
)


def test_a_node_speaks_for_addresses_only_when_its_rules_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        rules, speaking, ready = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def proxy(_options: object, told: Callable[[], None]) -> None:
            await rules.wait()
            told()
            await asyncio.Event().wait()

        async def speaker(_options: object) -> None:
            speaking.set()
            await asyncio.Event().wait()

        monkeypatch.setattr("sampan.proxy.main.run", proxy)
        monkeypatch.setattr("sampan.loadbalancer.speaker.run", speaker)
        running = asyncio.create_task(nodeservices.run(OPTIONS, ready.set))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not speaking.is_set()
        assert not ready.is_set()
        rules.set()
        await asyncio.wait_for(speaking.wait(), 5)
        assert ready.is_set()
        running.cancel()

    asyncio.run(main())


@pytest.mark.parametrize("failing", ["sampan.proxy.main.run", "sampan.loadbalancer.speaker.run"])
def test_it_ends_when_one_fails(monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    async def go_on(_options: object, told: Callable[[], None] = lambda: None) -> None:
        told()
        await asyncio.Event().wait()

    async def fail(_options: object, _told: Callable[[], None] = lambda: None) -> None:
        raise OSError("no such interface")

    for name in ("sampan.proxy.main.run", "sampan.loadbalancer.speaker.run"):
        monkeypatch.setattr(name, fail if name == failing else go_on)
    with pytest.raises((OSError, ExceptionGroup)):
        asyncio.run(asyncio.wait_for(nodeservices.run(OPTIONS, lambda: None), 5))
