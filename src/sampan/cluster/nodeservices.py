"""A node's proxy and load balancer speaker in one process: both watch Services and work in the node's network.

A process of its own would take another 6 MB on every node for the speaker. Neither imports the other. If one of them
fails, both are restarted; the proxy's rules stay in the kernel meanwhile.
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
    """Run both until cancelled; call `ready` once the proxy's rules are in the kernel. Raises ExceptionGroup.

    The speaker starts after that, because a node without rules must not attract traffic.
    """
    rules_installed = asyncio.Event()

    def proxy_ready() -> None:
        rules_installed.set()
        ready()

    async with asyncio.TaskGroup() as group:
        group.create_task(proxy.run(options.proxy, proxy_ready))
        await rules_installed.wait()
        await speaker.run(options.speaker)
