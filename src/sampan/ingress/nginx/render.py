"""The whole nginx.conf from a configuration, incrementally: a host that is the same as before keeps its text."""

from __future__ import annotations

import resource
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sampan.ingress.model import Configuration, Host, Source
from sampan.ingress.nginx.context import Globals, Paths, Shared
from sampan.ingress.nginx.directives import (
    Expression,
    Node,
    Rendered,
    Unrenderable,
    Verbatim,
    d,
    lua,
    network,
    render,
    snippet,
)
from sampan.ingress.nginx.http import http_settings, log_path
from sampan.ingress.nginx.locations import route_variables
from sampan.ingress.nginx.servers import HostText, host_text
from sampan.ingress.nginx.streams import stream_context
from sampan.ingress.nginx.values import Values

X = Expression
MODULES = ("ndk_http_module", "ngx_http_lua_module", "ngx_http_headers_more_filter_module", "ngx_stream_module")


@dataclass(frozen=True, slots=True)
class Options:
    """Facts about this machine that the configuration names."""

    private: Path = Path("/run/sampan-ingress")
    modules: Path = Path("/usr/lib/nginx/modules")
    workers: int = 1
    user: str = ""
    """Only for a master that runs as root."""
    resolvers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Structure:
    """What a reload brings: the text of nginx.conf, and the private files it names."""

    text: str
    files: Mapping[str, bytes] = field(repr=False)


