"""Every annotation of the table with good, bad and hostile values."""

from __future__ import annotations

import pytest

from sampan.ingress.annotations.parse import Annotations, parse
from sampan.ingress.annotations.table import ALIASES, ANNOTATIONS, REMOVED, Risk
from sampan.ingress.model import BackendProtocol, Variable
from sampan.ingress.settings import DEFAULTS
from sampan.ingress.settings import parse as parse_settings
from support.ingresses import PREFIX

OPEN, _ = parse_settings({"allow-snippet-annotations": "true", "annotations-risk-level": "Critical"})

BOOL = ("true", True, "yes")
NUMBER = ("7", 7, "seven")
ON_OFF = ("on", True, "maybe")
SIZE = ("8m", 8 * 1024 * 1024, "8 megs")
REFERENCE = ("ns/name", ("ns", "name"), "Name!")
URL = ("https://$host/x?rd=1", ("https://", Variable("host"), "/x?rd=1"), 'https://x/"; return 200')
NETWORKS = ("10.0.0.1/8, 1.2.3.4", ("1.2.3.4", "10.0.0.0/8"), "10.0.0.0/33")
PROTOCOLS = ("TLSv1.2 TLSv1.3", ("TLSv1.2", "TLSv1.3"), "TLSv9")
CIPHERS = ("HIGH:!aNULL", "HIGH:!aNULL", "NOSUCHCIPHER")

