"""Controllers, scheduler and the load balancer's controller in one process: they only watch, decide and write.

A process of its own would cost each another 8 MB. Each keeps its own identity, connections and health port, and its
own name in the log. When one of them fails, all start again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from sampan.controllers import manager as controllers
from sampan.loadbalancer import controller as loadbalancer
from sampan.scheduler import main as scheduler


@dataclass(frozen=True, slots=True)
class DecidersOptions:
    controllers: controllers.ControllersOptions
    scheduler: scheduler.SchedulerOptions
    load_balancer: loadbalancer.ControllerOptions | None = None


async def run(options: DecidersOptions, ready: Callable[[], None]) -> None:
    """Run all until cancelled; `ready` is called once controllers and scheduler act.

    Raises ExceptionGroup when one of them fails.
    """
    starting = {"controllers", "scheduler"}
    acting = asyncio.Event()

    def acts(name: str) -> None:
        starting.discard(name)
        if not starting:
            acting.set()
            ready()

    async with asyncio.TaskGroup() as group:
        group.create_task(controllers.run(options.controllers, lambda: acts("controllers")))
        group.create_task(scheduler.run(options.scheduler, lambda: acts("scheduler")))
        if options.load_balancer is not None:
            await acting.wait()
            await loadbalancer.run(options.load_balancer)
