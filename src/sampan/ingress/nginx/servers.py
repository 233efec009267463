"""A host becomes nginx servers: its names, its listeners, TLS, and its routes' locations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from sampan.ingress.model import ClientCertificates, Host, HostTLS, PathType
from sampan.ingress.nginx.context import PLAIN, Globals, Shared
from sampan.ingress.nginx.directives import (
    Comment,
    Expression,
    Node,
    Unrenderable,
    Verbatim,
    condition,
    d,
    expression,
    is_set,
    lua,
    render,
    snippet,
)
from sampan.ingress.nginx.http import backend_headers
from sampan.ingress.nginx.locations import (
    Headers,
    Locations,
    client_certificate_headers,
    https_redirect,
    route_variables,
)
from sampan.ingress.nginx.values import on_off

X = Expression
WILDCARD = r"~^(?<subdomain>[\w-]+)"
_HOST = re.compile(r"(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?\Z")


@dataclass(frozen=True, slots=True)
class HostText:
    """A host's servers as text, and what they need outside."""

    text: str
    shared: Shared


def host_text(g: Globals, host: Host, ewma: frozenset[str] = frozenset(), checking: bool = False) -> HostText:
    """Render one host. `checking`: without sockets, for `nginx -t` beside a running nginx. Raises Unrenderable."""
    shared = Shared()
    return HostText(render(_servers(g, host, shared, ewma, checking), 1), shared)


def _servers(g: Globals, host: Host, shared: Shared, ewma: frozenset[str], checking: bool) -> Iterator[Node]:
    name = host.name or "_"
    if host.name and not _HOST.match(host.name):
        raise Unrenderable(f"{host.name[:100]!r} is no host name")
    yield Comment(f"start server {name}")
    yield d("server", block=_server(g, host, shared, ewma, checking))
    yield Comment(f"end server {name}")
    if host.redirect_from:
        if not _HOST.match(host.redirect_from):
            raise Unrenderable(f"{host.redirect_from[:100]!r} is no host name")
        yield Comment(f"start server {host.redirect_from}")
        yield d("server", block=[
            d("server_name", host.redirect_from),
            *_listen(g, default=False, checking=checking),
            *_certificate(),
            *_variables_of_server(),
            d("return", g.values.number("http-redirect-code", 308),
              X(f"$pass_access_scheme://{host.name}$request_uri")),
        ])  # fmt: skip
        yield Comment(f"end server {host.redirect_from}")


def _server(g: Globals, host: Host, shared: Shared, ewma: frozenset[str], checking: bool) -> Iterator[Node]:
    is_default = not host.name
    names = [server_name(host.name), *host.aliases]
    for alias in host.aliases:
        if not (alias.startswith("~") or _HOST.match(alias)):
            raise Unrenderable(f"{alias[:100]!r} is no host name")
    yield d("server_name", *(Verbatim(name) for name in names))
    yield from _listen(g, is_default, checking)
    yield from _variables_of_server()
    if is_default:
        yield from _default_tls(g)
    else:
        yield from _certificate()
        if host.tls:
            yield from _tls(host.tls, g, shared)
    server_headers = _server_headers(g, host)
    for header, value in server_headers if host.tls or is_default else ():
        yield d("add_header", header, value, "always")
    if extra := client_certificate_headers(host):
        for prefix in ("proxy", "grpc"):
            for header, value in (*backend_headers(g), *extra):
                yield d(f"{prefix}_set_header", header, value)
    if g.values.words("block-user-agents"):
        yield is_set("block_ua", [d("return", "403")])
    if g.values.words("block-referers"):
        yield is_set("block_ref", [d("return", "403")])
    host, redirects = _lift_redirect(host)
    if redirects is not None:
        yield https_redirect(g, redirects)
    if host.app_root:
        yield condition("uri", "=", "/", [d("return", "302", expression((host.app_root,)))])
    if raw := g.values.text("server-snippet"):
        yield from snippet(raw)
    if host.snippet:
        yield from snippet(host.snippet)
    yield from Locations(g, host, shared, ewma, server_headers).nodes()
    if is_default and not any(r.path.value == "/healthz" for r in host.routes):
        yield d("location", "=", "/healthz", block=[d("access_log", "off"), d("return", "200")])
    if not any(r.is_default or (r.path.value == "/" and r.path.type is PathType.PREFIX) for r in host.routes):
        yield d("location", "/", block=default_backend(g, asks_for_fresh=is_default))


def server_name(host: str) -> str:
    """A host as nginx names it: a wildcard stands for one label, unlike nginx's own."""
    if host.startswith("*."):
        return WILDCARD + re.escape(host[1:]) + "$"
    return host or "_"


