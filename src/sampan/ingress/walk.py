"""What a request would meet, and what has become of an Ingress: `sampan ingress test` and `sampan explain ingress`.

Pure: from a Translation alone, with no look at a running nginx. The order of the steps is nginx's: the certificate
by SNI, the host, the location, redirects, who is let in, the rewrite, the backend.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from sampan.api.networking_v1 import Ingress
from sampan.ingress.annotations.table import ANNOTATIONS
from sampan.ingress.model import Backend, Canary, Configuration, Host, PathType, Route, Source, Text, Variable
from sampan.ingress.report import Report, Step, fine, note, wrong
from sampan.ingress.settings import value
from sampan.ingress.translate.ingresses import CLASS_ANNOTATION, is_ours
from sampan.ingress.translate.types import Objects, Options, Problem, Translation

_OWN_ANSWER = "nginx itself"


class NotAURL(ValueError):
    """What was asked for is no URL with http or https and a host."""


# --- a request


def request(
    translation: Translation,
    url: str,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    cookies: Mapping[str, str] | None = None,
    client: str = "",
) -> Report:
    """Follow a request for `url` from the address `client` ("" is one that every list lets in). Raises NotAURL."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        name = (parts.hostname or "").lower().rstrip(".")
    except ValueError as error:
        raise NotAURL(str(error)) from None
    if parts.scheme not in ("http", "https") or not name:
        raise NotAURL(f"{url!r} is no URL that begins with http:// or https://")
    steps = _Steps(translation, parts.scheme, name, parts.path or "/", method.upper(), headers or {}, cookies or {})
    return Report(f"{method.upper()} {url}", tuple(steps.walk(client)))


