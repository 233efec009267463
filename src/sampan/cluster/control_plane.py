"""The control plane's process: controller manager, scheduler and load balancer controller, as one component.

They share a process because each process of its own would take another 8 MB. Each keeps its own identity, connections,
health port and name in the log. If one of them fails, all are restarted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from sampan.controllers import manager as controllers
from sampan.loadbalancer import controller as loadbalancer
from sampan.scheduler import main as scheduler


@dataclass(frozen=True, slots=True)
class ControlPlaneOptions:
    controllers: controllers.ControllersOptions
    scheduler: scheduler.SchedulerOptions
    load_balancer: loadbalancer.ControllerOptions | None = None


async def run(options: ControlPlaneOptions, ready: Callable[[], None]) -> None:
    """Run all until cancelled; call `ready` once controllers and scheduler are ready.

    Raises ExceptionGroup when one of them fails.
    """
    starting = {"controllers", "scheduler"}
    all_ready = asyncio.Event()

    def is_ready(name: str) -> None:
        starting.discard(name)
        if not starting:
            all_ready.set()
            ready()

    async with asyncio.TaskGroup() as group:
        group.create_task(controllers.run(options.controllers, lambda: is_ready("controllers")))
        group.create_task(scheduler.run(options.scheduler, lambda: is_ready("scheduler")))
        if options.load_balancer is not None:
            await all_ready.wait()
            await loadbalancer.run(options.load_balancer)
