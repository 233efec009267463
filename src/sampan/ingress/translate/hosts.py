"""One host: the Ingresses that name it, merged as ingress-nginx merges them.

Pure. The oldest Ingress wins: it makes the host, its path stays when a newer one has the same, and of what a host has
only once (TLS, client certificates, aliases) the first that brings it counts. `use-regex` or a `rewrite-target` on any
path of the host turns all of its paths into case-insensitive regular expressions.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from sampan.ingress.annotations import regex
from sampan.ingress.model import (
    BackendKey,
    Canary,
    ErrorPages,
    Filters,
    Host,
    HostTLS,
    LoadBalancing,
    Passthrough,
    PathMatch,
    PathType,
    Rewrite,
    Route,
    Settings,
    Source,
    UpstreamTLS,
)
from sampan.ingress.settings import value
from sampan.ingress.translate.certificates import Checked
from sampan.ingress.translate.filters import Features
from sampan.ingress.translate.ingresses import Part, PathRule
from sampan.ingress.translate.types import Key, Options, Problem, Shadowed, Wanted

T = TypeVar("T")

DEFAULT_BACKEND = "upstream-default-backend"
"""The name of the Backend of --default-backend-service."""


_NO_NAMES: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Merged:
    """A host and what its merging has found. `host` is None where only canaries name it."""

    host: Host | None
    wanted: tuple[Wanted, ...] = ()
    problems: tuple[Problem, ...] = ()
    shadowed: tuple[Shadowed, ...] = ()
    certificates: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Location:
    """A path while it is merged. `key` is None where nothing but the default backend takes it."""

    path: str
    type: PathType
    part: Part
    key: BackendKey | None
    is_default: bool = False


class _Merging:
    """The state of one merging; nothing of it outlives `merge`."""

    def __init__(
        self,
        name: str,
        parts: list[Part],
        settings: Settings,
        options: Options,
        certificates: Mapping[Key, Checked | None],
    ) -> None:
        self.name, self.settings, self.options, self.certificates = name, settings, options, certificates
        self.main = [each for each in parts if not each.is_canary]
        self.canaries = [each for each in parts if each.is_canary]
        self.problems: list[Problem] = []
        self.shadowed: list[Shadowed] = []
        self.wanted: dict[tuple[str, Source], Wanted] = {}
        self.used_certificates: set[str] = set()
        self._filters: dict[tuple[int, bool, bool], Filters] = {}

    def tell(self, part: Part, reason: str, message: str) -> None:
        self.problems.append(Problem(part.source, reason, message))

    # --- locations

    def locations(self) -> list[_Location]:
        """Every path of the host once, and "/" in any case."""
        first = self.main[0]
        found: dict[tuple[str, PathType], _Location] = {}
        if self.name or first.catch_all is not None or first.default is not None:
            found["/", PathType.PREFIX] = _Location("/", PathType.PREFIX, first, first.default, is_default=True)
        for part in self.main:
            if not self.name and part.catch_all is not None:
                self._claim(found, part, PathRule("", "/", PathType.PREFIX, part.catch_all))
            for rule in part.rules:
                if rule.host == self.name:
                    self._claim(found, part, rule)
        return list(found.values())

    def _claim(self, found: dict[tuple[str, PathType], _Location], part: Part, rule: PathRule) -> None:
        older = found.get((rule.path, rule.type))
        if older is None or older.is_default:
            found[rule.path, rule.type] = _Location(rule.path, rule.type, part, rule.key)
        elif older.part is not part or older.key != rule.key:
            self._lose(_Location(rule.path, rule.type, part, rule.key), older)

    def _lose(self, loser: _Location, winner: _Location) -> None:
        host = self.name or "*"
        message = (
            f"host {host}: path {winner.path} ({winner.type.value}) of Ingress {winner.part.source.namespace}/"
            f"{winner.part.source.name} is older; path {loser.path} ({loser.type.value}) of this Ingress is not served"
        )
        self.tell(loser.part, "PathConflict", message)
        self.shadowed.append(Shadowed(self.name, loser.path, loser.type, loser.part.source, winner.part.source))

    def ordered(self, found: list[_Location], is_regex: bool) -> list[tuple[PathMatch, _Location]]:
        """Paths as they are tried: exact ones first, then the longest; with regular expressions, the longest text."""
        ranked = sorted(found, key=lambda each: each.path, reverse=True)
        ranked.sort(key=lambda each: -len(each.path))
        if is_regex:
            return self._regular(ranked)
        matches: dict[PathMatch, _Location] = {}
        age = {id(part): number for number, part in enumerate(self.main)}
        for each in sorted(found, key=lambda each: age[id(each.part)]):
            match = _match(each)
            if match in matches:
                self._lose(each, matches[match])
            else:
                matches[match] = each
        kept = {id(each): match for match, each in matches.items()}
        order = [(kept[id(each)], each) for each in ranked if id(each) in kept]
        return sorted(order, key=lambda pair: (pair[0].type is not PathType.EXACT, -len(pair[0].value)))

    def _regular(self, ranked: list[_Location]) -> list[tuple[PathMatch, _Location]]:
        taken: dict[str, _Location] = {}
        for each in ranked:
            if wrong := regex.check(each.path):
                message = f"host {self.name or '*'}: path {each.path[:60]!r}: {wrong}; the path is not served"
                self.tell(each.part, "InvalidPath", message)
            elif each.path in taken:
                self._lose(each, taken[each.path])
            else:
                taken[each.path] = each
        return [(PathMatch(PathType.REGEX, path), each) for path, each in taken.items()]

    # --- what paths have in common

    def filters(self, part: Part, is_redirected: bool, rewrite: Rewrite | None, pages: str) -> Filters:
        """The filters of a path of `part`; its paths share them, unless only one of them is rewritten or redirected."""
        found = part.features
        assert found is not None
        key = (id(part), is_redirected, rewrite is not None)
        if key not in self._filters:
            self._filters[key] = replace(
                found.filters,
                https_redirect=is_redirected,
                rewrite=rewrite,
                error_pages=ErrorPages(found.error_codes, pages, found.intercept) if found.error_codes else None,
            )
        return self._filters[key]

    def want(self, part: Part, key: BackendKey, features: Features) -> str:
        name = backend_name(key, features.balancing, features.service_upstream, self.settings)
        wanted = Wanted(name, key, features.balancing, features.service_upstream, part.source)
        self.wanted.setdefault((name, part.source), wanted)
        return name

    def want_default(self, part: Part) -> str:
        """The Backend that the annotation default-backend names, or else that of the whole controller; "" is none."""
        service = part.annotations.get("default-backend", "")
        if service:
            key = BackendKey(part.source.namespace, service, "")
            name = f"custom-default-backend/{key.namespace}/{key.service}"
            self.wanted.setdefault((name, part.source), Wanted(name, key, LoadBalancing(), False, part.source))
            return name
        return DEFAULT_BACKEND if self.options.default_backend_service else ""


def merge(
    name: str, parts: list[Part], settings: Settings, options: Options, certificates: Mapping[Key, Checked | None]
) -> Merged:
    """The host `name` from the Ingresses that name it, the oldest first. `certificates` are by Secret."""
    merging = _Merging(name, parts, settings, options, certificates)
    if not merging.main:
        for part in merging.canaries:
            message = f"host {name or '*'}: no other Ingress serves it; the canary is unused"
            merging.tell(part, "CanaryWithoutMain", message)
        return Merged(None, problems=tuple(merging.problems))
    found = merging.locations()
    is_regex = any(needs_regex(each.part, each.path) for each in found)
    order = merging.ordered(found, is_regex)
    tls = _tls(merging)
    canaries = _canaries(merging, found)
    routes = tuple(_route(merging, match, each, tls, tuple(canaries.get(id(each), ()))) for match, each in order)
    host = replace(_host(merging, found, order, tls), routes=routes)
    return Merged(
        host,
        tuple(merging.wanted.values()),
        tuple(merging.problems),
        tuple(merging.shadowed),
        frozenset(merging.used_certificates),
    )


def backend_name(key: BackendKey, balancing: LoadBalancing, service_upstream: bool, settings: Settings) -> str:
    """`namespace/service/port`, with a mark where it is balanced otherwise than Services are by default."""
    plain = f"{key.namespace}/{key.service}/{key.port}"
    usual = (
        balancing.affinity is None
        and balancing.algorithm == value(settings, "load-balance", str)
        and (balancing.hash_by or ()) == value(settings, "upstream-hash-by", tuple)
        and not balancing.subset_size
        and service_upstream == value(settings, "service-upstream", bool)
    )
    if usual:
        return plain
    return f"{plain}~{hashlib.blake2s(repr((balancing, service_upstream)).encode(), digest_size=6).hexdigest()}"


def needs_regex(part: Part, path: str) -> bool:
    """Whether this path of `part` makes every path of its host a regular expression."""
    return part.annotations.flag("use-regex") or _rewrite(part, path) is not None


def _rewrite(part: Part, path: str) -> Rewrite | None:
    rewrite = part.features.rewrite if part.features is not None else None
    return rewrite if rewrite is not None and rewrite.target != path else None


def _match(each: _Location) -> PathMatch:
    if each.type is PathType.EXACT:
        return PathMatch(PathType.EXACT, each.path)
    return PathMatch(PathType.PREFIX, each.path.rstrip("/") or "/")


# --- routes


def _route(
    merging: _Merging,
    match: PathMatch,
    each: _Location,
    tls: HostTLS | None,
    canaries: tuple[Canary, ...],
) -> Route:
    part, options = each.part, merging.options
    found = part.features
    assert found is not None
    pages = merging.want_default(part)
    if each.key is not None:
        backend, key = merging.want(part, each.key, found), each.key
    else:
        backend, key = (DEFAULT_BACKEND if options.default_backend_service else ""), default_key(options)
    filters = merging.filters(part, _is_redirected(merging, part, each.path, tls), _rewrite(part, each.path), pages)
    return Route(
        path=match,
        source=part.source,
        backend=backend,
        key=key,
        protocol=found.protocol,
        canaries=canaries,
        fallback=pages if part.annotations.get("default-backend", "") else "",
        filters=filters,
        proxying=found.proxying,
        upstream_tls=_shared_upstream_tls(merging, part),
        is_default=each.is_default and each.key is None,
    )


def default_key(options: Options) -> BackendKey:
    """The key of the controller's default backend."""
    namespace, _, service = options.default_backend_service.rpartition("/")
    return BackendKey(namespace, service, "")


