"""The keys of the controller's ConfigMap, under the names that ingress-nginx gives them.

`SETTINGS` is the one table: each key's type, default, and whether it is done or refused. `parse` turns the ConfigMap's
data into `model.Settings`, in which every key that is done has a value. A bad value leaves the default in place and is
told of; it never stops the controller. docs/ingress.md shows the table.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from sampan.ingress import values
from sampan.ingress.model import Settings
from sampan.ingress.values import Parser, boolean, integer, listed, matching, networks, one_of, pattern, plain, seconds

T = TypeVar("T")

RISKS = ("Low", "Medium", "High", "Critical")
_MIME_TYPES = (
    "application/atom+xml application/javascript application/x-javascript application/json application/rss+xml "
    "application/vnd.ms-fontobject application/x-font-ttf application/x-web-app-manifest+json application/xhtml+xml "
    "application/xml font/opentype image/svg+xml image/x-icon text/css text/javascript text/plain text/x-component"
)
_CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
    "DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384"
)
_LOG = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" '
    "$request_length $request_time [$proxy_upstream_name] [$proxy_alternative_upstream_name] $upstream_addr "
    "$upstream_response_length $upstream_response_time $upstream_status $req_id"
)
_STREAM_LOG = "[$remote_addr] [$time_local] $protocol $status $bytes_sent $bytes_received $session_time"


@dataclass(frozen=True, slots=True)
class Setting:
    """One key. `kind` is the type in words; `default` is the text that the key has when it is not set."""

    key: str
    kind: str
    parse: Parser
    default: str
    meaning: str
    refused: str = ""
    """Why the key has no effect here; "" where it has."""


# --- kinds


def _snippet(text: str) -> str:
    if "\0" in text:
        raise ValueError("the value has a NUL")
    return text


def _unless_empty(parse: Callable[[str], object], empty: object = "") -> Parser:
    return lambda text: parse(text) if text.strip() else empty


def _buffers(text: str) -> tuple[str, ...]:
    found = re.fullmatch(r"(\d{1,6}) +(\d{1,10}[kKmM]?)", text.strip(), re.ASCII)
    if found is None:
        raise ValueError("must be a number and a size, as in 4 8k")
    return found[1], found[2]


def _reference(text: str) -> str:
    namespace, name = values.reference(text)
    if not namespace:
        raise ValueError("must be a namespace and a name with / between them")
    return f"{namespace}/{name}"


def _codes(text: str) -> tuple[str, ...]:
    return tuple(str(code) for code in listed(integer(300, 599))(text))


def _regular(text: str) -> str:
    """A user agent or referer to block: text, or a regular expression after `~` or `~*`."""
    return values.plain(text)


def _log_format(text: str) -> str:
    return plain(text.replace("\n", ""), values.LONGEST)


def _signin(text: str) -> object:
    return values.absolute_url_with_variables(text, frozenset({"escaped_request_uri"}))


_size = values.size
_header_names = listed(values.header)
_locations = listed(values.matching(r"\-._~a-zA-Z0-9/:", "letters, digits and - . _ ~ / :"))
_path = pattern(r"(/[A-Za-z0-9._\-/]*|off|stdout|stderr|syslog:[A-Za-z0-9._\-/:=,\[\]]+)?", "an absolute path or off")
_words = matching(r"A-Za-z0-9._\-:/+=,@! ", "letters, digits, spaces and . _ - : / + = , @ !")
_protocols = values.listed(one_of("SSLv2", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"), " ")
_next_upstream = values.listed(
    one_of(
        "error", "timeout", "invalid_header", "http_500", "http_502", "http_503", "http_504", "http_403", "http_404",
        "http_429", "non_idempotent", "off",
    ),
    " ",
)  # fmt: skip

_NO_GEOIP = "the GeoIP databases are not part of it"
_NO_WAF = "ModSecurity is not built in"
_NO_TRACE = "OpenTelemetry is not built in"
_REMOVED = "removed from ingress-nginx itself"

# --- the table


def _flag(key: str, default: bool, meaning: str, refused: str = "") -> Setting:
    return Setting(key, "bool", boolean, "true" if default else "false", meaning, refused)


def _number(key: str, default: int, meaning: str, lowest: int = 0, highest: int = 2**31 - 1) -> Setting:
    return Setting(key, "int", integer(lowest, highest), str(default), meaning)


def _bytes(key: str, default: str, meaning: str) -> Setting:
    return Setting(key, "size", _size, default, meaning)


def _memory(key: str, largest: str, default: str, meaning: str) -> Setting:
    return Setting(key, "size", values.memory(largest), default, meaning)


def _time(key: str, default: str, meaning: str) -> Setting:
    return Setting(key, "time", seconds, default, meaning)


def _text(key: str, parse: Parser, default: str, meaning: str, kind: str = "text") -> Setting:
    return Setting(key, kind, parse, default, meaning)


def _raw(key: str, where: str) -> Setting:
    return Setting(key, "nginx configuration", _snippet, "", f"nginx configuration put into {where} as it is")


def _refused(key: str, meaning: str, why: str) -> Setting:
    return Setting(key, "", _snippet, "", meaning, why)


_CLIENTS = (
    _flag("use-forwarded-headers", False, "believe the X-Forwarded-* headers of requests"),
    _flag("compute-full-forwarded-for", False, "append to X-Forwarded-For instead of replacing it"),
    _text("forwarded-for-header", values.header, "X-Forwarded-For", "the header with the client's address"),
    _flag("enable-real-ip", False, "take the client's address from forwarded-for-header"),
    _text("proxy-real-ip-cidr", networks, "0.0.0.0/0", "whose headers and PROXY lines are believed", "CIDR list"),
    _flag("use-proxy-protocol", False, "expect a PROXY protocol line on each connection"),
    _time("proxy-protocol-header-timeout", "5s", "how long to wait for that line (TLS passthrough)"),
    _flag("proxy-add-original-uri-header", False, "send X-Original-URI to backends"),
    _flag("generate-request-id", True, "make an X-Request-ID where the client sends none"),
    _text(
        "proxy-set-headers", _unless_empty(_reference), "", "ConfigMap of headers sent to backends", "namespace/name"
    ),
    _text("add-headers", _unless_empty(_reference), "", "ConfigMap of headers added to answers", "namespace/name"),
    _text("hide-headers", _header_names, "", "headers of backends' answers that are not passed on", "list"),
    _text("global-allowed-response-headers", _header_names, "", "headers that custom-headers may set", "list"),
    _flag("allow-backend-server-header", False, "pass on the Server header of backends"),
    _flag("enable-underscores-in-headers", False, "accept underscores in names of headers"),
    _flag("ignore-invalid-headers", True, "ignore headers with other characters"),
    _flag("server-tokens", False, "tell nginx's version"),
)

_SIZES = (
    _bytes("proxy-body-size", "1m", "largest request body; 0 is any; above it 413"),
    _number("proxy-connect-timeout", 5, "seconds to connect to a backend"),
    _number("proxy-read-timeout", 60, "seconds between two reads from a backend"),
    _number("proxy-send-timeout", 60, "seconds between two writes to a backend"),
    _text("proxy-buffering", values.on_off, "off", "buffer answers", "on/off"),
    _text("proxy-request-buffering", values.on_off, "on", "buffer requests", "on/off"),
    _memory("proxy-buffer-size", "16m", "4k", "buffer for an answer's headers"),
    _number("proxy-buffers-number", 4, "buffers for an answer", 2, 65536),
    _text("proxy-busy-buffers-size", _unless_empty(_size, 0), "", "size of busy buffers; nginx's formula", "size"),
    _bytes("proxy-max-temp-file-size", "1024m", "largest temporary file of an answer; 0 is none"),
    _text("proxy-http-version", one_of("1.0", "1.1"), "1.1", "HTTP version spoken to backends"),
    _memory("client-header-buffer-size", "16m", "1k", "buffer for a request's headers"),
    _text("large-client-header-buffers", _buffers, "4 8k", "buffers for large headers", "number and size"),
    _memory("client-body-buffer-size", "256m", "8k", "request body kept in memory"),
    _number("client-header-timeout", 60, "seconds for a request's headers"),
    _number("client-body-timeout", 60, "seconds between two reads of a request's body"),
    _number("keep-alive", 75, "seconds that idle client connections stay open"),
    _number("keep-alive-requests", 1000, "requests per client connection", 1),
    _number("upstream-keepalive-connections", 320, "idle connections to backends per worker; 0 turns reuse off"),
    _time("upstream-keepalive-time", "1h", "how long one connection to a backend is reused"),
    _number("upstream-keepalive-timeout", 60, "seconds that idle connections to backends stay open"),
    _number("upstream-keepalive-requests", 10000, "requests per connection to a backend", 1),
    _text("proxy-next-upstream", _next_upstream, "error timeout", "when another endpoint is tried", "words"),
    _number("proxy-next-upstream-timeout", 0, "seconds for all tries; 0 is any"),
    _number("proxy-next-upstream-tries", 3, "number of tries; 0 is any"),
    _flag("retry-non-idempotent", False, "retry POST and others, too"),
    _text("proxy-cookie-domain", plain, "off", "rewrite the domain of backends' cookies"),
    _text("proxy-cookie-path", plain, "off", "rewrite the path of backends' cookies"),
    _text("proxy-redirect-from", plain, "off", "rewrite Location headers that begin so"),
    _text("proxy-redirect-to", plain, "off", "what they begin with then"),
)

_TLS = (
    _flag("ssl-redirect", True, "redirect HTTP to HTTPS where the host has TLS"),
    _flag("force-ssl-redirect", False, "redirect everywhere"),
    _text("no-tls-redirect-locations", _locations, "/.well-known/acme-challenge", "paths not redirected", "list"),
    _text("http-redirect-code", integer(301, 308), "308", "status of that redirect", "int"),
    _flag("hsts", True, "send Strict-Transport-Security over TLS"),
    _number("hsts-max-age", 31536000, "its max-age in seconds"),
    _flag("hsts-include-subdomains", True, "its includeSubDomains"),
    _flag("hsts-preload", False, "its preload"),
    _text("ssl-protocols", _protocols, "TLSv1.2 TLSv1.3", "TLS versions", "words"),
    _text("ssl-ciphers", _words, _CIPHERS, "OpenSSL list of ciphers"),
    _text("ssl-prefer-server-ciphers", boolean, "true", "the server's order of ciphers counts", "bool"),
    _text("ssl-ecdh-curve", matching("A-Za-z0-9:_-", "names of curves"), "auto", "curves"),
    _flag("ssl-session-cache", True, "keep TLS sessions"),
    _bytes("ssl-session-cache-size", "10m", "size of that cache"),
    _flag("ssl-session-tickets", False, "session tickets"),
    _refused("ssl-session-ticket-key", "key of session tickets", "nginx makes one of its own at each start"),
    _time("ssl-session-timeout", "10m", "how long sessions are kept"),
    _refused("ssl-dh-param", "Secret with dhparam.pem", "key exchange is by elliptic curves only"),
    _bytes("ssl-buffer-size", "4k", "size of TLS records"),
    _flag("ssl-reject-handshake", False, "end handshakes for hosts that nobody serves"),
    _refused("ssl-early-data", "TLS 1.3 early data", "requests could be replayed"),
    _refused("enable-ocsp", "OCSP stapling", "certificates come from memory, where nginx cannot staple"),
    _flag("proxy-ssl-location-only", False, "proxy-ssl-* annotations count for the Ingress's own paths only"),
)

_HTTP = (
    _flag("use-http2", True, "HTTP/2 over TLS"),
    _number("http2-max-concurrent-streams", 128, "streams per HTTP/2 connection", 1),
    _flag("use-gzip", False, "compress answers"),
    _number("gzip-level", 1, "how hard", 1, 9),
    _number("gzip-min-length", 256, "from this size on"),
    _text("gzip-types", values.tokens(r"A-Za-z0-9.+*/\-", "MIME types"), _MIME_TYPES, "which types", "words"),
    _text("gzip-disable", plain, "", "user agents that get none"),
    _refused("enable-brotli", "Brotli compression", "the module is not installed"),
    _refused("brotli-level", "its level", "the module is not installed"),
    _refused("brotli-min-length", "its smallest size", "the module is not installed"),
    _refused("brotli-types", "its types", "the module is not installed"),
    _text("custom-http-errors", _codes, "", "status codes that the default backend answers for", "int list"),
    _flag("disable-proxy-intercept-errors", False, "leave those of backends as they are"),
    _text("default-type", matching(r"A-Za-z0-9.+/\-;= ", "a MIME type"), "text/html", "type of answers without one"),
    _flag("relative-redirects", False, "redirects of nginx itself are relative"),
    _flag("use-port-in-redirects", False, "redirects of nginx itself carry the port"),
    _flag("service-upstream", False, "send to the Service's own address, not to endpoints"),
    _text("load-balance", one_of("round_robin", "ewma"), "round_robin", "how an endpoint is picked"),
    _text("upstream-hash-by", _unless_empty(values.text, ()), "", "expression to hash by, for every Service"),
    _text("whitelist-source-range", networks, "", "clients that are let in", "CIDR list"),
    _text("denylist-source-range", networks, "", "clients that are not", "CIDR list"),
    _text("block-cidrs", networks, "", "clients that get 403 everywhere", "CIDR list"),
    _text("block-user-agents", listed(_regular), "", "user agents that get 403", "list"),
    _text("block-referers", listed(_regular), "", "referers that get 403", "list"),
    _number("limit-req-status-code", 503, "answer above a rate limit", 400, 599),
    _number("limit-conn-status-code", 503, "answer above a connection limit", 400, 599),
    _number("limit-rate", 0, "KiB per second and connection; 0 is any"),
    _number("limit-rate-after", 0, "KiB before that"),
    _text("limit-conn-zone-variable", values.text, "$binary_remote_addr", "what connections are counted by"),
)

_AUTH = (
    _text("global-auth-url", _unless_empty(values.absolute_url_with_variables, ()), "", "asked before every request"),
    _text("global-auth-method", pattern("[A-Z]{0,16}", "an HTTP method"), "", "method of that request"),
    _text("global-auth-signin", _unless_empty(_signin, ()), "", "where 401 is redirected to"),
    _text("global-auth-signin-redirect-param", pattern(r"[\w.-]{1,64}", "a name"), "rd", "parameter with the URL"),
    _text("global-auth-response-headers", _header_names, "", "headers passed from it to backends", "list"),
    _text("global-auth-request-redirect", _unless_empty(values.url_with_variables, ()), "", "X-Auth-Request-Redirect"),
    _raw("global-auth-snippet", "that request's location"),
    _text("global-auth-cache-key", _unless_empty(values.text, ()), "", "keeps answers under this key"),
    _text("global-auth-cache-duration", listed(plain), "200 202 401 5m", "how long", "list"),
    _flag("global-auth-always-set-cookie", False, "pass its Set-Cookie on, whatever the status"),
    _text("no-auth-locations", _locations, "/.well-known/acme-challenge", "paths that are not asked for", "list"),
)

_LOGS = (
    _flag("disable-access-log", False, "no access log"),
    _flag("disable-http-access-log", False, "none of HTTP"),
    _flag("disable-stream-access-log", False, "none of streams"),
    _flag("enable-access-log-for-default-backend", False, "one of the default backend, too"),
    _text("access-log-path", _path, "/var/log/nginx/access.log", "its file", "path"),
    _text("http-access-log-path", _path, "", "its file for HTTP", "path"),
    _text("stream-access-log-path", _path, "", "its file for streams", "path"),
    _text("access-log-params", _words, "", "more parameters of access_log"),
    _text("error-log-path", _path, "/var/log/nginx/error.log", "file of the error log", "path"),
    _text(
        "error-log-level",
        one_of("debug", "info", "notice", "warn", "error", "crit", "alert", "emerg"),
        "notice",
        "its level",
    ),
    _text("log-format-upstream", _log_format, _LOG, "format of the access log"),
    _text("log-format-stream", _log_format, _STREAM_LOG, "format of streams' log"),
    _flag("log-format-escape-json", False, "escape for JSON"),
    _flag("log-format-escape-none", False, "do not escape"),
    _text("skip-access-log-urls", listed(plain), "", "paths that are not logged", "list"),
    _flag("enable-syslog", False, "log to a syslog server"),
    _text("syslog-host", matching(r"A-Za-z0-9.:_\-\[\]", "a host"), "", "its address"),
    _number("syslog-port", 514, "its port", 1, 65535),
)

_PROCESS = (
    _text("worker-processes", pattern(r"auto|\d{1,3}", "a number or auto"), "auto", "workers of nginx"),
    _time("worker-shutdown-timeout", "0s", "when workers of an old configuration are ended; 0 is never (240s there)"),
    _text("worker-cpu-affinity", pattern("(auto)?[01 ]*", "auto or masks"), "", "CPUs of workers"),
    _number("max-worker-connections", 16384, "connections per worker; 0 is 16384", 0, 10**7),
    _number("max-worker-open-files", 0, "open files per worker; 0 is as many as allowed"),
    _flag("enable-multi-accept", True, "accept all waiting connections at once"),
    _flag("reuse-port", True, "a listening socket per worker"),
    _flag("enable-serial-reloads", False, "a reload waits for the workers of the last one"),
    _flag("enable-aio-write", True, "write temporary files in threads"),
    _number("server-name-hash-max-size", 1024, "size of the table of hosts", 1),
    _text("server-name-hash-bucket-size", _unless_empty(integer(32, 65536), 0), "", "its buckets; fitted", "int"),
    _number("map-hash-bucket-size", 64, "buckets of maps", 32),
    _number("variables-hash-max-size", 2048, "size of the table of variables", 1),
    _number("variables-hash-bucket-size", 256, "its buckets", 32),
    _number("proxy-headers-hash-max-size", 512, "size of the table of headers", 1),
    _number("proxy-headers-hash-bucket-size", 64, "its buckets", 32),
    _text("bind-address", listed(values.matching("0-9a-fA-F.:", "addresses")), "", "addresses to listen at", "list"),
    _flag("disable-ipv6", False, "listen on IPv4 only"),
    _flag("disable-ipv6-dns", False, "resolve names to IPv4 addresses only"),
    _text("lua-shared-dicts", plain, "", "sizes of shared memory, as in certificate_data: 20"),
    _text("nginx-status-ipv4-whitelist", networks, "127.0.0.1", "who may read nginx_status", "CIDR list"),
    _text("nginx-status-ipv6-whitelist", networks, "::1", "who may read nginx_status", "CIDR list"),
    _text("debug-connections", networks, "", "clients whose connections are logged in detail", "CIDR list"),
    _raw("main-snippet", "the file's top level"),
    _raw("http-snippet", "http"),
    _raw("server-snippet", "every server"),
    _raw("location-snippet", "every location"),
    _raw("stream-snippet", "stream"),
)

_SAFETY = (
    _flag("allow-snippet-annotations", False, "let Ingresses bring nginx configuration of their own"),
    _text("annotations-risk-level", one_of(*RISKS), "High", "annotations above it reject their Ingress"),
    _text("annotation-value-word-blocklist", listed(plain), "", "words that no annotation may have", "list"),
    _flag("allow-cross-namespace-resources", False, "let annotations name Secrets and ConfigMaps of other namespaces"),
    _flag("strict-validate-path-type", True, "Exact and Prefix paths have letters, digits and - . _ / only"),
)

_STREAMS = (
    _time("proxy-stream-timeout", "600s", "when an idle stream ends"),
    _number("proxy-stream-responses", 1, "datagrams answered per UDP request"),
    _flag("proxy-stream-next-upstream", True, "try another endpoint where connecting fails"),
    _time("proxy-stream-next-upstream-timeout", "600s", "time for all tries"),
    _number("proxy-stream-next-upstream-tries", 3, "number of tries"),
)

_NOT_DONE = (
    *(
        _refused(key, meaning, _NO_WAF)
        for key, meaning in (
            ("enable-modsecurity", "ModSecurity everywhere"),
            ("enable-owasp-modsecurity-crs", "its core rule set"),
            ("modsecurity-snippet", "its rules"),
        )
    ),
    *(
        _refused(key, "OpenTelemetry", _NO_TRACE)
        for key in (
            "enable-opentelemetry", "opentelemetry-config", "opentelemetry-operation-name",
            "opentelemetry-location-operation-name", "opentelemetry-trust-incoming-span", "otlp-collector-host",
            "otlp-collector-port", "otel-max-queuesize", "otel-schedule-delay-millis", "otel-max-export-batch-size",
            "otel-service-name", "otel-sampler", "otel-sampler-ratio", "otel-sampler-parent-based",
        )
    ),
    *(_refused(key, "GeoIP", _NO_GEOIP) for key in ("use-geoip", "use-geoip2", "geoip2-autoreload-in-minutes")),
    *(
        _refused(key, "rate limits in memcached", _REMOVED)
        for key in (
            "global-rate-limit-memcached-host", "global-rate-limit-memcached-port",
            "global-rate-limit-memcached-connect-timeout", "global-rate-limit-memcached-max-idle-timeout",
            "global-rate-limit-memcached-pool-size", "global-rate-limit-status-code",
        )
    ),
    _refused("enable-opentracing", "OpenTracing", _REMOVED),
    _refused("plugins", "Lua plugins of one's own", _REMOVED),
    _refused("http2-max-field-size", "longest HTTP/2 header", "nginx uses large-client-header-buffers instead"),
    _refused("http2-max-header-size", "all HTTP/2 headers", "nginx uses large-client-header-buffers instead"),
    _refused("http2-max-requests", "requests per HTTP/2 connection", "nginx uses keep-alive-requests instead"),
)  # fmt: skip

SETTINGS: Mapping[str, Setting] = {
    each.key: each
    for group in (_CLIENTS, _SIZES, _TLS, _HTTP, _AUTH, _LOGS, _PROCESS, _SAFETY, _STREAMS, _NOT_DONE)
    for each in group
}
_ALIASES = {"allowlist-source-range": "whitelist-source-range"}

DEFAULTS = Settings({key: each.parse(each.default) for key, each in SETTINGS.items() if not each.refused})
"""What holds without a ConfigMap."""


def parse(data: Mapping[str, str]) -> tuple[Settings, tuple[tuple[str, str], ...]]:
    """Typed settings, and what is wrong as (key, message) pairs."""
    found, problems = dict(DEFAULTS.values), []
    for key, text in sorted(data.items()):
        setting = SETTINGS.get(_ALIASES.get(key, key))
        if setting is None:
            problems.append((key, "there is no such key; it has no effect"))
        elif setting.refused:
            problems.append((key, f"the key has no effect: {setting.refused}"))
        else:
            try:
                found[setting.key] = setting.parse(text)
            except ValueError as error:
                problems.append((key, f"{error}; the default {setting.default!r} is used"))
    return Settings(found), tuple(problems)


def value(settings: Settings, key: str, kind: type[T]) -> T:
    """The setting `key`, which must be of type `kind`; its default where `settings` does not have it."""
    found = settings.values.get(key, DEFAULTS.values.get(key))
    if not isinstance(found, kind):
        raise TypeError(f"{key} is not of type {kind.__name__}")
    return found
