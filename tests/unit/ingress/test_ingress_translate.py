"""Ingresses become hosts, routes and backends with ingress-nginx's precedence; what is wrong stays where it is."""

from __future__ import annotations

import pytest

from sampan.api.core_v1 import ServicePort
from sampan.api.meta_v1 import ObjectMeta
from sampan.api.networking_v1 import (
    HTTPIngressPath,
    IngressBackend,
    IngressClass,
    IngressClassSpec,
    IngressTLS,
    TypedLocalObjectReference,
)
from sampan.ingress.model import BackendKey, Endpoint, PathMatch, PathType, Rewrite, Source
from sampan.ingress.settings import DEFAULTS
from sampan.ingress.translate import Objects, Options, Translation, translate
from support.ingresses import (
    backend,
    certificate,
    config_map,
    endpoint,
    endpoint_slice,
    host,
    ingress,
    messages,
    objects,
    path,
    route,
    rule,
    secret,
    service,
    tls_secret,
    told,
    translated,
)

WEB = (service("web"), endpoint_slice("web"))
API = (service("api"), endpoint_slice("api", endpoint("10.1.0.2")))
EXAMPLE = "example.com"


def simple(name: str = "one", host_name: str = EXAMPLE, value: str = "/", **more: object) -> object:
    return ingress(name, rule(host_name, path(value)), **more)  # type: ignore[arg-type]


def order(made: Translation, host_name: str = EXAMPLE) -> list[tuple[str, str]]:
    return [(each.path.type.value, each.path.value) for each in host(made, host_name).routes]


# --- paths


def test_paths_are_tried_exact_first_then_the_longest() -> None:
    made = translated(
        ingress("one", rule(EXAMPLE, path("/a"), path("/a/b/c"), path("/a/b", kind="Exact"), path("/a/b"))), *WEB
    )
    assert order(made) == [
        ("Exact", "/a/b"),
        ("Prefix", "/a/b/c"),
        ("Prefix", "/a/b"),
        ("Prefix", "/a"),
        ("Prefix", "/"),
    ]
    assert made.problems == ()


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("Prefix", "/a", PathMatch(PathType.PREFIX, "/a")),
        ("Prefix", "/a/", PathMatch(PathType.PREFIX, "/a")),
        ("Exact", "/a/", PathMatch(PathType.EXACT, "/a/")),
        ("ImplementationSpecific", "/a", PathMatch(PathType.PREFIX, "/a")),
        (None, "/a", PathMatch(PathType.PREFIX, "/a")),
        ("Prefix", "", PathMatch(PathType.PREFIX, "/")),
    ],
)
def test_path_types(kind: str | None, value: str, expected: PathMatch) -> None:
    """ImplementationSpecific is Prefix, as in ingress-nginx."""
    made = translated(ingress("one", rule(EXAMPLE, path(value, kind=kind))), *WEB)
    assert host(made, EXAMPLE).routes[0].path == expected


@pytest.mark.parametrize("value", ["/a b", "/a(b)", "/a;b", "/a{", '/a"', "/é", "/a$"])
def test_strict_paths(value: str) -> None:
    """A path of type Exact or Prefix with other signs is not served and told of; its neighbours are served."""
    made = translated(ingress("one", rule(EXAMPLE, path(value), path("/fine"))), *WEB)
    assert ("Prefix", value) not in order(made)
    assert ("Prefix", "/fine") in order(made)
    assert told(made, "one") == ["InvalidPath"]
    loose = translated(ingress("one", rule(EXAMPLE, path(value))), *WEB, strict_validate_path_type="false")
    assert ("Prefix", value) in order(loose)


@pytest.mark.parametrize("value", ["/a\nb", "/\0", "a", "/" + "a" * 2000])
def test_impossible_paths(value: str) -> None:
    made = translated(ingress("one", rule(EXAMPLE, path(value, kind="ImplementationSpecific"))), *WEB)
    assert order(made) == [("Prefix", "/")]
    assert told(made, "one") == ["InvalidPath"]


@pytest.mark.parametrize("annotations", [{"use-regex": "true"}, {"rewrite-target": "/$1"}])
def test_one_regex_makes_every_path_of_the_host_one(annotations: dict[str, str]) -> None:
    """Also those of other Ingresses, exact ones too; in order of descending length."""
    made = translated(
        ingress("one", rule(EXAMPLE, path("/a/(.*)", kind="ImplementationSpecific")), annotations=annotations),
        ingress("two", rule(EXAMPLE, path("/exact", kind="Exact"), path("/b")), created="2026-01-02T00:00:00Z"),
        ingress("three", rule("other.example.com", path("/b"))),
        *WEB,
    )
    assert order(made) == [("Regex", "/a/(.*)"), ("Regex", "/exact"), ("Regex", "/b"), ("Regex", "/")]
    assert order(made, "other.example.com") == [("Prefix", "/b"), ("Prefix", "/")]