def _is_redirected(merging: _Merging, part: Part, path: str, tls: HostTLS | None) -> bool:
    settings, found = merging.settings, part.annotations
    if any(path.startswith(each) for each in value(settings, "no-tls-redirect-locations", tuple)):
        return False
    if found.flag("force-ssl-redirect", value(settings, "force-ssl-redirect", bool)):
        return True
    return tls is not None and found.flag("ssl-redirect", value(settings, "ssl-redirect", bool))


def _canaries(merging: _Merging, found: list[_Location]) -> dict[int, list[Canary]]:
    """Canaries by the id of the location that they are an alternative to."""
    placed: dict[int, list[Canary]] = {}
    by_path = {(each.path, each.type): each for each in found if each.key is not None and not each.is_default}
    for part in merging.canaries:
        assert part.features is not None
        rules = [rule for rule in part.rules if rule.host == merging.name]
        if not merging.name and part.catch_all is not None:
            rules.append(PathRule("", "/", PathType.PREFIX, part.catch_all))
        for rule in rules:
            main = by_path.get((rule.path, rule.type))
            where = f"host {merging.name or '*'}: path {rule.path} ({rule.type.value})"
            if main is None:
                merging.tell(part, "CanaryWithoutMain", f"{where}: no other Ingress has it; the canary is unused")
            elif main.key == rule.key:
                merging.tell(part, "CanaryOfItself", f"{where}: the canary's Service is the main one's; it is unused")
            else:
                backend = merging.want(part, rule.key, part.features)
                placed.setdefault(id(main), []).append(_canary(part, backend))
    return placed


