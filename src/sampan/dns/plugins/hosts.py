"""`hosts [FILE [ZONE…]] { [ADDRESS NAME…] … }`: names and addresses from a hosts file and from the Corefile itself."""

import asyncio
import ipaddress
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sampan.dns import wire
from sampan.dns.corefile import Directive, zones_of
from sampan.dns.plugins.base import Kind, Next, NoAnswer, Plugin, PluginContext, Request, in_zones
from sampan.dns.reverse import address_of
from sampan.dns.wire import Record, Reply, encode_name

log = logging.getLogger(__name__)

_DEFAULT_FILE = "/etc/hosts"


@dataclass(frozen=True, slots=True)
class HostsOptions:
    zones: tuple[str, ...]
    file: str = _DEFAULT_FILE
    entries: tuple[tuple[str, ...], ...] = ()
    """Lines of the Corefile: an address and its names."""
    ttl: int = 3600
    reverse: bool = True
    reload: float = 5.0
    fallthrough: tuple[str, ...] = ()


class Table:
    """Addresses by name and names by address."""

    def __init__(self, lines: Iterable[Iterable[str]]) -> None:
        self.addresses: dict[str, list[bytes]] = {}
        self.names: dict[str, list[str]] = {}
        for address, *names in lines:
            try:
                found = ipaddress.ip_address(address.partition("%")[0])
            except ValueError:
                continue
            for name in (name.lower().rstrip(".") for name in names):
                if not zones_of(name):
                    continue
                packed = self.addresses.setdefault(name, [])
                if found.packed not in packed:
                    packed.append(found.packed)
                self.names.setdefault(str(found), []).append(name)


class Hosts(Plugin):
    def __init__(self, options: HostsOptions, context: PluginContext) -> None:
        self._options = options
        self._context = context
        self._stamp: tuple[int, int] | None = None
        self._table = Table(())
        self._watching: asyncio.Task[None] | None = None
        self._read()

    async def start(self) -> None:
        if self._options.reload:
            self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def stop(self) -> None:
        if self._watching is not None:
            self._watching.cancel()

    async def serve(self, request: Request, next: Next) -> Reply:
        query, options = request.query, self._options
        if not in_zones(query.name, options.zones):
            return await next(request)
        reply = self._answer(query.name, query.type)
        if reply is not None:
            request.lasting = True
            return reply
        if in_zones(query.name, options.fallthrough):
            return await next(request)
        raise NoAnswer(f"{options.file} has no such name, and hosts does not fall through")

    def _answer(self, name: str, kind: int) -> Reply | None:
        """Records, or an empty answer for a name that is here with others; None for one that is not here."""
        if kind == wire.PTR and self._options.reverse:
            names = self._table.names.get(address_of(name), ())
            found = [Record(name, wire.PTR, encode_name(host), self._options.ttl) for host in dict.fromkeys(names)]
            return Reply(answers=tuple(found)) if found else None
        addresses = self._table.addresses.get(name)
        if addresses is None:
            return None
        size = {wire.A: 4, wire.AAAA: 16}.get(kind, 0)
        return Reply(
            answers=tuple(Record(name, kind, data, self._options.ttl) for data in addresses if len(data) == size)
        )

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._options.reload)
            self._read()

    def _read(self) -> None:
        """Read the file if it is another than before; what cannot be read is empty."""
        try:
            status = Path(self._options.file).stat()
            stamp, text = (status.st_mtime_ns, status.st_size), ""
            if stamp == self._stamp:
                return
            text = Path(self._options.file).read_text(errors="replace")
        except OSError as error:
            stamp, text = (0, 0), ""
            if self._stamp != stamp and self._options.file != _DEFAULT_FILE:
                log.warning("reading %s: %s", self._options.file, error.strerror)
        self._stamp = stamp
        lines = [words for line in text.splitlines() if len(words := line.split("#")[0].split()) > 1]
        self._table = Table([*self._options.entries, *lines])
        self._context.metrics.hosts_entries.set(sum(map(len, self._table.addresses.values())))
        if stamp[0]:
            self._context.metrics.hosts_reloaded.set(stamp[0] / 1e9)
        self._context.forget()


def parse(directive: Directive, zones: tuple[str, ...]) -> HostsOptions:
    inline = [option for option in directive.options if _is_address(option.name)]
    file = str(directive.path()) if directive.arguments else _DEFAULT_FILE
    values: dict[str, object] = {}
    for option in directive.options:
        match option.name:
            case name if _is_address(name):
                option.expect(1, 999)
            case "ttl":
                option.expect(1)
                values["ttl"] = option.number(0, 1, 65535)
            case "no_reverse":
                values["reverse"] = not option.flag()
            case "reload":
                option.expect(1)
                values["reload"] = option.seconds()
            case "fallthrough":
                values["fallthrough"] = option.zones() or ("",)
            case _:
                raise option.unknown(("ADDRESS NAME…", "fallthrough", "no_reverse", "reload", "ttl"))
    entries = tuple((option.name, *option.arguments) for option in inline)
    return HostsOptions(directive.zones(1) or zones, file, entries, **values)  # type: ignore[arg-type]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def make(options: HostsOptions, context: PluginContext) -> Plugin:
    return Hosts(options, context)


KIND = Kind("hosts", parse, make)
