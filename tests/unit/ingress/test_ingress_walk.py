"""What a request would meet, what has become of an Ingress, and what differs from ingress-nginx."""

from __future__ import annotations

import json

import pytest

from sampan.api.networking_v1 import IngressTLS
from sampan.ingress import migrate, walk
from sampan.ingress.model import Source
from sampan.ingress.report import Report, Verdict
from sampan.ingress.settings import DEFAULTS
from sampan.ingress.translate import Options, Translation, translate
from support.ingresses import (
    backend,
    endpoint_slice,
    ingress,
    objects,
    path,
    rule,
    secret,
    service,
    tls_secret,
    translated,
)

EXAMPLE = "example.com"
WEB = (service("web"), endpoint_slice("web"), service("api"), endpoint_slice("api"))


def steps(report: Report) -> dict[str, str]:
    """The text of each titled step; of several with one title the first."""
    return {step.title: step.text for step in reversed(report.steps)}


def details(report: Report, title: str) -> str:
    return "\n".join(line for step in report.steps if step.title == title for line in (step.text, *step.details))


def made(*each: object, options: Options | None = None, **data: str) -> Translation:
    return translated(*each, *WEB, options=options, **data)


PLAIN = ingress("one", rule(EXAMPLE, path("/"), path("/a"), path("/a/b", "api"), path("/exact", kind="Exact")))


@pytest.mark.parametrize(
    ("asked", "rule_shown"),
    [
        ("/", "/ (Prefix) matches /"),
        ("/a", "/a (Prefix) matches /a"),
        ("/a/", "/a (Prefix) matches /a/"),
        ("/ab", "/ (Prefix) matches /ab"),
        ("/a/b/c", "/a/b (Prefix) matches /a/b/c"),
        ("/A", "/ (Prefix) matches /A"),
        ("/exact", "/exact (Exact) matches /exact"),
        ("/exact/", "/ (Prefix) matches /exact/"),
        ("/a?x=1", "/a (Prefix) matches /a"),
    ],
)
def test_which_path_takes_a_request(asked: str, rule_shown: str) -> None:
    report = walk.request(made(PLAIN), f"http://{EXAMPLE}{asked}")
    assert steps(report)["path"] == rule_shown
    assert report.is_fine


def test_paths_that_lost_are_named() -> None:
    older = ingress("old", rule(EXAMPLE, path("/a")), created="2025-01-01T00:00:00Z")
    shown = details(walk.request(made(PLAIN, older), f"http://{EXAMPLE}/a"), "path")
    assert "/ (Prefix) of default/one matches, too" in shown
    assert "/a (Prefix) of default/one is not served: default/old is older" in shown


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (EXAMPLE, "is a host of its own"),
        ("EXAMPLE.com", "is a host of its own"),
        ("x.example.com", "*.example.com matches"),
        ("alias.example.org", "server-alias of example.com"),
        ("b7.example.org", "server-alias ~^b\\d+\\.example\\.org$ of example.com matches"),
        ("www.example.com", "redirects to example.com"),
        ("else.example.net", "the rules without a host apply"),
    ],
)
def test_which_host_takes_a_request(name: str, shown: str) -> None:
    aliased = {"server-alias": "alias.example.org,~^b\\d+\\.example\\.org$", "from-to-www-redirect": "true"}
    configuration = made(
        ingress("one", rule(EXAMPLE, path("/")), annotations=aliased),
        ingress("wild", rule("*.example.com", path("/"))),
        ingress("all", default=backend("web")),
    )
    assert shown in steps(walk.request(configuration, f"http://{name}/"))["host"]


def test_a_host_of_nobody() -> None:
    report = walk.request(made(PLAIN), "https://else.example.org/")
    assert not report.is_fine
    assert "no Ingress has a host" in steps(report)["host"]
    assert steps(report)["answer"].startswith("404")


def test_wildcards_are_of_one_label() -> None:
    configuration = made(ingress("wild", rule("*.example.com", path("/"))))
    assert walk.request(configuration, "http://a.example.com/").is_fine
    assert not walk.request(configuration, "http://a.b.example.com/").is_fine


