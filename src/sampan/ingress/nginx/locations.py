"""A route becomes nginx locations: its path, where it goes, and what happens to its requests on the way."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from urllib.parse import urlsplit

from sampan.ingress.model import (
    BackendProtocol,
    Cors,
    ErrorPages,
    ExternalAuth,
    Host,
    PathType,
    Route,
    Text,
)
from sampan.ingress.nginx.context import PLAIN, Globals, Shared, digest
from sampan.ingress.nginx.directives import (
    Expression,
    Node,
    Unrenderable,
    Verbatim,
    d,
    expression,
    is_set,
    lua,
    network,
    snippet,
)
from sampan.ingress.nginx.http import access_log, backend_headers, upstream
from sampan.ingress.nginx.values import on_off, template

X = Expression
Headers = list[tuple[str, str]]

_PROXIES = {
    BackendProtocol.HTTP: "proxy",
    BackendProtocol.HTTPS: "proxy",
    BackendProtocol.AUTO_HTTP: "proxy",
    BackendProtocol.GRPC: "grpc",
    BackendProtocol.GRPCS: "grpc",
    BackendProtocol.FCGI: "fastcgi",
}


class Locations:
    """Renders the routes of one host. What they need outside the server goes to `shared`."""

    def __init__(self, globals_: Globals, host: Host, shared: Shared, ewma: frozenset[str], server_headers: Headers):
        self._g, self._host, self._shared, self._ewma = globals_, host, shared, ewma
        self._server_headers = server_headers
        self._extra: dict[str, Node] = {}

    def nodes(self) -> Iterator[Node]:
        """All locations of the host. Raises Unrenderable."""
        exact = {route.path.value for route in self._host.routes if route.path.type is PathType.EXACT}
        for route in self._host.routes:
            body = tuple(self._route(route))
            for words in _matches(route, exact):
                yield d("location", *words, block=body)
        yield from self._extra.values()

    def _route(self, route: Route) -> Iterator[Node]:
        filters = route.filters
        source, key = route.source, route.key
        yield from route_variables(source.namespace, source.name, key.service, key.port, route.path.value, str(key))
        yield d("set", X("$backend"), route.backend)
        if route.fallback:
            yield d("set", X("$fallback_upstream_name"), route.fallback)
        if filters.rewrite_log:
            yield d("rewrite_log", "on")
        if not filters.access_log:
            yield from access_log(self._g, own=False)
        if filters.port_in_redirects is not None:
            yield d("port_in_redirect", on_off(filters.port_in_redirects))
        if filters.relative_redirects is not None:
            yield d("absolute_redirect", on_off(not filters.relative_redirects))
        if filters.https_redirect:
            yield https_redirect(self._g, filters.https_redirect_keeps_slash)
        if filters.denied:
            yield d("return", 503)
            return
        if filters.push_preload:
            yield d("http2_push_preload", "on")
        to_backend: Headers = []
        yield from self._access(route)
        yield from self._limits(route)
        yield from self._user_auth(route, to_backend)
        cookie = yield from self._external_auth(route, to_backend)
        yield from self._answer_headers(route, cookie)
        if filters.mirror:
            yield from self._mirror(route)
        for raw in (self._g.values.text("location-snippet"), filters.snippet):
            if raw:
                yield from snippet(raw)
        if checks := _checks(route):
            yield lua("access_by_lua_block", checks)
        if filters.redirect:
            yield d("return", filters.redirect.code, expression(filters.redirect.location))
            return
        if not route.backend:
            yield d("return", 404 if route.is_default else 503)
            return
        yield from self._backend(route, to_backend)

    # --- who may

    def _access(self, route: Route) -> Iterator[Node]:
        access = route.filters.access
        if access is None:
            return
        yield d("satisfy", access.satisfy)
        for each in access.deny:
            yield d("deny", network(each))
        for each in access.allow:
            yield d("allow", network(each))
        if access.allow:
            yield d("deny", "all")

    def _limits(self, route: Route) -> Iterator[Node]:
        limit = route.filters.rate_limit
        if limit is None:
            return
        key = "$binary_remote_addr"
        if limit.exempt:
            name = "exempt_" + digest(limit.exempt)
            rows = [d(network(each), "1") for each in limit.exempt]
            self._shared.need(
                name,
                [
                    d("geo", X("$" + name), block=[d("default", "0"), *rows]),
                    d("map", X("$" + name), X(f"$key_{name}"), block=[d("0", X(key)), d("1", "")]),
                ],
            )
            key = f"$key_{name}"
        ingress = digest((route.source, limit))
        for unit, rate in (("s", limit.per_second), ("m", limit.per_minute)):
            if rate > 0:
                zone = f"rate_{unit}_{ingress}"
                self._shared.need(zone, [d("limit_req_zone", X(key), f"zone={zone}:5m", f"rate={rate}r/{unit}")])
                yield d("limit_req", f"zone={zone}", f"burst={max(1, rate * limit.burst_multiplier)}", "nodelay")
        if limit.connections > 0:
            zone = f"connections_{ingress}"
            self._shared.need(zone, [d("limit_conn_zone", X(key), f"zone={zone}:5m")])
            yield d("limit_conn", zone, limit.connections)
        if limit.rate_kib > 0:
            yield d("limit_rate", f"{limit.rate_kib}k")
        if limit.rate_after_kib > 0:
            yield d("limit_rate_after", f"{limit.rate_after_kib}k")

    def _user_auth(self, route: Route, to_backend: Headers) -> Iterator[Node]:
        auth = route.filters.user_auth
        if auth is None:
            return
        path = self._shared.file(self._g, "users", auth.users)
        if auth.kind == "basic":
            # "off" would switch it off: a realm is always text here.
            yield d("auth_basic", auth.realm if auth.realm != "off" else " off")
            yield d("auth_basic_user_file", Verbatim(path))
        else:
            yield d("set", X("$digest_realm"), auth.realm)
            yield d("set", X("$digest_users"), path)
        to_backend.append(("Authorization", ""))

    def _external_auth(self, route: Route, to_backend: Headers) -> Generator[Node, None, str]:
        """Returns the variable that holds cookies of the authenticator."""
        auth = self._authenticator(route)
        if auth is None:
            return ""
        mark = digest((self._host.name, route.source, auth))
        path = f"/_external-auth-{mark}"
        if path not in self._extra:
            self._extra[path] = d("location", "=", path, block=self._auth_location(route, auth, mark))
        yield d("auth_request", path)
        yield d("auth_request_set", X("$auth_cookie"), X("$upstream_http_set_cookie"))
        for position, name in enumerate(auth.response_headers):
            yield d("auth_request_set", X(f"$auth_header_{position}"), X(f"$upstream_http_{_as_variable(name)}"))
            to_backend.append((name, X(f"$auth_header_{position}")))
        if auth.signin:
            name = f"@signin-{mark}"
            if name not in self._extra:
                self._extra[name] = d("location", name, block=self._signin_location(auth, auth.signin))
            yield d("error_page", "401", name)
        return "$auth_cookie"

    def _authenticator(self, route: Route) -> ExternalAuth | None:
        """The route's own, or that of the whole controller."""
        v, filters = self._g.values, route.filters
        url = v.variables("global-auth-url")
        if filters.external_auth or not url or not filters.global_auth:
            return filters.external_auth
        exempt = v.words("no-auth-locations", "/.well-known/acme-challenge")
        if any(route.path.value.startswith(path) for path in exempt):
            return None
        return ExternalAuth(
            url=url,
            method=v.text("global-auth-method"),
            signin=v.variables("global-auth-signin") or None,
            signin_redirect_param=v.text("global-auth-signin-redirect-param", "rd"),
            response_headers=v.words("global-auth-response-headers"),
            request_redirect=v.variables("global-auth-request-redirect") or None,
            cache_key=v.variables("global-auth-cache-key") or None,
            cache_valid=tuple(v.words("global-auth-cache-duration")),
            always_set_cookie=v.flag("global-auth-always-set-cookie", False),
            snippet=v.text("global-auth-snippet"),
        )

    def _auth_location(self, route: Route, auth: ExternalAuth, mark: str) -> Iterator[Node]:
        g = self._g
        yield d("internal")
        yield from access_log(g, own=False)
        if auth.cache_key:
            self._shared.need("auth_cache", [d(
                "proxy_cache_path", Verbatim(f"{g.paths.private}/tmp/auth_cache"), "levels=1:2",
                "keys_zone=auth_cache:10m", "max_size=128m", "inactive=30m", "use_temp_path=off",
            )])  # fmt: skip
            yield d("proxy_cache", "auth_cache")
            for valid in auth.cache_valid or ("200 202 401 5m",):
                yield d("proxy_cache_valid", *valid.split())
            yield d("proxy_cache_key", expression((f"{self._host.name} {mark} ", *auth.cache_key)))
        yield d("proxy_pass_request_body", "off")
        if auth.method:
            yield d("proxy_method", auth.method)
        target, host = self._auth_target(auth, mark)
        forwarded_for = next(value for name, value in backend_headers(g) if name == "X-Forwarded-For")
        headers: Headers = [
            ("Content-Length", ""), ("X-Forwarded-Proto", ""), ("X-Request-ID", X("$req_id")), ("Host", host),
            ("X-Original-URL", X("$pass_access_scheme://$http_host$request_uri")),
            ("X-Original-Method", X("$request_method")), ("X-Sent-From", "nginx-ingress-controller"),
            ("X-Real-IP", X("$remote_addr")), ("X-Forwarded-For", forwarded_for),
            ("X-Auth-Request-Redirect",
             expression(auth.request_redirect) if auth.request_redirect else X("$request_uri")),
            ("Connection", ""),
        ]  # fmt: skip
        headers += [(name, template(value)) for name, value in auth.request_headers]
        for name, value in headers:
            yield d("proxy_set_header", name, value)
        yield d("proxy_buffering", on_off(auth.cache_key is not None))  # nginx caches what it buffers
        yield d("proxy_ssl_server_name", "on")
        yield d("client_max_body_size", "0")
        if auth.snippet:
            yield from snippet(auth.snippet)
        yield d("set", X("$auth_target"), target)
        yield d("proxy_pass", X("$auth_target"))

    def _auth_target(self, auth: ExternalAuth, mark: str) -> tuple[str, str]:
        """The URL to ask and its Host header. A host without variables can have kept connections."""
        host: str = X("$proxy_host")
        if auth.keepalive <= 0:
            return expression(auth.url), host
        first = auth.url[0] if auth.url else ""
        url = urlsplit(first) if isinstance(first, str) else None
        if url is None or not url.netloc or (len(auth.url) > 1 and not url.path):
            return expression(auth.url), host
        name = f"auth_{mark}"
        server = url.netloc if ":" in url.netloc else f"{url.netloc}:{443 if url.scheme == 'https' else 80}"
        self._shared.need(name, [d("upstream", name, block=[
            d("server", server), d("keepalive", auth.keepalive), d("keepalive_requests", auth.keepalive_requests),
            d("keepalive_timeout", f"{auth.keepalive_timeout}s"),
        ])])  # fmt: skip
        rest = first[len(f"{url.scheme}://{url.netloc}") :] if isinstance(first, str) else ""
        return expression((f"{url.scheme}://{name}{rest}", *auth.url[1:])), url.netloc

    def _signin_location(self, auth: ExternalAuth, signin: Text) -> Iterator[Node]:
        yield d("internal")
        yield d("add_header", "Set-Cookie", X("$auth_cookie"), *(["always"] if auth.always_set_cookie else []))
        literal = "".join(part for part in signin if isinstance(part, str))
        url = expression(signin)
        yield lua("set_by_lua_block", "return ngx.escape_uri(ngx.var.request_uri)", X("$escaped_request_uri"))
        if f"{auth.signin_redirect_param}=" not in literal:
            joint = "&" if "?" in literal else "?"
            back = X("=$pass_access_scheme://$http_host$escaped_request_uri")
            url = X(url + expression(joint + auth.signin_redirect_param) + back)
        yield d("return", "302", url)

    # --- what the client gets

    def _answer_headers(self, route: Route, cookie: str) -> Iterator[Node]:
        """Headers added to answers. nginx inherits them all or not at all, so those of the server are repeated."""
        filters = route.filters
        added: Headers = [(name, template(value)) for name, value in filters.response_headers]
        hidden = [name for name, _ in filters.response_headers]
        if filters.cors:
            added += self._cors(filters.cors)
            hidden += [name for name, _ in added if name.startswith("Access-Control-")]
            yield is_set("cors_preflight", [d("return", "204")])
        if cookie:
            added.append(("Set-Cookie", X(cookie)))
        if not added:
            return
        for name, value in (*self._server_headers, *added):
            yield d("add_header", name, value, "always")
        if _PROXIES[route.protocol] != "fastcgi" and not filters.redirect and route.backend:
            prefix = _PROXIES[route.protocol]
            for name in dict.fromkeys((*_hidden_everywhere(self._g), *hidden)):
                yield d(f"{prefix}_hide_header", name)

    def _cors(self, cors: Cors) -> Headers:
        self._shared.need("cors_preflight", [
            d("map", X("$request_method"), X("$cors_preflight"), block=[d("OPTIONS", "1"), d("default", "")])
        ])  # fmt: skip
        if "*" in cors.origins:
            origin: str = "*"
            if cors.credentials:
                origin = X("$cors_any_origin")
                self._shared.need("cors_any_origin", [
                    d("map", X("$http_origin"), X("$cors_any_origin"),
                      block=[d("", "*"), d("default", X("$http_origin"))])
                ])  # fmt: skip
            gate = None
        else:
            gate = "cors_origin_" + digest(cors.origins)
            rows = [d(Verbatim(_origin_pattern(one)), X("$http_origin")) for one in cors.origins]
            self._shared.need(gate, [d("map", X("$http_origin"), X("$" + gate), block=[*rows, d("default", "")])])
            origin = X("$" + gate)
        headers: Headers = [
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Allow-Methods", ", ".join(cors.methods)),
            ("Access-Control-Allow-Headers", ",".join(cors.headers)),
            ("Access-Control-Max-Age", str(cors.max_age)),
        ]
        if cors.credentials:
            headers.append(("Access-Control-Allow-Credentials", "true"))
        if cors.expose:
            headers.append(("Access-Control-Expose-Headers", ",".join(cors.expose)))
        if gate is None:
            return headers
        # Where the origin is not allowed, none of the others is sent either: each has a map to nothing.
        return headers[:1] + [(name, self._only_if(gate, name, value)) for name, value in headers[1:]]

    def _only_if(self, gate: str, name: str, value: str) -> str:
        variable = f"cors_{digest((gate, name, value))}"
        self._shared.need(variable, [
            d("map", X("$" + gate), X("$" + variable), block=[d("", ""), d("default", value)])
        ])  # fmt: skip
        return X("$" + variable)

    def _mirror(self, route: Route) -> Iterator[Node]:
        mirror = route.filters.mirror
        assert mirror is not None
        path = f"/_mirror-{digest(mirror)}"
        yield d("mirror", path)
        yield d("mirror_request_body", on_off(mirror.body))
        if path not in self._extra:
            self._extra[path] = d("location", "=", path, block=[
                d("internal"),
                *access_log(self._g, own=False),
                *(() if mirror.body else (d("proxy_pass_request_body", "off"),)),
                *(d("proxy_set_header", name, value) for name, value in (
                    ("Host", expression(mirror.host)), ("Connection", ""),
                    *([] if mirror.body else [("Content-Length", "")]))),
                d("proxy_ssl_server_name", "on"),
                d("set", X("$mirror_target"), expression(mirror.target)),
                d("proxy_pass", X("$mirror_target")),
            ])  # fmt: skip

    # --- what the backend gets

    def _backend(self, route: Route, to_backend: Headers) -> Iterator[Node]:
        prefix = _PROXIES[route.protocol]
        yield from self._error_pages(route, prefix)
        yield from _proxying(route, prefix)
        yield from self._backend_headers(route, prefix, to_backend)
        if route.filters.rewrite:
            pattern = ("(?i)^" if route.path.type is PathType.REGEX else "^") + _as_regex(route)
            yield d("rewrite", Verbatim(pattern), template(route.filters.rewrite.target, numbered=True), "break")
        if route.backend in self._ewma:
            yield lua("log_by_lua_block", "balancer.after()")
        yield from self._pass(route)

    def _pass(self, route: Route) -> Iterator[Node]:
        v, tls = self._g.values, route.upstream_tls
        if route.protocol is BackendProtocol.HTTP:
            yield d("proxy_pass", f"http://{PLAIN}")
            return
        secure = route.protocol in (BackendProtocol.HTTPS, BackendProtocol.GRPCS, BackendProtocol.AUTO_HTTP)
        name = f"{PLAIN}_{route.protocol.value.lower()}"
        if secure and tls is not None:
            name += "_" + digest(tls)
        self._shared.need(name, upstream(v, name, keepalive=route.protocol is not BackendProtocol.FCGI))
        prefix = _PROXIES[route.protocol]
        if secure and tls is not None:
            yield from self._upstream_tls(route, prefix)
        match route.protocol:
            case BackendProtocol.HTTPS:
                yield d("proxy_pass", f"https://{name}")
            case BackendProtocol.AUTO_HTTP:
                yield d("proxy_pass", X(f"$scheme://{name}"))
            case BackendProtocol.GRPC:
                yield d("grpc_pass", f"grpc://{name}")
            case BackendProtocol.GRPCS:
                yield d("grpc_pass", f"grpcs://{name}")
            case _:
                yield from _fastcgi(route)
                yield d("fastcgi_pass", name)

    def _upstream_tls(self, route: Route, prefix: str) -> Iterator[Node]:
        tls = route.upstream_tls
        assert tls is not None
        if tls.certificate and tls.key:
            yield d(f"{prefix}_ssl_certificate", Verbatim(self._shared.file(self._g, "client", tls.certificate)))
            yield d(f"{prefix}_ssl_certificate_key", Verbatim(self._shared.file(self._g, "client-key", tls.key)))
        if tls.ca:
            yield d(f"{prefix}_ssl_trusted_certificate", Verbatim(self._shared.file(self._g, "ca", tls.ca)))
        yield d(f"{prefix}_ssl_ciphers", Verbatim(tls.ciphers))
        yield d(f"{prefix}_ssl_protocols", *tls.protocols)
        yield d(f"{prefix}_ssl_verify", on_off(tls.verify))
        yield d(f"{prefix}_ssl_verify_depth", tls.verify_depth)
        if tls.name:
            yield d(f"{prefix}_ssl_name", expression(tls.name))
        yield d(f"{prefix}_ssl_server_name", on_off(tls.server_name))

    def _backend_headers(self, route: Route, prefix: str, extra: Headers) -> Iterator[Node]:
        """proxy_set_header for a route that differs; a plain one inherits those of its server."""
        proxying, filters = route.proxying, route.filters
        changed: dict[str, str] = {}
        if proxying.host:
            changed["Host"] = expression(proxying.host)
        if proxying.connection is not None:
            changed["Connection"] = proxying.connection
        if filters.rewrite and filters.rewrite.forwarded_prefix:
            extra = [*extra, ("X-Forwarded-Prefix", template(filters.rewrite.forwarded_prefix, numbered=True))]
        extra = [*extra, *((name, template(value)) for name, value in filters.request_headers)]
        if prefix == "fastcgi" or not (changed or extra):
            return
        inherited = [*backend_headers(self._g), *client_certificate_headers(self._host)]
        overridden = {name.lower() for name, _ in extra}
        for name, value in inherited:
            if name.lower() not in overridden:
                yield d(f"{prefix}_set_header", name, changed.get(name, value))
        for name, value in extra:
            yield d(f"{prefix}_set_header", name, value)

    def _error_pages(self, route: Route, prefix: str) -> Iterator[Node]:
        pages = route.filters.error_pages
        if pages is None or not pages.codes or not pages.backend:
            return
        name = f"@error-pages-{digest((pages, route.source, route.key))}"
        if pages.intercept:
            yield d(f"{prefix}_intercept_errors", "on")
        yield d("error_page", *sorted(set(pages.codes)), name)
        if name not in self._extra:
            self._extra[name] = d("location", name, block=self._error_location(route, pages))

    def _error_location(self, route: Route, pages: ErrorPages) -> Iterator[Node]:
        yield d("internal")
        yield d("proxy_intercept_errors", "off")
        yield d("set", X("$proxy_upstream_name"), pages.backend)
        yield d("set", X("$backend"), pages.backend)
        yield d("set", X("$location_path"), route.path.value)
        headers: Headers = [
            *backend_headers(self._g),
            ("X-Code", X("$status")), ("X-Format", X("$http_accept")), ("X-Original-URI", X("$request_uri")),
            ("X-Namespace", route.source.namespace), ("X-Ingress-Name", route.source.name),
            ("X-Service-Name", route.key.service), ("X-Service-Port", route.key.port),
        ]  # fmt: skip
        for name, value in headers:
            yield d("proxy_set_header", name, value)
        yield d("rewrite", Verbatim("^"), "/", "break")
        yield d("proxy_pass", f"http://{PLAIN}")


