"""Hosts, paths, TLS and endpoints through a real nginx on loopback."""

from __future__ import annotations

import itertools
import ssl
from collections.abc import Iterator

import pytest

from sampan.ingress.model import (
    Endpoint,
    Host,
    HostTLS,
    PathType,
)
from support.nginxworld import Echo, NginxWorld, backend, certificate

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def world() -> Iterator[NginxWorld]:
    with NginxWorld() as one:
        yield one


@pytest.fixture(scope="module")
def echoes(world: NginxWorld) -> dict[str, Echo]:
    return {name: world.echo() for name in ("root", "prefix", "exact", "longer", "wild", "any")}


@pytest.fixture(scope="module")
def served(world: NginxWorld, echoes: dict[str, Echo]) -> dict[int, str]:
    """A configuration with hosts and paths of each kind; names of backends by the port that answers."""
    b = {name: backend(name, echo) for name, echo in echoes.items()}
    paths = (
        world.route("/", b["root"]),
        world.route("/app", b["prefix"]),
        world.route("/app/deep", b["longer"]),
        world.route("/app", b["exact"], PathType.EXACT),
        world.route("/only", b["exact"], PathType.EXACT),
    )
    own, _ = certificate("default/own", "tls.example")
    hosts = [
        Host("plain.example", paths),
        Host("tls.example", paths, tls=HostTLS("default/own")),
        Host("*.wild.example", (world.route("/", b["wild"]),)),
        Host("regex.example", (world.route("/it(/|$)(.*)", b["longer"], PathType.REGEX),
                               world.route("/", b["root"], PathType.REGEX))),
        Host("bare.example", (world.route("/app", b["prefix"]),)),
        Host("", (world.route("/any", b["any"]),)),
    ]  # fmt: skip
    applied = world.apply(world.configuration(hosts, list(b.values()), certificates=[own]))
    assert applied.rejected == ()
    return {echo.server_port: name for name, echo in echoes.items()}


PATHS = {
    "/": "root", "/app": "exact", "/app/": "prefix", "/app/x": "prefix", "/application": "root", "/app/deep": "longer",
    "/app/deep/er": "longer", "/app/deeper": "prefix", "/only": "exact", "/only/": "root", "/ONLY": "root",
}  # fmt: skip


@pytest.mark.parametrize(
    ("host", "tls", "method"),
    [*itertools.product(("plain.example", "tls.example"), (False, True), ("GET", "POST", "HEAD", "DELETE"))],
)
def test_paths_lead_to_their_backends(
    world: NginxWorld, served: dict[int, str], host: str, tls: bool, method: str
) -> None:
    """Exact before prefix, prefixes by element, the longest first: with and without TLS, by every method."""
    found = {}
    for path in PATHS:
        answer = world.ask(path, host, method, tls=tls)
        assert answer.status == 200
        if method != "HEAD":
            assert answer.seen["method"] == method
            found[path] = served[answer.seen["port"]]
    assert method == "HEAD" or found == PATHS


@pytest.mark.parametrize(
    ("host", "path", "expected"),
    [
        ("x.wild.example", "/", "wild"), ("wild.example", "/", 404), ("a.b.wild.example", "/", 404),
        ("other.example", "/any", "any"), ("other.example", "/", 404), ("127.0.0.1", "/any", "any"),
        ("regex.example", "/it", "longer"), ("regex.example", "/IT/x", "longer"), ("regex.example", "/item", "root"),
        ("bare.example", "/app", "prefix"), ("bare.example", "/", 404), ("PLAIN.example:8080", "/", "root"),
    ],
)  # fmt: skip
def test_hosts_lead_to_their_backends(
    world: NginxWorld, served: dict[int, str], host: str, path: str, expected: object
) -> None:
    """Wildcards, the host for every name, regular expressions, and 404 where nothing is."""
    answer = world.ask(path, host)
    assert (served[answer.seen["port"]] if answer.status == 200 else answer.status) == expected


