"""ConfigMaps and Secrets that pods of this node use, each followed by a watch of its own while somebody needs it.

Pods of one namespace share the watch (every pod mounts kube-root-ca.crt), and it lingers after its last user, so that
a rolling update does not list anew. `volumes/manager.py` subscribes; environments are read once.
"""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from sampan.api.core_v1 import ConfigMap, Secret
from sampan.client.informer import Informer
from sampan.client.resources import CONFIG_MAPS, SECRETS, Resource
from sampan.client.rest import Client
from sampan.machinery.errors import NotFound
from sampan.node.env import Reference, Sources

LINGER_SECONDS = 60.0

_KINDS: dict[str, tuple[Resource, type[Any]]] = {"ConfigMap": (CONFIG_MAPS, ConfigMap), "Secret": (SECRETS, Secret)}
_Key = tuple[str, str, str]


class _Followed:
    """One object under watch and those who want to hear of its changes."""

    def __init__(self, informer: Informer[Any]) -> None:
        self.informer = informer
        self.listeners: set[Callable[[], None]] = set()
        self.task = asyncio.get_running_loop().create_task(informer.run())
        informer.add_handler(self._changed)

    def _changed(self, _old: object, _new: object) -> None:
        for listener in list(self.listeners):
            listener()


class ObjectCache:
    """Looks objects up for pods."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._followed: dict[_Key, _Followed] = {}

    async def follow(self, namespace: str, references: set[Reference], listener: Callable[[], None]) -> Sources:
        """The objects as they are now; `listener` hears of each change until `unfollow`."""
        followed = [self._follow(namespace, reference, listener) for reference in references]
        await asyncio.gather(*(one.informer.wait_synced() for one in followed))
        return self.current(namespace, references)

    def current(self, namespace: str, references: set[Reference]) -> Sources:
        """The followed objects as last seen."""
        found = {
            (kind, name): self._followed[kind, namespace, name].informer.get(namespace, name)
            for kind, name in references
            if (kind, namespace, name) in self._followed
        }
        return _sources(found)

    def unfollow(self, namespace: str, references: set[Reference], listener: Callable[[], None]) -> None:
        for kind, name in references:
            key = (kind, namespace, name)
            followed = self._followed.get(key)
            if followed is not None:
                followed.listeners.discard(listener)
                asyncio.get_running_loop().call_later(LINGER_SECONDS, self._drop_unused, key)

    async def read(self, namespace: str, references: set[Reference]) -> Sources:
        """The objects as the API server has them now. Raises StatusError, OSError."""
        ordered = sorted(references)
        found = await asyncio.gather(*(self._read(namespace, kind, name) for kind, name in ordered))
        return _sources(dict(zip(ordered, found, strict=True)))

    def close(self) -> None:
        for followed in self._followed.values():
            followed.task.cancel()
        self._followed.clear()

    async def _read(self, namespace: str, kind: str, name: str) -> object | None:
        resource, decoded = _KINDS[kind]
        try:
            return cast(object, await self._client.get(resource, name, namespace, decoded))
        except NotFound:
            return None

    def _follow(self, namespace: str, reference: Reference, listener: Callable[[], None]) -> _Followed:
        kind, name = reference
        key = (kind, namespace, name)
        followed = self._followed.get(key)
        if followed is None:
            resource, decoded = _KINDS[kind]
            selector = f"metadata.name={name}"
            informer = Informer(self._client, resource, decoded, namespace=namespace, field_selector=selector)
            followed = self._followed[key] = _Followed(informer)
        followed.listeners.add(listener)
        return followed

    def _drop_unused(self, key: _Key) -> None:
        followed = self._followed.get(key)
        if followed is not None and not followed.listeners:
            followed.task.cancel()
            del self._followed[key]


def _sources(found: dict[Reference, Any]) -> Sources:
    return Sources(
        {name: value for (kind, name), value in found.items() if kind == "ConfigMap"},
        {name: value for (kind, name), value in found.items() if kind == "Secret"},
    )