def route_variables(namespace: str, ingress: str, service: str, port: str, path: str, backend: str) -> Iterator[Node]:
    """What logs, metrics and the balancer know a request by; users read it in nginx.conf, too."""
    names = ("namespace", "ingress_name", "service_name", "service_port", "location_path", "proxy_upstream_name")
    for name, value in zip(names, (namespace, ingress, service, port, path, backend), strict=True):
        yield d("set", X("$" + name), value)


def _checks(route: Route) -> str:
    """Lua that may refuse a request before it goes to a backend."""
    checks = []
    if route.filters.user_auth and route.filters.user_auth.kind == "digest":
        checks.append("sampan.digest.check()")
    if route.backend and route.protocol is not BackendProtocol.HTTP and not route.filters.redirect:
        checks.append("balancer.require_endpoints()")
    return "; ".join(checks)


def https_redirect(g: Globals, keeps_slash: bool) -> Node:
    uri = "$request_uri" if keeps_slash else "$request_uri_without_slash"
    port = f":{g.listeners.https}" if g.values.flag("use-port-in-redirects", False) else ""
    code = g.values.number("http-redirect-code", 308)
    return is_set("is_insecure", [d("return", code, X(f"https://$host{port}{uri}"))])


def _matches(route: Route, exact: set[str]) -> Iterator[tuple[str, ...]]:
    """The arguments of `location` for a path: one or two of them. `exact` are paths that have a route of their own."""
    path = route.path.value
    if route.is_default:
        yield ("/",)
        return
    if route.path.type is PathType.REGEX:
        yield "~*", Verbatim("^" + path)
        return
    if not path.startswith("/"):
        raise Unrenderable(f"the path {path[:100]!r} does not begin with /")
    if route.path.type is PathType.EXACT:
        yield "=", Verbatim(path)
        return
    stem = path.rstrip("/")
    yield (Verbatim(stem + "/"),)
    if stem and stem not in exact:
        yield "=", Verbatim(stem)


