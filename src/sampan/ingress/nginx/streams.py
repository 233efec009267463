"""TCP and UDP services, and TLS that passes through by server name: nginx's stream context.

Debian's nginx has no Lua for streams: endpoints are written out, and their change reloads. Open streams live on in the
old workers.
"""

from __future__ import annotations

from collections.abc import Iterator

from sampan.ingress.model import Backend, Configuration, Host, Stream
from sampan.ingress.nginx.context import Globals, digest
from sampan.ingress.nginx.directives import Expression, Node, Verbatim, d, snippet
from sampan.ingress.nginx.http import log_path
from sampan.ingress.nginx.values import Values, template

X = Expression
LOG_FORMAT = "[$remote_addr] [$time_local] $protocol $status $bytes_sent $bytes_received $session_time"


def stream_context(g: Globals, configuration: Configuration) -> Node | None:
    """The stream block, if anything needs one."""
    passing = [host for host in configuration.hosts if host.passthrough]
    if not (configuration.streams or passing or configuration.stream_snippets or g.values.text("stream-snippet")):
        return None
    return d("stream", block=_stream(g, configuration, passing))


def _stream(g: Globals, configuration: Configuration, passing: list[Host]) -> Iterator[Node]:
    v = g.values
    yield d("log_format", "log_stream", template(v.text("log-format-stream", LOG_FORMAT)))
    if v.flag("disable-access-log", False) or v.flag("disable-stream-access-log", False):
        yield d("access_log", "off")
    else:
        yield d(
            "access_log",
            log_path(v, "/dev/stdout", "stream-access-log-path", "access-log-path"),
            "log_stream",
            "buffer=4k",
            "flush=1s",
        )
    yield d("proxy_protocol_timeout", f"{v.number('proxy-protocol-header-timeout', 5)}s")
    if raw := v.text("stream-snippet"):
        yield from snippet(raw)
    for _, raw in configuration.stream_snippets:
        yield from snippet(raw)
    yield d("proxy_timeout", v.text("proxy-stream-timeout", "600s"))
    yield d("proxy_connect_timeout", f"{v.number('proxy-connect-timeout', 5)}s")
    yield d("proxy_next_upstream", "on" if v.flag("proxy-stream-next-upstream", True) else "off")
    yield d("proxy_next_upstream_timeout", v.text("proxy-stream-next-upstream-timeout", "600s"))
    yield d("proxy_next_upstream_tries", v.number("proxy-stream-next-upstream-tries", 3))
    made: set[str] = set()
    for stream in configuration.streams:
        backend = configuration.backends.get(stream.backend)
        if backend is None or not backend.endpoints:
            continue  # the port is closed: connections are refused, as for a Service without endpoints
        if backend.name not in made:
            made.add(backend.name)
            yield _upstream(backend)
        yield d("server", block=_server(g, v, stream, backend))
    if passing:
        yield from _passthrough(g, configuration, passing, made)


def _name(backend: Backend) -> str:
    return "stream_" + digest(backend.name)


def _upstream(backend: Backend) -> Node:
    return d("upstream", _name(backend), block=[
        d("server", f"[{e.address}]:{e.port}" if ":" in e.address else f"{e.address}:{e.port}")
        for e in backend.endpoints
    ])  # fmt: skip


def _addresses(g: Globals) -> list[str]:
    return [*g.listeners.ipv4, *(f"[{a}]" if a else "[::]" for a in g.listeners.ipv6)]


def _server(g: Globals, v: Values, stream: Stream, backend: Backend) -> Iterator[Node]:
    for address in _addresses(g):
        options = ["udp", "reuseport"] if stream.protocol == "UDP" else []
        if stream.accept_proxy and stream.protocol == "TCP":
            options.append("proxy_protocol")
        yield d("listen", f"{address}:{stream.port}" if address else stream.port, *options)
    if stream.protocol == "UDP":
        yield d("proxy_responses", v.number("proxy-stream-responses", 1))
    if stream.send_proxy and stream.protocol == "TCP":
        yield d("proxy_protocol", "on")
    yield d("proxy_pass", _name(backend))


def _passthrough(g: Globals, configuration: Configuration, passing: list[Host], made: set[str]) -> Iterator[Node]:
    rows = []
    proxied = g.values.flag("use-proxy-protocol", False)
    for host in passing:
        assert host.passthrough is not None
        backend = configuration.backends.get(host.passthrough.backend)
        if backend is None or not backend.endpoints:
            continue
        if backend.name not in made:
            made.add(backend.name)
            yield _upstream(backend)
        names = [name for name in (host.name, *host.aliases) if name]
        rows += [d(Verbatim(name if name.startswith("~") else name.lower()), _name(backend)) for name in names]
    yield d("map_hash_bucket_size", 512)
    yield d("map_hash_max_size", 16384)
    yield d("map", X("$ssl_preread_server_name"), X("$passthrough"),
            block=[d("hostnames"), d("default", f"unix:{g.paths.https}"), *rows])  # fmt: skip
    # Only our own end of the connection understands the PROXY protocol, and it is a switch of the whole server: a
    # second server behind a socket passes TLS on without it.
    yield d("map", X("$ssl_preread_server_name"), X("$passthrough_way"),
            block=[d("hostnames"), d("default", f"unix:{g.paths.https}"),
                   *(d(row.name, f"unix:{g.paths.private}/passthrough.sock") for row in rows)])  # fmt: skip
    yield d("server", block=[
        *(d("listen", f"{a}:{g.listeners.https}" if a else g.listeners.https,
            *(["ipv6only=on"] if a.startswith("[") else []), *(["proxy_protocol"] if proxied else []))
          for a in _addresses(g)),
        d("ssl_preread", "on"),
        d("proxy_protocol", "on"),
        d("proxy_pass", X("$passthrough_way")),
    ])  # fmt: skip
    yield d("server", block=[
        d("listen", f"unix:{g.paths.private}/passthrough.sock", "proxy_protocol"),
        d("ssl_preread", "on"),
        d("proxy_pass", X("$passthrough")),
    ])  # fmt: skip
