"""A node's proxy and its load balancer's speaker in one process: both follow Services and work in the node's network.

A process of its own would cost the speaker another 6 MB on every node. Neither knows the other; when one of them fails,
both start again, while the proxy's rules stand in the kernel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from sampan.loadbalancer import speaker
from sampan.proxy import main as proxy
from sampan.proxy.options import ProxyOptions


@dataclass(frozen=True, slots=True)
class NodeServicesOptions:
    proxy: ProxyOptions
    speaker: speaker.SpeakerOptions


async def run(options: NodeServicesOptions, ready: Callable[[], None]) -> None:
    """Run both until cancelled; `ready` is called once the proxy's rules stand. Raises ExceptionGroup.

    Only then does the speaker begin: a node without rules is no place to lead traffic to.
    """
    serving = asyncio.Event()

    def serves() -> None:
        serving.set()
        ready()

    async with asyncio.TaskGroup() as group:
        group.create_task(proxy.run(options.proxy, serves))
        await serving.wait()
        await speaker.run(options.speaker)