def test_a_rewrite_to_its_own_path_is_none() -> None:
    """ingress-nginx does not rewrite / to /, and such a path makes no regex."""
    made = translated(simple(annotations={"rewrite-target": "/"}), *WEB)
    assert order(made) == [("Prefix", "/")]
    assert route(made, EXAMPLE, "/").filters.rewrite is None
    made = translated(simple(value="/app", annotations={"rewrite-target": "/", "x-forwarded-prefix": "/app"}), *WEB)
    assert route(made, EXAMPLE, "/app").filters.rewrite == Rewrite("/", "/app")


@pytest.mark.parametrize("value", ["/(", "/[", "/a{2,1}", "/(?<proxy_upstream_name>.*)", "/*" * 3 + "(?"])
def test_a_bad_regex_takes_only_itself_away(value: str) -> None:
    made = translated(
        ingress("one", rule(EXAMPLE, path(value, kind="ImplementationSpecific")), annotations={"use-regex": "true"}),
        ingress("two", rule(EXAMPLE, path("/b")), created="2026-01-02T00:00:00Z"),
        *WEB,
    )
    assert order(made) == [("Regex", "/b"), ("Regex", "/")]
    assert told(made, "one") == ["InvalidPath"]
    assert told(made, "two") == []


# --- several Ingresses


def test_the_older_ingress_keeps_a_path() -> None:
    made = translated(
        ingress("new", rule(EXAMPLE, path("/a", "api")), created="2026-01-02T00:00:00Z"),
        ingress("old", rule(EXAMPLE, path("/a", "web")), created="2026-01-01T00:00:00Z"),
        *WEB,
        *API,
    )
    assert route(made, EXAMPLE, "/a").source == Source("default", "old")
    assert told(made, "new") == ["PathConflict"]
    assert "default/old" in messages(made, "new")
    assert [(each.source.name, each.winner.name) for each in made.shadowed] == [("new", "old")]
    assert told(made, "old") == []


def test_of_the_same_second_the_last_name_wins() -> None:
    """ingress-nginx sorts namespace/name in descending order where times are equal."""
    made = translated(*(ingress(name, rule(EXAMPLE, path("/a"))) for name in ("a", "c", "b")), *WEB)
    assert route(made, EXAMPLE, "/a").source.name == "c"


def test_prefixes_that_differ_by_a_slash_are_one() -> None:
    made = translated(
        ingress("old", rule(EXAMPLE, path("/a"))),
        ingress("new", rule(EXAMPLE, path("/a/", "api")), created="2026-01-02T00:00:00Z"),
        *WEB,
        *API,
    )
    assert order(made) == [("Prefix", "/a"), ("Prefix", "/")]
    assert told(made, "new") == ["PathConflict"]


def test_exact_and_prefix_of_one_path_stand_side_by_side() -> None:
    made = translated(ingress("one", rule(EXAMPLE, path("/a"), path("/a", "api", kind="Exact"))), *WEB, *API)
    assert order(made) == [("Exact", "/a"), ("Prefix", "/a"), ("Prefix", "/")]


def test_a_path_twice_in_one_ingress_is_no_conflict_if_it_is_the_same() -> None:
    made = translated(ingress("one", rule(EXAMPLE, path("/a"), path("/a"))), *WEB)
    assert made.problems == ()


def test_what_is_wrong_with_one_takes_no_other_down() -> None:
    """Each kind of fault, and a good Ingress on the same host that is served as if nothing were."""
    faults = [
        ingress("risk", rule(EXAMPLE, path("/1")), annotations={"configuration-snippet": "}"}),
        ingress("cross", rule(EXAMPLE, path("/2")), annotations={"auth-type": "basic", "auth-secret": "other/users"}),
        ingress("absent", rule(EXAMPLE, path("/3")), annotations={"auth-type": "basic", "auth-secret": "users"}),
        ingress("nosvc", rule(EXAMPLE, path("/4", "nothing"))),
        ingress("noport", rule(EXAMPLE, path("/5", port="nothing"))),
        ingress("bad", rule(EXAMPLE, path("/6")), annotations={"auth-url": "nonsense"}),
        ingress("tls", rule(EXAMPLE, path("/7")), tls=[IngressTLS(hosts=(EXAMPLE,), secret_name="absent")]),
        ingress("canary", rule(EXAMPLE, path("/8")), annotations={"canary": "true"}),
        ingress("clients", rule(EXAMPLE, path("/9")), annotations={"auth-tls-secret": "default/absent"}),
    ]
    made = translated(*faults, ingress("good", rule(EXAMPLE, path("/good")), created="2026-02-01T00:00:00Z"), *WEB)
    good = route(made, EXAMPLE, "/good")
    assert not good.filters.denied
    assert made.configuration.backends[good.backend].endpoints
    assert told(made, "good") == []
    for each in faults:
        assert told(made, each.metadata.name), each.metadata.name
    assert [each.object.name for each in made.problems if each.is_fatal] == ["risk"]


