"""Folds Service, EndpointSlice and Node events into `State`, recomputing only what they touched.

Handlers are called by informers in any order and number; `take` turns what they left dirty into the service ports that
really changed. Pure: no I/O and no clock. state.py decides; syncer.py calls this and hands the outcome to a backend.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sampan.api.core_v1 import Service
from sampan.proxy.endpoints import Where
from sampan.proxy.objects import ProxyNode, Slice, service_of
from sampan.proxy.state import ServicePort, ServicePortName, State, is_family, service_ports

ZONE = "topology.kubernetes.io/zone"

Key = tuple[str, str]
Ports = dict[ServicePortName, ServicePort]


class Change(NamedTuple):
    """A service port before and after; None where it did not exist or does no longer."""

    before: ServicePort | None
    after: ServicePort | None


Changes = dict[ServicePortName, Change]


class FamilyChanges(NamedTuple):
    """A family's whole new state, and what differs from the one taken before: service ports, or anything else."""

    state: State
    changes: Changes
    moved: bool = False


class Tracker:
    """The proxy's memory of the cluster, for one node."""

    def __init__(self, node_name: str, families: Sequence[int], node_ips: Sequence[str] = ()) -> None:
        self._where = Where(node_name)
        self._families = tuple(families)
        self._services: dict[Key, Service] = {}
        self._slices: dict[Key, dict[str, Slice]] = {}
        self._dirty: set[Key] = set()
        self.pending_services: set[Key] = set()
        self.pending_slices: set[Key] = set()
        self._ports: dict[int, Ports] = {family: {} for family in self._families}
        self._names: dict[tuple[int, Key], tuple[ServicePortName, ...]] = {}
        self._node_ips: tuple[str, ...] = ()
        self._service_cidrs: tuple[str, ...] = ()
        self._moved = False
        self.set_node_ips(node_ips)

    # --- events

    def service_changed(self, old: Service | None, new: Service | None) -> None:
        item = new or old
        if item is None:
            return
        key = (item.metadata.namespace, item.metadata.name)
        if new is None:
            self._services.pop(key, None)
        else:
            self._services[key] = new
        self._dirty.add(key)
        self.pending_services.add(key)

    def slice_changed(self, old: Slice | None, new: Slice | None) -> None:
        before, after = (service_of(old) if old else None), (service_of(new) if new else None)
        if old is not None and before is not None and before != after:
            self._forget_slice(before, old.metadata.name)
        if new is not None and after is not None:
            self._slices.setdefault(after, {})[new.metadata.name] = new
            self._dirty.add(after)
            self.pending_slices.add(after)

    def node_changed(self, old: ProxyNode | None, new: ProxyNode | None) -> None:
        """Follow our own Node: its zone decides which hints are meant for us."""
        zone = new.metadata.labels.get(ZONE, "") if new else ""
        if zone != self._where.zone:
            self._where = self._where._replace(zone=zone)
            self._dirty.update(self._services)

    def set_node_ips(self, ips: Sequence[str]) -> None:
        """The addresses at which node ports are served from now on."""
        self._node_ips, before = tuple(sorted(ips)), self._node_ips
        self._moved |= self._node_ips != before

    def set_service_cidrs(self, cidrs: Iterable[str]) -> None:
        """The networks that cluster IPs come from, from now on."""
        self._service_cidrs, before = tuple(sorted(set(cidrs))), self._service_cidrs
        self._moved |= self._service_cidrs != before

    def _forget_slice(self, service: Key, name: str) -> None:
        known = self._slices.get(service)
        if known is not None:
            known.pop(name, None)
            if not known:
                del self._slices[service]
        self._dirty.add(service)
        self.pending_slices.add(service)

    # --- outcome

    @property
    def dirty(self) -> bool:
        return bool(self._dirty) or self._moved

    def take(self) -> dict[int, FamilyChanges]:
        """Each family's state as of now, and what changed since the last call."""
        dirty, self._dirty = self._dirty, set()
        self.pending_services, self.pending_slices = set(), set()
        moved, self._moved = self._moved, False
        changes: dict[int, Changes] = {family: {} for family in self._families}
        for key in dirty:
            for family in self._families:
                self._recompute(key, family, changes[family])
        return {family: FamilyChanges(self._state(family), changes[family], moved) for family in self._families}

    def _recompute(self, key: Key, family: int, changes: Changes) -> None:
        ports = self._ports[family]
        service = self._services.get(key)
        slices = self._slices.get(key, {}).values()
        fresh = service_ports(service, slices, family, self._where) if service else {}
        names = self._names.pop((family, key), ())
        for name in {*names, *fresh}:
            before, after = ports.get(name), fresh.get(name)
            if before == after:
                continue
            changes[name] = Change(before, after)
            if after is None:
                del ports[name]
            else:
                ports[name] = after
        if fresh:
            self._names[family, key] = tuple(fresh)

    def _state(self, family: int) -> State:
        ips = tuple(ip for ip in self._node_ips if is_family(ip, family))
        cidrs = tuple(cidr for cidr in self._service_cidrs if is_family(cidr, family))
        return State(family=family, node_ips=ips, service_cidrs=cidrs, ports=self._ports[family])
