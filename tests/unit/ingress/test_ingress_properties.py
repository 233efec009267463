"""Properties of the translation: what is remembered never shows, and the order of events does not matter."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.api.networking_v1 import IngressTLS
from sampan.ingress.model import Configuration, PathType
from sampan.ingress.settings import DEFAULTS
from sampan.ingress.settings import parse as parse_settings
from sampan.ingress.translate import Objects, Options, Translator, translate
from support.ingresses import (
    CLASS,
    backend,
    config_map,
    endpoint,
    endpoint_slice,
    ingress,
    path,
    rule,
    secret,
    service,
    tls_secret,
)

HOSTS = ("a.example.com", "b.example.com", "*.example.com", "www.a.example.com", "")
PATHS = ("/", "/a", "/a/", "/a/b", "/A", "/(x|y)/z", "/[", "no")
SERVICES = ("web", "api", "none")
ANNOTATIONS: tuple[dict[str, str], ...] = (
    {},
    {"use-regex": "true"},
    {"rewrite-target": "/$1"},
    {"canary": "true", "canary-weight": "20"},
    {"canary": "true", "canary-by-header": "X-Try"},
    {"auth-type": "basic", "auth-secret": "users"},
    {"auth-tls-secret": "default/ca"},
    {"custom-headers": "default/headers"},
    {"server-alias": "b.example.com,x.example.com"},
    {"from-to-www-redirect": "true"},
    {"affinity": "cookie"},
    {"default-backend": "api"},
    {"custom-http-errors": "404,503"},
    {"ssl-passthrough": "true"},
    {"configuration-snippet": "return 200;"},
    {"whitelist-source-rnage": "10.0.0.0/8"},
    {"allowlist-source-range": "nonsense"},
    {"force-ssl-redirect": "true", "service-upstream": "true"},
    {"stream-snippet": "x"},
)

paths = st.builds(
    path,
    st.sampled_from(PATHS),
    st.sampled_from(SERVICES),
    st.sampled_from(("Prefix", "Exact", "ImplementationSpecific", None, "Other")),
    st.sampled_from((80, "http", 8080, 81)),
)
rules = st.builds(lambda host, some: rule(host, *some), st.sampled_from(HOSTS), st.lists(paths, max_size=3))
tls = st.builds(
    lambda hosts, name: IngressTLS(hosts=tuple(hosts), secret_name=name),
    st.lists(st.sampled_from(HOSTS[:3]), max_size=2),
    st.sampled_from(("", "cert", "other", "users")),
)
ingresses = st.builds(
    lambda name, some, created, notes, secure, default, class_name: ingress(
        name,
        *some,
        created=f"2026-01-0{created}T00:00:00Z",
        annotations=notes,
        tls=secure,
        default=backend("api") if default else None,
        class_name=class_name,
    ),
    st.sampled_from(("one", "two", "three", "four", "five")),
    st.lists(rules, max_size=3),
    st.integers(1, 3),
    st.sampled_from(ANNOTATIONS),
    st.lists(tls, max_size=2),
    st.booleans(),
    st.sampled_from(("nginx", "nginx", "nginx", "other", None)),
)
services = st.builds(
    lambda name, kind: service(name, type=kind, external_name="example.org" if kind == "ExternalName" else ""),
    st.sampled_from(SERVICES[:2]),
    st.sampled_from(("ClusterIP", "ExternalName")),
)
slices = st.builds(
    lambda name, number, ready: endpoint_slice(name, endpoint(f"10.1.0.{number}", ready), name=f"{name}-{number}"),
    st.sampled_from(SERVICES[:2]),
    st.integers(1, 3),
    st.booleans(),
)
secrets = st.sampled_from(
    (
        secret("users", auth=b"joe:x\n"),
        secret("users", other=b""),
        tls_secret("cert", "a.example.com"),
        tls_secret("cert", "*.example.com"),
        secret("other", tls_crt=b"nonsense", tls_key=b"nonsense"),
        secret("ca", ca_crt=tls_secret("x", "ca").data["tls.crt"]),
    )
)
config_maps = st.sampled_from(
    (
        config_map("headers", {"X-One": "1"}),
        config_map("headers", {}),
        config_map("tcp", {"9000": "default/web:80"}),
    )
)
events = st.lists(
    st.tuples(
        st.sampled_from(("put", "put", "put", "delete", "unknown")),
        st.one_of(ingresses, services, slices, secrets, config_maps, st.just(CLASS)),
    ),
    max_size=8,
)
OPTIONS = Options(
    enable_ssl_passthrough=True,
    default_backend_service="default/api",
    tcp_services_configmap="default/tcp",
    default_ssl_certificate="default/first",
)
OPEN, _ = parse_settings(
    {
        "allow-snippet-annotations": "true",
        "annotations-risk-level": "Critical",
        "global-allowed-response-headers": "X-One",
    }
)


START = (
    ingress("one", rule("a.example.com", path("/"), path("/a", "api")), annotations={"affinity": "cookie"},
            tls=[IngressTLS(hosts=("a.example.com",), secret_name="cert")]),
    ingress("two", rule("b.example.com", path("/a")), annotations={"auth-type": "basic", "auth-secret": "users"}),
    ingress("three", rule("b.example.com", path("/b", "api")), annotations={"custom-headers": "default/headers"}),
    ingress("four", rule("*.example.com", path("/")), annotations={"auth-tls-secret": "default/ca"},
            tls=[IngressTLS(secret_name="cert"), IngressTLS(secret_name="other")]),
    ingress("five", rule("a.example.com", path("/a")), annotations={"canary": "true", "canary-weight": "1"}),
    service("web"), service("api"), endpoint_slice("web"), endpoint_slice("api", endpoint("10.1.0.9"), name="api-2"),
    secret("users", auth=b"joe:x"), tls_secret("cert", "a.example.com"), config_map("headers", {"X-One": "0"}),
    tls_secret("first", "first.example.com"),
)  # fmt: skip


class Cluster:
    """Objects that change under a Translator's hands."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[tuple[str, str], Any]] = {
            kind: {} for kind in ("Ingress", "IngressClass", "Service", "EndpointSlice", "Secret", "ConfigMap")
        }
        for one in (CLASS, *START):
            self.put(one)
        self.objects = Objects(*self.tables.values())

    def put(self, one: Any) -> None:
        self.tables[type(one).__name__][one.metadata.namespace, one.metadata.name] = one

    def happen(self, event: tuple[str, Any]) -> None:
        what, one = event
        key, table = (one.metadata.namespace, one.metadata.name), self.tables[type(one).__name__]
        if what == "put":
            self.put(one)
        elif what == "unknown" and type(one).__name__ in ("Secret", "ConfigMap"):
            table[key] = None
        else:
            table.pop(key, None)


