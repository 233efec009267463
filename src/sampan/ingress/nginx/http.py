"""The http context besides servers: settings, variables that servers use, log formats, headers sent to backends."""

from __future__ import annotations

from collections.abc import Iterator

from sampan.ingress.nginx.context import PLAIN, Globals
from sampan.ingress.nginx.directives import Expression, Node, Verbatim, d, expression, lua, network, snippet
from sampan.ingress.nginx.values import Values, on_off, template

X = Expression

LOG_FORMAT = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" '
    "$request_length $request_time [$proxy_upstream_name] [$proxy_alternative_upstream_name] $upstream_addr "
    "$upstream_response_length $upstream_response_time $upstream_status $req_id"
)
RECORD = "\t".join(
    (
        "$server_name", "$location_path", "$request_method", "$status", "$namespace", "$ingress_name", "$service_name",
        "$proxy_alternative_upstream_name", "$request_time", "$upstream_response_time", "$upstream_connect_time",
        "$upstream_header_time", "$request_length", "$bytes_sent",
    )
)  # fmt: skip
"""A line for metrics.py, in the order of its fields."""

CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
    "DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384"
)
GZIP_TYPES = (
    "application/atom+xml application/javascript application/x-javascript application/json application/rss+xml "
    "application/vnd.ms-fontobject application/x-font-ttf application/x-web-app-manifest+json application/xhtml+xml "
    "application/xml font/opentype image/svg+xml image/x-icon text/css text/javascript text/plain text/x-component"
)


def http_settings(g: Globals, workers: int) -> Iterator[Node]:
    """Everything in the http context that does not depend on hosts."""
    v = g.values
    yield from _lua(g)
    yield from _basics(g)
    yield from _clients(v)
    yield from _tls(g)
    yield from _variables(g)
    yield from _logs(g)
    yield from _compression(v)
    yield from _proxying(g)
    yield from _client_address(g)
    yield from _blocks(v)
    yield from upstream(v, PLAIN)
    if raw := v.text("http-snippet"):
        yield from snippet(raw)


def _lua(g: Globals) -> Iterator[Node]:
    sizes = {"backends": "64m", "certificates": "64m", "digests": "5m", "fresh": "4m"}
    for entry in g.values.words("lua-shared-dicts"):
        name, _, size = entry.partition(":")
        known = {"configuration_data": "backends", "certificate_data": "certificates"}.get(name.strip())
        if known and size.strip().isdigit():
            sizes[known] = f"{size.strip()}m"
    for name, size in sizes.items():
        yield d("lua_shared_dict", name, size)
    private = g.paths.private
    yield d("lua_package_path", Verbatim(f"{private}/lua/?.lua;{private}/lua/?/init.lua;/usr/share/lua/5.1/?.lua;;"))
    yield d("lua_package_cpath", Verbatim("/usr/lib/x86_64-linux-gnu/lua/5.1/?.so;;"))
    yield lua(
        "init_by_lua_block",
        'sampan = require("sampan"); balancer = sampan.balancer; certificate = sampan.certificate; '
        f'sampan.init("{private}")',
    )
    yield lua("init_worker_by_lua_block", "sampan.init_worker()")


