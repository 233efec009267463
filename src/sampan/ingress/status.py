"""The addresses in the status of Ingresses: which they are, and writing them.

One replica writes, the one that leads. It repairs what others have changed, writes nothing that is there already, and
on its way out takes the addresses back, unless another replica serves on.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Callable, Iterable, Sequence

from sampan.api.core_v1 import Node, Pod, Service
from sampan.api.networking_v1 import Ingress
from sampan.client.resources import INGRESSES
from sampan.client.rest import Client
from sampan.machinery.errors import Conflict, NotFound, StatusError
from sampan.machinery.objects import Object

log = logging.getLogger(__name__)

WRITES_AT_ONCE = 8
GATHER_SECONDS = 0.05
"""Changes that come together are written together."""
RETRY_SECONDS = 1.0
OWN_LABELS_EXCEPT = ("controller-revision-hash", "pod-template-generation", "pod-template-hash")

Address = tuple[str, str]
"""An IP address or "", and a host name or ""."""
Addresses = tuple[Address, ...]


def of_text(text: str) -> Addresses:
    """Addresses and host names, separated by commas."""
    return _sorted(_address(part.strip()) for part in text.split(",") if part.strip())


def of_service(service: Service) -> Addresses:
    """Where a Service is reached from outside, by its type."""
    spec = service.spec
    external = [_address(ip) for ip in spec.external_ips]
    if spec.type == "LoadBalancer":
        balanced = [(one.ip, "" if one.ip else one.hostname) for one in service.status.load_balancer.ingress]
        return _sorted([*balanced, *external])
    if spec.type == "ExternalName":
        return _sorted([("", spec.external_name)])
    return _sorted(external or [_address(spec.cluster_ip)])


def of_nodes(pods: Iterable[Pod], nodes: Iterable[Node], *, internal: bool) -> Addresses:
    """The nodes on which pods run: their external addresses, or, if they have none or so wanted, internal ones."""
    running = {pod.spec.node_name for pod in pods if pod.status.phase == "Running" and not is_terminating(pod)}
    return _sorted(_address(_node_address(node, internal)) for node in nodes if node.metadata.name in running)


def is_terminating(pod: Pod) -> bool:
    return pod.metadata.deletion_timestamp is not None


def shown(ingress: Ingress) -> Addresses:
    """What an Ingress's status has now."""
    return tuple((one.ip, one.hostname) for one in ingress.status.load_balancer.ingress)


def own_labels(pod: Pod) -> dict[str, str]:
    """The labels that all replicas of a pod's workload have, through updates of it."""
    return {key: value for key, value in pod.metadata.labels.items() if key not in OWN_LABELS_EXCEPT}


def _node_address(node: Node, internal: bool) -> str:
    by_type = {one.type: one.address for one in reversed(node.status.addresses)}
    wanted = ("InternalIP", "ExternalIP") if internal else ("ExternalIP", "InternalIP")
    return next((by_type[kind] for kind in wanted if by_type.get(kind)), "")


def _address(text: str) -> Address:
    try:
        return str(ipaddress.ip_address(text)), ""
    except ValueError:
        return "", "" if text == "None" else text


def _sorted(found: Iterable[Address]) -> Addresses:
    """In one order whatever the order of their sources, so that nothing is written twice."""
    return tuple(sorted({one for one in found if any(one)}, key=lambda one: (one[1], one[0])))


class StatusWriter:
    """Keeps the status of Ingresses as it should be, while it runs.

    `ingresses` are those that are served; `addresses` gives None while it is not known what they should have.
    """

    def __init__(
        self, client: Client, ingresses: Callable[[], Sequence[Ingress]], addresses: Callable[[], Addresses | None]
    ) -> None:
        self._client = client
        self._ingresses, self._addresses = ingresses, addresses
        self._change = asyncio.Event()

    def wake(self) -> None:
        """Something has changed that may matter."""
        self._change.set()

    async def run(self) -> None:
        """Write until cancelled."""
        self._change.set()
        while True:
            await self._change.wait()
            await asyncio.sleep(GATHER_SECONDS)
            self._change.clear()
            wanted = self._addresses()
            if wanted is not None and not await self._write_all(wanted):
                await asyncio.sleep(RETRY_SECONDS)
                self._change.set()

    async def clear(self) -> None:
        """Take all addresses out."""
        await self._write_all(())

    async def _write_all(self, wanted: Addresses) -> bool:
        """Whether all is as wanted now, as far as is known."""
        slots = asyncio.Semaphore(WRITES_AT_ONCE)

        async def one(ingress: Ingress) -> bool:
            async with slots:
                return await self._write(ingress, wanted)

        stale = [ingress for ingress in self._ingresses() if shown(ingress) != wanted]
        return all(await asyncio.gather(*map(one, stale)))

    async def _write(self, ingress: Ingress, wanted: Addresses) -> bool:
        meta = ingress.metadata
        try:
            current: Object = await self._client.get(INGRESSES, meta.name, meta.namespace)
            entries = [{"ip": ip} if ip else {"hostname": hostname} for ip, hostname in wanted]
            current["status"] = {"loadBalancer": {"ingress": entries} if entries else {}}
            await self._client.update(INGRESSES, current, subresource="status")
        except NotFound:
            return True
        except Conflict:
            return False
        except (StatusError, OSError) as error:
            log.warning("status of Ingress %s was not written: %s", meta.key, error)
            return False
        log.info("Ingress %s has the address %s", meta.key, ", ".join(ip or name for ip, name in wanted) or "<none>")
        return True