def test_backends_learn_of_the_client(world: NginxWorld, served: dict[int, str]) -> None:
    """The headers that ingress-nginx sends to backends; what a client claims of itself is not believed."""
    answer = world.ask("/", "tls.example", headers={"X-Forwarded-For": "9.9.9.9", "X-Forwarded-Proto": "gopher",
                                                    "Proxy": "evil"}, tls=True)  # fmt: skip
    headers = answer.seen["headers"]
    assert headers["host"] == headers["x-forwarded-host"] == "tls.example"
    assert headers["x-real-ip"] == headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-original-forwarded-for"] == "9.9.9.9"
    assert [headers[f"x-{n}"] for n in ("forwarded-proto", "forwarded-scheme", "scheme")] == ["https"] * 3
    assert headers["x-forwarded-port"] == "443"
    assert len(headers["x-request-id"]) == 32
    assert "proxy" not in headers
    assert answer.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"
    assert "server" not in answer.headers
    assert "strict-transport-security" not in world.ask("/", "tls.example").headers


def test_certificates_go_by_name(world: NginxWorld, served: dict[int, str]) -> None:
    """A host has its own certificate; any other name gets the self-signed one."""
    from cryptography import x509

    def subject(host: str) -> str:
        return x509.load_der_x509_certificate(world.ask("/", host, tls=True).certificate).subject.rfc4514_string()

    assert subject("tls.example") == "CN=tls.example"
    assert "CN=Kubernetes Ingress Controller Fake Certificate" in subject("nobody.example")


def test_http2_is_spoken_over_tls(world: NginxWorld, served: dict[int, str]) -> None:
    """ALPN offers h2 on hosts with and without a certificate of their own."""
    import socket

    for name in ("tls.example", "nobody.example"):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2", "http/1.1"])
        with socket.create_connection(("127.0.0.1", world.listeners.https)) as raw:
            assert context.wrap_socket(raw, server_hostname=name).selected_alpn_protocol() == "h2"


def test_users_find_in_nginx_conf_what_they_grep_for(world: NginxWorld, served: dict[int, str]) -> None:
    text = world.place.configuration.read_text()
    for wanted in (
        "## start server plain.example\n", "## end server plain.example\n", "server_name plain.example ;",
        f"listen 127.0.0.1:{world.listeners.http} ;", 'set $namespace "default";', 'set $ingress_name "web";',
        'set $service_name "root";', 'set $service_port "80";', 'set $location_path "/app";', "location / {",
        'set $proxy_upstream_name "default-root-80";', "ssl_certificate_by_lua_block {", "certificate.call()",
    ):  # fmt: skip
        assert wanted in text


def test_endpoints_and_certificates_change_without_a_reload() -> None:
    """The next request meets the new endpoint, the next handshake the new certificate, and no worker is replaced."""
    with NginxWorld(workers=1) as world:
        one, other = world.echo(), world.echo()
        first, _ = certificate("default/own", "a.example")
        second, _ = certificate("default/own", "a.example")
        plain = backend("web", one)
        host = Host("a.example", (world.route("/", plain),), tls=HostTLS("default/own"))
        world.apply(world.configuration([host], [plain], certificates=[first]))
        workers = world.nginx.master.workers()
        before = world.ask("/", tls=True)
        changed = world.configuration([host], [backend("web", other)], certificates=[second])
        assert world.apply(changed).reloaded is False
        after = world.ask("/", tls=True)
        assert (before.seen["port"], after.seen["port"]) == (one.server_port, other.server_port)
        assert before.certificate != after.certificate
        assert world.nginx.master.workers() == workers
        assert world.apply(world.configuration([host], [backend("web")], certificates=[second])).reloaded is False
        assert world.ask("/").status == 503


def test_requests_are_tried_at_another_endpoint() -> None:
    """An endpoint that refuses connections costs no request, as long as another one answers."""
    with NginxWorld() as world:
        good = world.echo()
        gone = world.echo()
        dead = Endpoint("127.0.0.1", gone.server_port)
        gone.end()
        plain = backend("web", dead, good)
        world.apply(world.configuration([Host("a.example", (world.route("/", plain),))], [plain]))
        answers = [world.ask("/", method=method) for method in ("GET", "POST") for _ in range(6)]
        assert {answer.status for answer in answers} == {200}