def _basics(g: Globals) -> Iterator[Node]:
    v = g.values
    yield d("uninitialized_variable_warn", "off")
    yield d("aio", "threads")
    yield d("aio_write", on_off(v.flag("enable-aio-write", True)))
    yield d("tcp_nopush", "on")
    yield d("tcp_nodelay", "on")
    yield d("log_subrequest", "on")
    yield d("reset_timedout_connection", "on")
    yield d("server_tokens", on_off(v.flag("server-tokens", False)))
    if not v.flag("server-tokens", False):
        yield d("more_clear_headers", "Server")
    yield d("default_type", v.text("default-type", "text/html"))
    yield d("types_hash_max_size", 2048)
    yield d("server_names_hash_max_size", max(v.number("server-name-hash-max-size", 1024), 16384))
    yield d("server_names_hash_bucket_size", max(v.number("server-name-hash-bucket-size", 0), 512))
    yield d("map_hash_bucket_size", max(v.number("map-hash-bucket-size", 64), 256))
    yield d("variables_hash_bucket_size", max(v.number("variables-hash-bucket-size", 256), 256))
    yield d("variables_hash_max_size", max(v.number("variables-hash-max-size", 2048), 2048))
    yield d("proxy_headers_hash_max_size", v.number("proxy-headers-hash-max-size", 512))
    yield d("proxy_headers_hash_bucket_size", max(v.number("proxy-headers-hash-bucket-size", 64), 128))
    for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"):
        yield d(f"{name}_temp_path", Verbatim(f"{g.paths.private}/tmp/{name}"))
    if v.flag("relative-redirects", False):
        yield d("absolute_redirect", "off")
    yield d("port_in_redirect", on_off(v.flag("use-port-in-redirects", False)))
    if g.resolvers:
        yield d("resolver", *g.resolvers, "valid=30s", *(["ipv6=off"] if v.flag("disable-ipv6-dns", False) else []))
    yield d("limit_req_status", v.number("limit-req-status-code", 503))
    yield d("limit_conn_status", v.number("limit-conn-status-code", 503))


def _clients(v: Values) -> Iterator[Node]:
    yield d("keepalive_timeout", f"{v.number('keep-alive', 75)}s")
    yield d("keepalive_requests", v.number("keep-alive-requests", 1000))
    yield d("client_header_buffer_size", v.text("client-header-buffer-size", "1k"))
    yield d("client_header_timeout", f"{v.number('client-header-timeout', 60)}s")
    yield d("large_client_header_buffers", *(v.words("large-client-header-buffers") or ("4", "8k")))
    yield d("client_body_buffer_size", v.text("client-body-buffer-size", "8k"))
    yield d("client_body_timeout", f"{v.number('client-body-timeout', 60)}s")
    yield d("client_max_body_size", v.text("proxy-body-size", "1m"))
    yield d("underscores_in_headers", on_off(v.flag("enable-underscores-in-headers", False)))
    yield d("ignore_invalid_headers", on_off(v.flag("ignore-invalid-headers", True)))
    yield d("http2_max_concurrent_streams", v.number("http2-max-concurrent-streams", 128))


def _tls(g: Globals) -> Iterator[Node]:
    v = g.values
    yield d("ssl_protocols", *(v.words("ssl-protocols") or ("TLSv1.2", "TLSv1.3")))
    yield d("ssl_early_data", on_off(v.flag("ssl-early-data", False)))
    if v.flag("ssl-session-cache", True):
        yield d("ssl_session_cache", f"shared:SSL:{v.text('ssl-session-cache-size', '10m')}")
    yield d("ssl_session_timeout", v.text("ssl-session-timeout", "10m"))
    yield d("ssl_session_tickets", on_off(v.flag("ssl-session-tickets", False)))
    yield d("ssl_buffer_size", v.text("ssl-buffer-size", "4k"))
    yield d("ssl_ciphers", Verbatim(v.text("ssl-ciphers", CIPHERS)))
    yield d("ssl_prefer_server_ciphers", on_off(v.flag("ssl-prefer-server-ciphers", True)))
    yield d("ssl_ecdh_curve", Verbatim(v.text("ssl-ecdh-curve", "auto")))
    yield d("map", X("$scheme"), X("$default_certificate"),
            block=[d("default", Verbatim(f"{g.paths.private}/default.pem"))])  # fmt: skip
    if v.flag("hsts", True):
        text = f"max-age={v.number('hsts-max-age', 31536000)}"
        text += "; includeSubDomains" if v.flag("hsts-include-subdomains", True) else ""
        text += "; preload" if v.flag("hsts-preload", False) else ""
        yield d("map", X("$https"), X("$hsts"), block=[d("on", text), d("default", "")])