def test_certificates() -> None:
    secure = ingress("one", rule(EXAMPLE, path("/")), tls=[IngressTLS(hosts=(EXAMPLE,), secret_name="cert")])
    report = walk.request(made(secure, tls_secret("cert", EXAMPLE)), f"https://{EXAMPLE}/")
    assert steps(report)["certificate"] == "of Secret default/cert"
    report = walk.request(made(secure, tls_secret("cert", "other.example.com")), f"https://{EXAMPLE}/")
    assert "self-signed default certificate" in steps(report)["certificate"]
    assert "holds for other.example.com" in details(report, "certificate")
    assert (
        "308 to https" in steps(walk.request(made(secure, tls_secret("cert", EXAMPLE)), f"http://{EXAMPLE}/"))["answer"]
    )


def test_rewrites_and_traps() -> None:
    """The trap names the Ingress that makes the host regular, and the one that did not ask for it."""
    configuration = made(
        ingress("rewriting", rule(EXAMPLE, path("/app(/|$)(.*)", kind=None)), annotations={"rewrite-target": "/$2"}),
        ingress("other", rule(EXAMPLE, path("/plain")), created="2026-02-01T00:00:00Z"),
    )
    report = walk.request(configuration, f"http://{EXAMPLE}/APP/x/y")
    assert steps(report)["rewrite"] == "/APP/x/y becomes /x/y"
    assert "because of default/rewriting (rewrite-target)" in details(report, "traps")
    assert "default/other, which does not ask for it" in details(report, "traps")
    assert steps(walk.request(configuration, f"http://{EXAMPLE}/plainer"))["path"] == "/plain (Regex) matches /plainer"


def test_sticky_regular_paths_need_a_cookie_path() -> None:
    sticky = {"affinity": "cookie", "use-regex": "true"}
    one = ingress("one", rule(EXAMPLE, path("/a.*", kind=None)), annotations=sticky)
    assert "session-cookie-path" in details(walk.request(made(one), f"http://{EXAMPLE}/a"), "traps")
    mended = ingress("one", rule(EXAMPLE, path("/a.*", kind=None)), annotations=sticky | {"session-cookie-path": "/"})
    assert "session-cookie-path" not in details(walk.request(made(mended), f"http://{EXAMPLE}/a"), "traps")


@pytest.mark.parametrize(
    ("annotations", "headers", "cookies", "takes"),
    [
        ({"canary-by-header": "X-Try"}, {"x-try": "always"}, {}, True),
        ({"canary-by-header": "X-Try"}, {"X-Try": "never"}, {}, False),
        ({"canary-by-header": "X-Try", "canary-weight": "100"}, {"X-Try": "never"}, {}, False),
        ({"canary-by-header": "X-Try", "canary-by-header-value": "eu"}, {"X-Try": "eu"}, {}, True),
        ({"canary-by-header": "X-Try", "canary-by-header-value": "eu"}, {"X-Try": "always"}, {}, False),
        ({"canary-by-header": "X-Try", "canary-by-header-pattern": "^e"}, {"X-Try": "eu"}, {}, True),
        ({"canary-by-cookie": "try"}, {}, {"try": "always"}, True),
        ({"canary-by-header": "X-Try", "canary-by-cookie": "try"}, {"X-Try": "never"}, {"try": "always"}, False),
        ({"canary-by-header": "X-Try", "canary-by-cookie": "try"}, {"X-Try": "maybe"}, {"try": "always"}, True),
        ({"canary-by-cookie": "try"}, {}, {"try": "never"}, False),
    ],
)
def test_canaries(annotations: dict[str, str], headers: dict[str, str], cookies: dict[str, str], takes: bool) -> None:
    """Header, then cookie, then weight."""
    configuration = made(
        ingress("one", rule(EXAMPLE, path("/"))),
        ingress("canary", rule(EXAMPLE, path("/", "api")), annotations={"canary": "true"} | annotations),
    )
    report = walk.request(configuration, f"http://{EXAMPLE}/", headers=headers, cookies=cookies)
    assert ("default/api" in steps(report)["backend"]) == takes


