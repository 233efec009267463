"""Every annotation of ingress-nginx: how its value is checked, how risky it is, and whether it is done here.

`ANNOTATIONS` is the one table. docs/ingress.md is made from it, and a test fails for every row that was never tried
with a good, a bad and a hostile value. parse.py reads an Ingress's annotations by it; translate/filters.py turns the
typed values into the model.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from sampan.ingress import values
from sampan.ingress.annotations import regex
from sampan.ingress.model import BackendProtocol, Text
from sampan.ingress.values import Parser, boolean, integer, listed, matching, networks, on_off, one_of, pattern


class Risk(IntEnum):
    """How much of nginx's configuration a value may reach. The ConfigMap's annotations-risk-level allows up to one."""

    LOW = 0
    MEDIUM = 1
    HIGH = 2
    CRITICAL = 3


@dataclass(frozen=True, slots=True)
class Annotation:
    """One annotation. `parse` raises ValueError for what it does not take."""

    name: str
    group: str
    risk: Risk
    parse: Parser
    default: str
    meaning: str
    scope: str = "paths"
    """`paths`: the Ingress's own paths. `host`: every path of its hosts, also those of other Ingresses. `service`: how
    the Services' endpoints are picked."""
    refused: str = ""
    """Why it has no effect here; "" where it has."""
    aliases: tuple[str, ...] = ()
    denies: bool = False
    """A bad value closes the Ingress's paths (503): serving them without what it asks for would be unsafe."""


# --- values that only annotations have


def _snippet(text: str) -> str:
    if "\0" in text:
        raise ValueError("the value has a NUL")
    if len(text) > values.LONGEST:
        raise ValueError(f"the value is longer than {values.LONGEST} characters")
    return text


def _any(text: str) -> str:
    return text[: values.LONGEST_PARAMETER]


_REGEX_CHARS = r"/\-._~a-zA-Z0-9:^$\[\](){}*+?|&=\\"


def _regex(text: str, extra: str = "") -> str:
    found = matching(_REGEX_CHARS + extra, "letters, digits and the signs of regular expressions")(text)
    if wrong := regex.check(found):
        raise ValueError(wrong)
    return found


def _rewrite_target(text: str) -> str:
    target = matching(r"\-._~a-zA-Z0-9/:$", "letters, digits and - . _ ~ / : $")(text)
    if wrong := re.search(r"\$(?!\d)", target):
        raise ValueError(f"the $ at character {wrong.start()} must be followed by the number of a group")
    return target


def _absolute_path(text: str) -> str:
    found = values.matching(r"\-._~a-zA-Z0-9/:?&=%", "letters, digits and - . _ ~ / : ? & = %")(text)
    if not found.startswith("/"):
        raise ValueError("must be a path that begins with /")
    return found


_HOST_NAME = re.compile(
    r"(\*\.)?[a-zA-Z0-9_]([-a-zA-Z0-9_]*[a-zA-Z0-9_])?(\.[a-zA-Z0-9_]([-a-zA-Z0-9_]*[a-zA-Z0-9_])?)*"
)


def _server_name(text: str) -> str:
    if text.startswith("~") and text != "~":
        return "~" + _regex(text[1:])
    if len(text) > 253 or not _HOST_NAME.fullmatch(text):
        raise ValueError(f"{text[:60]!r} is no host name; a regular expression begins with ~")
    return text.lower()


def _ciphers(text: str) -> str:
    """An OpenSSL list that names at least one cipher: nginx refuses any other."""
    import ssl  # late: only few need it

    found = values.matching("A-Za-z0-9+:_!@=-", "names of ciphers with : between them")(text)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(found)
    except ssl.SSLError:
        raise ValueError("no cipher has such a name") from None
    return found


def _match_cn(text: str) -> str:
    if not text.startswith("CN="):
        raise ValueError("must begin with CN=, followed by a regular expression")
    _regex(text[3:], " @,")
    return text


