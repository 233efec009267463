"""What changes without a reload: backends, certificates and new hosts, as text for nginx's shared memory.

`texts()` says what the dictionaries must hold; `changes()` compares with what they hold already. The other end is
lua/state.lua.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sampan.ingress.model import (
    Backend,
    BackendProtocol,
    Canary,
    Certificate,
    Configuration,
    CookieAffinity,
    Filters,
    Host,
    HostTLS,
    PathType,
    Proxying,
    Route,
    Source,
    Text,
    Variable,
)
from sampan.ingress.nginx.directives import variable
from sampan.ingress.nginx.servers import server_name

Dictionary = dict[str, str]
DICTIONARIES = ("backends", "certificates", "fresh")


@dataclass(slots=True)
class Pushed:
    """The contents of the dictionaries, by key."""

    backends: Dictionary = field(default_factory=dict)
    certificates: Dictionary = field(default_factory=dict)
    fresh: Dictionary = field(default_factory=dict)

    def __or__(self, newer: Pushed) -> Pushed:
        """Everything that is in one of them; what is in both as the newer has it."""
        return Pushed(self.backends | newer.backends, self.certificates | newer.certificates, self.fresh | newer.fresh)


class Encoder:
    """Encodes a configuration; what is the same object as before is not encoded again."""

    def __init__(self) -> None:
        self._backends: dict[str, tuple[Backend, object, str]] = {}
        self._certificates: dict[str, tuple[Certificate, str]] = {}

    def texts(self, configuration: Configuration, fallback: Certificate) -> Pushed:
        """`fallback` is the default certificate where the configuration names none that exists."""
        canaries: dict[str, dict[str, tuple[Canary, ...]]] = {}
        for host in configuration.hosts:
            for route in host.routes:
                if route.canaries:
                    key = f"{server_name(host.name)} {route.path.value}"
                    canaries.setdefault(route.backend, {})[key] = route.canaries
        backends = {}
        for name, backend in configuration.backends.items():
            own = canaries.get(name)
            known = self._backends.get(name)
            if known is None or known[0] is not backend or known[1] != own:
                known = self._backends[name] = (backend, own, _backend(backend, own or {}))
            backends[name] = known[2]
        for name in self._backends.keys() - backends.keys():
            del self._backends[name]
        return Pushed(backends, self._certificate_texts(configuration, fallback))

    def _certificate_texts(self, configuration: Configuration, fallback: Certificate) -> Dictionary:
        texts: Dictionary = {}
        for name, certificate in (*configuration.certificates.items(), (fallback.name, fallback)):
            known = self._certificates.get(name)
            if known is None or known[0] is not certificate:
                known = self._certificates[name] = (certificate, _pem(certificate))
            texts["pem " + name] = known[1]
        for name in self._certificates.keys() - configuration.certificates.keys() - {fallback.name}:
            del self._certificates[name]
        default = configuration.default_certificate
        texts["host "] = default if default in configuration.certificates else fallback.name
        for host in configuration.hosts:
            if host.tls and host.tls.certificate in configuration.certificates:
                for name in (host.name, *host.aliases, host.redirect_from):
                    if name and not name.startswith("~"):
                        texts["host " + name.lower()] = host.tls.certificate
        return texts


def fresh_host(host: Host, redirect_code: int) -> str:
    """A new host for lua/fresh.lua, which serves it until nginx.conf does; "" where it needs more than plain routes."""
    plain = replace(host, routes=(), tls=None, name="", source=Source())
    if not host.name or host.name.startswith("*") or plain != Host(""):
        return ""
    if host.tls is not None and host.tls != HostTLS(host.tls.certificate):
        return ""
    for route in host.routes:
        filters = replace(route.filters, https_redirect=False, https_redirect_keeps_slash=False)
        usual = (Filters(), Proxying(), BackendProtocol.HTTP, "", False)
        found = (filters, route.proxying, route.protocol, route.fallback, route.is_default)
        if found != usual or not route.backend or route.path.type is PathType.REGEX:
            return ""
    ordered = sorted(host.routes, key=lambda r: (r.path.type is PathType.EXACT, len(r.path.value)), reverse=True)
    return json.dumps([_fresh_route(route, redirect_code) for route in ordered])


def _fresh_route(route: Route, redirect_code: int) -> dict[str, object]:
    source, key = route.source, route.key
    return {
        "path": route.path.value,
        "is_exact": route.path.type is PathType.EXACT,
        "redirect": redirect_code if route.filters.https_redirect else 0,
        "keeps_slash": route.filters.https_redirect_keeps_slash,
        "variables": [
            source.namespace, source.name, key.service, key.port, route.path.value, str(key), route.backend,
        ],
    }  # fmt: skip


def _pem(certificate: Certificate) -> str:
    return (certificate.key.strip() + b"\n" + certificate.certificate.strip() + b"\n").decode("ascii", "replace")


def mark(name: str) -> str:
    """Names a backend in affinity cookies without telling its name."""
    return f"{zlib.crc32(name.encode()):08x}"


def _backend(backend: Backend, canaries: Mapping[str, tuple[Canary, ...]]) -> str:
    balancing = backend.balancing
    data: dict[str, object] = {
        "e": [[f"[{e.address}]" if ":" in e.address else e.address, e.port] for e in backend.endpoints],
        "a": balancing.algorithm,
        "mark": mark(backend.name),
    }
    if balancing.hash_by:
        data["h"] = _parts(balancing.hash_by)
        if balancing.subset_size > 0:
            data["s"] = balancing.subset_size
    if balancing.affinity:
        data["k"] = _affinity(balancing.affinity, backend.name)
    if canaries:
        data["c"] = {key: [_canary(canary) for canary in rules] for key, rules in canaries.items()}
    return json.dumps(data, separators=(",", ":"))


def _parts(text: Text) -> list[list[object]]:
    parts: list[list[object]] = []
    for part in text:
        if isinstance(part, Variable):
            variable(part.name)
            parts.append([True, part.name])
        else:
            parts.append([False, part])
    return parts


def _affinity(affinity: CookieAffinity, backend: str) -> dict[str, object]:
    data: dict[str, object] = {"name": affinity.name, "mark": mark(backend)}
    optional = {
        "persistent": affinity.mode == "persistent",
        "path": affinity.path,
        "domain": affinity.domain,
        "same_site": affinity.same_site,
        "conditional": affinity.conditional_same_site_none,
        "change_on_failure": affinity.change_on_failure,
        "legacy": affinity.canary == "legacy",
    }
    data |= {key: value for key, value in optional.items() if value}
    exact = {"secure": affinity.secure, "expires": affinity.expires, "max_age": affinity.max_age}
    return data | {key: value for key, value in exact.items() if value is not None}


def _canary(canary: Canary) -> dict[str, object]:
    data: dict[str, object] = {
        "backend": canary.backend,
        "mark": mark(canary.backend),
        "weight": max(0, canary.weight),
        "total": max(1, canary.weight_total),
    }
    if canary.header:
        data["header"] = canary.header.lower().replace("-", "_")
        if canary.header_value is not None:
            data["value"] = canary.header_value
        elif canary.header_pattern is not None:
            data["pattern"] = canary.header_pattern
    if canary.cookie:
        data["cookie"] = canary.cookie
    return data


def changes(before: Pushed | None, after: Pushed, with_deletions: bool) -> bytes:
    """The body of a push, empty when nothing changes. `before` None: replace everything."""
    body = {}
    for name in DICTIONARIES:
        new: Dictionary = getattr(after, name)
        if before is None:
            body[name] = {"set": new, "replace": True}
            continue
        old: Dictionary = getattr(before, name)
        # The usual push changes one of thousands of keys: comparing identities first keeps that cheap.
        changed = {key: text for key, text in new.items() if old.get(key) is not text and old.get(key) != text}
        gone = [key for key in old if key not in new] if with_deletions else []
        if changed or gone:
            body[name] = {"set": changed, "delete": gone}
    return json.dumps(body).encode() if body else b""
