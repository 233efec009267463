"""Node registration: the Node object, its conditions, and the Lease that is the node's heartbeat.

`node_object` and `node_status` are pure; `Registrar` writes what they say: the status when the API server's copy
differs from it, whoever changed which (at least every five minutes), the Lease every ten seconds.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from sampan.api import core_v1
from sampan.api.meta_v1 import Condition
from sampan.client.informer import Informer
from sampan.client.resources import LEASES, NODES
from sampan.client.rest import Client
from sampan.machinery import times
from sampan.machinery.errors import AlreadyExists, NotFound, StatusError
from sampan.machinery.objects import Object
from sampan.node import eviction
from sampan.node import facts as measuring
from sampan.node.facts import Amounts, MachineFacts
from sampan.node.options import AgentOptions

log = logging.getLogger(__name__)

LEASE_NAMESPACE = "kube-node-lease"
LEASE_SECONDS = 40
RENEW_SECONDS = 10.0
REPORT_SECONDS = 300.0
RETRY_SECONDS = 0.2
PAUSE_SECONDS = 1.0
"""The least time between two reports, whatever others write into the status."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """A condition before it has times."""

    type: str
    true: bool
    reason: str
    message: str


def node_labels(options: AgentOptions) -> dict[str, str]:
    """The well-known labels and those of the options."""
    architecture = measuring.architecture()
    return {
        "beta.kubernetes.io/arch": architecture,
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": architecture,
        "kubernetes.io/hostname": options.node_name,
        "kubernetes.io/os": "linux",
    } | dict(options.labels)


def node_object(options: AgentOptions, status: Object) -> Object:
    """The Node as it is created."""
    spec: Object = {"taints": [dict(taint) for taint in options.taints]} if options.taints else {}
    if options.pod_cidr:
        spec |= {"podCIDR": options.pod_cidr, "podCIDRs": [options.pod_cidr]}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": options.node_name,
            "labels": node_labels(options),
            "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
        },
        "spec": spec,
        "status": status,
    }


def node_status(
    options: AgentOptions, facts: MachineFacts, previous: Mapping[str, Condition], *, ready: bool, now: str
) -> Object:
    """The whole status. `previous` are the conditions written last, by type."""
    amounts: Amounts = measuring.capacity(facts, options.capacity)
    return {
        "addresses": [
            {"type": "InternalIP", "address": options.node_ip},
            {"type": "Hostname", "address": options.node_name},
        ],
        "allocatable": amounts,
        "capacity": amounts,
        "conditions": [_condition(one, previous.get(one.type), now) for one in _verdicts(facts, options, ready)],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": options.port}},
        "nodeInfo": measuring.node_info(facts, options.kubernetes_version),
    }


def _verdicts(facts: MachineFacts, options: AgentOptions, ready: bool) -> tuple[_Verdict, ...]:
    short_of = {one.signal for one in eviction.shortages(facts, options.eviction_hard)}
    short_of_memory, short_of_disk = eviction.MEMORY in short_of, eviction.DISK in short_of
    return (
        _Verdict("MemoryPressure", True, "KubeletHasInsufficientMemory", "kubelet has insufficient memory available")
        if short_of_memory
        else _Verdict("MemoryPressure", False, "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        _Verdict("DiskPressure", True, "KubeletHasDiskPressure", "kubelet has disk pressure")
        if short_of_disk
        else _Verdict("DiskPressure", False, "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        _Verdict("PIDPressure", False, "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        _Verdict("Ready", True, "KubeletReady", "kubelet is posting ready status")
        if ready
        else _Verdict("Ready", False, "KubeletNotReady", "container runtime network not ready"),
    )


def _condition(verdict: _Verdict, before: Condition | None, now: str) -> Object:
    status = "True" if verdict.true else "False"
    since = before.last_transition_time if before and before.status == status else None
    return {
        "type": verdict.type,
        "status": status,
        "lastHeartbeatTime": now,
        "lastTransitionTime": since or now,
        "reason": verdict.reason,
        "message": verdict.message,
    }


class Registrar:
    """Keeps the Node object and its Lease."""

    def __init__(self, client: Client, options: AgentOptions) -> None:
        self._client = client
        self._options = options
        self._conditions: dict[str, Condition] = {}
        self._uid = ""
        self._ready = False

    async def register(self) -> core_v1.Node:
        """Create the Node, or bring the existing one up to date; returns it. Waits for the API server."""
        while True:
            try:
                return await self._register()
            except (StatusError, OSError) as error:
                log.info("registering node %s: %s", self._options.node_name, error)
                await asyncio.sleep(RETRY_SECONDS)

    async def announce_ready(self) -> None:
        """From now on the Ready condition is True."""
        self._ready = True
        await self._report()

    async def run(self, nodes: Informer[core_v1.Node]) -> None:
        """Renew the Lease and keep the status as it is to be, as `nodes` shows it, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_lease())
            group.create_task(self._keep_reporting(nodes))

    async def _register(self) -> core_v1.Node:
        name = self._options.node_name
        status = self._status(times.now())
        try:
            await self._client.create(NODES, node_object(self._options, status))
        except AlreadyExists:
            existing = await self._client.get(NODES, name, None, core_v1.Node)
            self._conditions = {one.type: one for one in existing.status.conditions}
            labels = {"metadata": {"labels": node_labels(self._options)}}
            await self._client.patch(NODES, name, labels, type="strategic")
        node = await self._client.get(NODES, name, None, core_v1.Node)
        self._uid = node.metadata.uid
        return node

    def _status(self, now: str) -> Object:
        facts = measuring.read(self._options.root)
        return node_status(self._options, facts, self._conditions, ready=self._ready, now=now)

    async def _report(self) -> None:
        status = self._status(times.now())
        name = self._options.node_name
        await self._client.patch(NODES, name, {"status": status}, type="strategic", subresource="status")
        self._conditions = {
            one["type"]: Condition(
                type=one["type"], status=one["status"], last_transition_time=one["lastTransitionTime"]
            )
            for one in status["conditions"]
        }

    async def _keep_reporting(self, nodes: Informer[core_v1.Node]) -> None:
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()

        def look(_old: core_v1.Node | None, new: core_v1.Node | None) -> None:
            if new is None or new.metadata.name == self._options.node_name:
                changed.set()

        nodes.add_handler(look)
        reported = loop.time()
        while True:
            await _wait(changed, self._options.sync_seconds)
            changed.clear()
            node = nodes.get(None, self._options.node_name)
            if node and self._is_reported(node) and loop.time() - reported < REPORT_SECONDS:
                continue
            try:
                if node is None:
                    await self.register()
                else:
                    self._conditions = {one.type: one for one in node.status.conditions}
                await self._report()
                reported = loop.time()
            except (StatusError, OSError) as error:
                log.warning("reporting the status of node %s: %s", self._options.node_name, error)
            await asyncio.sleep(PAUSE_SECONDS)

    def _is_reported(self, node: core_v1.Node) -> bool:
        """Whether the API server's copy of the node says what the node would say now."""
        facts = measuring.read(self._options.root)
        verdicts = {(one.type, str(one.true), one.reason, one.message)
                    for one in _verdicts(facts, self._options, self._ready)}  # fmt: skip
        told = {(one.type, one.status, one.reason, one.message) for one in node.status.conditions}
        addresses = {(one.type, one.address) for one in node.status.addresses}
        amounts = measuring.capacity(facts, self._options.capacity).items()
        return (
            verdicts <= told
            and {("InternalIP", self._options.node_ip), ("Hostname", self._options.node_name)} <= addresses
            and all(str(node.status.allocatable.get(name)) == str(amount) for name, amount in amounts)
            and all(str(node.status.capacity.get(name)) == str(amount) for name, amount in amounts)
        )

    async def _keep_lease(self) -> None:
        while True:
            try:
                await self._renew()
                await asyncio.sleep(RENEW_SECONDS)
            except (StatusError, OSError) as error:
                log.info("renewing the lease of node %s: %s", self._options.node_name, error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _renew(self) -> None:
        name = self._options.node_name
        spec = {"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": times.now_micro()}
        try:
            await self._client.patch(LEASES, name, {"spec": spec}, LEASE_NAMESPACE)
        except NotFound:
            owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": self._uid}
            meta = {"name": name, "namespace": LEASE_NAMESPACE, "ownerReferences": [owner]}
            await self._client.create(LEASES, {"metadata": meta, "spec": spec}, LEASE_NAMESPACE)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, at most so long."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
