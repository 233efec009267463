"""What `cache` may be told, and how it is read."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sampan.dns.corefile import Directive


@dataclass(frozen=True, slots=True)
class Share:
    """The bounds of one half of the cache. A time to live is brought between the least and the most."""

    capacity: int = 9984
    most: float = 3600
    least: float = 5
    disabled: tuple[str, ...] = ()
    """The zones whose answers of this kind are not kept."""

    def limit(self, ttl: float) -> float:
        return max(min(ttl, self.most), min(self.least, self.most))


@dataclass(frozen=True, slots=True)
class CacheOptions:
    zones: tuple[str, ...] = ("",)
    success: Share = Share()
    denial: Share = Share(most=1800)
    servfail: float = 5
    prefetch: int = 0
    """After so many hits an entry is renewed before it ends; 0: never."""
    prefetch_gap: float = 60
    """The longest pause between two of those hits."""
    prefetch_share: float = 0.1
    """It is renewed when so much of its time is left."""
    stale: float = 0
    """For how long after its end an entry may still be given."""
    verify: bool = False
    """Ask first, and give a stale entry only if that fails."""
    keep_ttl: bool = False
    """Answers have the time to live that they came with, however old they are."""

    def share(self, kind: str) -> Share:
        return self.success if kind == "success" else self.denial


def parse(directive: Directive, zones: tuple[str, ...]) -> CacheOptions:
    options = CacheOptions(zones)
    start = 0
    if directive.arguments and directive.arguments[0].isdecimal():
        most = directive.number(0, 1)
        options = replace(options, success=replace(options.success, most=most), denial=Share(most=most))
        start = 1
    options = replace(options, zones=directive.zones(start) or zones)
    for option in directive.options:
        read = _READERS.get(option.name)
        if read is None:
            raise option.unknown(_READERS)
        options = replace(options, **read(option, options))
    return options


def _share(kind: str) -> Callable[[Directive, CacheOptions], dict[str, Any]]:
    def read(option: Directive, options: CacheOptions) -> dict[str, Any]:
        given = option.expect(1, 3)
        before = options.share(kind)
        most = option.number(1, 1) if len(given) > 1 else before.most
        least = option.number(2) if len(given) > 2 else before.least
        return {kind: replace(before, capacity=option.number(0), most=most, least=least)}

    return read


def _prefetch(option: Directive, options: CacheOptions) -> dict[str, Any]:
    given = option.expect(1, 3)
    found: dict[str, Any] = {"prefetch": option.number(0)}
    if len(given) > 1:
        found["prefetch_gap"] = option.seconds(1)
    if len(given) > 2:
        share = given[2].removesuffix("%")
        if share == given[2] or not share.isdecimal() or not 10 <= int(share) <= 90:
            raise option.error(f"{given[2]!r} is not a percentage from 10% to 90%")
        found["prefetch_share"] = int(share) / 100
    return found


def _serve_stale(option: Directive, options: CacheOptions) -> dict[str, Any]:
    given = option.expect(0, 2)
    found: dict[str, Any] = {"stale": option.seconds(0) if given else 3600.0}
    if len(given) > 1:
        if given[1] not in ("immediate", "verify"):
            raise option.error(f"unknown refresh mode {given[1]!r}; there are immediate, verify")
        found["verify"] = given[1] == "verify"
    return found


def _servfail(option: Directive, options: CacheOptions) -> dict[str, Any]:
    option.expect(1)
    if (seconds := option.seconds(0)) > 300:
        raise option.error("SERVFAIL may be kept for 5m at most")
    return {"servfail": seconds}


def _disable(option: Directive, options: CacheOptions) -> dict[str, Any]:
    kind, *_ = option.expect(1, 999)
    if kind not in ("success", "denial"):
        raise option.error(f"cannot disable {kind!r}; there are success, denial")
    return {kind: replace(options.share(kind), disabled=option.zones(1) or options.zones)}


_READERS: dict[str, Callable[[Directive, CacheOptions], dict[str, Any]]] = {
    "success": _share("success"),
    "denial": _share("denial"),
    "prefetch": _prefetch,
    "serve_stale": _serve_stale,
    "servfail": _servfail,
    "disable": _disable,
    "keepttl": lambda option, options: {"keep_ttl": option.flag()},
}
