"""Endpoints into slices, with as few writes as possible: pure.

Endpoints stay in the slice they are in. Slices that must be written anyway are filled first; what is left goes into
the fullest slice with room for all of it, or into new ones. A slice that would be deleted while another is created is
rewritten instead. At least one slice, if empty, always remains when `placeholder` asks for it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sampan.api.discovery_v1 import Endpoint, EndpointSlice
from sampan.controllers.endpointslices.desired import Groups, Ports

MAX_ENDPOINTS = 100


@dataclass(frozen=True)
class Content:
    """What a slice is to hold."""

    ports: Ports
    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True)
class Changes:
    create: tuple[Content, ...] = ()
    update: tuple[tuple[EndpointSlice, Content], ...] = ()
    delete: tuple[EndpointSlice, ...] = ()


@dataclass
class _Slot:
    """A slice being packed: an existing one, or (None) a new one."""

    existing: EndpointSlice | None
    endpoints: list[Endpoint] = field(default_factory=list)
    changed: bool = True

    @property
    def room(self) -> int:
        return MAX_ENDPOINTS - len(self.endpoints)


def pack(desired: Groups, existing: Iterable[EndpointSlice], *, placeholder: bool) -> Changes:
    """The changes that make the slices of one Service and address family hold exactly the desired endpoints."""
    by_ports: dict[Ports, list[EndpointSlice]] = {}
    for one in sorted(existing, key=lambda one: one.metadata.name):
        by_ports.setdefault(one.ports, []).append(one)
    create: list[Content] = []
    update: list[tuple[EndpointSlice, Content]] = []
    delete: list[EndpointSlice] = []
    kept = 0
    for ports in [*desired, *(ports for ports in by_ports if ports not in desired)]:
        for slot in _pack_group(desired.get(ports, ()), by_ports.get(ports, [])):
            content = Content(ports, tuple(slot.endpoints))
            if slot.existing is None:
                create.append(content)
            elif not slot.endpoints:
                delete.append(slot.existing)
            elif slot.changed:
                update.append((slot.existing, content))
            else:
                kept += 1
    if placeholder and not (create or update or kept):
        _keep_placeholder(create, delete)
    return _reuse(create, update, delete)


def _pack_group(desired: Sequence[Endpoint], existing: Sequence[EndpointSlice]) -> list[_Slot]:
    """Fit the endpoints that share ports into the slices with those ports."""
    missing = {_identity(endpoint): endpoint for endpoint in desired}
    slots = []
    for one in existing:
        stay = [missing.pop(identity) for identity in map(_identity, one.endpoints) if identity in missing]
        slots.append(_Slot(one, stay, changed=tuple(stay) != one.endpoints))
    rest = list(missing.values())
    for slot in slots:
        if slot.changed and slot.endpoints:
            rest = _fill(slot, rest)
    while rest:
        slot = _fitting(slots, len(rest)) or _Slot(None)
        if slot.existing is None:
            slots.append(slot)
        rest = _fill(slot, rest)
    return slots


def _fitting(slots: Iterable[_Slot], count: int) -> _Slot | None:
    """The fullest existing slice that takes them all."""
    candidates = [slot for slot in slots if slot.existing is not None and slot.room >= count]
    return min(candidates, key=lambda slot: slot.room, default=None)


def _fill(slot: _Slot, rest: list[Endpoint]) -> list[Endpoint]:
    room = max(0, slot.room)
    slot.endpoints.extend(rest[:room])
    slot.changed = slot.changed or bool(rest[:room])
    return rest[room:]


def _keep_placeholder(create: list[Content], delete: list[EndpointSlice]) -> None:
    """Leave one empty slice: an existing one if there is, else a new one."""
    for index, one in enumerate(delete):
        if not one.endpoints and not one.ports:
            del delete[index]
            return
    create.append(Content((), ()))


def _reuse(create: list[Content], update: list[tuple[EndpointSlice, Content]], delete: list[EndpointSlice]) -> Changes:
    while create and delete:
        update.append((delete.pop(0), create.pop(0)))
    return Changes(tuple(create), tuple(update), tuple(delete))


def _identity(endpoint: Endpoint) -> tuple[str, ...]:
    """What makes it the same endpoint although its conditions change."""
    reference = endpoint.target_ref
    return (reference.uid, *endpoint.addresses) if reference else endpoint.addresses
