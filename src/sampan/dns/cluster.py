"""The cluster as DNS knows it: Services, ready endpoints, namespaces and pods, kept current by `follow`'s informers.

It only holds; what the names mean is `records`' part. Whoever keeps anything made from it asks to hear of changes.
"""

import time
from collections.abc import Callable, Iterator, Mapping

from sampan.client.informer import Informers
from sampan.client.resources import ENDPOINT_SLICES, NAMESPACES, PODS, SERVICES
from sampan.dns.objects import EndpointSlice, Namespace, Pod, Port, ReadyAddress, Service
from sampan.dns.reverse import ReverseIndex

Key = tuple[str, str]
"""Namespace and name."""


class Cluster:
    def __init__(self) -> None:
        self.services: dict[Key, Service] = {}
        self.namespaces: dict[str, Mapping[str, str]] = {}
        """Their labels by their names."""
        self.reverse = ReverseIndex()
        self.serial = int(time.time())
        self._slices: dict[Key, dict[str, EndpointSlice]] = {}
        self._pods: dict[str, list[Key]] = {}
        self._listeners: list[Callable[[Key | None], None]] = []

    def subscribe(self, changed: Callable[[Key | None], None]) -> Callable[[], None]:
        """Call `changed` after every change, until the function that is returned is called.

        It gets the Service that changed or whose endpoints did, or None for everything else.
        """
        self._listeners.append(changed)
        return lambda: self._listeners.remove(changed)

    # --- what changes

    def set_namespace(self, old: Namespace | None, new: Namespace | None) -> None:
        """Take note that a namespace was added (old is None), changed or deleted (new is None)."""
        if old is not None:
            self.namespaces.pop(old.metadata.name, None)
        if new is not None:
            self.namespaces[new.metadata.name] = new.metadata.labels
        if old is None or new is None or old.metadata.labels != new.metadata.labels:
            self._changed()

    def set_service(self, old: Service | None, new: Service | None) -> None:
        if old is not None:
            self.services.pop(service_key(old), None)
            self.reverse.remove_service(service_key(old), old.addresses)
        if new is not None:
            self.services[service_key(new)] = new
            self.reverse.add_service(service_key(new), new.addresses)
        if old is None or new is None or (old.spec, old.metadata.labels) != (new.spec, new.metadata.labels):
            self._changed(*{service_key(each) for each in (old, new) if each is not None})

    def set_slice(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        if old is not None and (slices := self._slices.get(_owner(old))) is not None:
            slices.pop(old.metadata.name, None)
            if not slices:
                del self._slices[_owner(old)]
            self.reverse.remove_slice(_owner(old), old)
        if new is not None and new.service:
            self._slices.setdefault(_owner(new), {})[new.metadata.name] = new
            self.reverse.add_slice(_owner(new), new)
        if old is None or new is None or _meaning(old) != _meaning(new):
            self._changed(*{_owner(each) for each in (old, new) if each is not None})

    def set_pod(self, old: Pod | None, new: Pod | None) -> None:
        before, after = _pod_entries(old), _pod_entries(new)
        if old is not None and new is not None and before == after:
            return
        for address, key in before:
            keys = self._pods[address]
            keys.remove(key)
            if not keys:
                del self._pods[address]
        for address, key in after:
            self._pods.setdefault(address, []).append(key)
        self._changed()

    def _changed(self, *services: Key) -> None:
        self.serial = int(time.time())
        for listener in self._listeners:
            for key in services or (None,):
                listener(key)

    # --- what there is

    def endpoints(self, key: Key) -> Iterator[tuple[ReadyAddress, EndpointSlice]]:
        """Every address of every ready endpoint of a Service, with the slice it is in."""
        for slice_ in self._slices.get(key, {}).values():
            for found in slice_.ready_addresses():
                yield found, slice_

    def endpoint_owners(self, address: str) -> list[Key]:
        """The Services that have an endpoint at this address."""
        return self.reverse.endpoint_owners(address, self._slices)

    def pods_at(self, address: str) -> list[Key]:
        """The pods that have this address to themselves; empty as well if pods are not followed."""
        return self._pods.get(address, [])


def follow(informers: Informers, cluster: Cluster) -> None:
    """Let the cluster hear of everything but pods."""
    informers.of(NAMESPACES, Namespace).add_handler(cluster.set_namespace)
    informers.of(SERVICES, Service).add_handler(cluster.set_service)
    informers.of(ENDPOINT_SLICES, EndpointSlice).add_handler(cluster.set_slice)


def follow_pods(informers: Informers, cluster: Cluster) -> None:
    """Let it hear of pods too, which only `pods verified` and `autopath` need."""
    informers.of(PODS, Pod).add_handler(cluster.set_pod)


def service_key(service: Service) -> Key:
    return service.metadata.namespace, service.metadata.name


def _owner(slice_: EndpointSlice) -> Key:
    return slice_.metadata.namespace, slice_.service


def _meaning(slice_: EndpointSlice) -> tuple[Key, str, tuple[Port, ...]]:
    """What of a slice decides about names."""
    return _owner(slice_), slice_.packed, slice_.ports


def _pod_entries(pod: Pod | None) -> list[tuple[str, Key]]:
    return [(ip, (pod.metadata.namespace, pod.metadata.name)) for ip in pod.addresses] if pod else []