TRIED: dict[str, tuple[str, object, str]] = {
    "canary": BOOL,
    "canary-by-header": ("X-Canary", "X-Canary", "X Canary"),
    "canary-by-header-value": ("yes please", "yes please", "yes{"),
    "canary-by-header-pattern": ("^(eu|us)-", "^(eu|us)-", "(eu"),
    "canary-by-cookie": ("try", "try", "try;x"),
    "canary-weight": NUMBER,
    "canary-weight-total": ("1000", 1000, "0"),
    "affinity": ("cookie", "cookie", "ip"),
    "affinity-mode": ("persistent", "persistent", "lasting"),
    "affinity-canary-behavior": ("legacy", "legacy", "old"),
    "session-cookie-name": ("route", "route", "ro ute"),
    "session-cookie-path": ("/app", "/app", "/app;"),
    "session-cookie-domain": ("example.com", "example.com", "example.com;"),
    "session-cookie-secure": BOOL,
    "session-cookie-samesite": ("lax", "Lax", "Loose"),
    "session-cookie-conditional-samesite-none": BOOL,
    "session-cookie-expires": NUMBER,
    "session-cookie-max-age": NUMBER,
    "session-cookie-change-on-failure": BOOL,
    "auth-type": ("basic", "basic", "ntlm"),
    "auth-secret": REFERENCE,
    "auth-secret-type": ("auth-map", "auth-map", "auth-list"),
    "auth-realm": ("Members only", "Members only", 'Members"'),
    "satisfy": ("any", "any", "some"),
    "auth-url": URL,
    "auth-method": ("post", "POST", "FETCH"),
    "auth-signin": ("https://a.example.com/?rd=$escaped_request_uri",
                    ("https://a.example.com/?rd=", Variable("escaped_request_uri")), "ftp://x"),
    "auth-signin-redirect-param": ("rd", "rd", "r d"),
    "auth-response-headers": ("X-User, X-Mail", ("X-User", "X-Mail"), "X User"),
    "auth-proxy-set-headers": REFERENCE,
    "auth-request-redirect": ("https://x.example.com/", ("https://x.example.com/",), "https://x{"),
    "auth-cache-key": ("$remote_user$http_authorization", (Variable("remote_user"), Variable("http_authorization")),
                       "$nosuchvariable"),
    "auth-cache-duration": ("200 202 10m, 401 5m", ("200 202 10m", "401 5m"), "soon"),
    "auth-keepalive": NUMBER,
    "auth-keepalive-share-vars": BOOL,
    "auth-keepalive-requests": NUMBER,
    "auth-keepalive-timeout": NUMBER,
    "auth-always-set-cookie": BOOL,
    "auth-snippet": ("proxy_set_header X 1;", "proxy_set_header X 1;", "\0"),
    "enable-global-auth": ("false", False, "no"),
    "auth-tls-secret": REFERENCE,
    "auth-tls-verify-client": ("optional_no_ca", "optional_no_ca", "perhaps"),
    "auth-tls-verify-depth": NUMBER,
    "auth-tls-error-page": ("https://x.example.com/error", ("https://x.example.com/error",), "@named"),
    "auth-tls-pass-certificate-to-upstream": BOOL,
    "auth-tls-match-cn": ("CN=(joe|ann)", "CN=(joe|ann)", "CN=(joe"),
    "rewrite-target": ("/admin/$1", "/admin/$1", "/x$host"),
    "use-regex": BOOL,
    "app-root": ("/start", "/start", "start"),
    "x-forwarded-prefix": ("/app", "/app", "/app;"),
    "server-alias": ("a.example.com, ~^b\\d+\\.example\\.com$", ("a.example.com", "~^b\\d+\\.example\\.com$"), "~(x"),
    "ssl-redirect": ("false", False, "off"),
    "force-ssl-redirect": BOOL,
    "preserve-trailing-slash": BOOL,
    "permanent-redirect": ("https://x.example.com$request_uri",
                           ("https://x.example.com", Variable("request_uri")), "javascript:x"),
    "permanent-redirect-code": ("308", 308, "200"),
    "temporal-redirect": ("https://x.example.com/", ("https://x.example.com/",), "/only/a/path"),
    "temporal-redirect-code": ("307", 307, "308"),
    "from-to-www-redirect": BOOL,
    "relative-redirects": BOOL,
    "use-port-in-redirects": BOOL,
    "backend-protocol": ("grpcs", BackendProtocol.GRPCS, "AJP"),
    "upstream-vhost": ("in.example.com", ("in.example.com",), "in example"),
    "connection-proxy-header": ("keep-alive, Upgrade", "keep-alive, Upgrade", "keep;alive"),
    "service-upstream": BOOL,
    "load-balance": ("ewma", "ewma", "random"),
    "upstream-hash-by": ("$request_uri", (Variable("request_uri"),), "$request_uri;"),
    "upstream-hash-by-subset": BOOL,
    "upstream-hash-by-subset-size": ("5", 5, "0"),
    "default-backend": ("errors", "errors", "Errors"),
    "custom-http-errors": ("404, 503", (404, 503), "404,not"),
    "disable-proxy-intercept-errors": BOOL,
    "custom-headers": REFERENCE,
    "fastcgi-index": ("index.php", "index.php", "index;php"),
    "fastcgi-params-configmap": REFERENCE,
    "http2-push-preload": BOOL,
    "proxy-connect-timeout": ("30", 30, "30s"),
    "proxy-send-timeout": ("30", 30, "-1"),
    "proxy-read-timeout": ("3600", 3600, "1h"),
    "proxy-next-upstream": ("error http_502 non_idempotent", ("error", "http_502", "non_idempotent"), "error http_200"),
    "proxy-next-upstream-timeout": NUMBER,
    "proxy-next-upstream-tries": NUMBER,
    "proxy-body-size": SIZE,
    "client-body-buffer-size": SIZE,
    "proxy-request-buffering": ON_OFF,
    "proxy-buffering": ON_OFF,
    "proxy-buffers-number": ("8", 8, "0"),
    "proxy-buffer-size": SIZE,
    "proxy-busy-buffers-size": SIZE,
    "proxy-max-temp-file-size": ("0", 0, "-1"),
    "proxy-http-version": ("1.0", "1.0", "2"),
    "proxy-cookie-domain": ("localhost example.com", ("localhost", "example.com"), "localhost"),
    "proxy-cookie-path": ("/one /two", ("/one", "/two"), "/one /two /three"),
    "proxy-redirect-from": ("http://in/", "http://in/", 'http://in/"'),
    "proxy-redirect-to": ("/", "/", "/;"),
    "proxy-ssl-secret": REFERENCE,
    "proxy-ssl-verify": ON_OFF,
    "proxy-ssl-verify-depth": NUMBER,
    "proxy-ssl-name": ("in.example.com", ("in.example.com",), "in example"),
    "proxy-ssl-server-name": ON_OFF,
    "proxy-ssl-ciphers": CIPHERS,
    "proxy-ssl-protocols": PROTOCOLS,
    "ssl-passthrough": BOOL,
    "ssl-ciphers": CIPHERS,
    "ssl-prefer-server-ciphers": BOOL,
    "enable-cors": BOOL,
    "cors-allow-origin": ("https://*.example.com, http://x.example.com:8080",
                          ("https://*.example.com", "http://x.example.com:8080"), "https://x.example.com/path"),
    "cors-allow-methods": ("GET, PUT", ("GET", "PUT"), "GET;"),
    "cors-allow-headers": ("X-One, X-Two", ("X-One", "X-Two"), "X One"),
    "cors-expose-headers": ("*, X-One", ("*", "X-One"), "X:One"),
    "cors-allow-credentials": ("false", False, "none"),
    "cors-max-age": ("600", 600, "10m"),
    "allowlist-source-range": NETWORKS,
    "denylist-source-range": NETWORKS,
    "limit-connections": NUMBER,
    "limit-rps": NUMBER,
    "limit-rpm": NUMBER,
    "limit-burst-multiplier": NUMBER,
    "limit-rate": NUMBER,
    "limit-rate-after": NUMBER,
    "limit-allowlist": NETWORKS,
    "mirror-target": ("https://m.example.com$request_uri",
                      ("https://m.example.com", Variable("request_uri")), "m.example.com"),
    "mirror-request-body": ("off", False, "no"),
    "mirror-host": ("m.example.com", ("m.example.com",), "m example"),
    "configuration-snippet": ("return 200;", "return 200;", "\0"),
    "server-snippet": ("return 200;", "return 200;", "\0"),
    "stream-snippet": ("map $a $b {}", "map $a $b {}", "\0"),
    "enable-access-log": ("false", False, "none"),
    "enable-rewrite-log": BOOL,
    "enable-modsecurity": BOOL,
    "enable-owasp-core-rules": BOOL,
    "modsecurity-transaction-id": ("$request_id", None, ""),
    "modsecurity-snippet": ("SecRule", None, ""),
    "enable-opentelemetry": BOOL,
    "opentelemetry-trust-incoming-span": BOOL,
    "opentelemetry-operation-name": ("x", None, ""),
}  # fmt: skip
"""A good value, what becomes of it, and a bad one. Refused annotations become nothing."""