@settings(max_examples=150, deadline=None)
@given(events, st.sampled_from((DEFAULTS, OPEN)))
def test_what_is_remembered_never_shows(happened: list[tuple[str, Any]], chosen: Any) -> None:
    """After every event a Translator that has seen all of them says what a new one says."""
    cluster, translator = Cluster(), Translator()
    translator.translate(cluster.objects, chosen, OPTIONS)
    for event in happened:
        cluster.happen(event)
        assert translator.translate(cluster.objects, chosen, OPTIONS) == translate(cluster.objects, chosen, OPTIONS)


@settings(max_examples=60, deadline=None)
@given(events, st.randoms())
def test_the_order_of_objects_does_not_matter(happened: list[tuple[str, Any]], chance: random.Random) -> None:
    """The same objects in mappings of another order give the same configuration and the same problems."""
    cluster, other = Cluster(), Cluster()
    for event in happened:
        cluster.happen(event)
    for kind, table in cluster.tables.items():
        shuffled = list(table.items())
        chance.shuffle(shuffled)
        other.tables[kind].clear()
        other.tables[kind].update(shuffled)
    assert translate(other.objects, OPEN, OPTIONS) == translate(cluster.objects, OPEN, OPTIONS)


@settings(max_examples=60, deadline=None)
@given(events, st.sampled_from((DEFAULTS, OPEN)))
def test_the_configuration_is_whole(happened: list[tuple[str, Any]], chosen: Any) -> None:
    """Every name that a configuration uses is in it, and no host has a path twice."""
    cluster = Cluster()
    for event in happened:
        cluster.happen(event)
    made = translate(cluster.objects, chosen, OPTIONS).configuration
    assert [each.name for each in made.hosts] == sorted({each.name for each in made.hosts})
    names = [name for each in made.hosts for name in (each.name, *each.aliases, each.redirect_from) if name]
    assert len(names) == len(set(names))
    for each in made.hosts:
        paths = [one.path for one in each.routes]
        assert len(paths) == len(set(paths))
        assert len({one.type is PathType.REGEX for one in paths}) <= 1
        assert not each.tls or each.tls.certificate in ("", *made.certificates)
    _assert_backends(made)