def _as_regex(route: Route) -> str:
    return route.path.value if route.path.type is PathType.REGEX else re.escape(route.path.value)


def _as_variable(header: str) -> str:
    name = header.lower().replace("-", "_")
    if not re.fullmatch(r"[a-z0-9_]{1,80}", name):
        raise Unrenderable(f"{header[:100]!r} is no name of a header")
    return name


def _origin_pattern(origin: str) -> str:
    """A key of `map` for one origin; a leading `*.` in its host stands for one label."""
    pattern = re.escape(origin).replace(re.escape("://*."), r"://[A-Za-z0-9-]+\.")
    return f"~*^{pattern}$"


def _hidden_everywhere(g: Globals) -> tuple[str, ...]:
    hsts = ("Strict-Transport-Security",) if g.values.flag("hsts", True) else ()
    return (*g.values.words("hide-headers"), *hsts)


def client_certificate_headers(host: Host) -> Headers:
    """What a backend learns of the client's certificate."""
    clients = host.tls.clients if host.tls else None
    if clients is None:
        return []
    headers: Headers = [
        ("ssl-client-verify", X("$ssl_client_verify")),
        ("ssl-client-subject-dn", X("$ssl_client_s_dn")),
        ("ssl-client-issuer-dn", X("$ssl_client_i_dn")),
    ]
    headers.append(("ssl-client-cert", X("$ssl_client_escaped_cert") if clients.pass_to_backend else ""))
    return headers