@pytest.mark.parametrize("name", ["cross", "absent", "unread"])
def test_paths_are_closed_while_their_secret_cannot_be_read(name: str) -> None:
    """An Ingress that asks for passwords is never served without them."""
    reference = "other/users" if name == "cross" else "users"
    asking = simple(annotations={"auth-type": "basic", "auth-secret": reference})
    found = objects(asking, *WEB, secret("users", "other", auth=b"joe:x"))
    if name == "unread":
        found = Objects(found.ingresses, found.classes, found.services, found.slices)
    made = translate(found, DEFAULTS, Options())
    closed = route(made, EXAMPLE, "/")
    assert closed.filters.denied
    assert closed.filters.user_auth is None
    assert bool(made.missing) == (name == "unread")
    assert bool(told(made, "one")) == (name != "unread")
    assert (("other", "users") in made.secrets) is False


def test_other_namespaces_by_permission() -> None:
    made = translated(
        simple(annotations={"auth-type": "basic", "auth-secret": "other/users"}),
        secret("users", "other", auth=b"joe:x"),
        *WEB,
        allow_cross_namespace_resources="true",
    )
    auth = route(made, EXAMPLE, "/").filters.user_auth
    assert auth is not None
    assert auth.users == b"joe:x"
    assert auth.secret == "other/users"


# --- hosts and default backends


def test_hosts_are_case_insensitive_and_checked() -> None:
    made = translated(
        ingress("one", rule("EXAMPLE.com", path("/")), rule("bad host;", path("/")), rule("*.example.com", path("/"))),
        *WEB,
    )
    assert [each.name for each in made.configuration.hosts] == ["*.example.com", "example.com"]
    assert told(made, "one") == ["InvalidHost"]


def test_an_ingress_without_rules_is_the_default_of_all() -> None:
    made = translated(ingress("all", default=backend("web")), *WEB)
    assert [each.name for each in made.configuration.hosts] == [""]
    assert route(made, "", "/").key == BackendKey("default", "web", "80")
    assert not route(made, "", "/").is_default


def test_catch_alls_can_be_forbidden() -> None:
    made = translated(ingress("all", default=backend("web")), *WEB, options=Options(disable_catch_all=True))
    assert made.configuration.hosts == ()
    assert told(made, "all") == ["CatchAllDisabled"]


def test_the_default_backend_of_an_ingress_takes_the_rest_of_its_hosts() -> None:
    made = translated(ingress("one", rule(EXAMPLE, path("/a")), default=backend("api")), *WEB, *API)
    rest = route(made, EXAMPLE, "/")
    assert rest.key.service == "api"
    assert not rest.is_default


@pytest.mark.parametrize("name", ["", "default/api"])
def test_the_rest_of_a_host_goes_to_the_controllers_default_backend(name: str) -> None:
    made = translated(simple(value="/a"), *WEB, *API, options=Options(default_backend_service=name))
    rest = route(made, EXAMPLE, "/")
    assert rest.is_default
    assert rest.backend == ("upstream-default-backend" if name else "")
    assert made.configuration.default_backend == rest.backend
    if name:
        assert made.configuration.backends[rest.backend].endpoints == (Endpoint("10.1.0.2", 8080),)


def test_a_rule_without_paths_goes_to_the_default_backend() -> None:
    made = translated(ingress("one", rule(EXAMPLE), default=backend("web")), *WEB)
    assert order(made) == [("Prefix", "/")]
    assert route(made, EXAMPLE, "/").key.service == "web"


def test_resource_backends_are_refused() -> None:
    resource = IngressBackend(resource=TypedLocalObjectReference(kind="Bucket", name="files"))
    made = translated(
        ingress("one", rule(EXAMPLE, HTTPIngressPath(path="/f", path_type="Prefix", backend=resource), path("/a"))),
        *WEB,
    )
    assert told(made, "one") == ["UnsupportedBackend"]
    assert "Bucket files" in messages(made, "one")
    assert order(made) == [("Prefix", "/a"), ("Prefix", "/")]


# --- classes

OTHER = IngressClass(metadata=ObjectMeta(name="other"), spec=IngressClassSpec(controller="example.com/other"))
MINE = IngressClass(metadata=ObjectMeta(name="mine"), spec=IngressClassSpec(controller="k8s.io/ingress-nginx"))
OLD = "kubernetes.io/ingress.class"