def _error_page(text: str) -> Text:
    if re.fullmatch(r"@[\w.-]{1,64}", text, re.ASCII):
        raise ValueError("named locations do not exist here; give a URL")
    return values.absolute_url_with_variables(text)


def _prefix_or_regex(text: str) -> str:
    """What nginx compares the start of a value with; after `~` or `~*` a regular expression, without groups' names."""
    found = matching(r"\-._~a-zA-Z0-9/:?&=%+,^()\[\]*|\\", "letters, digits and the signs of URLs")(text)
    if found.startswith("~") and (wrong := regex.check(found.lstrip("~*"))):
        raise ValueError(wrong)
    return found


def _url_part(text: str) -> str:
    found = matching(r"\-._~a-zA-Z0-9/:?&=%+,$", "letters, digits and - . _ ~ / : ? & = % + , $")(text)
    values.text(found)
    return found


def _signin(text: str) -> Text:
    return values.absolute_url_with_variables(text, frozenset({"escaped_request_uri"}))


def _from_to(allowed: str) -> Callable[[str], tuple[str, str]]:
    """Two words; `off` is ("off", "")."""
    words = values.tokens(allowed, "letters, digits and - . _ ~ / : ? & =")

    def parse(text: str) -> tuple[str, str]:
        found = words(text)
        if found == ("off",):
            return "off", ""
        if len(found) != 2:
            raise ValueError('must be "off" or two words')
        _prefix_or_regex(found[0])
        return found[0], found[1]

    return parse


def _cache_duration(text: str) -> str:
    if not re.fullmatch(r"((any|[1-5]\d{2}) )*\d{1,6}(ms|[smhdwMy])?", text.strip(), re.ASCII):
        raise ValueError("must be status codes and a time, as in 200 202 10m")
    return " ".join(text.split())


_ORIGIN = re.compile(r"\*|(?:[a-zA-Z][a-zA-Z0-9+.-]*://)?(?:\*\.)?[A-Za-z0-9][A-Za-z0-9.-]*(?::\d{1,5})?", re.ASCII)


def _origin(text: str) -> str:
    if not _ORIGIN.fullmatch(text):
        raise ValueError(f"{text[:60]!r} is no origin: *, https://host or https://*.domain")
    return text


def _method(text: str) -> str:
    if not re.fullmatch("[A-Za-z]{1,32}", text):
        raise ValueError("methods have letters only")
    return text


def _exposed(text: str) -> str:
    return text if text == "*" else values.header(text)


def _http_method(text: str) -> str:
    return one_of("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", case=False)(text)


def _expression(text: str) -> Text:
    return values.text_of(r"\-._~a-zA-Z0-9/:${}", "letters, digits and - . _ ~ / : $ { }")(text)


def _backend_protocol(text: str) -> BackendProtocol:
    return BackendProtocol(one_of(*(each.value for each in BackendProtocol), case=False)(text))


def _error_codes(text: str) -> tuple[int, ...]:
    found = tuple(dict.fromkeys(listed(integer(300, 599))(text)))
    if not found or 499 in found:
        raise ValueError("must be status codes with , between them, and not 499, which is nginx's own")
    return found


def _service_name(text: str) -> str:
    return pattern("[a-z]([-a-z0-9]{0,61}[a-z0-9])?", "the name of a Service")(text)