class Renderer:
    """Remembers the text of every host."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._paths = Paths(options.private)
        self._globals: Globals | None = None
        self._base: dict[bool, tuple[Globals, str]] = {}
        self._hosts: dict[str, tuple[Host, frozenset[str], HostText]] = {}

    def globals(self, configuration: Configuration) -> Globals:
        default = configuration.backends.get(configuration.default_backend)
        return Globals(
            configuration.listeners, Values(configuration.settings), self._paths,
            any(host.passthrough for host in configuration.hosts),
            default.name if default else "",
            (default.key.namespace, default.key.service, default.key.port) if default else ("", "", ""),
            self._options.resolvers, configuration.request_headers, configuration.response_headers,
        )  # fmt: skip

    def host(self, g: Globals, host: Host, ewma: frozenset[str]) -> HostText:
        """The text of one host. Raises Unrenderable."""
        if g != self._globals:
            self._globals = g
            self._hosts.clear()
        own = frozenset(route.backend for route in host.routes if route.backend in ewma) if ewma else ewma
        known = self._hosts.get(host.name)
        if known is not None and (known[0] is host or known[0] == host) and known[1] == own:
            return known[2]
        text = host_text(g, host, own)
        self._hosts[host.name] = (host, own, text)
        return text

    def structure(self, configuration: Configuration) -> Structure:
        """Everything. Raises Unrenderable."""
        g = self.globals(configuration)
        ewma = ewma_backends(configuration)
        shared = Shared()
        texts = []
        for host in with_default(configuration.hosts):
            text = self.host(g, host, ewma)
            shared.add(text.shared)
            texts.append(text.text)
        for name in self._hosts.keys() - {host.name for host in configuration.hosts} - {""}:
            del self._hosts[name]
        http: list[Node] = [
            Rendered(self._http_base(g)), *map(Rendered, shared.directives.values()), *map(Rendered, texts),
            *_internal(g, configuration.listeners.status),
        ]  # fmt: skip
        stream = stream_context(g, configuration)
        nodes = [*self._main(g), d("http", block=http), *([stream] if stream else [])]
        return Structure(render(nodes), shared.files)

    def check(self, configuration: Configuration, hosts: Iterable[Host]) -> Structure:
        """A small configuration with the settings and these hosts only, for `nginx -t`. Raises Unrenderable."""
        g = self.globals(configuration)
        ewma = ewma_backends(configuration)
        shared = Shared()
        texts = []
        for host in hosts:
            text = host_text(g, host, ewma, checking=True)
            shared.add(text.shared)
            texts.append(text.text)
        http: list[Node] = [
            Rendered(self._http_base(g)), *map(Rendered, shared.directives.values()), *map(Rendered, texts),
            d("server", block=[
                d("listen", f"unix:{g.paths.private}/check.sock"), *route_variables("", "", "", "", "", ""),
            ]),
        ]  # fmt: skip
        return Structure(render([*self._main(g, checking=True), d("http", block=http)]), shared.files)

    def _http_base(self, g: Globals) -> str:
        known = self._base.get(True)
        if known is None or known[0] != g:
            known = self._base[True] = (g, render(http_settings(g, self._options.workers), 1))
        return known[1]

    def _main(self, g: Globals, checking: bool = False) -> Iterator[Node]:
        v = g.values
        for module in MODULES:
            yield d("load_module", Verbatim(self._options.modules / f"{module}.so"))
        if self._options.user:
            yield d("user", self._options.user)
        yield d("daemon", "off")
        yield d("pid", Verbatim(self._options.private / ("check/nginx.pid" if checking else "nginx.pid")))
        workers = v.text("worker-processes", "auto")
        yield d("worker_processes", self._options.workers if workers == "auto" else workers)
        yield d("worker_rlimit_nofile", min(v.number("max-worker-open-files", 0) or 1 << 20, _open_files()))
        if affinity := v.words("worker-cpu-affinity"):
            yield d("worker_cpu_affinity", *affinity)
        if timeout := v.number("worker-shutdown-timeout", 0):
            yield d("worker_shutdown_timeout", f"{timeout}s")
        yield d("pcre_jit", "on")
        yield d("error_log", log_path(v, "stderr", "error-log-path"), v.text("error-log-level", "notice"))
        if not checking:
            yield d("error_log", Verbatim(f"{self._options.private}/emerg.log"), "emerg")
        yield d("thread_pool", "default", "threads=4")
        if raw := v.text("main-snippet"):
            yield from snippet(raw)
        yield d("events", block=[
            d("multi_accept", "on" if v.flag("enable-multi-accept", True) else "off"),
            d("worker_connections", v.number("max-worker-connections", 0) or 16384),
            d("use", "epoll"),
            *(d("debug_connection", network(each)) for each in v.words("debug-connections")),
        ])  # fmt: skip


def _internal(g: Globals, status: int) -> Iterator[Node]:
    """The doors of the controller, and the one that answers for backends without endpoints."""
    quiet = d("access_log", "off")
    yield d("server", block=[
        d("listen", f"unix:{g.paths.control}"),
        quiet,
        d("location", "=", "/push", block=[
            d("client_max_body_size", 0),
            d("client_body_buffer_size", "1m"),
            lua("content_by_lua_block", "sampan.state.serve()"),
        ]),
        d("location", "=", "/generation", block=[lua("content_by_lua_block", "sampan.generation()")]),
        d("location", "=", "/status", block=[d("stub_status")]),
    ])  # fmt: skip
    if status:
        yield d("server", block=[
            d("listen", f"127.0.0.1:{status}"),
            quiet,
            d("location", "/nginx_status", block=[
                *(d("allow", network(each)) for each in _readers(g)), d("deny", "all"), d("stub_status"),
            ]),
            d("location", "/healthz", block=[d("return", 200)]),
        ])  # fmt: skip
    yield d("server", block=[d("listen", f"unix:{g.paths.unavailable}"), quiet, d("return", 503)])


def _open_files() -> int:
    """The hard limit of this process, which nginx may raise its own to."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return limit if limit != resource.RLIM_INFINITY else 1 << 20


def _readers(g: Globals) -> tuple[str, ...]:
    v = g.values
    return (*v.words("nginx-status-ipv4-whitelist", "127.0.0.1"), *v.words("nginx-status-ipv6-whitelist", "::1"))


def with_default(hosts: tuple[Host, ...]) -> tuple[Host, ...]:
    """With the host that takes every name that no other has."""
    return hosts if any(not host.name for host in hosts) else (Host(""), *hosts)


def ewma_backends(configuration: Configuration) -> frozenset[str]:
    return frozenset(name for name, backend in configuration.backends.items() if backend.balancing.algorithm == "ewma")


def sources(host: Host) -> tuple[Source, ...]:
    """Whose a host is, each once: the one that has made it first, then in the order of its routes."""
    found = [host.source, *(route.source for route in host.routes)]
    if host.passthrough:
        found.append(host.passthrough.source)
    return tuple(source for source in dict.fromkeys(found) if source.name)


__all__ = ["Options", "Renderer", "Structure", "Unrenderable", "ewma_backends", "sources", "with_default"]