@pytest.mark.parametrize(
    ("class_name", "annotated", "options", "expected"),
    [
        ("nginx", None, Options(), True),
        ("mine", None, Options(), True),
        ("other", None, Options(), False),
        ("absent", None, Options(), False),
        (None, None, Options(), False),
        (None, None, Options(watch_ingress_without_class=True), True),
        (None, "nginx", Options(), True),
        (None, "other", Options(), False),
        (None, "other", Options(watch_ingress_without_class=True), False),
        (None, "", Options(watch_ingress_without_class=True), True),
        ("nginx", "other", Options(), True),
        ("other", "nginx", Options(), False),
        ("other", None, Options(ingress_class="other", ingress_class_by_name=True), True),
        (None, "mine", Options(ingress_class="mine"), True),
        ("other", None, Options(controller_class="example.com/other"), True),
        ("nginx", None, Options(watch_namespace="elsewhere"), False),
        ("nginx", None, Options(watch_namespace="default"), True),
    ],
)
def test_classes(class_name: str | None, annotated: str | None, options: Options, expected: bool) -> None:
    raw = {} if annotated is None else {OLD: annotated}
    made = translated(simple(class_name=class_name, raw=raw), OTHER, MINE, *WEB, options=options)
    assert bool(made.configuration.hosts) == expected
    assert bool(made.served) == expected
    assert made.problems == ()


# --- backends


@pytest.mark.parametrize(
    ("port", "expected"), [(80, 8080), ("http", 8080), (8080, 8080), ("https", 8443), (443, 8443), (81, None)]
)
def test_ports_by_name_and_number(port: int | str, expected: int | None) -> None:
    ports = (
        ServicePort(name="http", port=80, target_port=8080),
        ServicePort(name="https", port=443, target_port="tls"),
    )
    made = translated(
        ingress("one", rule(EXAMPLE, path("/", port=port))),
        service("web", ports=ports),
        endpoint_slice("web"),
        endpoint_slice("web", name="web-2", port="https", number=8443),
    )
    found = made.configuration.backends[route(made, EXAMPLE, "/").backend]
    assert found.endpoints == (() if expected is None else (Endpoint("10.1.0.1", expected),))
    assert told(made, "one") == ([] if expected else ["MissingServicePort"])


@pytest.mark.parametrize(
    ("endpoints", "publish", "expected"),
    [
        ([endpoint("1"), endpoint("2", ready=False)], False, ["1"]),
        ([endpoint("1", ready=None)], False, ["1"]),
        ([endpoint("1", False, serving=True, terminating=True)], False, ["1"]),
        ([endpoint("1", False, serving=True, terminating=True), endpoint("2")], False, ["2"]),
        ([endpoint("1", False, serving=False, terminating=True)], False, []),
        ([endpoint("1", ready=False)], True, ["1"]),
        ([endpoint("1", ready=False)], False, []),
    ],
)
def test_which_endpoints(endpoints: list[object], publish: bool, expected: list[str]) -> None:
    """Ready ones; where none is ready, those that serve while they terminate; all with publishNotReadyAddresses."""
    made = translated(
        simple(), service("web", publish_not_ready_addresses=publish), endpoint_slice("web", *endpoints)  # type: ignore[arg-type]
    )  # fmt: skip
    found = made.configuration.backends[route(made, EXAMPLE, "/").backend]
    assert [each.address for each in found.endpoints] == expected
    assert told(made, "one") == ([] if expected else ["NoEndpoints"])


def test_endpoints_change_no_structure() -> None:
    """Hosts are the same objects with and without a Service and its endpoints: nothing reloads for them."""
    with_endpoints = translated(simple(), *WEB).configuration
    without = translated(simple()).configuration
    assert with_endpoints.hosts == without.hosts
    assert with_endpoints.backends.keys() == without.backends.keys()


@pytest.mark.parametrize(
    ("port", "ports", "name", "reason"),
    [
        (8080, (), "api.example.org", ""),
        (80, (ServicePort(port=80, target_port=0),), "api.example.org", ""),
        ("http", (), "api.example.org", "MissingServicePort"),
        (80, (), "localhost", "InvalidExternalName"),
        (80, (), "127.0.0.1", "InvalidExternalName"),
        (80, (), "", "InvalidExternalName"),
    ],
)
def test_external_names(port: int | str, ports: tuple[ServicePort, ...], name: str, reason: str) -> None:
    made = translated(
        ingress("one", rule(EXAMPLE, path("/", port=port))),
        service("web", type="ExternalName", external_name=name, ports=ports, cluster_ip=""),
    )
    found = made.configuration.backends[route(made, EXAMPLE, "/").backend]
    assert told(made, "one") == ([reason] if reason else [])
    assert found.endpoints == (() if reason else (Endpoint(name, int(port)),))