class _Steps:
    """One request on its way."""

    def __init__(
        self,
        translation: Translation,
        scheme: str,
        name: str,
        path: str,
        method: str,
        headers: Mapping[str, str],
        cookies: Mapping[str, str],
    ) -> None:
        self.translation, self.configuration = translation, translation.configuration
        self.scheme, self.name, self.path, self.method = scheme, name, path, method
        self.headers = {header.lower(): text for header, text in headers.items()}
        self.cookies = dict(cookies)

    def walk(self, client: str) -> Iterator[Step]:
        host, how = find_host(self.configuration, self.name)
        if self.scheme == "https":
            yield self._certificate(host)
            if host is not None and host.passthrough is not None:
                backend = self.configuration.backends.get(host.passthrough.backend)
                yield note("passthrough", f"TLS goes on to {host.passthrough.backend} as it is; no annotation holds")
                yield _endpoints(backend)
                return
        if host is None:
            yield wrong("host", f"no Ingress has a host {self.name}")
            yield self._nobody()
            return
        yield fine("host", how)
        if host.redirect_from == self.name:
            yield fine("answer", f"308 to {host.name} (from-to-www-redirect)")
            return
        if host.app_root and self.path == "/":
            yield fine("answer", f"302 to {host.app_root} (app-root)")
            return
        route = find_route(host, self.path)
        if route is None:
            yield wrong("path", f"no path of {host.name or 'the default host'} matches {self.path}")
            yield self._nobody()
            return
        yield from self._path(host, route)
        yield from self._annotations(host, route)
        answered = self._redirect(route)
        if answered is not None:
            yield answered
            return
        yield from self._access(route, client)
        if route.filters.denied:
            yield wrong("answer", f"503: {route.filters.denied}")
            return
        if route.filters.rewrite is not None:
            yield fine("rewrite", f"{self.path} becomes {rewritten(route, self.path)}")
        yield from self._backend(route)

    # --- steps

    def _certificate(self, host: Host | None) -> Step:
        tls = host.tls if host is not None else None
        if tls is not None and tls.certificate:
            return fine("certificate", f"of Secret {tls.certificate}")
        default = self.configuration.default_certificate
        text = f"the default certificate, of Secret {default}" if default else "a self-signed default certificate"
        if tls is not None:
            told = self._told(host.source if host is not None else Source(), "Certificate", "Secret")
            return note("certificate", text, told)
        return wrong("certificate", f"{text}: no Ingress has TLS for {self.name}")

    def _path(self, host: Host, route: Route) -> Iterator[Step]:
        ingress = f"{route.source.namespace}/{route.source.name}"
        if route.is_default:
            yield wrong("path", f"no path of {host.name or 'the default host'} matches {self.path}")
            return
        lost = [
            f"{_shown(each)} of {each.source.namespace}/{each.source.name} matches, too, and is tried later"
            for each in host.routes
            if each is not route and not each.is_default and matches(each, self.path)
        ]
        lost += [
            f"{each.path} ({each.type.value}) of {each.source.namespace}/{each.source.name} is not served: "
            f"{each.winner.namespace}/{each.winner.name} is older"
            for each in self.translation.shadowed
            if each.host == host.name and (each.path.rstrip("/") or "/") == (route.path.value.rstrip("/") or "/")
        ]
        yield fine("ingress", ingress)
        yield fine("path", f"{_shown(route)} matches {self.path}", lost)

    def _annotations(self, host: Host, route: Route) -> Iterator[Step]:
        found = self.translation.served.get(route.source)
        names = sorted(found.values) if found is not None else []
        if names:
            yield note("annotations", ", ".join(names))
        traps = list(_traps(self.translation, host, route))
        if traps:
            yield note("traps", traps[0], traps[1:])
        told = self._told(route.source)
        if told:
            yield note("problems", told[0], told[1:])

    def _told(self, source: Source, *reasons: str) -> list[str]:
        return [
            each.message
            for each in self.translation.problems
            if each.object == source and (not reasons or any(word in each.reason for word in reasons))
        ]

    def _redirect(self, route: Route) -> Step | None:
        filters = route.filters
        if self.scheme == "http" and filters.https_redirect:
            code = value(self.configuration.settings, "http-redirect-code", int)
            return fine("answer", f"{code} to https://{self.name}{self.path}")
        if filters.denied:
            return None
        if filters.redirect is not None:
            return fine("answer", f"{filters.redirect.code} to {shown(filters.redirect.location)}")
        if filters.cors is not None and self.method == "OPTIONS":
            return fine("answer", "204 with CORS headers (enable-cors)")
        return None

    def _access(self, route: Route, client: str) -> Iterator[Step]:
        access = route.filters.access
        if access is not None and client:
            if _within(client, access.deny):
                yield wrong("access", f"403: {client} is in denylist-source-range")
            elif access.allow and not _within(client, access.allow):
                yield wrong("access", f"403: {client} is not in allowlist-source-range")
            else:
                yield fine("access", f"{client} is let in")
        elif access is not None:
            allowed = ", ".join(access.allow[:5]) or "everybody"
            yield note(
                "access", f"from {allowed}" + (f", not from {', '.join(access.deny[:5])}" if access.deny else "")
            )
        if route.filters.user_auth is not None:
            auth = route.filters.user_auth
            sent = "a password is sent" if "authorization" in self.headers else "401 without a password"
            yield note("authentication", f"{auth.kind}, with users of Secret {auth.secret}: {sent}")
        if route.filters.external_auth is not None:
            yield note("authentication", f"{shown(route.filters.external_auth.url)} is asked first")

    def _backend(self, route: Route) -> Iterator[Step]:
        if route.is_default:
            yield self._nobody()
            return
        canary, why = pick_canary(route, self.headers, self.cookies)
        if why:
            yield note("canary", why)
        name = canary.backend if canary is not None else route.backend
        backend = self.configuration.backends.get(name)
        key = backend.key if backend is not None else route.key
        yield fine("backend", f"Service {key.namespace}/{key.service}, port {key.port}, by {route.protocol.value}")
        step = _endpoints(backend)
        fallback = self.configuration.backends.get(route.fallback) if route.fallback else None
        if (backend is None or not backend.endpoints) and fallback is not None and fallback.endpoints:
            yield note("endpoints", f"none; the default backend {fallback.key.service} answers instead")
        else:
            yield step

    def _nobody(self) -> Step:
        default = self.configuration.backends.get(self.configuration.default_backend)
        if default is None:
            return wrong("answer", "404 of the controller itself: there is no default backend")
        return note("answer", f"the default backend {default.key.namespace}/{default.key.service} answers")


# --- what nginx does, as functions