def _lift_redirect(host: Host) -> tuple[Host, bool | None]:
    """Where every route redirects to HTTPS, the server does it: that costs nginx nothing per location."""
    kinds = {(r.filters.https_redirect, r.filters.https_redirect_keeps_slash) for r in host.routes}
    if len(kinds) != 1 or not next(iter(kinds))[0]:
        return host, None
    routes = tuple(replace(r, filters=replace(r.filters, https_redirect=False)) for r in host.routes)
    return replace(host, routes=routes), next(iter(kinds))[1]


def _variables_of_server() -> Iterator[Node]:
    yield d("set", X("$proxy_upstream_name"), "-")


def default_backend(g: Globals, asks_for_fresh: bool) -> Iterator[Node]:
    """Where no route is: the default backend or 404. In the server for all names, new hosts come first."""
    if not g.default_backend and not asks_for_fresh:
        yield d("return", "404")
        return
    namespace, service, port = g.default_backend_key
    name = "upstream-default-backend" if g.default_backend else "-"
    yield from route_variables(namespace, "", service, port, "/" if g.default_backend else "", name)
    yield d("set", X("$backend"), g.default_backend)
    if asks_for_fresh:
        yield lua("rewrite_by_lua_block", "sampan.fresh.route()")
    yield d("proxy_pass", f"http://{PLAIN}")


def _listen(g: Globals, default: bool, checking: bool) -> Iterator[Node]:
    if checking:
        yield d("listen", f"unix:{g.paths.private}/check.sock", "ssl", "http2")
        return
    v = g.values
    options: list[str] = []
    if default:
        options = ["default_server", f"backlog={v.number('backlog', 4096)}"]
        if v.flag("reuse-port", True):
            options.append("reuseport")
    proxied = ["proxy_protocol"] if v.flag("use-proxy-protocol", False) else []
    secure = ["ssl"] + (["http2"] if v.flag("use-http2", True) else [])
    addresses = [*g.listeners.ipv4, *(f"[{a}]" if a else "[::]" for a in g.listeners.ipv6)]
    for address in addresses:
        only_v6 = ["ipv6only=on"] if default and address.startswith("[") else []
        yield d(
            "listen", f"{address}:{g.listeners.http}" if address else g.listeners.http, *proxied, *options, *only_v6
        )
    if g.passthrough:
        yield d("listen", f"unix:{g.paths.https}", *secure, "proxy_protocol", *(["default_server"] if default else []))
        return
    for address in addresses:
        only_v6 = ["ipv6only=on"] if default and address.startswith("[") else []
        listen = f"{address}:{g.listeners.https}" if address else g.listeners.https
        yield d("listen", listen, *proxied, *options, *only_v6, *secure)


def _default_tls(g: Globals) -> Iterator[Node]:
    if g.values.flag("ssl-reject-handshake", False):
        yield d("ssl_reject_handshake", "on")
        return
    path = Verbatim(f"{g.paths.private}/default.pem")
    yield d("ssl_certificate", path)
    yield d("ssl_certificate_key", path)
    yield lua("ssl_certificate_by_lua_block", "certificate.call()")


def _certificate() -> Iterator[Node]:
    """Every server needs it: the Lua module looks for its code at the server that the client has named."""
    # A variable, so that nginx does not parse the file once per host at each reload: a millisecond each.
    yield d("ssl_certificate", X("$default_certificate"))
    yield d("ssl_certificate_key", X("$default_certificate"))
    yield lua("ssl_certificate_by_lua_block", "certificate.call()")


def _tls(tls: HostTLS, g: Globals, shared: Shared) -> Iterator[Node]:
    """TLS of a host that differs from that of the others."""
    if tls.ciphers:
        yield d("ssl_ciphers", Verbatim(tls.ciphers))
    if tls.prefer_server_ciphers is not None:
        yield d("ssl_prefer_server_ciphers", on_off(tls.prefer_server_ciphers))
    if tls.clients:
        yield from _client_certificates(g, tls.clients, shared)


def _client_certificates(g: Globals, clients: ClientCertificates, shared: Shared) -> Iterator[Node]:
    yield d("ssl_client_certificate", Verbatim(shared.file(g, "clients-ca", clients.ca)))
    if clients.crl:
        yield d("ssl_crl", Verbatim(shared.file(g, "clients-crl", clients.crl)))
    yield d("ssl_verify_client", clients.verify)
    yield d("ssl_verify_depth", clients.depth)
    if clients.error_page:
        yield d("error_page", "495", "496", "=302", expression(clients.error_page))
    if clients.match_cn:
        yield condition("ssl_client_s_dn", "!~", Verbatim(clients.match_cn), [d("return", "403")])


def _server_headers(g: Globals, host: Host) -> Headers:
    headers: Headers = [(name, expression(text)) for name, text in g.response_headers]
    if g.values.flag("hsts", True):
        headers.append(("Strict-Transport-Security", X("$hsts")))
    return headers