HOSTILE = (
    'x"; return 200 "y',
    "x'; return 200 'y",
    "x;\nreturn 200;",
    "x\r\nreturn 200;",
    "x } server { listen 81; }",
    "x{y",
    "a\\",
    "$",
    "${",
    "${nosuchvariable}",
    "$document_root_x",
    "x\0y",
    "x#y",
    "\x1b[0m",
    "\ud800",
    "`id`",
    "(" * 500,
    "é" * 40000,
    "a" * 1024 * 1024,
    "9" * 1000,
    "١٢",
    "-9223372036854775809",
)
SNIPPETS = ("configuration-snippet", "server-snippet", "stream-snippet", "auth-snippet")


def read(name: str, text: str) -> Annotations:
    return parse({PREFIX + name: text}, OPEN)


def test_every_annotation_was_tried() -> None:
    """A row of the table that has no values here fails, and a value for no row."""
    assert set(TRIED) == set(ANNOTATIONS)


@pytest.mark.parametrize("name", TRIED)
def test_a_good_value_is_taken(name: str) -> None:
    """It becomes a typed value; a refused annotation becomes nothing and says so."""
    good, typed, _ = TRIED[name]
    found = read(name, good)
    if ANNOTATIONS[name].refused:
        assert [each.reason for each in found.findings] == ["RefusedAnnotation"]
        assert ANNOTATIONS[name].refused in found.findings[0].message
        assert not found.values
    else:
        assert found.findings == ()
        assert found.values == {name: typed}
        assert not found.denied


@pytest.mark.parametrize("name", [name for name in TRIED if not ANNOTATIONS[name].refused])
def test_a_bad_value_is_told(name: str) -> None:
    """It becomes nothing; one that guards something closes the paths."""
    found = read(name, TRIED[name][2])
    assert [(each.annotation, each.reason) for each in found.findings] == [(name, "InvalidAnnotation")]
    assert name in found.findings[0].message
    assert not found.values
    assert bool(found.denied) == ANNOTATIONS[name].denies


@pytest.mark.parametrize("name", [name for name in TRIED if name not in SNIPPETS])
def test_a_hostile_value_is_harmless(name: str) -> None:
    """No value with a quote, brace, semicolon, line break, NUL or an unknown variable becomes typed text."""
    for text in HOSTILE:
        found = read(name, text)
        for typed in found.values.values():
            for part in _literals(typed):
                assert not set(part) & set("\"'`;#\n\r\0\x1b"), (text, part)
                assert len(part) <= 2048
                assert "{" not in part or name == "canary-by-header-pattern", (text, part)
        assert found.values or found.findings, text
        assert all(len(each.message) < 1000 for each in found.findings)