def _variables(g: Globals) -> Iterator[Node]:
    v = g.values
    yield d("geo", X("$literal_dollar"), block=[d("default", Verbatim("$"))])
    forwarded = v.flag("use-forwarded-headers", False)
    yield _map("$http_host", "$host_of_request", ("default", "$http_host"), ("", "$host"))
    if forwarded:
        yield _map("$http_x_forwarded_host", "$best_http_host", ("default", "$http_x_forwarded_host"),
                   ("", "$host_of_request"))  # fmt: skip
        yield _map("$http_x_forwarded_proto", "$pass_access_scheme", ("default", "$http_x_forwarded_proto"),
                   ("", "$scheme"))  # fmt: skip
        yield _map("$http_x_forwarded_port", "$pass_port", ("default", "$http_x_forwarded_port"), ("", "$own_port"))
    else:
        yield _map("$http_host", "$best_http_host", ("default", "$http_host"), ("", "$host"))
        yield _map("$https", "$pass_access_scheme", ("on", "https"), ("default", "http"))
        yield _map("$https", "$pass_port", ("on", "443"), ("default", str(g.listeners.http)))
    yield _map("$https", "$own_port", ("on", "443"), ("default", str(g.listeners.http)))
    yield _map("$http_upgrade", "$connection_upgrade", ("default", "upgrade"), ("", ""))
    if v.flag("generate-request-id", True):
        yield _map("$http_x_request_id", "$req_id", ("default", "$http_x_request_id"), ("", "$request_id"))
    else:
        yield _map("$http_x_request_id", "$req_id", ("default", "$http_x_request_id"))
    yield _map("$pass_access_scheme", "$is_insecure", ("http", "1"), ("default", ""))
    without_slash = d(Verbatim("~^(?<without_slash>.*)/$"), X("$without_slash"))
    rows = [without_slash, d("default", X("$request_uri"))]
    yield d("map", X("$request_uri"), X("$request_uri_without_slash"), block=rows)
    yield _map("$scheme", "$proxy_alternative_upstream_name", ("default", ""))
    if v.flag("compute-full-forwarded-for", False):
        header = v.text("forwarded-for-header", "X-Forwarded-For").lower().replace("-", "_")
        yield _map(f"$http_{header}", "$full_x_forwarded_for", ("default", f"$http_{header}, $realip_remote_addr"),
                   ("", "$realip_remote_addr"))  # fmt: skip


def _map(source: str, name: str, *rows: tuple[str, str]) -> Node:
    """A map of constants of this package."""
    return d("map", X(source), X(name), block=[d(key, X(value)) for key, value in rows])


def _logs(g: Globals) -> Iterator[Node]:
    v = g.values
    escape = (
        "none" if v.flag("log-format-escape-none", False) else "json" if v.flag("log-format-escape-json", False) else ""
    )
    yield d("log_format", "upstreaminfo", *([f"escape={escape}"] if escape else []),
            template(v.text("log-format-upstream", LOG_FORMAT)))  # fmt: skip
    yield d("log_format", "record", X(RECORD))
    skipped = v.words("skip-access-log-urls")
    yield d(
        "map", X("$request_uri"), X("$loggable"), block=[*(d(_map_key(url), "0") for url in skipped), d("default", "1")]
    )
    yield from access_log(g, own=True)


def _map_key(text: str) -> str:
    """A key of `map` that stands for itself."""
    return (
        Verbatim("\\" + text)
        if text in ("default", "hostnames", "include", "volatile") or text[:1] in "\\~"
        else Verbatim(text)
    )