def test_external_names_can_be_forbidden() -> None:
    made = translated(
        simple(),
        service("web", type="ExternalName", external_name="example.org", ports=()),
        options=Options(disable_svc_external_name=True),
    )
    assert told(made, "one") == ["ExternalNameDisabled"]


def test_service_upstream_is_the_services_own_address() -> None:
    made = translated(simple(annotations={"service-upstream": "true"}), *WEB)
    found = made.configuration.backends[route(made, EXAMPLE, "/").backend]
    assert found.endpoints == (Endpoint("10.96.0.10", 80),)
    assert found.service_upstream


def test_one_service_balanced_in_two_ways_is_two_backends() -> None:
    made = translated(
        ingress("plain", rule("a.example.com", path("/"))),
        ingress("sticky", rule("b.example.com", path("/")), annotations={"affinity": "cookie"}),
        *WEB,
    )
    plain, sticky = (made.configuration.backends[route(made, f"{name}.example.com", "/").backend] for name in "ab")
    assert plain.name == "default/web/80"
    assert sticky.name != plain.name
    assert plain.balancing.affinity is None
    assert sticky.balancing.affinity is not None
    assert sticky.endpoints == plain.endpoints


def test_names_of_backends_are_not_confused() -> None:
    """Namespace a-b with Service c is another backend than namespace a with Service b-c."""
    made = translated(
        ingress("one", rule("a.example.com", path("/", "c")), namespace="a-b"),
        ingress("two", rule("b.example.com", path("/", "b-c")), namespace="a"),
    )
    assert len(made.configuration.backends) == 2


# --- TLS


def tls(*names: str, secret_name: str = "cert") -> list[IngressTLS]:
    return [IngressTLS(hosts=names, secret_name=secret_name)]


def test_tls_with_a_certificate_redirects_and_names_it() -> None:
    made = translated(simple(tls=tls(EXAMPLE)), tls_secret("cert", EXAMPLE), *WEB)
    found = host(made, EXAMPLE)
    assert found.tls is not None
    assert found.tls.certificate == "default/cert"
    assert made.configuration.certificates["default/cert"].not_after > 0
    assert route(made, EXAMPLE, "/").filters.https_redirect
    assert made.problems == ()


@pytest.mark.parametrize(
    ("names", "host_name", "good"),
    [
        ((EXAMPLE,), EXAMPLE, True),
        (("*.example.com",), "a.example.com", True),
        (("*.example.com",), "a.b.example.com", False),
        (("*.example.com",), EXAMPLE, False),
        (("*.example.com",), "*.example.com", True),
        (("a.example.com",), "*.example.com", False),
        (("other.example.org",), EXAMPLE, False),
    ],
)
def test_a_certificate_must_hold_for_the_host(names: tuple[str, ...], host_name: str, good: bool) -> None:
    """If not, the default certificate is served, as ingress-nginx does, and an event says so."""
    made = translated(simple(host_name=host_name, tls=tls(host_name)), tls_secret("cert", *names), *WEB)
    found = host(made, host_name).tls
    assert found is not None
    assert found.certificate == ("default/cert" if good else "")
    assert told(made, "one") == ([] if good else ["CertificateHostMismatch"])


def test_a_common_name_counts_where_there_are_no_other_names() -> None:
    asking = simple(host_name="blog.example.com", tls=tls("blog.example.com"))
    made = translated(asking, tls_secret("cert", common_name="*.example.com"), *WEB)
    assert host(made, "blog.example.com").tls.certificate == "default/cert"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"tls_crt": b"nonsense", "tls_key": b"nonsense"},
        {"tls_crt": certificate(EXAMPLE)[0]},
        {"tls_crt": certificate(EXAMPLE)[0], "tls_key": certificate("other.example.com")[1]},
        {
            "tls_crt": certificate(EXAMPLE)[0],
            "tls_key": b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
        },
    ],
)
def test_a_certificate_that_nginx_would_refuse_is_not_given_to_it(data: dict[str, bytes]) -> None:
    made = translated(simple(tls=tls(EXAMPLE)), secret("cert", **data), *WEB)
    assert made.configuration.certificates == {}
    assert host(made, EXAMPLE).tls is not None
    assert told(made, "one") == ["InvalidCertificate"]


def test_the_first_ingress_brings_the_certificate() -> None:
    made = translated(
        simple("new", value="/n", tls=tls(EXAMPLE, secret_name="new"), created="2026-01-02T00:00:00Z"),
        simple("old", tls=tls(EXAMPLE, secret_name="old")),
        tls_secret("old", EXAMPLE),
        tls_secret("new", EXAMPLE),
        *WEB,
    )
    assert set(made.configuration.certificates) == {"default/old"}


def test_a_host_that_no_tls_entry_lists_takes_the_certificate_that_fits() -> None:
    made = translated(simple(tls=tls("other.example.org")), tls_secret("cert", EXAMPLE), *WEB)
    assert host(made, EXAMPLE).tls.certificate == "default/cert"  # type: ignore[union-attr]


