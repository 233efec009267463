"""A stand-in for node agents: gives every pod bound to a node an address and readiness, and lets deleted ones end."""

import asyncio
import itertools

from sampan.api.core_v1 import Pod
from sampan.client.informer import Informer
from sampan.client.resources import LEASES, NODES, PODS
from sampan.client.rest import Client
from sampan.machinery import times
from sampan.machinery.errors import NotFound
from sampan.machinery.objects import Object

OUTCOME = "test/outcome"
"""The annotation of pods that end at once: Succeeded or Failed."""


async def register(client: Client, name: str, *, cpu: str = "4", labels: dict[str, str] | None = None) -> Object:
    """Create a Ready node with its Lease."""
    size = {"cpu": cpu, "memory": "8Gi", "pods": "110"}
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status"}
    moments = {"lastHeartbeatTime": times.now(), "lastTransitionTime": times.now()}
    metadata = {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}}
    created = await client.create(NODES, {"metadata": metadata})
    status = {"capacity": size, "allocatable": size, "conditions": [{**ready, **moments}]}
    await client.patch(NODES, name, {"status": status}, subresource="status")
    await renew(client, name)
    return created


async def renew(client: Client, name: str) -> None:
    """The node's heartbeat."""
    spec = {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": times.now_micro()}
    try:
        await client.patch(LEASES, name, {"spec": spec}, "kube-node-lease")
    except NotFound:
        await client.create(LEASES, {"metadata": {"name": name}, "spec": spec}, "kube-node-lease")


class Kubelets:
    """All nodes' agents at once."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._addresses = itertools.count(2)
        self._seen: set[tuple[str, bool]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._informer = Informer(client, PODS, Pod)
        self._informer.add_handler(self._changed)

    async def run(self) -> None:
        await self._informer.run()

    def _changed(self, old: Pod | None, new: Pod | None) -> None:
        if new is None or not new.spec.node_name:
            return
        deleted = new.metadata.deletion_timestamp is not None
        if (new.metadata.uid, deleted) not in self._seen:
            self._seen.add((new.metadata.uid, deleted))
            task = asyncio.ensure_future(self._end(new) if deleted else self._start(new))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _start(self, pod: Pod) -> None:
        number = next(self._addresses)
        address = f"10.244.{number // 250}.{number % 250 + 1}"
        condition = {"type": "Ready", "status": "True", "lastTransitionTime": times.now()}
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": [condition]}
        await self._write(pod, status)
        outcome = pod.metadata.annotations.get(OUTCOME)
        if outcome:
            code = 0 if outcome == "Succeeded" else 1
            ended = {"terminated": {"exitCode": code, "finishedAt": times.now()}}
            unready = {**condition, "status": "False"}
            statuses = [{"name": one.name, "state": ended} for one in pod.spec.containers]
            await self._write(pod, {"phase": outcome, "conditions": [unready], "containerStatuses": statuses})

    async def _end(self, pod: Pod) -> None:
        meta = pod.metadata
        try:
            await self._client.delete(PODS, meta.name, meta.namespace, grace_period=0, uid=meta.uid)
        except NotFound:
            return

    async def _write(self, pod: Pod, status: Object) -> None:
        meta = pod.metadata
        patch = {"status": status}
        try:
            await self._client.patch(PODS, meta.name, patch, meta.namespace, type="strategic", subresource="status")
        except NotFound:
            return
