"""From a `Delta` to netlink: one transaction in which every reader finds either all old entries or all new ones.

Elements whose value changes are deleted and added again within the transaction. Endpoints are most of the bytes, so
their elements are cut from one frame instead of being built from attributes.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from sampan.kernel.nft import (
    Transaction,
    data_element,
    data_element_frame,
    jump_element,
    key_element,
    range_element,
)
from sampan.proxy.backends import keys
from sampan.proxy.backends.nftables import layout
from sampan.proxy.backends.nftables.chains import counting, dispatch_remembering, is_made_on_demand, parse, rules
from sampan.proxy.backends.nftables.ledger import Delta
from sampan.proxy.backends.nftables.targets import NO_AFFINITY, Affinity, Range, Target

RUN = 256
"""Endpoint elements that are handed on as one piece of bytes."""

ON_DEMAND = (layout.ENDPOINTS, layout.AFFINITY, layout.NUMBERS, layout.SLOTS, layout.LOCAL_SLOTS)
"""How the names of sets and maps begin that are made when a service port needs them."""

VERDICTS: dict[str, Callable[[Target], str]] = {
    layout.SERVICES: lambda target: target.verdict,
    layout.EXTERNAL_SERVICES: lambda target: target.external,
    layout.LOCAL_SERVICES: lambda target: target.local_verdict,
    layout.STICKY_SERVICES: lambda target: target.remember,
}
"""The verdict maps, and what stands in each for a target."""


def transaction(delta: Delta, family: int, unused_maps: Iterable[int] = ()) -> Transaction:
    """The transaction that carries out `delta`. `unused_maps` are the maps of endpoints, by number, that it frees."""
    made = Transaction(family, layout.TABLE)
    _remove(made, delta, family)
    _add_affinities(made, delta, family)
    _add_chains(made, delta.chains.added, family)
    _add(made, delta, family)
    for chain in sorted(delta.chains.removed, key=_is_for_one_service, reverse=True):
        made.delete_chain(chain)
    for count in unused_maps:
        made.delete_set(layout.endpoint_map(count))
    _remove_affinities(made, delta)
    return made


class Found(NamedTuple):
    """What a table has before a refill: names of sets and chains, and the keys that are counted."""

    sets: Iterable[str]
    chains: Iterable[str]
    counted: Iterable[bytes]


def refill(content: Delta, family: int, found: Found) -> Transaction:
    """The transaction that makes `content` the whole content, whatever was there. Counts go on."""
    made = Transaction(family, layout.TABLE)
    for name in layout.FILLED:
        made.flush_set(name)
    for chain in sorted(filter(is_made_on_demand, found.chains), key=_is_for_one_service, reverse=True):
        made.delete_chain(chain)
    made.flush_chain(layout.REMEMBER)
    made.add_rule(layout.REMEMBER, dispatch_remembering(family))
    made.flush_chain(layout.ACCOUNT)
    made.add_rule(layout.ACCOUNT, counting(family))
    kept = {layout.AFFINITY + service for service, _, _ in content.affinities}
    for name in found.sets:
        if name.startswith(ON_DEMAND) and name not in kept:
            made.delete_set(name)
    _add_affinities(made, content, family)
    _add_chains(made, content.chains.added, family)
    wanted = {key for key, _, _ in content.targets}
    _count(made.delete_elements, (key for key in found.counted if key not in wanted))
    _add(made, content, family)
    return made


def _add_affinities(made: Transaction, delta: Delta, family: int) -> None:
    address = layout.ADDRESS_TYPES[family]
    endpoint, number = (address, "inet_service"), ("classid",)
    for service, old, new in delta.affinities:
        if new is None:
            continue
        if old is None:
            made.add_map(layout.AFFINITY + service, (address,), number, dynamic_size=layout.AFFINITY_CLIENTS)
            made.add_map(layout.NUMBERS + service, endpoint, number)
            made.add_map(layout.SLOTS + service, number, endpoint)
            made.add_map(layout.LOCAL_SLOTS + service, number, endpoint)
        for name, before, after in _affinity_elements(service, old or NO_AFFINITY, new):
            made.delete_elements(name, [data_element(*each) for each in sorted(before - after)])
            made.add_elements(name, [data_element(*each) for each in sorted(after - before)])


def _affinity_elements(
    service: str, old: Affinity, new: Affinity
) -> Iterator[tuple[str, set[tuple[bytes, bytes]], set[tuple[bytes, bytes]]]]:
    """The maps of a service port with affinity, and what they had and are to have."""
    before, after = ({(slot, _number(n)) for n, slot in each.numbers.items()} for each in (old, new))
    yield layout.NUMBERS + service, before, after
    for prefix, had, has in (
        (layout.SLOTS, old.slots, new.slots),
        (layout.LOCAL_SLOTS, old.local_slots, new.local_slots),
    ):
        before, after = ({(_number(n), slot) for n, slot in each.items()} for each in (had, has))
        yield prefix + service, before, after


def _number(number: int) -> bytes:
    return number.to_bytes(4, sys.byteorder)


def _remove_affinities(made: Transaction, delta: Delta) -> None:
    for service, _, new in delta.affinities:
        if new is None:
            for prefix in (layout.AFFINITY, layout.NUMBERS, layout.SLOTS, layout.LOCAL_SLOTS):
                made.delete_set(prefix + service)


def _add_chains(made: Transaction, chains: Iterable[str], family: int) -> None:
    """Chains of service ports with affinity go on in others, which are made first."""
    address = layout.ADDRESS_TYPES[family]
    for name in sorted(chains, key=_is_for_one_service):
        spread = parse(name)
        if spread is not None and not spread.service:
            endpoints = layout.endpoint_map(spread.endpoints)
            made.add_map(endpoints, (address, "inet_proto", "inet_service", "mark"), (address, "inet_service"))
        made.add_chain(name)
        for rule in rules(name, family):
            made.add_rule(name, rule)


def _is_for_one_service(name: str) -> bool:
    spread = parse(name)
    return spread is None or bool(spread.service)


def _remove(made: Transaction, delta: Delta, family: int) -> None:
    for name, verdict in VERDICTS.items():
        gone = [(key, verdict(old)) for key, old, new in delta.targets if old and _differs(verdict, old, new)]
        made.delete_elements(name, [key_element(key) for key, chain in gone if chain])
    for name, elements in _slot_elements(delta.targets, family).items():
        made.delete_elements(name, elements)
    _count(made.delete_elements, (key for key, _, new in delta.targets if new is None))
    gone_sources = [each for _, old, new in delta.targets for each in _only(old, new)]
    made.delete_elements(layout.ALLOWED_SOURCES, [range_element(*each) for each in gone_sources])
    made.delete_elements(layout.CLUSTER_IPS, _members(delta.cluster_ips.removed))
    made.delete_elements(layout.HAIRPINS, _members(delta.hairpins.removed, twice=True))


def _add(made: Transaction, delta: Delta, family: int) -> None:
    for name, verdict in VERDICTS.items():
        fresh = [(key, verdict(new)) for key, old, new in delta.targets if new and _differs(verdict, new, old)]
        made.add_elements(name, [jump_element(key, chain) for key, chain in fresh if chain])
    for name, elements in _slot_elements([(key, new, old) for key, old, new in delta.targets], family).items():
        made.add_elements(name, elements)
    _count(made.add_elements, (key for key, old, _ in delta.targets if old is None))
    fresh_sources = [each for _, old, new in delta.targets for each in _only(new, old)]
    made.add_elements(layout.ALLOWED_SOURCES, [range_element(*each) for each in fresh_sources])
    made.add_elements(layout.CLUSTER_IPS, _members(delta.cluster_ips.added))
    made.add_elements(layout.HAIRPINS, _members(delta.hairpins.added, twice=True))


def _count(change: Callable[[str, list[bytes]], None], keys: Iterable[bytes]) -> None:
    """Begin or end to count what goes to these keys: changes of their targets leave the counts alone."""
    elements = [key_element(key) for key in keys]
    for name in layout.COUNTED:
        change(name, elements)


def _differs(verdict: Callable[[Target], str], this: Target, other: Target | None) -> bool:
    return other is None or verdict(this) != verdict(other)


def _only(this: Target | None, other: Target | None) -> list[Range]:
    known = set(other.sources) if other else set()
    return [each for each in this.sources if each not in known] if this else []


def _members(ips: Sequence[str], *, twice: bool = False) -> list[bytes]:
    packed = [keys.address(ip) for ip in ips]
    return [key_element(each + each if twice else each) for each in packed]


def _slot_elements(
    triples: Iterable[tuple[bytes, Target | None, Target | None]], family: int
) -> dict[str, list[bytes]]:
    """The endpoint elements that the first target has and the second has not, in runs, by map."""
    size = layout.slot_bytes(family)
    before, between = data_element_frame(keys.ADDRESS_BYTES[family] + 12, size)
    found: dict[str, list[bytes]] = {}
    for key, this, other in triples:
        if this is None:
            continue
        head = before + key
        for first, mine, theirs in (
            (0, this.slots, other.slots if other else b""),
            (layout.LOCAL_OFFSET, this.local_slots, other.local_slots if other else b""),
        ):
            if mine != theirs and mine:
                known = theirs if len(theirs) == len(mine) else b""
                runs = found.setdefault(layout.endpoint_map(len(mine) // size), [])
                runs += _runs(head, between, first, mine, known, size)
    return found


def _runs(head: bytes, between: bytes, first: int, mine: bytes, theirs: bytes, size: int) -> list[bytes]:
    slots = [mine[at : at + size] for at in range(0, len(mine), size)]
    numbered = zip(_numbers(first, len(slots), between), slots, strict=True)
    if theirs:
        others = [theirs[at : at + size] for at in range(0, len(theirs), size)]
        parts = [number + mine for (number, mine), other in zip(numbered, others, strict=True) if mine != other]
    else:
        parts = [number + slot for number, slot in numbered]
    return [head + head.join(parts[start : start + RUN]) for start in range(0, len(parts), RUN)]


@lru_cache(1024)
def _numbers(first: int, count: int, between: bytes) -> tuple[bytes, ...]:
    """What stands between a Service's key and each of its endpoints: the endpoint's number and the data's header."""
    return tuple(number.to_bytes(4, sys.byteorder) + between for number in range(first, first + count))