def test_the_default_certificate() -> None:
    options = Options(default_ssl_certificate="infra/default")
    asking = simple(tls=tls(EXAMPLE, secret_name=""))
    made = translated(asking, tls_secret("default", "x.example", namespace="infra"), *WEB, options=options)
    assert made.configuration.default_certificate == "infra/default"
    assert set(made.configuration.certificates) == {"infra/default"}
    assert ("infra", "default") in made.secrets
    absent = translated(simple(), *WEB, options=options)
    assert told(absent, "default", "infra", "Secret") == ["MissingSecret"]


@pytest.mark.parametrize(
    ("annotations", "has_tls", "data", "expected"),
    [
        ({}, True, {}, True),
        ({}, False, {}, False),
        ({"ssl-redirect": "false"}, True, {}, False),
        ({"force-ssl-redirect": "true"}, False, {}, True),
        ({}, True, {"ssl_redirect": "false"}, False),
        ({"ssl-redirect": "true"}, True, {"ssl_redirect": "false"}, True),
        ({}, False, {"force_ssl_redirect": "true"}, True),
    ],
)
def test_https_redirects(annotations: dict[str, str], has_tls: bool, data: dict[str, str], expected: bool) -> None:
    made = translated(
        ingress("one", rule(EXAMPLE, path("/"), path("/.well-known/acme-challenge/x")), annotations=annotations,
                tls=tls(EXAMPLE, secret_name="") if has_tls else ()),
        *WEB, **data,
    )  # fmt: skip
    assert route(made, EXAMPLE, "/").filters.https_redirect is expected
    assert route(made, EXAMPLE, "/.well-known/acme-challenge/x").filters.https_redirect is False


def test_client_certificates_need_a_usable_ca() -> None:
    asking = simple(annotations={"auth-tls-secret": "default/ca", "auth-tls-verify-depth": "3"}, tls=tls(EXAMPLE))
    made = translated(asking, secret("ca", ca_crt=certificate("ca")[0]), tls_secret("cert", EXAMPLE), *WEB)
    clients = host(made, EXAMPLE).tls.clients  # type: ignore[union-attr]
    assert clients is not None
    assert clients.depth == 3
    for data in ({"ca_crt": b"nonsense"}, {}, {"ca_crt": certificate("ca")[0], "ca_crl": b"nonsense"}):
        made = translated(asking, secret("ca", **data), tls_secret("cert", EXAMPLE), *WEB)
        assert route(made, EXAMPLE, "/").filters.denied
        assert told(made, "one") == ["InvalidSecret"]


# --- canaries


def canary(name: str, value: str = "/", target: str = "api", **annotations: str) -> object:
    return ingress(
        name,
        rule(EXAMPLE, path(value, target)),
        annotations={"canary": "true"} | {key.replace("_", "-"): text for key, text in annotations.items()},
        created="2026-02-01T00:00:00Z",
    )


def test_several_canaries_of_one_path() -> None:
    other = (service("third"), endpoint_slice("third"))
    made = translated(
        simple(),
        canary("first", canary_weight="10", canary_weight_total="50"),
        ingress("second", rule(EXAMPLE, path("/", "third")), created="2026-03-01T00:00:00Z",
                annotations={"canary": "true", "canary-by-header": "X-Try"}),
        *WEB, *API, *other,
    )  # fmt: skip
    found = route(made, EXAMPLE, "/").canaries
    assert [(each.source.name, each.backend, each.weight, each.weight_total, each.header) for each in found] == [
        ("first", "default/api/80", 10, 50, ""),
        ("second", "default/third/80", 0, 100, "X-Try"),
    ]
    assert made.problems == ()


@pytest.mark.parametrize(
    ("alternative", "reason"),
    [
        (canary("canary", "/other"), "CanaryWithoutMain"),
        (canary("canary", "/", "web"), "CanaryOfItself"),
        (
            ingress("canary", rule("else.example.com", path("/", "api")), annotations={"canary": "true"}),
            "CanaryWithoutMain",
        ),
    ],
)
def test_a_canary_needs_a_main_path(alternative: object, reason: str) -> None:
    made = translated(simple(), alternative, *WEB, *API)
    assert told(made, "canary") == [reason]
    assert all(not each.canaries for each in host(made, EXAMPLE).routes)
    assert [each.name for each in made.configuration.hosts] == [EXAMPLE]


def test_a_canary_of_one_host_is_not_one_of_another() -> None:
    """ingress-nginx joins a canary to the main Service, wherever else that is used."""
    made = translated(simple(), simple("two", "other.example.com"), canary("canary"), *WEB, *API)
    assert route(made, EXAMPLE, "/").canaries
    assert not route(made, "other.example.com", "/").canaries