def find_host(configuration: Configuration, name: str) -> tuple[Host | None, str]:
    """The host that serves `name`, and why: exact name, alias, wildcard (one label), expression, default."""
    hosts = {host.name: host for host in configuration.hosts}
    if name in hosts:
        return hosts[name], f"{name} is a host of its own"
    for host in configuration.hosts:
        if name in host.aliases:
            return host, f"{name} is a server-alias of {host.name}"
        if host.redirect_from == name:
            return host, f"{name} redirects to {host.name}"
    wildcard = f"*.{name.partition('.')[2]}"
    if wildcard in hosts:
        return hosts[wildcard], f"{wildcard} matches {name}"
    for host in configuration.hosts:
        for alias in host.aliases:
            if alias.startswith("*.") and name.endswith(alias[1:]):
                return host, f"server-alias {alias} of {host.name} matches {name}"
            if alias.startswith("~") and _search(alias[1:], name):
                return host, f"server-alias {alias} of {host.name} matches {name}"
    if "" in hosts:
        return hosts[""], f"no host is {name}; the rules without a host apply"
    return None, ""


def find_route(host: Host, path: str) -> Route | None:
    """The route that takes `path`: routes are in the order in which nginx tries them."""
    default = None
    for route in host.routes:
        if route.is_default:
            default = route
        elif matches(route, path):
            return route
    return default


def matches(route: Route, path: str) -> bool:
    written = route.path.value
    if route.path.type is PathType.EXACT:
        return path == written
    if route.path.type is PathType.REGEX:
        return _search(f"^{written}", path)
    stem = written.rstrip("/")
    return path == stem or path.startswith(f"{stem}/")


def rewritten(route: Route, path: str) -> str:
    """`path` after the route's rewrite-target, with the groups of its regular expression filled in."""
    assert route.filters.rewrite is not None
    try:
        found = re.search(route.path.value, path, re.IGNORECASE)
    except re.error:
        found = None
    if found is None:
        return path
    groups = found.groups()

    def group(reference: re.Match[str]) -> str:
        number = int(reference[1])
        return found[0] if number == 0 else (groups[number - 1] or "") if number <= len(groups) else ""

    return re.sub(r"\$(\d)", group, route.filters.rewrite.target)


def pick_canary(route: Route, headers: Mapping[str, str], cookies: Mapping[str, str]) -> tuple[Canary | None, str]:
    """The canary that takes the request, and why; by weight only a share can be told. Header names are lower case.

    `never` of one canary keeps the main backend, whatever others say that come after it.
    """
    shares = []
    for canary in route.canaries:
        name = f"{canary.source.namespace}/{canary.source.name}"
        sent = headers.get(canary.header.lower()) if canary.header else None
        if sent is not None:
            if canary.header_value is not None:
                if sent == canary.header_value:
                    return canary, f"{name}: header {canary.header} is {sent}"
            elif canary.header_pattern is not None:
                if _search(canary.header_pattern, sent, 0):
                    return canary, f"{name}: header {canary.header} matches {canary.header_pattern}"
            elif sent == "always":
                return canary, f"{name}: header {canary.header} is always"
            elif sent == "never":
                return None, f"{name}: header {canary.header} is never"
        cookie = cookies.get(canary.cookie) if canary.cookie else None
        if cookie == "always":
            return canary, f"{name}: cookie {canary.cookie} is always"
        if cookie == "never":
            return None, f"{name}: cookie {canary.cookie} is never"
        if canary.weight:
            shares.append(f"{name} takes {canary.weight} of {canary.weight_total} requests")
    return None, "; ".join(shares)


def shown(text: Text) -> str:
    return "".join(f"${part.name}" if isinstance(part, Variable) else part for part in text)


def _search(expression: str, text: str, flags: int = re.IGNORECASE) -> bool:
    try:
        return re.search(expression, text, flags) is not None
    except (re.error, RecursionError):
        return False


def _shown(route: Route) -> str:
    return f"{route.path.value} ({route.path.type.value})"


def _within(client: str, networks: tuple[str, ...]) -> bool:
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(each) for each in networks)


def _endpoints(backend: Backend | None) -> Step:
    if backend is None or not backend.endpoints:
        return wrong("endpoints", "none: 503")
    found = [f"{each.address}:{each.port}" for each in backend.endpoints]
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return fine("endpoints", ", ".join(found[:5]) + more)


def _traps(translation: Translation, host: Host, route: Route) -> Iterator[str]:
    """What surprises people about the host that serves the request."""
    if route.path.type is PathType.REGEX:
        causes = sorted(
            {
                f"{each.source.namespace}/{each.source.name} ({_cause(translation, each)})"
                for each in host.routes
                if _cause(translation, each)
            }
        )
        yield (
            f"every path of {host.name or 'the default host'} is a case-insensitive regular expression that matches "
            f"from the start, because of {', '.join(causes)}"
        )
        others = sorted({each.source for each in host.routes if not _cause(translation, each)})
        for other in others:
            yield f"that includes the paths of {other.namespace}/{other.name}, which does not ask for it"
        found = translation.served.get(route.source)
        if found is not None and found.get("affinity", "") and not found.get("session-cookie-path", ""):
            yield "the cookie of affinity needs session-cookie-path: its path would be the regular expression"
        if route.filters.rewrite is not None and "(" not in route.path.value and "$" in route.filters.rewrite.target:
            yield "rewrite-target names a group, but the path has none: it becomes empty"
    if host.tls is not None and not host.tls.certificate:
        yield f"the certificate of {host.name} is the default one"