def access_log(g: Globals, own: bool) -> Iterator[Node]:
    """Users' log, if this place has one, and the records for metrics.

    Lines are written in atomic pieces of at most PIPE_BUF, each second.
    """
    v = g.values
    if own and not v.flag("disable-access-log", False) and not v.flag("disable-http-access-log", False):
        if v.flag("enable-syslog", False):
            target = f"syslog:server={v.text('syslog-host')}:{v.number('syslog-port', 514)}"
            yield d("access_log", target, "upstreaminfo", X("if=$loggable"))
        else:
            yield d("access_log", log_path(v, "/dev/stdout", "http-access-log-path", "access-log-path"), "upstreaminfo",
                    *(v.words("access-log-params") or ("buffer=4k", "flush=1s")), X("if=$loggable"))  # fmt: skip
    yield d("access_log", Verbatim(g.paths.records), "record", "buffer=64k", "flush=1s")


def log_path(v: Values, instead: str, *keys: str) -> str:
    """The file of the first key that names one. The standard files mean `instead`, as in ingress-nginx's image."""
    path = next((text for key in keys if (text := v.text(key))), "")
    standard = ("", "/var/log/nginx/access.log", "/var/log/nginx/error.log")
    return Verbatim(instead if path in standard else path)


def _compression(v: Values) -> Iterator[Node]:
    if v.flag("use-gzip", False):
        yield d("gzip", "on")
        yield d("gzip_comp_level", v.number("gzip-level", 1))
        yield d("gzip_http_version", "1.1")
        yield d("gzip_min_length", v.number("gzip-min-length", 256))
        yield d("gzip_types", *(v.words("gzip-types") or GZIP_TYPES.split()))
        yield d("gzip_proxied", "any")
        yield d("gzip_vary", "on")
        if pattern := v.text("gzip-disable"):
            yield d("gzip_disable", Verbatim(pattern))


def _proxying(g: Globals) -> Iterator[Node]:
    v = g.values
    yield d("proxy_http_version", v.text("proxy-http-version", "1.1"))
    for module in ("proxy", "grpc", "fastcgi"):
        yield d(f"{module}_connect_timeout", f"{v.number('proxy-connect-timeout', 5)}s")
        yield d(f"{module}_send_timeout", f"{v.number('proxy-send-timeout', 60)}s")
        yield d(f"{module}_read_timeout", f"{v.number('proxy-read-timeout', 60)}s")
        conditions = v.words("proxy-next-upstream") or ("error", "timeout")
        if v.flag("retry-non-idempotent", False) and "non_idempotent" not in conditions:
            conditions += ("non_idempotent",)
        yield d(f"{module}_next_upstream", *conditions)
        yield d(f"{module}_next_upstream_timeout", v.number("proxy-next-upstream-timeout", 0))
        yield d(f"{module}_next_upstream_tries", v.number("proxy-next-upstream-tries", 3))
    yield d("proxy_buffering", v.text("proxy-buffering", "off"))
    yield d("proxy_request_buffering", v.text("proxy-request-buffering", "on"))
    yield d("proxy_buffer_size", v.text("proxy-buffer-size", "4k"))
    yield d("proxy_buffers", v.number("proxy-buffers-number", 4), v.text("proxy-buffer-size", "4k"))
    if (busy := v.text("proxy-busy-buffers-size")) not in ("", "0"):
        yield d("proxy_busy_buffers_size", busy)
    yield d("proxy_max_temp_file_size", v.text("proxy-max-temp-file-size", "1024m"))
    start, instead = v.text("proxy-redirect-from", "off"), v.text("proxy-redirect-to", "off")
    if start in ("off", "default"):
        yield d("proxy_redirect", start)
    else:
        yield d("proxy_redirect", start, instead)
    yield d("proxy_intercept_errors", "off")
    for name in v.words("hide-headers"):
        yield d("proxy_hide_header", name)
        yield d("grpc_hide_header", name)
    if v.flag("hsts", True):
        yield d("proxy_hide_header", "Strict-Transport-Security")
    if v.flag("allow-backend-server-header", False):
        yield d("proxy_pass_header", "Server")
    for name, value in backend_headers(g):
        yield d("proxy_set_header", name, value)
        yield d("grpc_set_header", name, value)
    for name, text in g.response_headers:
        yield d("add_header", name, expression(text), "always")
    if cookies := v.words("proxy-cookie-domain"):
        yield d("proxy_cookie_domain", *cookies)
    if cookies := v.words("proxy-cookie-path"):
        yield d("proxy_cookie_path", *cookies)


