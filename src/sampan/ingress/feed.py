"""What the API server says, as far as the controller needs it: informers, and the objects that Ingresses refer to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Set

from sampan.api.core_v1 import ConfigMap, Namespace, Node, Pod, Secret, Service
from sampan.api.discovery_v1 import EndpointSlice
from sampan.api.networking_v1 import Ingress, IngressClass
from sampan.client.informer import Informers
from sampan.client.resources import (
    CONFIG_MAPS,
    ENDPOINT_SLICES,
    INGRESS_CLASSES,
    INGRESSES,
    NAMESPACES,
    NODES,
    PODS,
    SECRETS,
    SERVICES,
)
from sampan.client.rest import Client
from sampan.ingress import status
from sampan.ingress.flags import Flags
from sampan.ingress.references import Key, References

READ_SECONDS = 2.0
"""How long a change waits for Secrets and ConfigMaps that it refers to; later they count as missing until they come."""


class Feed:
    """Current objects. `changed` is called after every change of one."""

    def __init__(self, client: Client, flags: Flags, namespace: str, pod: str, changed: Callable[[], None]) -> None:
        self._informers = informers = Informers(client)
        place = flags.watch_namespace or None
        self._flags, self._own = flags, (namespace, pod)
        self.ingresses = informers.of(INGRESSES, Ingress, namespace=place)
        self.classes = informers.of(INGRESS_CLASSES, IngressClass)
        self.services = informers.of(SERVICES, Service, namespace=place)
        self.slices = informers.of(ENDPOINT_SLICES, EndpointSlice, namespace=place)
        self.secrets = References(client, SECRETS, Secret, changed)
        self.config_maps = References(client, CONFIG_MAPS, ConfigMap, changed)
        self.namespaces = None
        if flags.watch_namespace_selector:
            self.namespaces = informers.of(NAMESPACES, Namespace, label_selector=flags.watch_namespace_selector)
        self._pods = self._nodes = self._published = None
        if namespace and pod:
            self._pods = informers.of(PODS, Pod, namespace=namespace)
            if not (flags.publish_service or flags.publish_status_address):
                self._nodes = informers.of(NODES, Node)
        if flags.publish_service:
            space, name = key_of(flags.publish_service)
            one = f"metadata.name={name}"
            self._published = informers.of(SERVICES, Service, namespace=space, field_selector=one)
        for informer in (self.ingresses, self.classes, self.services, self.slices, self.namespaces):
            if informer is not None:
                informer.add_handler(lambda old, new: changed())

    async def run(self) -> None:
        """Follow the API server until cancelled."""
        try:
            await self._informers.run()
        finally:
            await self.secrets.close()
            await self.config_maps.close()

    async def wait_synced(self) -> None:
        await self._informers.wait_synced()
        await self.want(frozenset(), frozenset())

    async def want(self, secrets: Set[Key], config_maps: Set[Key]) -> bool:
        """Read what Ingresses refer to, besides what the flags name; whether something new has come."""
        flags = self._flags
        named = {key_of(flags.default_ssl_certificate)} if flags.default_ssl_certificate else set()
        own = {key_of(name) for name in (flags.configmap, flags.tcp_services_configmap, flags.udp_services_configmap)}
        found = await asyncio.gather(
            self.secrets.want(secrets | named, READ_SECONDS),
            self.config_maps.want(config_maps | own - {("", "")}, READ_SECONDS),
        )
        return any(found)

    # --- for the status

    def addresses(self) -> status.Addresses | None:
        """What Ingresses should show; None while that is not known."""
        flags = self._flags
        if flags.publish_status_address:
            return status.of_text(flags.publish_status_address)
        if self._published is not None:
            service = self._published.get(*key_of(flags.publish_service))
            return status.of_service(service) if service else None
        if self._pods is None or self._nodes is None:
            return None
        return status.of_nodes(self.replicas(), self._nodes.items(), internal=flags.report_node_internal_ip_address)

    def replicas(self) -> list[Pod]:
        """The pods of this controller's workload, this one among them."""
        own = self._pods.get(*self._own) if self._pods else None
        if self._pods is None or own is None:
            return []
        labels = status.own_labels(own).items()
        return [pod for pod in self._pods.items() if labels <= pod.metadata.labels.items()]

    def is_last(self) -> bool:
        """Whether no other replica serves on."""
        others = [pod for pod in self.replicas() if pod.metadata.name != self._own[1]]
        return not any(pod.status.phase == "Running" and not status.is_terminating(pod) for pod in others)

    def on_address_change(self, changed: Callable[[], None]) -> None:
        """Call `changed` whenever `addresses` may give something else."""
        for informer in (self._published, self._pods, self._nodes):
            if informer is not None:
                informer.add_handler(lambda old, new: changed())


def key_of(text: str) -> Key:
    """Namespace and name, of `namespace/name`."""
    namespace, _, name = text.partition("/")
    return namespace, name
