"""Writes a pod's status and keeps the API server's copy equal to it, without keeping the worker waiting.

Only the newest status is written, and of it only what changed. A status that will soon be followed by a better one (a
container that is just being created) may be held back shortly, so that a pod that starts quickly costs one write. What
others write over the node's part of a status is written anew: at once, and then at most every `sync_seconds`, so that
two writers that disagree do not keep the API server busy (upstream: status_manager.go, needsReconcile).
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

    def __init__(self, client: Client, pod: Pod, sync_seconds: float) -> None:
        self._client = client
        self._namespace, self._name, self._uid = pod.metadata.namespace, pod.metadata.name, pod.metadata.uid
        self._known, self._known_version = pod.status, _version(pod.metadata.resource_version)
        self._sync_seconds = sync_seconds
        self._newest: Object = {}
        self._sent: Object = {}
        self._sent_version = 0
        self._overwritten = False
        self._next_repair = 0.0
        self._wanted: Object | None = None
        self._task: asyncio.Task[None] | None = None
        self._urgent = asyncio.Event()

    @property
    def phase(self) -> str:
        """The phase published last; empty before the first."""
        return str(self._newest.get("phase", ""))

    def publish(self, status: Object, *, hold: bool = False) -> None:
        """Have `status` written. With `hold`, a little later, unless an urgent one comes first."""
        if status == (self._wanted or self._sent):
            return
        self._newest = self._wanted = status
        if not hold:
            self._urgent.set()
        self._begin()

    def observe(self, pod: Pod) -> None:
        """The pod as the API server has it now: what others wrote over the status is repaired."""
        self._known, self._known_version = pod.status, _version(pod.metadata.resource_version)
        self.reconcile()

    def reconcile(self) -> None:
        """Write the newest status again if the API server's copy differs. Cheap; to be called now and then."""
        busy = self._task is not None and not self._task.done()
        if busy or not self._newest or self._known_version < self._sent_version:
            return
        now = asyncio.get_running_loop().time()
        if now < self._next_repair or _is_same(self._newest, self._known):
            return
        self._next_repair = now + self._sync_seconds
        self._overwritten = True
        self._wanted = self._newest
        self._urgent.set()
        self._begin()

    def _begin(self) -> None:
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
        asyncio.get_running_loop().call_soon(self.reconcile)  # others may have written while this one did

    async def _write(self, status: Object) -> None:
        change = self._difference(status)
        if change:
            patch = {"metadata": {"uid": self._uid}, "status": change}
            written = await self._client.patch(
                PODS, self._name, patch, self._namespace, type="strategic", subresource="status"
            )
            self._sent_version = _version(written["metadata"].get("resourceVersion", ""))
        self._sent = status
        self._overwritten = False

    def _difference(self, status: Object) -> Object:
        """What to send. After a restart of the agent, nothing if the API server has the same already."""
        if not self._sent and _is_same(status, self._known):
            return {}
        if self._overwritten or not self._sent:
            gone = [name for name in ("reason", "message") if getattr(self._known, name) and name not in status]
            known: Object = {"podIPs": [{"ip": one.ip} for one in self._known.pod_ips]}
            change: Object = {**dict.fromkeys(gone), **status}
        else:
            known = self._sent
            change = {key: value for key, value in status.items() if self._sent.get(key) != value}
            change |= {key: None for key in self._sent if key not in status}
        for key in ("podIPs", "hostIPs"):
            if key in change:
                change[key] = _replacing(known.get(key) or [], change[key] or [])
        if "conditions" in change:
            change["conditions"] = [{"reason": None, "message": None, **one} for one in change["conditions"]]
        return change


def _version(text: str) -> int:
    """A resource version as the number that it is (KEP-5504)."""
    return int(text) if text.isdigit() else 0


def _is_same(status: Object, known: PodStatus) -> bool:
    """Whether the API server has this status already, as far as it is the node's to write."""
    return _own(msgspec.convert(status, PodStatus, strict=False)) == _own(known)


def _own(status: PodStatus) -> PodStatus:
    """A status without what others write into it, and in one order."""
    own = tuple(sorted((one for one in status.conditions if one.type in OWN_CONDITIONS), key=lambda one: one.type))
    return msgspec.structs.replace(status, conditions=own, nominated_node_name="")


def _replacing(old: list[Any], new: list[Any]) -> list[Any]:
    """A strategic merge list of addresses that also takes away those that are gone."""
    return new + [{"$patch": "delete", **one} for one in old if one not in new]


OWN_CONDITIONS = frozenset({"PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"})
