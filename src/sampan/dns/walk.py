"""The way of a name through a resolver: which names it asks for in which order, and what each answer means. Pure.

It is resolv.conf(5)'s way, as glibc goes it. `query` asks the questions; both are what `sampan dns query` shows.
"""

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sampan.dns import wire
from sampan.dns.decode import name_text
from sampan.dns.wire import Record, Reply

DEFAULT_NDOTS = 1
MAX_NDOTS = 15
MAX_LABEL = 63


@dataclass(frozen=True, slots=True)
class Resolver:
    """What a resolv.conf says."""

    servers: tuple[str, ...] = ("127.0.0.1",)
    searches: tuple[str, ...] = ()
    ndots: int = DEFAULT_NDOTS


@dataclass(frozen=True, slots=True)
class Step:
    """A name to ask for, and why."""

    name: str
    why: str


def parse(text: str) -> Resolver:
    """Read a resolv.conf."""
    servers: list[str] = []
    searches: tuple[str, ...] = ()
    ndots = DEFAULT_NDOTS
    for line in text.splitlines():
        match line.split("#")[0].split(";")[0].split():
            case ["nameserver", address, *_]:
                servers.append(address)
            case ["search" | "domain", *domains]:
                searches = tuple(name for domain in domains if (name := domain.rstrip(".")))
            case ["options", *options]:
                for option in options:
                    key, _, value = option.partition(":")
                    ndots = min(int(value), MAX_NDOTS) if key == "ndots" and value.isdecimal() else ndots
    return Resolver(tuple(servers) or ("127.0.0.1",), searches, ndots)


def steps(name: str, resolver: Resolver) -> Iterator[Step]:
    """What is asked for, in this order, until something is found."""
    if name.endswith("."):
        yield Step(name, "a last dot: the name as it is, no search path")
        return
    dots, least = name.count("."), resolver.ndots
    counted = f"{dots} dot{'' if dots == 1 else 's'}"
    if dots >= least:
        yield Step(f"{name}.", f"{counted}, at least ndots:{least}: first as it is")
    for number, domain in enumerate(resolver.searches):
        few = f"{counted}, fewer than ndots:{least}: first the search path" if not number and dots < least else ""
        yield Step(f"{name}.{domain}.", few or f"search path, entry {number + 1}")
    if dots < least:
        yield Step(f"{name}.", "the search path is used up: as it is")


def check(name: str) -> None:
    """Raises ValueError, which says what is wrong, for what cannot be asked for."""
    labels = name.removesuffix(".").split(".") if name != "." else []
    if not name:
        raise ValueError("the name is empty")
    if "" in labels:
        raise ValueError(f"{name!r} is no domain name: there is nothing between two dots")
    if longest := next((label for label in labels if len(label) > MAX_LABEL), ""):
        raise ValueError(f"{name!r} is no domain name: {longest!r} is longer than {MAX_LABEL} characters")
    try:
        wire.encode_name(".".join(labels))
    except ValueError:
        raise ValueError(f"{name!r} is no domain name: it is too long, or has characters that are no bytes") from None


def reverse(text: str) -> str:
    """The name that leads from an address back to names; nothing if the text is no address."""
    try:
        return f"{ipaddress.ip_address(text).reverse_pointer}."
    except ValueError:
        return ""


def verdict(reply: Reply | None, kind: int) -> tuple[bool, str]:
    """Whether the way ends with this answer, and what it means."""
    if reply is None:
        return False, "no answer in time"
    wanted = wire.TYPE_NAMES.get(kind, f"TYPE{kind}")
    match reply.rcode:
        case wire.NXDOMAIN if aliases := [record for record in reply.answers if record.type == wire.CNAME]:
            return False, f"NXDOMAIN: an alias for {name_text(aliases[-1].data)}., and there is no such name"
        case wire.NXDOMAIN:
            return False, "NXDOMAIN: there is no such name"
        case wire.NOERROR if any(record.type == kind for record in reply.answers):
            return True, "NOERROR: found"
        case wire.NOERROR:
            alias = " (an alias that leads to none)" if reply.answers else ""
            return False, f"NOERROR without answer: the name exists, but has no {wanted} record{alias}"
    return False, f"{wire.RCODE_NAMES.get(reply.rcode, reply.rcode)}: the server could not answer"


def shown(records: Sequence[Record]) -> Iterator[str]:
    """Records as dig shows them."""
    for record in records:
        kind = wire.TYPE_NAMES.get(record.type, f"TYPE{record.type}")
        yield f"{record.name}. {record.ttl} IN {kind} {_data(record)}"


def _data(record: Record) -> str:
    data = record.data
    match record.type:
        case wire.A | wire.AAAA if len(data) in (4, 16):
            return str(ipaddress.ip_address(data))
        case wire.CNAME | wire.PTR | wire.NS:
            return f"{name_text(data)}."
        case wire.SRV if len(data) > 6:
            numbers = " ".join(str(int.from_bytes(data[at : at + 2], "big")) for at in (0, 2, 4))
            return f"{numbers} {name_text(data[6:])}."
        case wire.TXT if data:
            return f'"{data[1 : 1 + data[0]].decode("latin-1")}"'
    return f"\\# {len(data)} {data.hex()}"
