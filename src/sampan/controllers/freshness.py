"""Reading one's own writes: a controller must not decide from a cache that lacks what it has just written, or it would
write it twice (the job of upstream's "expectations").

Creations and updates are known by the resource version they got: the cache is fresh for a key once it has reached the
highest version written for it. Deletions are known by uid: a doomed object no longer counts from the moment its
deletion is asked for.
"""

import time
from collections.abc import Hashable
from typing import Any, Generic, TypeVar

from sampan.api.meta_v1 import APIObject
from sampan.client.informer import Informer
from sampan.machinery.objects import Object, resource_version

STALE_SECONDS = 1.0
"""When to look again at the latest, should the event that freshens the cache never come."""

GIVE_UP_SECONDS = 60.0
"""After that long a write that never shows is no longer waited for: the server may have been put back in time."""

K = TypeVar("K", bound=Hashable)
T = TypeVar("T", bound=APIObject)


class OwnWrites(Generic[K]):
    """What one controller wrote to one resource, by the key it was writing for."""

    def __init__(self, informer: Informer[Any]) -> None:
        self._informer = informer
        self._versions: dict[K, tuple[int, float]] = {}
        self._doomed: set[str] = set()
        informer.add_handler(self._observe)

    def wrote(self, key: K, obj: Object) -> None:
        """Remember an object as the server answered it."""
        before, _ = self._versions.get(key, (0, 0.0))
        self._versions[key] = max(before, _number(resource_version(obj))), time.monotonic()

    def seen(self, key: K) -> bool:
        """Whether the cache has everything written for `key`, or should have had it long ago."""
        wanted, when = self._versions.get(key, (0, 0.0))
        if _number(self._informer.resource_version) < wanted and time.monotonic() < when + GIVE_UP_SECONDS:
            return False
        self._versions.pop(key, None)
        return True

    def doom(self, uid: str) -> None:
        """Say that this object is about to be deleted."""
        self._doomed.add(uid)

    def spare(self, uid: str) -> None:
        """Say that its deletion failed."""
        self._doomed.discard(uid)

    def is_doomed(self, obj: APIObject) -> bool:
        return obj.metadata.uid in self._doomed

    def _observe(self, old: APIObject | None, new: APIObject | None) -> None:
        if not self._doomed:
            return
        if new is None:
            self._doomed.discard(old.metadata.uid if old else "")
        elif new.metadata.deletion_timestamp:
            self._doomed.discard(new.metadata.uid)


def _number(version: str) -> int:
    return int(version) if version.isdigit() else 0
