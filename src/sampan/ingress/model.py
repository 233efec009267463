"""What nginx is to serve, as frozen data: listeners, hosts, routes, filters and weighted backends.

`translate/` makes it from Ingress objects; routes of the Gateway API fit into the same types. `nginx/` renders it.
Nothing here names an annotation or an nginx directive. Values are parsed and checked where they are translated; the
renderer quotes all of them again. Times are seconds, sizes are bytes unless a field says otherwise. None means: as
`Settings` has it.

Two parts change at different cost. `Backend`, `Certificate` and the weights of canaries are pushed into nginx's shared
memory. Everything else is structure: its change reloads nginx.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

Networks = tuple[str, ...]
"""Addresses or CIDR ranges in canonical text form."""


@dataclass(frozen=True, slots=True, order=True)
class Source:
    """The object that a part of the configuration comes from, for logs, metrics and events."""

    namespace: str = ""
    name: str = ""
    kind: str = "Ingress"


@dataclass(frozen=True, slots=True, order=True)
class BackendKey:
    """A port of a Service; `port` is the name or number that the route has written. Shown as namespace-service-port."""

    namespace: str
    service: str
    port: str

    def __str__(self) -> str:
        return f"{self.namespace}-{self.service}-{self.port}"


# --- backends (shared memory)


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    address: str
    port: int


class BackendProtocol(Enum):
    HTTP = "HTTP"
    HTTPS = "HTTPS"
    AUTO_HTTP = "AUTO_HTTP"
    GRPC = "GRPC"
    GRPCS = "GRPCS"
    FCGI = "FCGI"


@dataclass(frozen=True, slots=True)
class CookieAffinity:
    """A client stays with one endpoint by cookie."""

    name: str = "INGRESSCOOKIE"
    mode: Literal["balanced", "persistent"] = "balanced"
    path: str = ""
    domain: str = ""
    secure: bool | None = None
    """None: when the request came over TLS."""
    same_site: Literal["", "None", "Lax", "Strict"] = ""
    conditional_same_site_none: bool = False
    expires: int | None = None
    max_age: int | None = None
    change_on_failure: bool = False
    canary: Literal["sticky", "legacy"] = "sticky"


@dataclass(frozen=True, slots=True)
class LoadBalancing:
    """How one of a backend's endpoints is picked. `hash_by` (parts as in `Text`) wins over `algorithm`."""

    algorithm: Literal["round_robin", "ewma"] = "round_robin"
    hash_by: Text | None = None
    subset_size: int = 0
    affinity: CookieAffinity | None = None


@dataclass(frozen=True, slots=True)
class Backend:
    """Endpoints of one port of a Service under one way of balancing. `name` is unique in a Configuration.

    A Service or port that does not exist is a Backend without endpoints: its coming and going changes no structure.
    """

    name: str
    key: BackendKey
    endpoints: tuple[Endpoint, ...] = ()
    balancing: LoadBalancing = LoadBalancing()
    service_upstream: bool = False
    """`endpoints` holds the Service's own address only."""


@dataclass(frozen=True, slots=True)
class Canary:
    """An alternative to a route's backend, for some requests. Rules are asked in the order header, cookie, weight."""

    backend: str
    source: Source
    header: str = ""
    header_value: str | None = None
    header_pattern: str | None = None
    cookie: str = ""
    weight: int = 0
    weight_total: int = 100


# --- certificates (shared memory)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A server certificate with its chain and key, PEM. `name` is `namespace/secret`."""

    name: str
    certificate: bytes
    key: bytes = field(repr=False)
    not_after: int = 0
    """Seconds since 1970."""


# --- text with variables


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of the request under nginx's name without `$`: request_uri, host, http_x_user …"""

    name: str


Text = tuple[str | Variable, ...]
"""Literal text and variables, in order. Literals are never interpreted by nginx."""


# --- filters: what happens to a request at a route, each at most once


@dataclass(frozen=True, slots=True)
class Redirect:
    """Answer with a redirect to `location`."""

    location: Text
    code: int = 302


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Replace the path by `target`, where $1… are the groups of the route's regular expression."""

    target: str
    forwarded_prefix: str = ""


@dataclass(frozen=True, slots=True)
class Cors:
    origins: tuple[str, ...] = ("*",)
    """`*`, `scheme://host[:port]`, or one with a leading `*.` in the host."""
    methods: tuple[str, ...] = ("GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS")
    headers: tuple[str, ...] = (
        "DNT", "Keep-Alive", "User-Agent", "X-Requested-With", "If-Modified-Since", "Cache-Control", "Content-Type",
        "Range", "Authorization",
    )  # fmt: skip
    expose: tuple[str, ...] = ()
    credentials: bool = True
    max_age: int = 1728000