def _literals(typed: object) -> list[str]:
    if isinstance(typed, str):
        return [typed]
    return [part for each in typed for part in _literals(each)] if isinstance(typed, tuple) else []


@pytest.mark.parametrize("name", SNIPPETS)
def test_snippets_have_no_nul(name: str) -> None:
    assert not read(name, "x\0y").values
    assert not read(name, "a" * 1024 * 1024).values


@pytest.mark.parametrize("name", ["configuration-snippet", "server-snippet", "stream-snippet", "auth-snippet"])
def test_snippets_reject_their_ingress_by_default(name: str) -> None:
    """They are of risk Critical, and the default level is High. Nothing is served silently without them."""
    found = parse({PREFIX + name: "return 200;", PREFIX + "auth-type": "basic"}, DEFAULTS)
    assert found.rejected
    assert [each.reason for each in found.findings] == ["AnnotationRisk"]
    assert found.values == {}


def test_snippets_need_permission_beside_the_risk_level() -> None:
    settings, _ = parse_settings({"annotations-risk-level": "Critical"})
    found = parse({PREFIX + "server-snippet": "return 200;"}, settings)
    assert (found.values, found.rejected) == ({}, "")
    assert [each.reason for each in found.findings] == ["RefusedAnnotation"]


@pytest.mark.parametrize("level", ["Low", "Medium", "High", "Critical"])
@pytest.mark.parametrize("name", [name for name in ANNOTATIONS if not ANNOTATIONS[name].refused])
def test_risk_levels(name: str, level: str) -> None:
    """An annotation above the level rejects the whole Ingress; one at or below it does not."""
    settings, _ = parse_settings({"annotations-risk-level": level, "allow-snippet-annotations": "true"})
    found = parse({PREFIX + name: TRIED[name][0]}, settings)
    assert bool(found.rejected) == (ANNOTATIONS[name].risk > Risk[level.upper()])


def test_forbidden_words_reject_the_ingress() -> None:
    settings, _ = parse_settings({"annotation-value-word-blocklist": "load_module, proxy_pass"})
    found = parse({PREFIX + "auth-realm": "LOAD_MODULE"}, settings)
    assert found.rejected
    assert [each.reason for each in found.findings] == ["ForbiddenWord"]
    assert not parse({PREFIX + "auth-realm": "fine"}, settings).rejected


def test_a_typo_says_what_was_meant() -> None:
    found = read("whitelist-source-rnage", "10.0.0.0/8")
    assert [each.reason for each in found.findings] == ["UnknownAnnotation"]
    assert f"did you mean {PREFIX}whitelist-source-range?" in found.findings[0].message


@pytest.mark.parametrize("name", REMOVED)
def test_removed_annotations_say_what_to_do(name: str) -> None:
    assert name not in ANNOTATIONS
    found = read(name, "true")
    assert [each.reason for each in found.findings] == ["UnknownAnnotation"]
    assert REMOVED[name] in found.findings[0].message


@pytest.mark.parametrize(("alias", "name"), list(ALIASES.items()))
def test_old_names_hold(alias: str, name: str) -> None:
    """An alias is read under the new name; where both are set, the new one wins and the other is told of."""
    assert read(alias, "10.0.0.0/8").values == {name: ("10.0.0.0/8",)}
    both = parse({PREFIX + alias: "10.0.0.0/8", PREFIX + name: "11.0.0.0/8"}, OPEN)
    assert both.values == {name: ("11.0.0.0/8",)}
    assert [each.reason for each in both.findings] == ["IgnoredAnnotation"]


def test_annotations_of_others_are_left_alone() -> None:
    found = parse({"kubernetes.io/ingress.class": "nginx", "example.com/canary": "{"}, OPEN)
    assert found.values == {}
    assert found.findings == ()


def test_another_prefix() -> None:
    found = parse({"mine.example.com/canary": "true", PREFIX + "canary-weight": "5"}, OPEN, "mine.example.com")
    assert found.values == {"canary": True}


def test_an_empty_value_is_none() -> None:
    assert read("auth-url", "").values == {}
    assert read("auth-url", "").findings == ()


def test_named_groups_are_refused() -> None:
    """nginx makes a variable of each: a path could choose another backend with one."""
    found = read("canary-by-header-pattern", "(?<proxy_upstream_name>.*)")
    assert not found.values
