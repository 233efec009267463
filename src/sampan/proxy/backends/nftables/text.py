"""A ledger in nft's language, for `--dry-run`, for golden files and for people. What is applied is encode.py's."""

from collections.abc import Iterable, Iterator

from sampan.proxy.backends.nftables import layout
from sampan.proxy.backends.nftables.base import affinity_maps, endpoint_map
from sampan.proxy.backends.nftables.chains import parse, rules_text
from sampan.proxy.backends.nftables.encode import VERDICTS
from sampan.proxy.backends.nftables.ledger import Ledger
from sampan.proxy.backends.nftables.targets import Target


def script(ledger: Ledger, family: int) -> str:
    """What belongs on top of base.ruleset, in an order that depends on the content alone."""
    ordered = sorted(ledger.targets.items())
    ip = "ip" if family == 4 else "ip6"
    made = "".join(_chain(name, family) for name in ledger.chains)
    counts = sorted({spread.endpoints for spread in map(parse, ledger.chains) if spread})
    parts = [endpoint_map(family, count) for count in counts]
    parts += [affinity_maps(family, service) for service in sorted(ledger.affinities)]
    parts.append(f"table {ip} {layout.TABLE} {{\n{made}}}\n")
    for name, verdict in VERDICTS.items():
        lines = [f"{layout.service_parts(key)} : jump {verdict(target)}" for key, target in ordered if verdict(target)]
        parts.append(_filled(ip, name, lines))
    parts += [_filled(ip, name, lines) for name, lines in sorted(_endpoints(ordered, family).items())]
    for service, affinity in sorted(ledger.affinities.items()):
        numbers = [f"{layout.slot_text(slot)} : {_priority(n)}" for n, slot in sorted(affinity.numbers.items())]
        parts.append(_filled(ip, layout.NUMBERS + service, numbers))
        for prefix, slots in ((layout.SLOTS, affinity.slots), (layout.LOCAL_SLOTS, affinity.local_slots)):
            of_kind = [f"{_priority(n)} : {layout.slot_text(slot)}" for n, slot in sorted(slots.items())]
            parts.append(_filled(ip, prefix + service, of_kind))
    counted = [str(layout.service_parts(key)) for key, _ in ordered]
    parts += [_filled(ip, name, counted) for name in layout.COUNTED]
    parts.append(_filled(ip, layout.CLUSTER_IPS, ledger.cluster_ips))
    parts.append(_filled(ip, layout.HAIRPINS, (f"{ip} . {ip}" for ip in ledger.hairpins)))
    parts.append(_filled(ip, layout.ALLOWED_SOURCES, _sources(ordered)))
    return "".join(parts)


def _priority(number: int) -> str:
    """A number as nft writes a packet's priority: two hexadecimal halves."""
    return f"{number >> 16:x}:{number & 0xFFFF:x}"


def _chain(name: str, family: int) -> str:
    return f"\tchain {name} {{\n" + "".join(f"\t\t{rule}\n" for rule in rules_text(name, family)) + "\t}\n"


def _filled(ip: str, name: str, lines: Iterable[str]) -> str:
    text = ",\n\t".join(lines)
    return f"add element {ip} {layout.TABLE} {name} {{\n\t{text}\n}}\n" if text else ""


def _endpoints(ordered: Iterable[tuple[bytes, Target]], family: int) -> dict[str, list[str]]:
    """The lines of every map of endpoints."""
    size = layout.slot_bytes(family)
    found: dict[str, list[str]] = {}
    for key, target in ordered:
        parts = layout.service_parts(key)
        for first, slots in ((0, target.slots), (layout.LOCAL_OFFSET, target.local_slots)):
            lines = found.setdefault(layout.endpoint_map(len(slots) // size), [])
            for number, at in enumerate(range(0, len(slots), size), first):
                lines.append(f"{parts} . {number} : {layout.slot_text(slots[at : at + size])}")
    return found


def _sources(ordered: Iterable[tuple[bytes, Target]]) -> Iterator[str]:
    for key, target in ordered:
        for low, high in target.sources:
            first, last = (layout.address_text(each[len(key) :]) for each in (low, high))
            yield f"{layout.service_parts(key)} . {first}-{last}"
