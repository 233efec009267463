"""Leader election on a Lease: of several candidates one acts, and when it dies another takes over.

Every compare-and-swap of the Lease is decided by the API server; clocks of different machines are never compared:
a candidate measures with its own clock how long the Lease has not changed.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable

from sampan.api.coordination_v1 import Lease
from sampan.client.resources import LEASES
from sampan.client.rest import Client
from sampan.machinery import times
from sampan.machinery.errors import AlreadyExists, Conflict, NotFound, StatusError
from sampan.machinery.objects import Object

log = logging.getLogger(__name__)


def unique_identity() -> str:
    """A name that no other candidate has, now or after a restart."""
    return f"{socket.gethostname()}_{os.urandom(8).hex()}"


class LeaderElector:
    """Holds the Lease `namespace/name` as `identity` whenever it can."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        name: str,
        identity: str,
        *,
        lease_seconds: float = 15.0,
        retry_seconds: float = 2.0,
    ) -> None:
        self._client = client
        self._namespace, self._name, self.identity = namespace, name, identity
        self._lease_seconds, self._retry_seconds = lease_seconds, retry_seconds
        self._seen_version = ""
        self._seen_at = 0.0
        self._attempted = 0.0

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Run `lead` while leading; it is cancelled when the Lease cannot be renewed in time."""
        while True:
            while not await self._try_acquire():
                await asyncio.sleep(self._retry_seconds)
            log.info("%s leads %s/%s", self.identity, self._namespace, self._name)
            task = asyncio.ensure_future(lead())
            try:
                await self._hold(task)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def release(self) -> None:
        """Give the Lease back, so that another need not wait for it to expire."""
        try:
            lease = await self._client.get(LEASES, self._name, self._namespace, Lease)
            if lease.spec.holder_identity == self.identity:
                patch = {
                    "spec": {"holderIdentity": ""},
                    "metadata": {"resourceVersion": lease.metadata.resource_version},
                }
                await self._client.patch(LEASES, self._name, patch, self._namespace)
        except (StatusError, OSError) as error:
            log.info("lease %s/%s was not released: %s", self._namespace, self._name, error)

    async def _hold(self, task: "asyncio.Future[None]") -> None:
        """Renew until `task` ends or the deadline passes, whatever an attempt waits for.

        A renewal counts from before its attempt began, because others may count from when the server took it.
        """
        loop = asyncio.get_running_loop()
        deadline = self._attempted + self._lease_seconds * 2 / 3
        while not task.done() and loop.time() < deadline:
            pause = min(self._retry_seconds, deadline - loop.time())
            await asyncio.wait([task], timeout=pause)
            try:
                async with asyncio.timeout_at(deadline):
                    if await self._try_acquire():
                        deadline = self._attempted + self._lease_seconds * 2 / 3
            except TimeoutError:
                break
        if task.done() and not task.cancelled():
            task.result()

    async def _try_acquire(self) -> bool:
        try:
            return await self._acquire()
        except (Conflict, AlreadyExists):
            return False
        except (StatusError, OSError) as error:
            log.info("lease %s/%s: %s", self._namespace, self._name, error)
            return False

    async def _acquire(self) -> bool:
        now = self._attempted = asyncio.get_running_loop().time()
        try:
            lease = await self._client.get(LEASES, self._name, self._namespace, Lease)
        except NotFound:
            await self._client.create(LEASES, self._render(0), self._namespace)
            return True
        if lease.metadata.resource_version != self._seen_version:
            self._seen_version, self._seen_at = lease.metadata.resource_version, now
        holder = lease.spec.holder_identity or ""
        if holder not in ("", self.identity) and now - self._seen_at < self._lease_seconds:
            return False
        await self._take(lease, holder)
        return True

    async def _take(self, lease: Lease, holder: str) -> None:
        transitions = (lease.spec.lease_transitions or 0) + (holder != self.identity)
        patch = self._render(transitions)
        if holder == self.identity:
            del patch["spec"]["acquireTime"]
        patch["metadata"] = {"resourceVersion": lease.metadata.resource_version}
        await self._client.patch(LEASES, self._name, patch, self._namespace)

    def _render(self, transitions: int) -> Object:
        moment = times.now_micro()
        return {
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {
                "holderIdentity": self.identity,
                "leaseDurationSeconds": max(1, int(self._lease_seconds)),
                "acquireTime": moment,
                "renewTime": moment,
                "leaseTransitions": transitions,
            },
        }
