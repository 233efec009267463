"""Change tracker: turns Service, EndpointSlice and Node events into a `State` and the service ports that changed.

Informers call the handlers in any order and number, which mark Services dirty; `take` recomputes only those. Pure: no
I/O and no clock. state.py decides what each Service claims, frontends.py resolves conflicts between Services, and
syncer.py passes the result to a backend.
"""

import logging
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import NamedTuple

from sampan.api.core_v1 import Service
from sampan.proxy.endpoints import NodeTopology
from sampan.proxy.frontends import API_SERVER, Frontends
from sampan.proxy.objects import ProxyNode, Slice, service_of
from sampan.proxy.state import ServicePort, ServicePortName, State, is_family, service_ports, unreadable

log = logging.getLogger(__name__)

ZONE = "topology.kubernetes.io/zone"

Key = tuple[str, str]
Ports = dict[ServicePortName, ServicePort]


class Change(NamedTuple):
    """A service port before and after a change; None if it did not exist or no longer exists."""

    before: ServicePort | None
    after: ServicePort | None


Changes = dict[ServicePortName, Change]


class FamilyChanges(NamedTuple):
    """The new state of a family, and its difference: service ports (`changes`), or anything else (`moved`)."""

    state: State
    changes: Changes
    moved: bool = False


class Tracker:
    """Services, EndpointSlices and addresses as one node's proxy sees them."""

    def __init__(self, node_name: str, families: Sequence[int], node_ips: Sequence[str] = ()) -> None:
        self._topology = NodeTopology(node_name)
        self._families = tuple(families)
        self._services: dict[Key, Service] = {}
        self._slices: dict[Key, dict[str, Slice]] = {}
        self._dirty: set[Key] = set()
        self.pending_services: set[Key] = set()
        self.pending_slices: set[Key] = set()
        self._ports: dict[int, Ports] = {family: {} for family in self._families}
        self._frontends = {family: Frontends() for family in self._families}
        self._refused: dict[Key, dict[tuple[int, ServicePortName], tuple[str, ...]]] = {}
        self._unreadable: dict[Key, tuple[str, ...]] = {}
        self._noted: set[Key] = set()
        self._contested: dict[int, set[ServicePortName]] = {family: set() for family in self._families}
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
        """Handle an event of this node: its zone selects the topology hints that apply."""
        zone = new.metadata.labels.get(ZONE, "") if new else ""
        if zone != self._topology.zone:
            self._topology = self._topology._replace(zone=zone)
            self._dirty.update(self._services)

    def set_node_ips(self, ips: Sequence[str]) -> None:
        """Set the addresses at which node ports are served."""
        self._node_ips, before = tuple(sorted(ips)), self._node_ips
        if self._node_ips != before:
            self._moved = True
            for family, frontends in self._frontends.items():
                self._contested[family] |= frontends.set_node_ips(self._node_ips)

    def set_service_cidrs(self, cidrs: Iterable[str]) -> None:
        """Set the networks that cluster IPs are allocated from."""
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

    # --- result

    @property
    def dirty(self) -> bool:
        return bool(self._dirty) or self._moved

    def take(self) -> dict[int, FamilyChanges]:
        """Each family's state as of now, and what changed since the last call."""
        dirty, self._dirty = self._dirty, set()
        self.pending_services, self.pending_slices = set(), set()
        moved, self._moved = self._moved, False
        changes: dict[int, Changes] = {family: {} for family in self._families}
        for family in self._families:
            contested, self._contested[family] = self._contested[family], set()
            for key in dirty:
                contested |= self._claim(key, family)
            for name in contested:
                self._grant(name, family, changes[family])
        for key in dirty:
            self._note_unreadable(key)
        return {family: FamilyChanges(self._state(family), changes[family], moved) for family in self._families}

    def service(self, namespace: str, name: str) -> Service | None:
        return self._services.get((namespace, name))

    def take_problems(self) -> dict[Key, tuple[str, ...]]:
        """The problems of each Service whose problems changed since the last call, as text.

        Problems are values that cannot be parsed, and addresses that are not served for it.
        """
        noted, self._noted = self._noted, set()
        return {
            key: tuple(dict.fromkeys(chain(self._unreadable.get(key, ()), *self._refused.get(key, {}).values())))
            for key in noted
        }

    def _claim(self, key: Key, family: int) -> set[ServicePortName]:
        """Update the claims of a Service; returns the service ports that may change. A failure changes nothing."""
        service = self._services.get(key)
        slices = self._slices.get(key, {}).values()
        frontends, touched = self._frontends[family], set[ServicePortName]()
        if key == API_SERVER:
            addresses = [ip for each in slices for endpoint in each.endpoints for ip in endpoint.addresses]
            touched |= frontends.set_api_server(addresses)
        try:
            fresh = service_ports(service, slices, family, self._topology) if service else {}
        except Exception:
            log.exception("Service %s/%s: left as it was", *key)
            return touched
        names = self._names.pop((family, key), ())
        if fresh:
            self._names[family, key] = tuple(fresh)
        created = service.metadata.creation_timestamp or "" if service else ""
        for name in {*names, *fresh}:
            touched |= frontends.claim(name, fresh.get(name), created)
        return touched

    def _grant(self, name: ServicePortName, family: int, changes: Changes) -> None:
        """Recompute the frontends of a service port, and record a change if there is one."""
        ports = self._ports[family]
        before = ports.get(name)
        after, refused = self._frontends[family].granted(name)
        self._note_refused(name, family, tuple(str(each) for each in refused if each.contender != name))
        if before == after:
            return
        changes[name] = Change(before, after)
        if after is None:
            del ports[name]
        else:
            ports[name] = after

    def _note_refused(self, name: ServicePortName, family: int, refused: tuple[str, ...]) -> None:
        key = (name.namespace, name.name)
        known = self._refused.get(key, {})
        if known.get((family, name), ()) == refused:
            return
        self._noted.add(key)
        if refused:
            self._refused.setdefault(key, {})[family, name] = refused
            return
        del known[family, name]
        if not known:
            del self._refused[key]

    def _note_unreadable(self, key: Key) -> None:
        service = self._services.get(key)
        found = tuple(unreadable(service, self._slices.get(key, {}).values())) if service else ()
        if self._unreadable.get(key, ()) == found:
            return
        self._noted.add(key)
        if found:
            self._unreadable[key] = found
        else:
            del self._unreadable[key]

    def _state(self, family: int) -> State:
        ips = tuple(ip for ip in self._node_ips if is_family(ip, family))
        cidrs = tuple(cidr for cidr in self._service_cidrs if is_family(cidr, family))
        return State(family=family, node_ips=ips, service_cidrs=cidrs, ports=self._ports[family])