def _canary(part: Part, backend: str) -> Canary:
    found = part.annotations
    return Canary(
        backend=backend,
        source=part.source,
        header=found.get("canary-by-header", ""),
        header_value=found.find("canary-by-header-value", str),
        header_pattern=found.find("canary-by-header-pattern", str),
        cookie=found.get("canary-by-cookie", ""),
        weight=found.get("canary-weight", 0),
        weight_total=found.get("canary-weight-total", 100),
    )


# --- what a host has once


def _host(
    merging: _Merging, found: list[_Location], order: list[tuple[PathMatch, _Location]], tls: HostTLS | None
) -> Host:
    name, main = merging.name, merging.main
    root = _root(order)
    passthrough = None
    if name and merging.options.enable_ssl_passthrough and any(p.annotations.flag("ssl-passthrough") for p in main):
        if root is not None and root.key is not None and root.part.features is not None:
            backend = merging.want(root.part, root.key, root.part.features)
            passthrough = Passthrough(backend, root.part.source)
        else:
            merging.tell(main[0], "InvalidAnnotation", f"ssl-passthrough needs a path / of host {name}")
    for part in main:
        if part.annotations.flag("ssl-passthrough") and not merging.options.enable_ssl_passthrough:
            message = "ssl-passthrough has no effect: the controller runs without --enable-ssl-passthrough"
            merging.tell(part, "IgnoredAnnotation", message)
    www = any(each.part.annotations.flag("from-to-www-redirect") for each in found if each.key is not None)
    other = name.removeprefix("www.") if name.startswith("www.") else f"www.{name}"
    return Host(
        name=name,
        aliases=_first(main, "server-alias", _NO_NAMES) if name else (),
        tls=tls,
        passthrough=passthrough,
        redirect_from=other if www and name and not name.startswith("*") else "",
        app_root=root.part.annotations.get("app-root", "") if root is not None else "",
        snippet=_first(main, "server-snippet", ""),
        source=main[0].source,
    )


