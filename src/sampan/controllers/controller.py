"""The shape of a controller: informer handlers put keys in a queue, workers take a key and bring its object's world to
what it should be. Every controller of this package decides in pure functions and acts in its `sync`.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

from sampan.api.meta_v1 import APIObject
from sampan.client.workqueue import WorkQueue, run_workers
from sampan.controllers.context import Context
from sampan.machinery.errors import Forbidden, StatusError


class Controller(ABC):
    """Runs until cancelled. Handlers are added on construction, before the caches fill."""

    name: ClassVar[str]

    def __init__(self, context: Context) -> None:
        self.context = context
        self.client = context.client

    @abstractmethod
    async def run(self) -> None: ...


class QueueController(Controller):
    """A controller with one queue of `namespace/name` keys."""

    workers: ClassVar[int] = 5

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.queue: WorkQueue[str] = WorkQueue(self.name, context.queue_metrics)

    @abstractmethod
    async def sync(self, key: str) -> None:
        """Bring the object `key` to its desired state; raise to be tried again."""

    def enqueue(self, old: APIObject | None, new: APIObject | None) -> None:
        """An informer handler for the controller's own kind."""
        changed = new or old
        if changed is not None:
            self.queue.add(changed.metadata.key)

    async def run(self) -> None:
        await self.context.informers.wait_synced()
        try:
            await run_workers(self.queue, self.sync, self.workers)
        finally:
            self.queue.shutdown()


def split(key: str) -> tuple[str, str]:
    """The namespace ("" for cluster-scoped objects) and name of a key."""
    namespace, _, name = key.rpartition("/")
    return namespace, name


def is_namespace_terminating(error: StatusError) -> bool:
    """Nothing can be created in a namespace that is going away: not a failure worth retrying."""
    causes = (error.details or {}).get("causes") or ()
    return isinstance(error, Forbidden) and any(cause.get("reason") == "NamespaceTerminating" for cause in causes)
