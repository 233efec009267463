"""Warning events on Services for values and addresses that this proxy does not serve; each is logged as well.

The proxies of all nodes report the same problems, so an event's name is a hash of the Service and the text: the first
proxy creates the event, the others get AlreadyExists.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging

from sampan.client.resources import EVENTS
from sampan.client.rest import Client
from sampan.machinery import times
from sampan.machinery.errors import AlreadyExists, StatusError
from sampan.proxy.tracker import Key, Tracker

log = logging.getLogger(__name__)

REASON = "AddressNotServed"
MAX_EVENTS_WAITING = 1000
MAX_TEXT = 1000


class ProblemReporter:
    """Reports the problems that a tracker finds, each once until it is resolved."""

    def __init__(self, client: Client, tracker: Tracker, node_name: str) -> None:
        self._client = client
        self._tracker = tracker
        self._node_name = node_name
        self._known: dict[Key, tuple[str, ...]] = {}
        self._queue: asyncio.Queue[tuple[Key, str]] = asyncio.Queue(MAX_EVENTS_WAITING)

    def update(self) -> None:
        """Queue events for problems that the tracker has found since the last call. Does not block."""
        for key, problems in self._tracker.take_problems().items():
            for text in problems:
                if text not in self._known.get(key, ()):
                    log.warning("Service %s/%s: %s", *key, text)
                    if not self._queue.full():
                        self._queue.put_nowait((key, text))
            if problems:
                self._known[key] = problems
            else:
                self._known.pop(key, None)

    async def run(self) -> None:
        """Write events until cancelled."""
        while True:
            key, text = await self._queue.get()
            try:
                await self._write(*key, text[:MAX_TEXT])
            except AlreadyExists:
                continue
            except (StatusError, OSError) as error:
                log.info("event for Service %s/%s was not written: %s", *key, error)

    async def _write(self, namespace: str, name: str, text: str) -> None:
        service = self._tracker.service(namespace, name)
        if service is None:
            return
        moment = times.now()
        digest = hashlib.sha256(f"{service.metadata.uid} {text}".encode()).hexdigest()[:16]
        event = {
            "metadata": {"name": f"{name}.{digest}", "namespace": namespace},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Service",
                "namespace": namespace,
                "name": name,
                "uid": service.metadata.uid,
            },
            "type": "Warning",
            "reason": REASON,
            "message": text,
            "source": {"component": "kube-proxy", "host": self._node_name},
            "reportingComponent": "kube-proxy",
            "reportingInstance": self._node_name,
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "count": 1,
        }
        await self._client.create(EVENTS, event, namespace)
