"""Address pools: `PoolConfig` is the configuration as written, `Pool` the checked form that allocation uses.

A PoolConfig has the fields of MetalLB's IPAddressPool, flattened. It comes from the configuration of `sampan up` or a
file. `compile_pools` checks all pools together. `allocation.py` uses them.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from sampan.machinery import names
from sampan.machinery.selectors import LabelSelector, from_label_selector

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
MAX_QUOTED = 100
_BUGGY = (0, 255)
"""Last bytes of IPv4 addresses that some old equipment takes for network or broadcast addresses."""


class PoolError(ValueError):
    """Invalid pools; each line of the message names a field and says what is wrong."""


class Expression(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: list[str] = []


class Selector(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A metav1.LabelSelector. Unknown fields are refused: an empty selector admits everybody."""

    match_labels: dict[str, str] = {}
    match_expressions: list[Expression] = []


class PoolConfig(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """One pool as written. `addresses` are CIDRs or `FIRST-LAST`.

    With `auto_assign` off, only Services that name the pool or one of its addresses get one. `namespaces` and
    `service_selectors` (label selectors) limit who may use it.
    The pool of the lowest `priority` above 0 is used first.
    """

    name: str = "default"
    addresses: list[str] = []
    auto_assign: bool = True
    avoid_buggy_ips: bool = msgspec.field(default=False, name="avoidBuggyIPs")
    priority: int = 0
    namespaces: list[str] = []
    service_selectors: list[Selector] = []


@dataclass(frozen=True, slots=True)
class Range:
    """Addresses of one family, from `first` to `last`, both included, as numbers."""

    family: int
    first: int
    last: int

    def overlaps(self, other: Range) -> bool:
        return self.family == other.family and self.first <= other.last and other.first <= self.last

    def __str__(self) -> str:
        return f"{to_text(self.family, self.first)}-{to_text(self.family, self.last)}"


@dataclass(frozen=True, slots=True)
class Pool:
    """A checked pool."""

    name: str
    ranges: tuple[Range, ...]
    auto_assign: bool = True
    avoid_buggy_ips: bool = False
    priority: int = 0
    namespaces: frozenset[str] = frozenset()
    selectors: tuple[LabelSelector, ...] = ()

    @property
    def is_restricted(self) -> bool:
        return bool(self.namespaces or self.selectors)

    def admits(self, namespace: str, labels: dict[str, str]) -> bool:
        """Whether a Service may use this pool."""
        if self.namespaces and namespace not in self.namespaces:
            return False
        return not self.selectors or any(selector.matches(labels) for selector in self.selectors)

    def contains(self, address: str) -> bool:
        """Whether an address, in canonical form, may be given out."""
        parsed = parse_address(address)
        if parsed is None or self._is_buggy(parsed.version, int(parsed)):
            return False
        return any(one.family == parsed.version and one.first <= int(parsed) <= one.last for one in self.ranges)

    def of_family(self, family: int) -> Iterator[str]:
        """Its addresses of a family, lowest first. Lazy, because an IPv6 range may be huge."""
        for one in self.ranges:
            if one.family == family:
                for number in _count(one.first, one.last):
                    if not self._is_buggy(family, number):
                        yield to_text(family, number)

    def _is_buggy(self, family: int, number: int) -> bool:
        return self.avoid_buggy_ips and family == 4 and number & 0xFF in _BUGGY


def to_text(family: int, number: int) -> str:
    return str(ipaddress.IPv4Address(number) if family == 4 else ipaddress.IPv6Address(number))


def quoted(text: str) -> str:
    """Text of users for a message: an annotation may have 256 KiB, and line ends that would forge lines of a log."""
    return json.dumps(text if len(text) <= MAX_QUOTED else text[:MAX_QUOTED] + "…", ensure_ascii=False)


def parse_address(text: str) -> Address | None:
    """The address; None if the text is not an address or has a zone (fe80::1%eth0)."""
    try:
        parsed = ipaddress.ip_address(text.strip())
    except ValueError:
        return None
    return None if isinstance(parsed, ipaddress.IPv6Address) and parsed.scope_id else parsed


def parse_range(text: str) -> Range:
    """A CIDR, one address or `FIRST-LAST`. Raises ValueError that says what is wrong."""
    first_text, dash, last_text = text.partition("-")
    if not dash:
        network = ipaddress.ip_network(text.strip(), strict=False)
        return Range(network.version, int(network.network_address), int(network.broadcast_address))
    first, last = parse_address(first_text), parse_address(last_text)
    if first is None or last is None or first.version != last.version:
        raise ValueError(f"{text!r}: expected a CIDR or FIRST-LAST, as in 10.2.2.200-10.2.2.250")
    if int(first) > int(last):
        raise ValueError(f"{text!r}: the first address is behind the last")
    return Range(first.version, int(first), int(last))


def compile_pools(configs: Sequence[PoolConfig]) -> tuple[Pool, ...]:
    """Check pools. Raises PoolError that lists all problems."""
    problems: list[str] = []
    pools = tuple(_compile(f"pools[{index}]", config, problems) for index, config in enumerate(configs))
    names = [pool.name for pool in pools]
    problems += [f"pools: the name {name!r} is used twice" for name in sorted(set(names)) if names.count(name) > 1]
    every = [(pool.name, one) for pool in pools for one in pool.ranges]
    for index, (name, one) in enumerate(every):
        problems += [
            f"pools: {one} of {name!r} overlaps {other} of {other_name!r}"
            for other_name, other in every[:index]
            if one.overlaps(other)
        ]
    if problems:
        raise PoolError("\n".join(problems))
    return pools


def read_pools(document: Any) -> tuple[Pool, ...]:
    """Pools from plain data: `{pools: [...]}` or the list alone. Raises PoolError."""
    listed = document.get("pools", []) if isinstance(document, dict) else document
    try:
        configs = msgspec.convert(listed if listed is not None else [], list[PoolConfig])
    except msgspec.ValidationError as error:
        raise PoolError(str(error)) from error
    return compile_pools(configs)


def _compile(path: str, config: PoolConfig, problems: list[str]) -> Pool:
    ranges: list[Range] = []
    problems += [f"{path}.name: {config.name!r}: {problem}" for problem in names.dns1123_subdomain(config.name)]
    if config.priority < 0:
        problems.append(f"{path}.priority: {config.priority}: must not be below 0")
    for index, namespace in enumerate(config.namespaces):
        found = names.dns1123_label(namespace)
        problems += [f"{path}.namespaces[{index}]: {namespace!r}: {problem}" for problem in found]
    if not config.addresses:
        problems.append(f"{path}.addresses: must not be empty")
    for index, text in enumerate(config.addresses):
        try:
            ranges.append(parse_range(text))
        except ValueError as error:
            problems.append(f"{path}.addresses[{index}]: {error}")
    return Pool(
        name=config.name,
        ranges=tuple(ranges),
        auto_assign=config.auto_assign,
        avoid_buggy_ips=config.avoid_buggy_ips,
        priority=config.priority,
        namespaces=frozenset(config.namespaces),
        selectors=tuple(map(from_label_selector, config.service_selectors)),
    )


def _count(first: int, last: int) -> Iterator[int]:
    """As range(first, last + 1), whose length Python limits to 63 bits."""
    while first <= last:
        yield first
        first += 1
