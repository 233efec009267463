"""Which name servers a machine has: its resolv.conf, and behind systemd-resolved's stub the real ones.

127.0.0.53 in a resolv.conf is a stub that answers nobody outside its own network namespace, and that may itself ask the
cluster (`sampan dns enable-host`); forwarding to it would fail or go round in circles.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

log = logging.getLogger(__name__)

STUBS = frozenset({"127.0.0.53", "127.0.0.54"})
RESOLVED = Path("/run/systemd/resolve/resolv.conf")
"""Where systemd-resolved writes the servers it asks itself."""
MAX_SERVERS = 15


def name_servers(path: str | Path, resolved: str | Path = RESOLVED) -> list[str]:
    """The addresses of a resolv.conf's servers; none if it cannot be read, or names a stub that nothing is behind."""
    found = nameservers_in(_read(path))
    if any(address in STUBS for address in found):
        found = [address for address in found if address not in STUBS] or [
            address for address in nameservers_in(_read(resolved)) if address not in STUBS
        ]
    return found


def behind_stub(path: Path, resolved: Path = RESOLVED) -> Path:
    """The resolv.conf that names real servers: the one given, or systemd-resolved's if that one names its stub."""
    stub = path.exists() and any(address in STUBS for address in nameservers_in(_read(path)))
    return resolved if stub and resolved.exists() else path


def search_domains(path: str | Path) -> tuple[str, ...]:
    """The search path of a resolv.conf, in lower case, without last dots."""
    found: tuple[str, ...] = ()
    for words in _lines(_read(path)):
        if words[0] in ("search", "domain"):
            found = tuple(word.lower().rstrip(".") for word in words[1:])
    return tuple(domain for domain in found if domain)


def with_server(text: str, server: str) -> str:
    """A resolv.conf with this name server instead of its own; search path and options stay."""
    kept = [" ".join(words) for words in _lines(text) if words[0] in ("search", "domain", "options")]
    return "".join(f"{line}\n" for line in (f"nameserver {server}", *kept))


def nameservers_in(text: str) -> list[str]:
    servers = [words[1] for words in _lines(text) if words[0] == "nameserver"]
    return servers[:MAX_SERVERS]


def _lines(text: str) -> Sequence[list[str]]:
    words = [line.split("#")[0].split(";")[0].split() for line in text.splitlines()]
    return [line for line in words if len(line) > 1]


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError as error:
        log.warning("reading %s: %s", path, error.strerror)
        return ""
