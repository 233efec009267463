"""One user's part of shared informers: it waits for the caches it asked for, and for no others.

Of many controllers in one process each gets its own part, so that a resource which the server refuses to list holds up
those that need it and nobody else.
"""

import asyncio
from collections.abc import Hashable
from typing import Any, TypeVar

from sampan.api.meta_v1 import APIObject
from sampan.client.informer import Informer, Informers
from sampan.client.resources import Resource

T = TypeVar("T", bound=APIObject)


class OwnInformers:
    """Asks the shared informers, and remembers what for."""

    def __init__(self, shared: Informers) -> None:
        self._shared = shared
        self._asked: dict[Hashable, Informer[Any]] = {}

    def of(self, resource: Resource, kind: type[T], **selection: Any) -> Informer[T]:
        """As `Informers.of`."""
        found = self._shared.of(resource, kind, **selection)
        self._asked[id(found)] = found
        return found

    def find(self, resource: Resource) -> Informer[Any] | None:
        """The informer of all objects of a resource that anybody asked for."""
        return self._shared.find(resource)

    async def wait_synced(self) -> None:
        """Return once everything asked for so far has been delivered."""
        await asyncio.gather(*(informer.wait_synced() for informer in self._asked.values()))