def _proxying(route: Route, prefix: str) -> Iterator[Node]:
    p = route.proxying
    for name, seconds in (("connect", p.connect_timeout), ("send", p.send_timeout), ("read", p.read_timeout)):
        if seconds is not None:
            yield d(f"{prefix}_{name}_timeout", f"{seconds}s")
    if p.next_upstream is not None:
        yield d(f"{prefix}_next_upstream", *p.next_upstream)
    if p.next_upstream_timeout is not None:
        yield d(f"{prefix}_next_upstream_timeout", p.next_upstream_timeout)
    if p.next_upstream_tries is not None:
        yield d(f"{prefix}_next_upstream_tries", p.next_upstream_tries)
    if p.body_size is not None:
        yield d("client_max_body_size", p.body_size)
    if p.body_buffer_size is not None:
        yield d("client_body_buffer_size", p.body_buffer_size)
    if p.buffer_size is not None:
        yield d(f"{prefix}_buffer_size", p.buffer_size)
    if prefix == "grpc":
        return
    for name, value in (("request_buffering", p.request_buffering), ("buffering", p.buffering)):
        if value is not None:
            yield d(f"{prefix}_{name}", on_off(value))
    if p.buffers_number is not None or p.buffer_size is not None:
        yield d(f"{prefix}_buffers", p.buffers_number or 4, p.buffer_size or 4096)
    if p.busy_buffers_size is not None:
        yield d(f"{prefix}_busy_buffers_size", p.busy_buffers_size)
    if p.max_temp_file_size is not None:
        yield d(f"{prefix}_max_temp_file_size", p.max_temp_file_size)
    if prefix == "fastcgi":
        return
    if p.http_version is not None:
        yield d("proxy_http_version", p.http_version)
    for name, pair in (("cookie_domain", p.cookie_domain), ("cookie_path", p.cookie_path), ("redirect", p.redirect)):
        if pair is not None:
            yield d(f"proxy_{name}", *(part for part in pair if part))


