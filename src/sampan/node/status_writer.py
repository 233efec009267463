"""Writes a pod's status: the newest only, only what changed, and without keeping the worker waiting.

A status that will soon be followed by a better one (a container that is just being created) may be held back shortly,
so that a pod that starts quickly costs one write.
"""

import asyncio
import logging
from typing import Any

import msgspec

from sampan.api.core_v1 import Pod, PodStatus
from sampan.client.resources import PODS
from sampan.client.rest import Client
from sampan.machinery.errors import Conflict, Forbidden, Invalid, NotFound, StatusError
from sampan.machinery.objects import Object

log = logging.getLogger(__name__)

HOLD_SECONDS = 0.15
FIRST_RETRY_SECONDS = 0.1
LAST_RETRY_SECONDS = 5.0


class StatusWriter:
    """The status of one pod on its way to the API server."""

    def __init__(self, client: Client, pod: Pod) -> None:
        self._client = client
        self._namespace, self._name, self._uid = pod.metadata.namespace, pod.metadata.name, pod.metadata.uid
        self._known = pod.status
        self._sent: Object = {}
        self._wanted: Object | None = None
        self._task: asyncio.Task[None] | None = None
        self._urgent = asyncio.Event()

    def publish(self, status: Object, *, hold: bool = False) -> None:
        """Have `status` written. With `hold`, a little later, unless an urgent one comes first."""
        if status == (self._wanted or self._sent):
            return
        self._wanted = status
        if not hold:
            self._urgent.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write_all())

    async def flush(self) -> None:
        """Wait until the newest status is written, or the pod turned out to be gone."""
        self._urgent.set()
        if self._task is not None:
            await self._task

    async def delete_pod(self) -> None:
        """Remove the API object, if it still is this pod. Keeps trying while the API server is away."""
        delay = FIRST_RETRY_SECONDS
        while True:
            try:
                await self._client.delete(PODS, self._name, self._namespace, grace_period=0, uid=self._uid)
                return
            except (NotFound, Conflict):
                return
            except (StatusError, OSError) as error:
                log.warning("deleting %s/%s: %s", self._namespace, self._name, error)
            await asyncio.sleep(delay)
            delay = min(delay * 2, LAST_RETRY_SECONDS)

    async def _write_all(self) -> None:
        if not self._urgent.is_set():
            try:
                async with asyncio.timeout(HOLD_SECONDS):
                    await self._urgent.wait()
            except TimeoutError:
                pass
        delay = FIRST_RETRY_SECONDS
        while self._wanted is not None:
            self._urgent.clear()
            status, self._wanted = self._wanted, None
            try:
                await self._write(status)
            except (StatusError, OSError) as error:
                if isinstance(error, NotFound | Conflict | Invalid | Forbidden):
                    log.info("status of %s/%s was not taken: %s", self._namespace, self._name, error)
                    continue
                log.warning("writing the status of %s/%s: %s", self._namespace, self._name, error)
                self._wanted = self._wanted or status
                await asyncio.sleep(delay)
                delay = min(delay * 2, LAST_RETRY_SECONDS)

    async def _write(self, status: Object) -> None:
        change = self._difference(status)
        if change:
            patch = {"metadata": {"uid": self._uid}, "status": change}
            await self._client.patch(PODS, self._name, patch, self._namespace, type="strategic", subresource="status")
        self._sent = status

    def _difference(self, status: Object) -> Object:
        """What to send. After a restart of the agent, nothing if the API server has the same already."""
        if not self._sent and msgspec.convert(status, PodStatus, strict=False) == _own(self._known):
            return {}
        change: Object = {key: value for key, value in status.items() if self._sent.get(key) != value}
        change |= {key: None for key in self._sent if key not in status}
        for key in ("podIPs", "hostIPs"):
            if key in change:
                change[key] = _replacing(self._sent.get(key) or [], change[key] or [])
        return change


def _own(status: PodStatus) -> PodStatus:
    """A status as the API server has it, without what others write into it."""
    own = tuple(one for one in status.conditions if one.type in OWN_CONDITIONS)
    return msgspec.structs.replace(status, conditions=own, nominated_node_name="")


def _replacing(old: list[Any], new: list[Any]) -> list[Any]:
    """A strategic merge list of addresses that also takes away those that are gone."""
    return new + [{"$patch": "delete", **one} for one in old if one not in new]


OWN_CONDITIONS = frozenset({"PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"})