def _assert_backends(made: Configuration) -> None:
    assert all(name == backend.name for name, backend in made.backends.items())
    used = {each.backend for each in made.streams} | {made.default_backend}
    for each in made.hosts:
        used |= {each.passthrough.backend} if each.passthrough else set()
        for one in each.routes:
            used |= {one.backend, one.fallback, *(canary.backend for canary in one.canaries)}
            used |= {one.filters.error_pages.backend} if one.filters.error_pages else set()
    assert used - {""} == set(made.backends) - {""}


def test_a_change_makes_anew_only_what_it_touches() -> None:
    """Of many hosts the one that changes is another object; the others, and their backends, are those of before."""
    cluster, translator = Cluster(), Translator()
    for number in range(50):
        name = f"many-{number}"
        cluster.put(ingress(name, rule(f"{name}.example.org", path("/a"), path("/b")), namespace=name))
        cluster.put(service("web", namespace=name))
        cluster.put(endpoint_slice("web", namespace=name))
    before = translator.translate(cluster.objects, DEFAULTS, OPTIONS).configuration
    cluster.put(ingress("many-7", rule("many-7.example.org", path("/c")), namespace="many-7"))
    between = translator.translate(cluster.objects, DEFAULTS, OPTIONS).configuration
    old = {each.name: each for each in before.hosts}
    assert [each.name for each in between.hosts if each is not old[each.name]] == ["many-7.example.org"]
    cluster.put(endpoint_slice("web", endpoint("10.1.9.9"), namespace="many-8"))
    after = translator.translate(cluster.objects, DEFAULTS, OPTIONS).configuration
    changed = [name for name, each in after.backends.items() if each is not between.backends[name]]
    assert changed == ["many-8/web/80"]
    assert all(one is other for one, other in zip(after.hosts, between.hosts, strict=True))


ALIASED = ingress(
    "alias", rule("d.example.com", path("/")), annotations={"server-alias": "x.example.net,b.example.com"}
)
RIVAL = ingress(
    "rival", rule("e.example.com", path("/")), annotations={"server-alias": "x.example.net"}, created="2027"
)
TAKER = ingress("taker", rule("x.example.net", path("/")))
WWW = ingress("www", rule("f.example.com", path("/")), annotations={"from-to-www-redirect": "true"})
WWW_TAKER = ingress("wwwtaker", rule("www.f.example.com", path("/")))
SECURE = ingress(
    "secure", rule("g.example.com", path("/")), tls=[IngressTLS(hosts=("g.example.com",), secret_name="g")]
)
GUARDED = ingress("guarded", rule("h.example.com", path("/")), annotations={"auth-type": "basic", "auth-secret": "h"})
SEQUENCES: dict[str, list[tuple[str, Any]]] = {
    "an alias is taken by a host, and given back": [
        ("put", ALIASED), ("put", TAKER), ("delete", TAKER), ("put", RIVAL), ("delete", ALIASED), ("put", ALIASED),
    ],
    "a host that claims stops to claim": [
        ("put", ALIASED), ("put", RIVAL), ("put", ingress("alias", rule("d.example.com", path("/")))),
    ],
    "a www redirect is taken by a host": [("put", WWW), ("put", WWW_TAKER), ("delete", WWW_TAKER), ("delete", WWW)],
    "a certificate is replaced": [
        ("put", SECURE), ("put", tls_secret("g", "g.example.com")), ("put", tls_secret("g", "g.example.com", "more")),
        ("put", tls_secret("g", "other.example.com")), ("unknown", secret("g")), ("delete", secret("g")),
        ("put", tls_secret("g", "g.example.com")), ("delete", SECURE),
    ],
    "a Secret changes while nobody refers to it": [
        ("put", secret("h", auth=b"one:x")), ("put", GUARDED), ("delete", GUARDED), ("put", secret("h", auth=b"two:x")),
        ("put", GUARDED), ("unknown", secret("h")), ("delete", GUARDED), ("put", secret("h", auth=b"two:x")),
        ("put", GUARDED),
    ],
    "the class goes and comes": [("delete", CLASS), ("put", CLASS)],
    "a slice changes its Service": [
        ("put", endpoint_slice("api", endpoint("10.1.0.7"), name="web-1")), ("put", endpoint_slice("web")),
        ("delete", endpoint_slice("web")),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", SEQUENCES)
def test_changes_that_reach_far(name: str) -> None:
    """Steps in which one object's change shows at another's: after each, what is remembered does not show."""
    cluster, translator = Cluster(), Translator()
    translator.translate(cluster.objects, DEFAULTS, OPTIONS)
    for event in SEQUENCES[name]:
        cluster.happen(event)
        assert translator.translate(cluster.objects, DEFAULTS, OPTIONS) == translate(cluster.objects, DEFAULTS, OPTIONS)