def _cause(translation: Translation, route: Route) -> str:
    found = translation.served.get(route.source)
    if found is not None and found.flag("use-regex"):
        return "use-regex"
    return "rewrite-target" if route.filters.rewrite is not None else ""


# --- an Ingress


def ingress(translation: Translation, objects: Objects, options: Options, namespace: str, name: str) -> Report:
    """What has become of one Ingress: each host and path, and everything that is wrong with it."""
    question = f"Ingress {namespace}/{name}"
    found = objects.ingresses.get((namespace, name))
    if found is None:
        return Report(question, (wrong("object", "there is no such Ingress"),))
    if not is_ours(found, objects.classes, options):
        return Report(question, (wrong("class", _why_not_ours(found, objects, options)),))
    source = Source(namespace, name)
    told = [each for each in translation.problems if each.object == source]
    steps = [fine("class", found.spec.ingress_class_name or found.metadata.annotations.get(CLASS_ANNOTATION) or "none")]
    steps += _served(translation, source, found)
    steps += [(wrong if _is_error(each) else note)(each.reason, each.message) for each in told]
    host_wide = [
        each
        for each in sorted(translation.served[source].values)
        if each in ANNOTATIONS and ANNOTATIONS[each].scope == "host"
    ]
    if host_wide:
        steps.append(note("traps", f"{', '.join(host_wide)} hold for the whole host, also for other Ingresses' paths"))
    return Report(question, tuple(steps))


def _is_error(problem: Problem) -> bool:
    harmless = ("IgnoredAnnotation", "UnknownAnnotation", "RefusedAnnotation", "InvalidAnnotation")
    return problem.is_fatal or problem.reason not in harmless


def _why_not_ours(found: Ingress, objects: Objects, options: Options) -> str:
    name = found.spec.ingress_class_name
    if options.watch_namespace and found.metadata.namespace != options.watch_namespace:
        return f"the controller watches namespace {options.watch_namespace} only"
    if name is not None:
        known = objects.classes.get(("", name))
        if known is None:
            return f"there is no IngressClass {name}"
        return f"IngressClass {name} is of controller {known.spec.controller}, not {options.controller_class}"
    annotated = found.metadata.annotations.get(CLASS_ANNOTATION)
    if annotated is not None:
        return f"the annotation {CLASS_ANNOTATION} is {annotated}, not {options.ingress_class}"
    return "it has no class, and the controller runs without --watch-ingress-without-class"


def _served(translation: Translation, source: Source, found: Ingress) -> Iterator[Step]:
    hosts = {host.name: host for host in translation.configuration.hosts}
    backends = translation.configuration.backends
    names = dict.fromkeys(rule.host.lower() for rule in found.spec.rules)
    if not found.spec.rules:
        names[""] = None
    for name in names:
        host = hosts.get(name)
        title = name or "*"
        if host is None:
            yield wrong(title, "not served")
            continue
        yield fine(title, f"served{_tls_words(host)}")
        for route in host.routes:
            if route.source == source and not route.is_default:
                count = len(backends[route.backend].endpoints) if route.backend in backends else 0
                make = fine if count and not route.filters.denied else wrong
                yield make("", f"{_shown(route)} → {route.key.service}:{route.key.port}, {count} endpoints")
            for canary in route.canaries:
                if canary.source == source:
                    yield fine("", f"{_shown(route)}: canary of {route.source.namespace}/{route.source.name}")
    for each in translation.shadowed:
        if each.source == source:
            winner = f"{each.winner.namespace}/{each.winner.name}"
            yield wrong("", f"{each.host or '*'} {each.path} ({each.type.value}) is not served: {winner} is older")


def _tls_words(host: Host) -> str:
    if host.tls is None:
        return ", without TLS"
    return (
        f", with the certificate of {host.tls.certificate}"
        if host.tls.certificate
        else ", with the default certificate"
    )