@pytest.mark.parametrize(("client", "fine"), [("10.1.2.3", True), ("10.9.9.9", False), ("192.0.2.1", False)])
def test_who_is_let_in(client: str, fine: bool) -> None:
    lists = {"allowlist-source-range": "10.0.0.0/8", "denylist-source-range": "10.9.0.0/16"}
    report = walk.request(made(ingress("one", rule(EXAMPLE, path("/")), annotations=lists)), EXAMPLE, client=client)
    assert report.is_fine == fine
    assert ("403" in steps(report)["access"]) != fine


def test_nothing_behind_it() -> None:
    report = walk.request(translated(ingress("one", rule(EXAMPLE, path("/", "absent")))), f"http://{EXAMPLE}/")
    assert steps(report)["endpoints"] == "none: 503"
    assert "does not exist" in steps(report)["problems"]
    assert not report.is_fine


def test_closed_paths_say_why() -> None:
    guarded = ingress("one", rule(EXAMPLE, path("/")), annotations={"auth-type": "basic", "auth-secret": "absent"})
    report = walk.request(made(guarded), f"http://{EXAMPLE}/")
    assert steps(report)["answer"].startswith("503: ")
    assert "absent" in steps(report)["answer"]


@pytest.mark.parametrize("url", ["", "ftp://example.com", "http://", "http://[", "https:///x"])
def test_no_url(url: str) -> None:
    with pytest.raises(walk.NotAURL):
        walk.request(made(PLAIN), url)


def test_reports_are_lines_and_data() -> None:
    report = walk.request(made(PLAIN), f"http://{EXAMPLE}/a", "POST")
    lines = list(report.lines())
    assert lines[0] == "POST http://example.com/a"
    assert any("✓ path" in line for line in lines)
    assert json.loads(json.dumps(report.data()))["isFine"] is True


# --- an Ingress


def explained(name: str, *each: object, options: Options | None = None) -> Report:
    found = objects(*each, *WEB)
    return walk.ingress(translate(found, DEFAULTS, options or Options()), found, options or Options(), "default", name)


def test_a_served_ingress() -> None:
    report = explained("one", PLAIN)
    text = "\n".join(report.lines())
    assert report.is_fine
    assert "served, without TLS" in text
    assert "/a/b (Prefix) → api:80, 1 endpoints" in text


def test_a_shadowed_and_a_faulty_ingress() -> None:
    new = ingress("new", rule(EXAMPLE, path("/a")), created="2027-01-01T00:00:00Z", annotations={"use-regexx": "true"})
    report = explained("new", PLAIN, new)
    text = "\n".join(report.lines())
    assert not report.is_fine
    assert "/a (Prefix) is not served: default/one is older" in text
    assert "did you mean" in text


def test_a_rejected_ingress() -> None:
    report = explained("one", ingress("one", rule(EXAMPLE, path("/")), annotations={"server-snippet": "return 200;"}))
    assert steps(report)[EXAMPLE] == "not served"
    assert "annotations-risk-level allows up to High" in steps(report)["AnnotationRisk"]


@pytest.mark.parametrize(
    ("class_name", "shown"), [("absent", "there is no IngressClass absent"), (None, "it has no class")]
)
def test_an_ingress_of_others(class_name: str | None, shown: str) -> None:
    report = explained("one", ingress("one", rule(EXAMPLE, path("/")), class_name=class_name))
    assert shown in steps(report)["class"]
    assert not report.is_fine
    assert "no such Ingress" in steps(explained("absent"))["object"]


# --- moving from ingress-nginx


def workload(image: str, args: list[str], **container: object) -> dict[str, object]:
    one = {"image": image, "args": args, **container}
    return {
        "metadata": {"namespace": "infra", "name": "controller"},
        "spec": {"template": {"spec": {"containers": [one]}}},
    }


