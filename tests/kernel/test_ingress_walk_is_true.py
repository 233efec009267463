"""What `sampan ingress test` says of a request is what nginx does with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sampan.api.networking_v1 import IngressTLS
from sampan.ingress import walk
from sampan.ingress.translate import Options, Translation
from support.ingresses import endpoint, endpoint_slice, ingress, path, rule, service, tls_secret, translated
from support.nginxworld import NginxWorld

pytestmark = pytest.mark.kernel

SERVICES = ("web", "api", "third", "fallback")
LATER = "2026-02-01T00:00:00Z"
INGRESSES = (
    ingress("plain", rule("plain.example.org", path("/", "web"), path("/a", "api"), path("/a/b", "third"),
                          path("/exact", "third", kind="Exact"), path("/slash/", "third"))),
    ingress("newer", rule("plain.example.org", path("/a", "third"), path("/n", "third")), created=LATER),
    ingress("rewriting", rule("regex.example.org", path("/app(/|$)(.*)", "api", kind=None), path("/w", "web")),
            annotations={"rewrite-target": "/$2"}),
    ingress("beside", rule("regex.example.org", path("/plain", "third"), path("/exact", "third", kind="Exact")),
            created=LATER),
    ingress("wild", rule("*.wild.example.org", path("/", "web")), rule("own.wild.example.org", path("/", "api"))),
    ingress("nothing", rule("empty.example.org", path("/full", "web"), path("/empty", "absent"))),
    ingress("aliased", rule("real.example.org", path("/", "api")),
            annotations={"server-alias": "other.example.net,~^n\\d+\\.example\\.net$", "app-root": "/start"}),
    ingress("main", rule("canary.example.org", path("/", "web"))),
    ingress("canary", rule("canary.example.org", path("/", "api")), created=LATER,
            annotations={"canary": "true", "canary-by-header": "X-Try", "canary-by-cookie": "try"}),
    ingress("value", rule("canary.example.org", path("/", "third")), created="2026-03-01T00:00:00Z",
            annotations={"canary": "true", "canary-by-header": "X-Where", "canary-by-header-value": "eu"}),
    ingress("secure", rule("secure.example.org", path("/", "web")),
            tls=[IngressTLS(hosts=("secure.example.org",), secret_name="cert")]),
    ingress("moved", rule("moved.example.org", path("/", "web")),
            annotations={"permanent-redirect": "https://else.example.net$request_uri"}),
    ingress("listed", rule("listed.example.org", path("/", "web")),
            annotations={"denylist-source-range": "127.0.0.0/8"}),
    ingress("guarded", rule("guarded.example.org", path("/", "web")),
            annotations={"auth-type": "basic", "auth-secret": "absent"}),
)  # fmt: skip
REQUESTS: tuple[tuple[str, str, dict[str, str]], ...] = (
    *(("plain.example.org", one, {}) for one in ("/", "/a", "/a/", "/ab", "/a/b", "/a/bc", "/A", "/exact", "/exact/",
                                                 "/slash", "/slash/", "/slashes", "/n/1", "/x?a=/a")),
    *(("regex.example.org", one, {}) for one in ("/app", "/app/x/y", "/APP/x", "/apple", "/w", "/wide", "/plainer",
                                                 "/exactly", "/other", "/")),
    *((one, "/", {}) for one in ("x.wild.example.org", "own.wild.example.org", "x.y.wild.example.org",
                                 "wild.example.org", "other.example.net", "n7.example.net", "nx.example.net",
                                 "real.example.org", "nobody.example.org")),
    ("real.example.org", "/more", {}),
    ("empty.example.org", "/full", {}), ("empty.example.org", "/empty", {}), ("empty.example.org", "/other", {}),
    ("canary.example.org", "/", {}),
    *(("canary.example.org", "/", headers) for headers in (
        {"X-Try": "always"}, {"X-Try": "never"}, {"X-Try": "perhaps"}, {"X-Where": "eu"}, {"X-Where": "us"},
        {"Cookie": "try=always"}, {"Cookie": "try=never"}, {"X-Try": "never", "Cookie": "try=always"},
        {"X-Try": "always", "X-Where": "eu"}, {"X-Try": "never", "X-Where": "eu"})),
    *((one, "/", {}) for one in ("secure.example.org", "moved.example.org", "listed.example.org",
                                 "guarded.example.org")),
)  # fmt: skip


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[NginxWorld, Translation, dict[int, str]]]:
    with NginxWorld() as world:
        ports = {name: world.echo().endpoint.port for name in SERVICES}
        made = translated(
            *INGRESSES,
            *(service(name) for name in SERVICES),
            *(endpoint_slice(name, endpoint("127.0.0.1"), number=port) for name, port in ports.items()),
            tls_secret("cert", "secure.example.org"),
            options=Options(default_backend_service="default/fallback", listeners=world.listeners),
            access_log_path="/dev/null",
        )
        assert world.apply(made.configuration).rejected == ()
        yield world, made, {port: name for name, port in ports.items()}


@pytest.mark.parametrize(("host", "asked", "headers"), REQUESTS)
def test_a_request_meets_what_was_said(
    served: tuple[NginxWorld, Translation, dict[int, str]], host: str, asked: str, headers: dict[str, str]
) -> None:
    """The Service that answers and the path that it sees, or the status that nginx answers with by itself."""
    world, made, services = served
    cookies = dict(one.split("=") for one in headers.get("Cookie", "").split("; ") if one)
    report = walk.request(made, f"http://{host}{asked}", headers=headers, cookies=cookies, client="127.0.0.1")
    said = {step.title: step.text for step in reversed(report.steps)}
    answer = world.ask(asked, host, headers=headers)
    if answer.status == 200:
        service_name = services[answer.seen["port"]]
        told = said.get("backend") or said.get("answer", "")
        assert f" default/{service_name}" in told, (said, answer.seen)
        if "rewrite" in said:
            assert said["rewrite"].endswith(f" becomes {answer.seen['path'] or '/'}")
    else:
        text = " ".join(said.get(title, "") for title in ("answer", "access", "endpoints"))
        assert str(answer.status) in text, (answer.status, said)