def _root(order: list[tuple[PathMatch, _Location]]) -> _Location | None:
    """The location that takes exactly "/"."""
    found = {match.type: each for match, each in order if match.value == "/"}
    return found.get(PathType.EXACT) or found.get(PathType.PREFIX) or found.get(PathType.REGEX)


def _first(parts: list[Part], annotation: str, default: T) -> T:
    """The first value that is not empty, of the default's type."""
    return next((found for each in parts if (found := each.annotations.get(annotation, default))), default)


def _shared_upstream_tls(merging: _Merging, part: Part) -> UpstreamTLS | None:
    """TLS to backends for `part`: as in ingress-nginx that of the host, of the first Ingress that brings a CA.

    Only Ingresses of one namespace share: a client certificate never goes to backends of another.
    """
    own = part.features.upstream_tls if part.features is not None else None
    if value(merging.settings, "proxy-ssl-location-only", bool):
        return own
    namespace = part.source.namespace
    near = [each.features for each in merging.main if each.features and each.source.namespace == namespace]
    found = [each.upstream_tls for each in near if each.upstream_tls]
    return next((each for each in found if each.ca), found[0] if found else None)


def _tls(merging: _Merging) -> HostTLS | None:
    """TLS of the host: the first Ingress that brings any; None where none does."""
    if not merging.name:
        return None
    ciphers = _first(merging.main, "ssl-ciphers", "")
    prefer = next((p.annotations.find("ssl-prefer-server-ciphers", bool) for p in merging.main
                   if "ssl-prefer-server-ciphers" in p.annotations.values), None)  # fmt: skip
    clients = next((each.features.clients for each in merging.main if each.features and each.features.clients), None)
    for part in merging.main:
        if part.tls:
            name = _certificate(merging, part)
            return HostTLS(name, clients, ciphers, prefer)
    return None


def _certificate(merging: _Merging, part: Part) -> str:
    """The name of the certificate that `part` brings for the host; "" is the default certificate."""
    secret = _tls_secret(merging, part)
    if not secret:
        return ""
    key, host = (part.source.namespace, secret), merging.name
    if key not in merging.certificates:
        return ""
    checked = merging.certificates[key]
    default = "the default certificate is served"
    if checked is None:
        merging.tell(part, "MissingSecret", f"host {host}: Secret {key[0]}/{secret} does not exist; {default}")
        return ""
    if checked.certificate is None:
        merging.tell(part, "InvalidCertificate", f"host {host}: {checked.wrong}; {default}")
        return ""
    if not _covers(checked, host):
        names = ", ".join(checked.names[:5]) or "no name"
        message = f"host {host}: the certificate in Secret {key[0]}/{secret} holds for {names}; {default}"
        merging.tell(part, "CertificateHostMismatch", message)
        return ""
    merging.used_certificates.add(checked.certificate.name)
    return checked.certificate.name


def _covers(checked: Checked, host: str) -> bool:
    return host in checked.names if host.startswith("*.") else checked.covers(host)


def _tls_secret(merging: _Merging, part: Part) -> str:
    """The Secret of the entry that lists the host; else the first whose certificate holds for it."""
    for each in part.tls:
        if any(host.lower() == merging.name for host in each.hosts):
            return each.secret_name
    for each in part.tls:
        checked = merging.certificates.get((part.source.namespace, each.secret_name)) if each.secret_name else None
        if checked is not None and checked.certificate is not None and _covers(checked, merging.name):
            return each.secret_name
    return ""
