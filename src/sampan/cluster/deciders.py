"""Controllers and scheduler in one process: both only watch, decide and write, and neither keeps a core busy.

A process of its own would cost each another 8 MB. Each keeps its own identity, connections and health port, and its
own name in the log. When one of them fails, both start again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from sampan.controllers import manager as controllers
from sampan.scheduler import main as scheduler


@dataclass(frozen=True, slots=True)
class DecidersOptions:
    controllers: controllers.ControllersOptions
    scheduler: scheduler.SchedulerOptions


async def run(options: DecidersOptions, ready: Callable[[], None]) -> None:
    """Run both until cancelled; `ready` is called once both act. Raises ExceptionGroup when one of them fails."""
    starting = {"controllers", "scheduler"}

    def acts(name: str) -> None:
        starting.discard(name)
        if not starting:
            ready()

    async with asyncio.TaskGroup() as group:
        group.create_task(controllers.run(options.controllers, lambda: acts("controllers")))
        group.create_task(scheduler.run(options.scheduler, lambda: acts("scheduler")))