# --- what a host has once


def test_aliases_give_way_to_hosts_and_to_older_aliases() -> None:
    made = translated(
        simple("one", "a.example.com", annotations={"server-alias": "b.example.com, x.example.com"}),
        simple("two", "b.example.com"),
        simple("three", "c.example.com", annotations={"server-alias": "x.example.com,y.example.com"}, created="2026-2"),
        *WEB,
    )
    assert host(made, "a.example.com").aliases == ("x.example.com",)
    assert host(made, "c.example.com").aliases == ("y.example.com",)
    assert told(made, "one") == ["AliasConflict"]
    assert told(made, "three") == ["AliasConflict"]


@pytest.mark.parametrize(("name", "other"), [("example.com", "www.example.com"), ("www.example.com", "example.com")])
def test_from_to_www(name: str, other: str) -> None:
    asking = simple("one", name, annotations={"from-to-www-redirect": "true"})
    assert host(translated(asking, *WEB), name).redirect_from == other
    made = translated(asking, simple("two", other), *WEB)
    assert host(made, name).redirect_from == ""
    assert told(made, "one") == ["AliasConflict"]


def test_passthrough_needs_the_flag_and_a_root_path() -> None:
    asking = simple(annotations={"ssl-passthrough": "true"})
    assert told(translated(asking, *WEB), "one") == ["IgnoredAnnotation"]
    made = translated(asking, *WEB, options=Options(enable_ssl_passthrough=True))
    found = host(made, EXAMPLE).passthrough
    assert found is not None
    assert found.backend == "default/web/80"
    made = translated(
        simple(value="/a", annotations={"ssl-passthrough": "true"}), *WEB, options=Options(enable_ssl_passthrough=True)
    )
    assert host(made, EXAMPLE).passthrough is None


def test_upstream_tls_holds_for_the_host_unless_told_otherwise() -> None:
    chain, key = certificate("client")
    material = secret("up", tls_crt=chain, tls_key=key, ca_crt=chain)
    one = simple(value="/a", annotations={"proxy-ssl-secret": "default/up", "proxy-ssl-verify": "on"})
    two = simple("two", value="/b", created="2026-02-01T00:00:00Z")
    made = translated(one, two, material, *WEB)
    assert route(made, EXAMPLE, "/a").upstream_tls is not None
    assert route(made, EXAMPLE, "/b").upstream_tls == route(made, EXAMPLE, "/a").upstream_tls
    foreign = ingress("far", rule(EXAMPLE, path("/far")), namespace="far", created="2026-02-01T00:00:00Z")
    assert route(translated(one, foreign, material, *WEB), EXAMPLE, "/far").upstream_tls is None
    made = translated(one, two, material, *WEB, proxy_ssl_location_only="true")
    assert route(made, EXAMPLE, "/b").upstream_tls is None


# --- filters


def test_errors_and_default_backends() -> None:
    made = translated(simple(annotations={"custom-http-errors": "404,503", "default-backend": "api"}), *WEB, *API)
    found = route(made, EXAMPLE, "/")
    assert found.filters.error_pages is not None
    assert found.filters.error_pages.codes == (404, 503)
    assert found.filters.error_pages.backend == found.fallback == "custom-default-backend/default/api"
    assert made.configuration.backends[found.fallback].endpoints == (Endpoint("10.1.0.2", 8080),)


def test_custom_headers_are_those_that_the_administrator_allows() -> None:
    asking = simple(annotations={"custom-headers": "headers"})
    headers = config_map("headers", {"X-One": "1", "x-two": "2"})
    assert route(translated(asking, headers, *WEB), EXAMPLE, "/").filters.denied
    made = translated(asking, headers, *WEB, global_allowed_response_headers="X-One,X-Two")
    assert route(made, EXAMPLE, "/").filters.response_headers == (("X-One", "1"), ("x-two", "2"))


def test_users_of_a_map() -> None:
    made = translated(
        simple(annotations={"auth-type": "basic", "auth-secret": "users", "auth-secret-type": "auth-map"}),
        secret("users", joe=b"$apr1$x", ann=b"{SHA}y"),
        *WEB,
    )
    assert route(made, EXAMPLE, "/").filters.user_auth.users == b"ann:{SHA}y\njoe:$apr1$x\n"  # type: ignore[union-attr]


