"""Every filter of the model with a request that shows it, through a real nginx."""

from __future__ import annotations

import hashlib
import re
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from sampan.ingress.model import (
    AccessList,
    BackendProtocol,
    ClientCertificates,
    Cors,
    ErrorPages,
    ExternalAuth,
    Filters,
    Host,
    HostTLS,
    Mirror,
    PathType,
    Proxying,
    RateLimit,
    Redirect,
    Rewrite,
    UpstreamTLS,
    UserAuth,
    Variable,
)
from support.nginxworld import NginxWorld, backend, certificate

pytestmark = pytest.mark.kernel

REALM = 'the "inner" $room'


def sha(password: str) -> bytes:
    import base64

    return b"{SHA}" + base64.b64encode(hashlib.sha1(password.encode()).digest())


class Site:
    """One nginx with a host per filter; `hosts` names them."""

    def __init__(self, world: NginxWorld, directory: Any) -> None:
        self.world = world
        self.web, self.auth, self.mirror, self.errors, self.quiet_auth = (world.echo() for _ in range(5))
        ca, ca_pair = certificate("ca", "an authority", is_ca=True)
        server, _ = certificate("server", "backend.internal", issuer=ca_pair)
        client, _ = certificate("client", "good client", issuer=ca_pair)
        stranger, _ = certificate("stranger", "stranger")
        self.pairs = {}
        for name, made in (("server", server), ("client", client), ("stranger", stranger)):
            for kind, content in (("crt", made.certificate), ("key", made.key)):
                (directory / f"{name}.{kind}").write_bytes(content)
            self.pairs[name] = (str(directory / f"{name}.crt"), str(directory / f"{name}.key"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.pairs["server"])
        self.secure = world.echo(context)
        self.auth.rule = lambda seen: 200 if seen["headers"].get("cookie") == "user=ann" else 401
        self.quiet_auth.rule = self.auth.rule
        self.auth.answer_headers = [("X-User", "ann"), ("Set-Cookie", "seen=1")]
        self.backends = {
            "web": backend("web", self.web), "errors": backend("errors", self.errors),
            "secure": backend("secure", self.secure), "none": backend("none"),
        }  # fmt: skip
        self.ca, self.client = ca, client
        self.hosts: list[Host] = []
        self.declare()
        applied = world.apply(world.configuration(self.hosts, [*self.backends.values()]))
        assert applied.rejected == ()

    def add(
        self, name: str, *, path: str = "/", kind: PathType = PathType.PREFIX, to: str = "web",
        host: dict[str, Any] | None = None, route: dict[str, Any] | None = None, **filters: Any,
    ) -> None:  # fmt: skip
        made = self.world.route(path, self.backends[to], kind, filters=Filters(**filters), **(route or {}))
        self.hosts.append(Host(f"{name}.example", (made,), **(host or {})))

    def declare(self) -> None:
        add = self.add
        auth_url = f"http://127.0.0.1:{self.auth.server_port}"
        add("redirect", redirect=Redirect(("https://x.example", Variable("request_uri"), "$1"), 308))
        add("https", https_redirect=True)
        add("https-keeps", https_redirect=True, https_redirect_keeps_slash=True)
        add("rewrite", path="/foo/(.*)", kind=PathType.REGEX, rewrite=Rewrite("/admin/$1", "/foo"))
        add("dollar", path="/d/(.*)", kind=PathType.REGEX, rewrite=Rewrite("/$x${y}/$1"))
        add("cors", cors=Cors())
        add("cors-some", cors=Cors(("https://*.ok.example", "http://one.example:8080"), expose=("X-Own",)))
        add("basic", user_auth=UserAuth("basic", REALM, b"ann:" + sha("secret") + b"\n"))
        ha1 = hashlib.md5(f"ann:{REALM}:secret".encode()).hexdigest()
        add("digest", user_auth=UserAuth("digest", REALM, f"ann:{REALM}:{ha1}\n".encode()))
        add("auth", external_auth=ExternalAuth((auth_url + "/check",), response_headers=("X-User",),
            signin=("https://login.example/start",)))  # fmt: skip
        quiet_url = f"http://127.0.0.1:{self.quiet_auth.server_port}"
        add("auth-cache", external_auth=ExternalAuth((quiet_url + "/cached",), cache_key=(Variable("http_cookie"),),
            cache_valid=("200 401 5m",), method="POST"))  # fmt: skip
        add("auth-keep", external_auth=ExternalAuth((auth_url + "/kept?a=$b",), keepalive=4))
        add("allow", access=AccessList(allow=("10.0.0.0/8",)))
        add("allow-us", access=AccessList(allow=("127.0.0.0/8",)))
        add("deny-us", access=AccessList(deny=("127.0.0.1",)))
        add("any", access=AccessList(allow=("10.0.0.0/8",), satisfy="any"),
            user_auth=UserAuth("basic", "r", b"ann:" + sha("secret") + b"\n"))  # fmt: skip
        add("rate", rate_limit=RateLimit(per_minute=1, burst_multiplier=2))
        add("rate-exempt", rate_limit=RateLimit(per_minute=1, burst_multiplier=1, exempt=("127.0.0.1",)))
        add(
            "mirror",
            mirror=Mirror((f"http://127.0.0.1:{self.mirror.server_port}", Variable("request_uri")), ("m.example",)),
        )
        add("errors", error_pages=ErrorPages((404, 503), "default/errors/80"))
        add("errors-none", to="none", error_pages=ErrorPages((503,), "default/errors/80"))
        add("fallback", to="none", route={"fallback": "default/errors/80"})
        add("denied", denied="a Secret is missing")
        add("headers", response_headers=(("X-Own", "a $ ${host}"),), request_headers=(("X-Sent", 'q"$scheme'),))
        add("secure", to="secure", route={"protocol": BackendProtocol.HTTPS})
        verified = UpstreamTLS(ca=self.ca.certificate, verify=True, name=("backend.internal",), server_name=True)
        add("verified", to="secure", route={"protocol": BackendProtocol.HTTPS, "upstream_tls": verified})
        wrong = UpstreamTLS(ca=self.ca.certificate, verify=True, name=("other.internal",), server_name=True)
        add("wrong-name", to="secure", route={"protocol": BackendProtocol.HTTPS, "upstream_tls": wrong})
        add("secure-none", to="none", route={"protocol": BackendProtocol.HTTPS})
        add("vhost", route={"proxying": Proxying(host=("inner.example",), connection="close")})
        add("small", route={"proxying": Proxying(body_size=10)})
        add("cookies", route={"proxying": Proxying(cookie_path=("/in/", "/out/"), cookie_domain=("in", "out"),
            redirect=("http://in/", "/out/"))})  # fmt: skip
        add("http10", route={"proxying": Proxying(http_version="1.0", read_timeout=5, buffering=True, buffers_number=8,
            buffer_size=8192, busy_buffers_size=16384, max_temp_file_size=0, request_buffering=False,
            body_buffer_size=16384, next_upstream=("error", "http_502"), next_upstream_tries=2)})  # fmt: skip
        add("app-root", host={"app_root": "/start$here"})
        add("www", host={"redirect_from": "www.www.example", "aliases": ("alias.example", r"~^re\d+\.example$")})
        clients = ClientCertificates(self.ca.certificate, pass_to_backend=True)
        add("mtls", host={"tls": HostTLS(clients=clients)})
        matched = ClientCertificates(self.ca.certificate, match_cn="CN=another")
        add("mtls-cn", host={"tls": HostTLS(clients=matched)})
        add("snippet", snippet='more_set_headers "X-Raw: yes";\nif ($http_x_stop ~* "^(1|2)$") { return 418; }')

    def ask(self, name: str, path: str = "/", **more: Any) -> Any:
        return self.world.ask(path, f"{name}.example", **more)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with NginxWorld() as world:
        yield Site(world, tmp_path_factory.mktemp("certificates"))


def test_redirects(site: Site) -> None:
    """A target may name variables; a dollar sign of its text is not one."""
    answer = site.ask("redirect", "/x?y")
    assert (answer.status, answer.headers["location"]) == (308, "https://x.example/x?y$1")


@pytest.mark.parametrize(
    ("host", "path", "location"),
    [("https", "/a/?q=1", "https://https.example/a/?q=1"), ("https", "/a/", "https://https.example/a"),
     ("https-keeps", "/a/", "https://https-keeps.example/a/")],
)  # fmt: skip
def test_plain_http_is_redirected(site: Site, host: str, path: str, location: str) -> None:
    answer = site.ask(host, path)
    assert (answer.status, answer.headers["location"]) == (308, location)
    assert site.ask(host, path, tls=True).status == 200


def test_paths_are_rewritten(site: Site) -> None:
    """Groups of the path go into the target; other dollar signs of it are text."""
    seen = site.ask("rewrite", "/foo/a/b?q=1").seen
    assert (seen["path"], seen["headers"]["x-forwarded-prefix"]) == ("/admin/a/b?q=1", "/foo")
    assert site.ask("dollar", "/d/z").seen["path"] == "/$x$%7By%7D/z"


def test_cors(site: Site) -> None:
    """Preflights are answered; headers come with every answer; an origin that is not listed gets none."""
    preflight = site.ask("cors", method="OPTIONS", headers={"Origin": "https://any.example"})
    assert preflight.status == 204
    assert preflight.headers["access-control-allow-origin"] == "https://any.example"
    assert preflight.headers["access-control-allow-methods"] == "GET, PUT, POST, DELETE, PATCH, OPTIONS"
    assert preflight.headers["access-control-allow-credentials"] == "true"
    assert preflight.headers["access-control-max-age"] == "1728000"
    for origin, allowed in (("https://a.ok.example", True), ("http://one.example:8080", True),
                            ("https://ok.example", False), ("https://a.b.ok.example", False),
                            ("https://a-ok.example", False)):  # fmt: skip
        headers = site.ask("cors-some", headers={"Origin": origin}).headers
        assert headers.get("access-control-allow-origin") == (origin if allowed else None)
        assert ("access-control-expose-headers" in headers) is allowed


def test_basic_authentication(site: Site) -> None:
    import base64

    refused = site.ask("basic")
    assert refused.status == 401
    assert refused.headers["www-authenticate"] == f'Basic realm="{REALM}"'
    good = {"Authorization": "Basic " + base64.b64encode(b"ann:secret").decode()}
    assert site.ask("basic", headers=good).status == 200
    assert "authorization" not in site.ask("basic", headers=good).seen["headers"]
    assert site.ask("basic", headers={"Authorization": "Basic " + base64.b64encode(b"ann:no").decode()}).status == 401


def test_digest_authentication(site: Site) -> None:
    """A right answer passes once; the same one again, another path, or a nonce of one's own does not."""
    challenge = site.ask("digest", "/x")
    assert challenge.status == 401
    found = re.search(r'nonce="(\w+)"', challenge.headers["www-authenticate"])
    assert found is not None
    nonce = found[1]

    def answer(uri: str, count: str, nonce: str = nonce, password: str = "secret") -> dict[str, str]:
        ha1 = hashlib.md5(f"ann:{REALM}:{password}".encode()).hexdigest()
        ha2 = hashlib.md5(f"GET:{uri}".encode()).hexdigest()
        response = hashlib.md5(f"{ha1}:{nonce}:{count}:abc:auth:{ha2}".encode()).hexdigest()
        realm = REALM.replace('"', '\\"')
        return {"Authorization": f'Digest username="ann", realm="{realm}", nonce="{nonce}", uri="{uri}", qop=auth, '
                f'nc={count}, cnonce="abc", response="{response}"'}  # fmt: skip

    assert site.ask("digest", "/x", headers=answer("/x", "00000001")).status == 200
    assert "stale=true" in site.ask("digest", "/x", headers=answer("/x", "00000001")).headers["www-authenticate"]
    assert site.ask("digest", "/x", headers=answer("/x", "00000002")).status == 200
    assert site.ask("digest", "/y", headers=answer("/x", "00000003")).status == 401
    assert site.ask("digest", "/x", headers=answer("/x", "00000004", password="no")).status == 401
    assert site.ask("digest", "/x", headers=answer("/x", "00000005", nonce="0" * 48)).status == 401


def test_external_authentication(site: Site) -> None:
    """401 redirects to the sign-in page; who is known passes, with the authenticator's headers and cookie."""
    refused = site.ask("auth", "/deep?a=1&b=2")
    assert refused.status == 302
    back = "http://auth.example%2Fdeep%3Fa%3D1%26b%3D2"
    assert refused.headers["location"] == f"https://login.example/start?rd={back}"
    passed = site.ask("auth", "/deep?a=1", headers={"Cookie": "user=ann", "X-User": "root"})
    assert passed.seen["headers"]["x-user"] == "ann"
    assert passed.headers["set-cookie"] == "seen=1"
    asked = site.auth.requests[-1]
    assert asked["path"] == "/check"
    assert asked["headers"]["x-original-url"] == "http://auth.example/deep?a=1"
    assert asked["headers"]["x-original-method"] == "GET"


def test_external_authentication_is_cached_and_kept(site: Site) -> None:
    for _ in range(3):
        assert site.ask("auth-cache", headers={"Cookie": "user=ann"}).status == 200
    cached = site.quiet_auth.requests
    assert [one["method"] for one in cached] == ["POST"]
    assert cached[0]["path"] == "/cached"
    assert site.ask("auth-cache").status == 401
    assert site.ask("auth-keep", headers={"Cookie": "user=ann"}).status == 200
    assert site.auth.requests[-1]["path"] == "/kept?a=$b"


@pytest.mark.parametrize(("host", "status"), [("allow", 403), ("allow-us", 200), ("deny-us", 403), ("any", 401)])
def test_addresses_are_let_in_or_not(site: Site, host: str, status: int) -> None:
    assert site.ask(host).status == status


def test_rates_are_limited(site: Site) -> None:
    """The burst passes, then 503; an exempt client is never limited."""
    assert [site.ask("rate").status for _ in range(5)].count(503) >= 1
    assert {site.ask("rate-exempt").status for _ in range(6)} == {200}


def test_requests_are_mirrored(site: Site) -> None:
    assert site.ask("mirror", "/m?x=1", method="POST", body=b"abc").status == 200
    site.world.eventually(lambda: site.mirror.requests)
    copy = site.mirror.requests[0]
    assert (copy["path"], copy["body"], copy["headers"]["host"]) == ("/m?x=1", "abc", "m.example")


def test_error_pages(site: Site) -> None:
    """The backend of error pages is told what went wrong; its own answer is what the client gets."""
    site.web.rule = lambda seen: 404 if seen["headers"]["host"] == "errors.example" else 200
    site.errors.status = 404
    answer = site.ask("errors", "/lost", headers={"Accept": "text/html"})
    site.web.rule = None
    seen = answer.seen
    assert (answer.status, seen["port"], seen["path"]) == (404, site.errors.server_port, "/")
    expected = {"x-code": "404", "x-format": "text/html", "x-original-uri": "/lost", "x-namespace": "default",
                "x-ingress-name": "web", "x-service-name": "web", "x-service-port": "80"}  # fmt: skip
    assert expected.items() <= seen["headers"].items()
    assert site.ask("errors-none").seen["headers"]["x-code"] == "503"
    site.errors.status = 200


def test_backends_without_endpoints(site: Site) -> None:
    assert site.ask("fallback").seen["port"] == site.errors.server_port
    assert site.ask("secure-none").status == 503
    assert site.ask("denied").status == 503


def test_headers(site: Site) -> None:
    """Values may name variables; the headers that every backend gets stay."""
    answer = site.ask("headers", tls=True)
    assert answer.headers["x-own"] == "a $ headers.example"
    assert answer.headers["strict-transport-security"]
    assert answer.seen["headers"]["x-sent"] == 'q"https'
    assert answer.seen["headers"]["x-forwarded-proto"] == "https"


def test_backends_speak_tls(site: Site) -> None:
    """With and without verification; a name that the certificate has not is a 502."""
    assert [site.ask(host).status for host in ("secure", "verified", "wrong-name")] == [200, 200, 502]


def test_proxying(site: Site) -> None:
    seen = site.ask("vhost").seen["headers"]
    assert (seen["host"], seen["connection"], seen["x-forwarded-host"]) == ("inner.example", "close", "vhost.example")
    assert site.ask("small", method="POST", body=b"x" * 11).status == 413
    assert site.ask("small", method="POST", body=b"x" * 10).status == 200
    site.web.answer_headers = [("Set-Cookie", "a=b; domain=in; path=/in/x"), ("Location", "http://in/y")]
    answer = site.ask("cookies")
    site.web.answer_headers = []
    assert answer.headers["set-cookie"] == "a=b; domain=out; path=/out/x"
    assert answer.headers["location"] == "http://cookies.example/out/y"
    assert site.ask("http10").status == 200


def test_names_and_roots(site: Site) -> None:
    assert site.ask("app-root").headers["location"].endswith("/start$here")
    assert site.ask("app-root", "/other").status == 200
    for alias in ("alias", "re7"):
        assert site.ask(alias).status == 200
    moved = site.ask("www.www", "/x?y")
    assert (moved.status, moved.headers["location"]) == (308, "http://www.example/x?y")


def test_client_certificates(site: Site) -> None:
    """None is a 400, a strange one too; a good one passes and the backend is told of it."""
    assert site.ask("mtls", tls=True).status == 400
    assert site.ask("mtls", tls=True, client=site.pairs["stranger"]).status == 400
    seen = site.ask("mtls", tls=True, client=site.pairs["client"]).seen["headers"]
    assert (seen["ssl-client-verify"], seen["ssl-client-subject-dn"]) == ("SUCCESS", "CN=good client")
    assert seen["ssl-client-cert"].startswith("-----BEGIN%20CERTIFICATE")
    assert site.ask("mtls-cn", tls=True, client=site.pairs["client"]).status == 403


def test_snippets(site: Site) -> None:
    assert site.ask("snippet").headers["x-raw"] == "yes"
    assert site.ask("snippet", headers={"X-Stop": "2"}).status == 418