_cookie_path = matching(r"\-._~a-zA-Z0-9/:", "letters, digits and - . _ ~ / :")
_seconds = integer(0, 10**9)
_protocols = listed(one_of("SSLv2", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"), " ")
_next_upstream = listed(
    one_of(
        "error", "timeout", "invalid_header", "http_500", "http_502", "http_503", "http_504", "http_403", "http_404",
        "http_429", "non_idempotent", "off",
    ),
    " ",
)  # fmt: skip
_samesite = one_of("None", "Lax", "Strict", case=False)

L, M, H, X = Risk.LOW, Risk.MEDIUM, Risk.HIGH, Risk.CRITICAL
A = Annotation
_WAF = "ModSecurity is not built in"
_TRACE = "OpenTelemetry is not built in"
_KEPT = "nginx would have to resolve the service's name whenever it reloads, and one that fails would stop all"

# --- the table

_CANARY = (
    A("canary", "Canary", L, boolean, "false", "this Ingress is an alternative for the same host and path"),
    A("canary-by-header", "Canary", M, values.header, "", "header: `always` takes the canary, `never` does not"),
    A("canary-by-header-value", "Canary", M, values.basic_with_spaces, "", "value of the header that takes the canary"),
    A("canary-by-header-pattern", "Canary", M, _regex, "", "regular expression for that value"),
    A("canary-by-cookie", "Canary", M, values.cookie_name, "", "cookie: `always` takes the canary, `never` does not"),
    A("canary-weight", "Canary", L, integer(0, 10**6), "0", "share of the other requests"),
    A("canary-weight-total", "Canary", L, integer(1, 10**6), "100", "what the share is of"),
)

_AFFINITY = (
    A("affinity", "Affinity", L, one_of("cookie"), "", "`cookie`: a client stays with one endpoint", "service"),
    A(
        "affinity-mode", "Affinity", M, one_of("balanced", "persistent"), "balanced",
        "whether sessions move when endpoints are added", "service",
    ),
    A(
        "affinity-canary-behavior", "Affinity", L, one_of("sticky", "legacy"), "sticky",
        "whether a client stays with the canary", "service",
    ),
    A("session-cookie-name", "Affinity", M, values.cookie_name, "INGRESSCOOKIE", "name of the cookie", "service"),
    A("session-cookie-path", "Affinity", M, _cookie_path, "the path", "its Path", "service"),
    A("session-cookie-domain", "Affinity", M, _cookie_path, "", "its Domain", "service"),
    A("session-cookie-secure", "Affinity", L, boolean, "over TLS", "its Secure", "service"),
    A("session-cookie-samesite", "Affinity", L, _samesite, "", "its SameSite", "service"),
    A(
        "session-cookie-conditional-samesite-none", "Affinity", L, boolean, "false",
        "no SameSite=None for browsers that mishandle it", "service",
    ),
    A("session-cookie-expires", "Affinity", M, _seconds, "", "seconds until it expires", "service"),
    A("session-cookie-max-age", "Affinity", M, _seconds, "", "its Max-Age", "service"),
    A("session-cookie-change-on-failure", "Affinity", L, boolean, "false", "a new endpoint after a failure", "service"),
)  # fmt: skip

_AUTH = (
    A("auth-type", "Authentication", L, one_of("basic", "digest"), "", "ask for a name and a password", denies=True),
    A("auth-secret", "Authentication", M, values.reference, "", "Secret with the users", denies=True),
    A(
        "auth-secret-type", "Authentication", L, one_of("auth-file", "auth-map"), "auth-file",
        "`auth-file`: key auth in htpasswd's format; `auth-map`: a key per user", denies=True,
    ),
    A("auth-realm", "Authentication", M, values.basic_with_spaces, "", "realm that clients are shown"),
    A("satisfy", "Authentication", L, one_of("any", "all"), "all", "address or authentication, or both", denies=True),
    A("auth-url", "External authentication", H, values.absolute_url_with_variables, "", "asked first", denies=True),
    A("auth-method", "External authentication", L, _http_method, "GET", "method of that request", denies=True),
    A("auth-signin", "External authentication", H, _signin, "", "where 401 leads to"),
    A(
        "auth-signin-redirect-param", "External authentication", M, pattern(r"[\w.~-]{1,64}", "a name"), "rd",
        "parameter with the URL that was asked for",
    ),
    A(
        "auth-response-headers", "External authentication", M, listed(values.header), "",
        "headers of the answer passed to the backend",
    ),
    A(
        "auth-proxy-set-headers", "External authentication", M, values.reference, "",
        "ConfigMap with headers of the request", denies=True,
    ),
    A(
        "auth-request-redirect", "External authentication", M, values.url_with_variables, "",
        "value of X-Auth-Request-Redirect",
    ),
    A("auth-cache-key", "External authentication", M, values.variables_only, "", "keep answers under this key"),
    A(
        "auth-cache-duration", "External authentication", M, listed(_cache_duration), "200 202 401 5m", "how long",
    ),
    A("auth-keepalive", "External authentication", L, integer(0, 65535), "0", "idle connections kept to it",
      refused=_KEPT),
    A(
        "auth-keepalive-share-vars", "External authentication", L, boolean, "false",
        "the request's variables hold in the question, too", refused=_KEPT,
    ),
    A("auth-keepalive-requests", "External authentication", L, integer(1), "1000", "requests per such connection",
      refused=_KEPT),
    A("auth-keepalive-timeout", "External authentication", L, _seconds, "60", "seconds it stays open", refused=_KEPT),
    A("auth-always-set-cookie", "External authentication", L, boolean, "false", "pass Set-Cookie whatever the status"),
    A("auth-snippet", "External authentication", X, _snippet, "", "nginx configuration for that request"),
    A(
        "enable-global-auth", "External authentication", L, boolean, "true", "global-auth-url holds here",
        denies=True,
    ),
    A(
        "auth-tls-secret", "Client certificates", M, values.reference, "", "Secret with ca.crt (and ca.crl)", "host",
        denies=True,
    ),
    A(
        "auth-tls-verify-client", "Client certificates", M, one_of("on", "off", "optional", "optional_no_ca"), "on",
        "whether a certificate is needed", "host", denies=True,
    ),
    A("auth-tls-verify-depth", "Client certificates", L, integer(0, 100), "1", "longest chain", "host", denies=True),
    A("auth-tls-error-page", "Client certificates", H, _error_page, "", "redirect instead of 400", "host"),
    A(
        "auth-tls-pass-certificate-to-upstream", "Client certificates", L, boolean, "false",
        "send ssl-client-cert to the backend", "host",
    ),
    A("auth-tls-match-cn", "Client certificates", H, _match_cn, "", "CN= and what the name must match", "host", "",
      (), True),
)  # fmt: skip

_REDIRECTS = (
    A("rewrite-target", "Paths", M, _rewrite_target, "", "replaces the path; makes every path a regex", "host"),
    A("use-regex", "Paths", L, boolean, "false", "paths are regular expressions, of every Ingress", "host"),
    A("app-root", "Paths", M, _absolute_path, "", "where / is redirected to (302)", "host"),
    A("x-forwarded-prefix", "Paths", M, _cookie_path, "", "X-Forwarded-Prefix, where the path is rewritten"),
    A("server-alias", "Paths", H, listed(_server_name), "", "more names of the host", "host"),
    A("ssl-redirect", "Redirects", L, boolean, "true", "HTTP to HTTPS where the host has TLS (308)"),
    A("force-ssl-redirect", "Redirects", M, boolean, "false", "HTTP to HTTPS everywhere (308)"),
    A("preserve-trailing-slash", "Redirects", M, boolean, "false", "that redirect keeps the last slash"),
    A(
        "permanent-redirect", "Redirects", M, values.absolute_url_with_variables, "", "redirect to this URL",
    ),
    A("permanent-redirect-code", "Redirects", L, integer(300, 308), "301", "its status"),
    A(
        "temporal-redirect", "Redirects", M, values.absolute_url_with_variables, "",
        "temporary redirect; wins over the permanent one",
    ),
    A("temporal-redirect-code", "Redirects", L, integer(300, 307), "302", "its status"),
    A("from-to-www-redirect", "Redirects", L, boolean, "false", "www.host leads to host, or the other way", "host"),
    A("relative-redirects", "Redirects", L, boolean, "false", "nginx's own redirects are relative"),
    A("use-port-in-redirects", "Redirects", L, boolean, "false", "nginx's own redirects carry the port"),
)  # fmt: skip

_PROXY = (
    A("backend-protocol", "Backends", L, _backend_protocol, "HTTP", "HTTP, HTTPS, AUTO_HTTP, GRPC, GRPCS or FCGI"),
    A("upstream-vhost", "Backends", L, _expression, "$host", "Host header for the backend"),
    A(
        "connection-proxy-header", "Backends", L, matching(r"\-._~a-zA-Z0-9/:, ", "letters, digits, - , and spaces"),
        "as the client asks", "Connection header for the backend",
    ),
    A("service-upstream", "Backends", L, boolean, "false", "the Service's own address, not endpoints", "service"),
    A("load-balance", "Backends", L, one_of("round_robin", "ewma"), "round_robin", "how endpoints are picked",
      "service"),
    A("upstream-hash-by", "Backends", H, _expression, "", "consistent hash over this", "service"),
    A("upstream-hash-by-subset", "Backends", L, boolean, "false", "hash to several endpoints", "service"),
    A("upstream-hash-by-subset-size", "Backends", L, integer(1, 1000), "3", "how many", "service"),
    A("default-backend", "Backends", L, _service_name, "", "Service for errors and while the other has no endpoints"),
    A("custom-http-errors", "Backends", L, _error_codes, "", "status codes that the default backend answers for"),
    A("disable-proxy-intercept-errors", "Backends", L, boolean, "false", "leave the backend's errors as they are"),
    A("custom-headers", "Backends", M, values.reference, "", "ConfigMap with headers of answers", denies=True),
    A("fastcgi-index", "Backends", M, matching(r"\-._~a-zA-Z0-9/", "letters, digits and - . _ ~ /"), "", "with FCGI"),
    A("fastcgi-params-configmap", "Backends", M, values.reference, "", "ConfigMap with FastCGI parameters",
      denies=True),
    A("http2-push-preload", "Backends", L, boolean, "false", "Link preload becomes an HTTP/2 push"),
    A("proxy-connect-timeout", "Proxying", L, _seconds, "5", "seconds"),
    A("proxy-send-timeout", "Proxying", L, _seconds, "60", "seconds"),
    A("proxy-read-timeout", "Proxying", L, _seconds, "60", "seconds"),
    A("proxy-next-upstream", "Proxying", M, _next_upstream, "error timeout", "when another endpoint is tried"),
    A("proxy-next-upstream-timeout", "Proxying", L, _seconds, "0", "seconds for all tries"),
    A("proxy-next-upstream-tries", "Proxying", L, integer(0, 10000), "3", "number of tries"),
    A("proxy-body-size", "Proxying", M, values.size, "1m", "largest body; 0 is any; above it 413"),
    A("client-body-buffer-size", "Proxying", L, values.memory("256m"), "8k", "body kept in memory"),
    A("proxy-request-buffering", "Proxying", L, on_off, "on", "buffer requests"),
    A("proxy-buffering", "Proxying", L, on_off, "off", "buffer answers"),
    A("proxy-buffers-number", "Proxying", L, integer(2, 65536), "4", "buffers of an answer"),
    A("proxy-buffer-size", "Proxying", L, values.memory("16m"), "4k", "buffer of an answer's headers"),
    A("proxy-busy-buffers-size", "Proxying", L, values.memory("1g"), "", "size of busy buffers"),
    A("proxy-max-temp-file-size", "Proxying", L, values.size, "1024m", "largest temporary file"),
    A("proxy-http-version", "Proxying", L, one_of("1.0", "1.1"), "1.1", "HTTP version for the backend"),
    A("proxy-cookie-domain", "Proxying", M, _from_to(r"\-._~a-zA-Z0-9/:"), "off", "rewrite cookies' domain"),
    A("proxy-cookie-path", "Proxying", M, _from_to(r"\-._~a-zA-Z0-9/:?&="), "off", "rewrite cookies' path"),
    A("proxy-redirect-from", "Proxying", M, _prefix_or_regex, "off", "rewrite Location headers that begin so"),
    A("proxy-redirect-to", "Proxying", M, _url_part, "off", "what they begin with then"),
)  # fmt: skip

_PROXY_TLS = (
    A("proxy-ssl-secret", "TLS to backends", M, values.reference, "", "Secret with tls.crt, tls.key and ca.crt", "host",
      denies=True),
    A("proxy-ssl-verify", "TLS to backends", L, on_off, "off", "check the backend's certificate", "host", denies=True),
    A("proxy-ssl-verify-depth", "TLS to backends", L, integer(0, 100), "1", "longest chain", "host"),
    A("proxy-ssl-name", "TLS to backends", H, _expression, "the host", "name in it, and SNI", "host", denies=True),
    A("proxy-ssl-server-name", "TLS to backends", L, on_off, "off", "send SNI", "host"),
    A("proxy-ssl-ciphers", "TLS to backends", M, _ciphers, "DEFAULT", "ciphers", "host", denies=True),
    A("proxy-ssl-protocols", "TLS to backends", L, _protocols, "TLSv1.2", "TLS versions", "host", denies=True),
)  # fmt: skip

_TLS = (
    A("ssl-passthrough", "TLS", L, boolean, "false", "TLS goes to the backend as it is, by SNI", "host"),
    A("ssl-ciphers", "TLS", L, _ciphers, "", "ciphers of the host", "host"),
    A("ssl-prefer-server-ciphers", "TLS", L, boolean, "true", "the server's order counts", "host"),
)

_CORS = (
    A("enable-cors", "CORS", L, boolean, "false", "CORS headers; OPTIONS is answered with 204"),
    A("cors-allow-origin", "CORS", M, listed(_origin), "*", "origins; *. for one level of names"),
    A("cors-allow-methods", "CORS", M, listed(_method), "GET, PUT, POST, DELETE, PATCH, OPTIONS", "methods"),
    A(
        "cors-allow-headers", "CORS", M, listed(_exposed),
        "DNT, Keep-Alive, User-Agent, X-Requested-With, If-Modified-Since, Cache-Control, Content-Type, Range, "
        "Authorization",
        "headers",
    ),
    A("cors-expose-headers", "CORS", M, listed(_exposed), "", "headers that scripts may read"),
    A("cors-allow-credentials", "CORS", L, boolean, "true", "cookies"),
    A("cors-max-age", "CORS", L, _seconds, "1728000", "seconds"),
)  # fmt: skip

_ACCESS = (
    A(
        "allowlist-source-range", "Access", M, networks, "", "clients that are let in; others get 403",
        aliases=("whitelist-source-range",), denies=True,
    ),
    A("denylist-source-range", "Access", M, networks, "", "clients that get 403", denies=True),
    A("limit-connections", "Rates", L, integer(0, 65535), "", "connections per client at once; above it 503"),
    A("limit-rps", "Rates", L, integer(), "", "requests per second and client; above it 503"),
    A("limit-rpm", "Rates", L, integer(), "", "requests per minute and client; above it 503"),
    A("limit-burst-multiplier", "Rates", L, integer(1, 10000), "5", "burst as a multiple of the rate"),
    A("limit-rate", "Rates", L, integer(), "0", "KiB per second and connection; needs proxy-buffering"),
    A("limit-rate-after", "Rates", L, integer(), "0", "KiB before that"),
    A(
        "limit-allowlist", "Rates", L, networks, "", "clients without these limits", aliases=("limit-whitelist",),
    ),
)  # fmt: skip

_MIRROR = (
    A("mirror-target", "Mirroring", H, values.absolute_url_with_variables, "", "gets a copy of every request"),
    A("mirror-request-body", "Mirroring", L, on_off, "on", "with its body"),
    A("mirror-host", "Mirroring", H, _expression, "the target's", "Host header of the copy"),
)

_SNIPPETS = (
    A("configuration-snippet", "Snippets", X, _snippet, "", "nginx configuration in the location"),
    A("server-snippet", "Snippets", X, _snippet, "", "nginx configuration in the server", "host"),
    A("stream-snippet", "Snippets", X, _snippet, "", "nginx configuration in stream", "host"),
)

_LOGS = (
    A("enable-access-log", "Logs", L, boolean, "true", "access log"),
    A("enable-rewrite-log", "Logs", L, boolean, "false", "log rewrites at level notice"),
    A("enable-modsecurity", "Firewall", L, boolean, "false", "ModSecurity", refused=_WAF),
    A("enable-owasp-core-rules", "Firewall", L, boolean, "false", "its core rule set", refused=_WAF),
    A("modsecurity-transaction-id", "Firewall", H, _any, "", "its transaction id", refused=_WAF),
    A("modsecurity-snippet", "Firewall", X, _any, "", "its rules", refused=_WAF),
    A("enable-opentelemetry", "Tracing", L, boolean, "", "trace requests", refused=_TRACE),
    A("opentelemetry-trust-incoming-span", "Tracing", L, boolean, "true", "join the client's trace", refused=_TRACE),
    A("opentelemetry-operation-name", "Tracing", M, _any, "", "name of the span", refused=_TRACE),
)

ANNOTATIONS: Mapping[str, Annotation] = {
    each.name: each
    for group in (
        _CANARY, _AFFINITY, _AUTH, _REDIRECTS, _PROXY, _PROXY_TLS, _TLS, _CORS, _ACCESS, _MIRROR, _SNIPPETS, _LOGS,
    )
    for each in group
}  # fmt: skip

ALIASES: Mapping[str, str] = {alias: each.name for each in ANNOTATIONS.values() for alias in each.aliases}

_GONE = "removed from ingress-nginx itself"
REMOVED: Mapping[str, str] = {
    "secure-backends": 'use backend-protocol: "HTTPS"',
    "grpc-backend": 'use backend-protocol: "GRPC"',
    "add-base-url": _GONE,
    "base-url-scheme": _GONE,
    "session-cookie-hash": f"{_GONE}; affinity works without it",
    "secure-verify-ca-secret": "use proxy-ssl-secret and proxy-ssl-verify",
    "enable-opentracing": _GONE,
    "opentracing-trust-incoming-span": _GONE,
    "lua-resty-waf": _GONE,
    "lua-resty-waf-debug": _GONE,
    "lua-resty-waf-ignore-rulesets": _GONE,
    "lua-resty-waf-extra-rules": _GONE,
    "influxdb-measurement": _GONE,
    "influxdb-port": _GONE,
    "influxdb-host": _GONE,
    "influxdb-server-name": _GONE,
    "enable-influxdb": _GONE,
    "global-rate-limit": f"{_GONE}; use limit-rps",
    "global-rate-limit-window": f"{_GONE}; use limit-rps",
    "global-rate-limit-key": f"{_GONE}; use limit-rps",
    "global-rate-limit-ignored-cidrs": f"{_GONE}; use limit-allowlist",
    "upstream-max-fails": f"{_GONE}; failed endpoints are left out by the Lua balancer",
    "upstream-fail-timeout": f"{_GONE}; failed endpoints are left out by the Lua balancer",
    "enable-websockets": "never existed; WebSockets work without it",
    "websocket-services": "an annotation of another controller; WebSockets work without it",
    "use-forwarded-headers": "a key of the controller's ConfigMap, not an annotation",
    "use-proxy-protocol": "a key of the controller's ConfigMap, not an annotation",
    "use-http2": "a key of the controller's ConfigMap, not an annotation",
    "hsts": "a key of the controller's ConfigMap, not an annotation",
    "ssl-protocols": "a key of the controller's ConfigMap, not an annotation",
    "use-gzip": "a key of the controller's ConfigMap, not an annotation",
}
"""Names that manifests still have and that do nothing, with what to do instead."""