def backend_headers(g: Globals) -> tuple[tuple[str, str], ...]:
    """What every backend is sent. Locations that add to it repeat all of it, as nginx inherits all or nothing."""
    v = g.values
    full = v.flag("compute-full-forwarded-for", False)
    headers: list[tuple[str, str]] = [
        ("Host", X("$best_http_host")),
        ("Upgrade", X("$http_upgrade")),
        ("Connection", X("$connection_upgrade")),
        ("X-Request-ID", X("$req_id")),
        ("X-Real-IP", X("$remote_addr")),
        ("X-Forwarded-For", X("$full_x_forwarded_for" if full else "$remote_addr")),
        ("X-Forwarded-Host", X("$best_http_host")),
        ("X-Forwarded-Port", X("$pass_port")),
        ("X-Forwarded-Proto", X("$pass_access_scheme")),
        ("X-Forwarded-Scheme", X("$pass_access_scheme")),
        ("X-Scheme", X("$pass_access_scheme")),
        ("X-Original-Forwarded-For", X("$http_x_forwarded_for")),
        ("Proxy", ""),
    ]
    if v.flag("proxy-add-original-uri-header", False):
        headers.append(("X-Original-URI", X("$request_uri")))
    own = {name.lower() for name, _ in g.request_headers}
    kept = ((name, value) for name, value in headers if name.lower() not in own)
    return (*kept, *((name, expression(value)) for name, value in g.request_headers))


def _client_address(g: Globals) -> Iterator[Node]:
    v = g.values
    trusted = v.words("proxy-real-ip-cidr") or ("0.0.0.0/0",)
    if v.flag("use-forwarded-headers", False) or v.flag("enable-real-ip", False):
        yield d("real_ip_header", v.text("forwarded-for-header", "X-Forwarded-For"))
        yield d("real_ip_recursive", "on")
    elif v.flag("use-proxy-protocol", False):
        yield d("real_ip_header", "proxy_protocol")
        yield d("real_ip_recursive", "on")
    elif g.passthrough:
        yield d("real_ip_header", "proxy_protocol")
        yield d("set_real_ip_from", "unix:")
        return
    else:
        return
    if g.passthrough:
        yield d("set_real_ip_from", "unix:")
    for each in trusted:
        yield d("set_real_ip_from", network(each))


def _blocks(v: Values) -> Iterator[Node]:
    if networks := v.words("block-cidrs"):
        for each in networks:
            yield d("deny", network(each))
    for key, source, name in (("block-user-agents", "$http_user_agent", "$block_ua"),
                              ("block-referers", "$http_referer", "$block_ref")):  # fmt: skip
        if words := v.words(key):
            rows = [d(Verbatim(word) if word.startswith("~") else _map_key(word), "1") for word in words]
            yield d("map", X(source), X(name), block=[*rows, d("default", "0")])


def upstream(v: Values, name: str, keepalive: bool = True) -> Iterator[Node]:
    """An upstream whose endpoints come from Lua.

    nginx reuses a kept connection by address alone. So each way of speaking to backends (plain, TLS with one set of
    keys, gRPC) has an upstream of its own.
    """
    block = [d("server", "0.0.0.1"), lua("balancer_by_lua_block", "balancer.balance()")]
    if keepalive and (kept := v.number("upstream-keepalive-connections", 320)):
        block += [
            d("keepalive", kept),
            d("keepalive_time", v.text("upstream-keepalive-time", "1h")),
            d("keepalive_timeout", f"{v.number('upstream-keepalive-timeout', 60)}s"),
            d("keepalive_requests", v.number("upstream-keepalive-requests", 10000)),
        ]
    yield d("upstream", name, block=block)