NEW = "registry.k8s.io/ingress-nginx/controller:v1.13.2@sha256:abc"
OLD = "quay.io/kubernetes-ingress-controller/nginx-ingress-controller:0.30.0"


MIRRORED = "mirror.local:5000/ingress-nginx/controller-chroot:v1.9.4"


@pytest.mark.parametrize(("image", "version"), [(NEW, (1, 13)), (OLD, (0, 30)), (MIRRORED, (1, 9))])
def test_a_running_ingress_nginx_is_found(image: str, version: tuple[int, int]) -> None:
    env = [{"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}]
    args = ["/nginx-ingress-controller", "--configmap=$(POD_NAMESPACE)/settings", "--ingress-class=$(OTHER)"]
    others = ("Deployment", workload("nginx:1", ["--x"]))
    found = migrate.controllers([others, ("DaemonSet", workload(image, args, env=env))])
    assert [each.source for each in found] == [Source("infra", "controller", "DaemonSet")]
    assert found[0].version == version
    assert found[0].arguments == ("--configmap=infra/settings", "--ingress-class=$(OTHER)")


@pytest.mark.parametrize("obj", [{}, {"spec": None}, {"spec": {"template": {"spec": {"containers": [{}]}}}}])
def test_strange_workloads_are_passed_over(obj: dict[str, object]) -> None:
    assert migrate.controllers([("Deployment", obj)]) == []


def moved(
    image: str, *each: object, options: Options | None = None, flags: list[str] | None = None, **data: str
) -> Report:
    controller = migrate.controllers([("Deployment", workload(image, []))])[0]
    settings = {key.replace("_", "-"): text for key, text in data.items()}
    return migrate.report(controller, objects(*each, *WEB), settings, options or Options(), flags or [])


def differing(report: Report) -> str:
    return "\n".join(f"{step.title}: {step.text}" for step in report.steps if step.verdict is Verdict.WRONG)


def test_a_plain_cluster_moves_as_it_is() -> None:
    report = moved(NEW, PLAIN)
    assert differing(report) == ""
    assert "1 Ingresses, of which 0 will be served otherwise" in steps(report)["sum"]


def test_each_difference_has_its_object() -> None:
    report = moved(
        NEW,
        PLAIN,
        ingress("waf", rule("w.example.com", path("/")), annotations={"enable-modsecurity": "true"}),
        ingress("slash", rule("s.example.com", path("/s/"))),
        ingress("first", rule(EXAMPLE, path("/", "api")), annotations={"canary": "true", "canary-weight": "1"}),
        ingress("also", rule(EXAMPLE, path("/", "api", port="http")), annotations={"canary": "true"}, created="2027"),
        ingress("typo", rule("t.example.com", path("/")), annotations={"whitelist-source-rnage": "10.0.0.0/8"}),
        flags=["--profiling has no effect: there is no profiler"],
        enable_brotli="true",
    )
    text = differing(report)
    assert "Ingress default/waf: " in text
    assert "Ingress default/slash: path /s/: /s is served, too" in text
    assert "Ingress default/also: canary of example.com/: it takes part" in text
    assert "Ingress default/first: canary of example.com/: it does not take requests of example.com/a" in text
    assert "ConfigMap: enable-brotli: " in text
    assert "flag: --profiling" in text
    assert "default/typo" not in text
    assert "default/typo" in "\n".join(report.lines())


def test_defaults_that_have_changed_since_old_versions() -> None:
    report = moved(
        OLD,
        ingress("classless", rule(EXAMPLE, path("/")), class_name=None),
        ingress("snippet", rule("x.example.com", path("/")), annotations={"configuration-snippet": "return 200;"}),
        secret("unused"),
    )
    text = differing(report)
    assert "Ingress default/classless: it has no class" in text
    assert "Ingress default/snippet: " in text
    assert "allow-snippet-annotations" in text
    assert "annotations-risk-level" in text