def _fastcgi(route: Route) -> Iterator[Node]:
    standard = {
        "QUERY_STRING": "$query_string", "REQUEST_METHOD": "$request_method", "CONTENT_TYPE": "$content_type",
        "CONTENT_LENGTH": "$content_length", "SCRIPT_NAME": "$fastcgi_script_name", "REQUEST_URI": "$request_uri",
        "DOCUMENT_URI": "$document_uri", "DOCUMENT_ROOT": "$document_root", "SERVER_PROTOCOL": "$server_protocol",
        "REQUEST_SCHEME": "$scheme", "GATEWAY_INTERFACE": "CGI/1.1", "SERVER_SOFTWARE": "nginx",
        "REMOTE_ADDR": "$remote_addr", "REMOTE_PORT": "$remote_port", "SERVER_ADDR": "$server_addr",
        "SERVER_PORT": "$server_port", "SERVER_NAME": "$server_name",
    }  # fmt: skip
    own = dict(route.proxying.fastcgi_params)
    if route.proxying.fastcgi_index:
        yield d("fastcgi_index", route.proxying.fastcgi_index)
    for name, value in standard.items():
        if name not in own:
            yield d("fastcgi_param", name, X(value))
    yield d("fastcgi_param", "HTTPS", X("$https"), "if_not_empty")
    for name, value in own.items():
        yield d("fastcgi_param", name, template(value))