def test_the_temporal_redirect_wins() -> None:
    made = translated(
        simple(
            annotations={"permanent-redirect": "https://p.example.com/", "temporal-redirect": "https://t.example.com/"}
        ),
        *WEB,
    )
    redirect = route(made, EXAMPLE, "/").filters.redirect
    assert redirect is not None
    assert (redirect.code, redirect.location) == (302, ("https://t.example.com/",))
    made = translated(simple(annotations={"permanent-redirect": "https://p.example.com/"}), *WEB)
    assert route(made, EXAMPLE, "/").filters.redirect.code == 301  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("annotations", "reason"),
    [
        ({"auth-type": "basic"}, "InvalidAnnotation"),
        ({"auth-type": "basic", "auth-secret": "nokey"}, "InvalidSecret"),
        ({"auth-type": "basic", "auth-secret": "absent"}, "MissingSecret"),
        ({"auth-tls-secret": "default/absent"}, "MissingSecret"),
        ({"auth-tls-secret": "far/ca"}, "CrossNamespace"),
        ({"proxy-ssl-secret": "default/absent"}, "MissingSecret"),
        ({"proxy-ssl-secret": "default/nokey", "proxy-ssl-verify": "on"}, "InvalidSecret"),
        ({"custom-headers": "absent"}, "MissingConfigMap"),
        ({"custom-headers": "far/headers"}, "CrossNamespace"),
        ({"fastcgi-params-configmap": "absent", "backend-protocol": "FCGI"}, "MissingConfigMap"),
        ({"auth-url": "https://a.example.com/", "auth-proxy-set-headers": "absent"}, "MissingConfigMap"),
        ({"auth-url": "/only/a/path"}, "InvalidAnnotation"),
        ({"allowlist-source-range": "10.0.0.0/99"}, "InvalidAnnotation"),
        ({"satisfy": "perhaps"}, "InvalidAnnotation"),
    ],
)
def test_what_guards_a_path_closes_it_when_it_cannot_work(annotations: dict[str, str], reason: str) -> None:
    """Whatever is missing, the paths answer 503 and the event says why."""
    made = translated(simple(annotations=annotations), secret("nokey", other=b"x"), *WEB)
    assert route(made, EXAMPLE, "/").filters.denied
    assert told(made, "one") == [reason]
    assert "503" in messages(made, "one")


@pytest.mark.parametrize(
    ("annotations", "reason"),
    [
        ({"proxy-ssl-verify": "on"}, "IgnoredAnnotation"),
        ({"proxy-redirect-from": "http://x/"}, "InvalidAnnotation"),
        ({"proxy-busy-buffers-size": "1m"}, "InvalidAnnotation"),
        ({"proxy-buffers-number": "2"}, "InvalidAnnotation"),
        ({"proxy-max-temp-file-size": "1k"}, "InvalidAnnotation"),
        ({"proxy-read-timeout": "60s"}, "InvalidAnnotation"),
    ],
)
def test_what_guards_nothing_is_ignored_when_it_cannot_work(annotations: dict[str, str], reason: str) -> None:
    made = translated(simple(annotations=annotations), *WEB)
    assert not route(made, EXAMPLE, "/").filters.denied
    assert told(made, "one") == [reason]


# --- the controller's own objects


def test_streams() -> None:
    options = Options(tcp_services_configmap="infra/tcp", udp_services_configmap="infra/udp")
    made = translated(
        config_map("tcp", {"9000": "default/web:80", "9001": "default/web:http:PROXY:PROXY", "80": "default/web:80",
                           "x": "default/web:80", "9002": "default/web"}, "infra"),
        config_map("udp", {"53": "default/dns:dns"}, "infra"),
        *WEB,
        service("dns", ports=(ServicePort(name="dns", port=53, protocol="UDP"),)),
        options=options,
    )  # fmt: skip
    found = made.configuration.streams
    assert [(each.port, each.protocol, each.accept_proxy, each.send_proxy) for each in found] == [
        (9000, "TCP", False, False),
        (9001, "TCP", True, True),
        (53, "UDP", False, False),
    ]
    assert told(made, "tcp", "infra", "ConfigMap") == ["InvalidStream"] * 3
    assert made.configuration.backends[found[0].backend].endpoints == (Endpoint("10.1.0.1", 8080),)
    assert made.config_maps == {("infra", "tcp"), ("infra", "udp")}


def test_global_headers() -> None:
    made = translated(
        config_map("headers", {"X-Start": "t=${msec}", "Bad Name": "1", "X-Bad": "$nosuchvariable"}, "infra"),
        proxy_set_headers="infra/headers",
    )
    assert [name for name, _ in made.configuration.request_headers] == ["X-Start"]
    assert told(made, "headers", "infra", "ConfigMap") == ["InvalidConfigMap", "InvalidConfigMap"]


def test_only_referenced_secrets_are_asked_for() -> None:
    made = translated(
        simple(annotations={"auth-type": "basic", "auth-secret": "users"}, tls=tls(EXAMPLE)),
        simple("foreign", "other.example.com", tls=tls("other.example.com", secret_name="theirs"), class_name="other"),
        OTHER,
        *WEB,
    )
    assert made.secrets == {("default", "users"), ("default", "cert")}