@dataclass(frozen=True, slots=True)
class UserAuth:
    """HTTP authentication with a table of users (lines `user:hash`)."""

    kind: Literal["basic", "digest"]
    realm: str
    users: bytes = field(repr=False)
    secret: str = ""


@dataclass(frozen=True, slots=True)
class ExternalAuth:
    """Ask a URL before each request: 2xx passes it, 401 and 403 deny it."""

    url: Text
    method: str = ""
    signin: Text | None = None
    signin_redirect_param: str = "rd"
    response_headers: tuple[str, ...] = ()
    request_redirect: Text | None = None
    request_headers: tuple[tuple[str, str], ...] = ()
    cache_key: Text | None = None
    cache_valid: tuple[str, ...] = ()
    keepalive: int = 0
    keepalive_share_vars: bool = False
    keepalive_requests: int = 1000
    keepalive_timeout: int = 60
    always_set_cookie: bool = False
    snippet: str = ""


@dataclass(frozen=True, slots=True)
class AccessList:
    """Client addresses that are let in. `satisfy` any: this or authentication is enough."""

    allow: Networks = ()
    deny: Networks = ()
    satisfy: Literal["all", "any"] = "all"


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Limits per client address; 0 is none."""

    connections: int = 0
    per_second: int = 0
    per_minute: int = 0
    burst_multiplier: int = 5
    exempt: Networks = ()
    rate_kib: int = 0
    rate_after_kib: int = 0


@dataclass(frozen=True, slots=True)
class Mirror:
    target: Text
    host: Text
    body: bool = True


@dataclass(frozen=True, slots=True)
class ErrorPages:
    """Answers of these codes are replaced by what `backend` (a Backend's name) says."""

    codes: tuple[int, ...]
    backend: str
    intercept: bool = True


@dataclass(frozen=True, slots=True)
class UpstreamTLS:
    """How a TLS backend is verified and who we are to it."""

    certificate: bytes | None = field(default=None, repr=False)
    key: bytes | None = field(default=None, repr=False)
    ca: bytes | None = field(default=None, repr=False)
    verify: bool = False
    verify_depth: int = 1
    name: Text | None = None
    server_name: bool = False
    ciphers: str = "DEFAULT"
    protocols: tuple[str, ...] = ("TLSv1.2",)
    secret: str = ""


@dataclass(frozen=True, slots=True)
class Proxying:
    """How a request is passed to the backend."""

    connect_timeout: int | None = None
    send_timeout: int | None = None
    read_timeout: int | None = None
    next_upstream: tuple[str, ...] | None = None
    next_upstream_timeout: int | None = None
    next_upstream_tries: int | None = None
    body_size: int | None = None
    """0: any size."""
    body_buffer_size: int | None = None
    request_buffering: bool | None = None
    buffering: bool | None = None
    buffers_number: int | None = None
    buffer_size: int | None = None
    busy_buffers_size: int | None = None
    max_temp_file_size: int | None = None
    http_version: Literal["1.0", "1.1"] | None = None
    cookie_domain: tuple[str, str] | None = None
    cookie_path: tuple[str, str] | None = None
    """Of backends' cookies: what is rewritten, and to what; ("off", "") is nothing."""
    redirect: tuple[str, str] | None = None
    """Location headers of the backend that begin with the first are rewritten to the second; ("default", "") is nginx's
    own rule."""
    host: Text | None = None
    connection: str | None = None
    """The Connection header sent to the backend; None: upgrade where the client asks for it."""
    fastcgi_index: str = ""
    fastcgi_params: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Filters:
    """Everything that happens at a route besides picking a backend."""

    redirect: Redirect | None = None
    https_redirect: bool = False
    https_redirect_keeps_slash: bool = False
    rewrite: Rewrite | None = None
    cors: Cors | None = None
    user_auth: UserAuth | None = None
    external_auth: ExternalAuth | None = None
    global_auth: bool = True
    access: AccessList | None = None
    rate_limit: RateLimit | None = None
    mirror: Mirror | None = None
    error_pages: ErrorPages | None = None
    request_headers: tuple[tuple[str, str], ...] = ()
    response_headers: tuple[tuple[str, str], ...] = ()
    relative_redirects: bool | None = None
    port_in_redirects: bool | None = None
    access_log: bool = True
    rewrite_log: bool = False
    snippet: str = ""
    """Raw nginx configuration, only where the administrator allows it."""
    denied: str = ""
    """Why nothing is let through: every request is answered with 503."""
    push_preload: bool = False


# --- hosts and routes


class PathType(Enum):
    EXACT = "Exact"
    PREFIX = "Prefix"
    """By path elements: /a matches /a and /a/b, not /ab. The value ends in no slash, except "/" itself. Where a host
    also has an EXACT route of the same value, that one takes /a."""
    REGEX = "Regex"
    """A case-insensitive regular expression that matches from the start of the path."""


@dataclass(frozen=True, slots=True)
class PathMatch:
    type: PathType
    value: str


@dataclass(frozen=True, slots=True)
class Route:
    """Requests for a path of a host. No backend: answer 503; `key` names what the route asked for."""

    path: PathMatch
    source: Source
    backend: str
    """The name of a Backend."""
    key: BackendKey
    protocol: BackendProtocol = BackendProtocol.HTTP
    canaries: tuple[Canary, ...] = ()
    fallback: str = ""
    """The Backend that answers while `backend` has no endpoints."""
    filters: Filters = Filters()
    proxying: Proxying = Proxying()
    upstream_tls: UpstreamTLS | None = None
    is_default: bool = False
    """The route takes what no path of the host matches. Its backend is a default backend; without one the answer is
    404."""


@dataclass(frozen=True, slots=True)
class ClientCertificates:
    """Client certificates asked for by a host."""

    ca: bytes = field(repr=False)
    crl: bytes = field(default=b"", repr=False)
    verify: Literal["on", "off", "optional", "optional_no_ca"] = "on"
    depth: int = 1
    error_page: Text | None = None
    pass_to_backend: bool = False
    match_cn: str = ""
    secret: str = ""


@dataclass(frozen=True, slots=True)
class HostTLS:
    """TLS of one host. `certificate` names a Certificate; "" is the default certificate."""

    certificate: str = ""
    clients: ClientCertificates | None = None
    ciphers: str = ""
    prefer_server_ciphers: bool | None = None


@dataclass(frozen=True, slots=True)
class Passthrough:
    """TLS of this host goes to the backend as it is, chosen by SNI."""

    backend: str
    source: Source


@dataclass(frozen=True, slots=True)
class Host:
    """A virtual host; "" takes every name that no other has. Routes are in the order in which they are to be tried."""

    name: str
    """A host name, `*.example.com`, or ""."""
    routes: tuple[Route, ...] = ()
    aliases: tuple[str, ...] = ()
    """Further names; one that begins with `~` is a regular expression."""
    tls: HostTLS | None = None
    passthrough: Passthrough | None = None
    redirect_from: str = ""
    """Another host name (with or without www.) that redirects here."""
    app_root: str = ""
    """Where a request for exactly / is redirected to."""
    snippet: str = ""
    source: Source = Source()
    """The Ingress that has made this host: the oldest one that names it."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A TCP or UDP port that leads to a port of a Service."""

    port: int
    protocol: Literal["TCP", "UDP"]
    backend: str
    accept_proxy: bool = False
    send_proxy: bool = False


# --- settings of the whole controller


@dataclass(frozen=True, slots=True)
class Listeners:
    http: int = 80
    https: int = 443
    ipv4: tuple[str, ...] = ("",)
    """Addresses to listen at; "" is all of the family, () none."""
    ipv6: tuple[str, ...] = ("",)
    status: int = 10246
    """Only on loopback."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The keys of the controller's ConfigMap after parsing, by their names there, with defaults filled in.

    Values are bool, int, str or tuples of str, as settings.py says of each key.
    """

    values: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Configuration:
    """All that nginx serves. Hosts are sorted by name, `""` first. `default_backend` answers where no route does; "" is
    404."""

    listeners: Listeners = Listeners()
    hosts: tuple[Host, ...] = ()
    backends: Mapping[str, Backend] = field(default_factory=dict)
    certificates: Mapping[str, Certificate] = field(default_factory=dict)
    default_certificate: str = ""
    """The name of a Certificate; "" is a self-signed one of the controller's own."""
    default_backend: str = ""
    streams: tuple[Stream, ...] = ()
    settings: Settings = Settings()
    request_headers: tuple[tuple[str, Text], ...] = ()
    """Sent to every backend (the ConfigMap that proxy-set-headers names)."""
    response_headers: tuple[tuple[str, Text], ...] = ()
    """Added to every answer (the ConfigMap that add-headers names)."""
    stream_snippets: tuple[tuple[Source, str], ...] = ()
