"""Ingresses with every annotation, good and hostile, all the way into a running nginx."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import msgspec
import pytest

from sampan.api.networking_v1 import Ingress, IngressTLS
from sampan.ingress import settings
from sampan.ingress.annotations.parse import parse as read
from sampan.ingress.annotations.table import ANNOTATIONS
from sampan.ingress.model import Configuration
from sampan.ingress.nginx.directives import Directive, parse
from sampan.ingress.translate import Options, Translation, translate
from support.annotationvalues import HOSTILE, SNIPPETS, TRIED
from support.ingresses import (
    PREFIX,
    certificate,
    config_map,
    endpoint,
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
from support.nginxworld import NginxWorld

pytestmark = pytest.mark.kernel

CHAIN, KEY = certificate("client.example.com")
THINGS = (
    service("web"),
    service("api"),
    service("errors"),
    secret("users", auth=b"joe:$apr1$abcdefgh$x\n"),
    secret("map", joe=b"$apr1$abcdefgh$x"),
    secret("tls", tls_crt=CHAIN, tls_key=KEY, ca_crt=CHAIN),
    config_map("headers", {"X-One": 'a "quoted" $host; }'}),
    config_map("fastcgi", {"SCRIPT_FILENAME": "/srv$fastcgi_script_name"}),
)
COMPANIONS: dict[str, dict[str, str]] = {
    "auth-type": {"auth-secret": "users"},
    "auth-secret": {"auth-type": "basic"},
    "auth-secret-type": {"auth-type": "digest", "auth-secret": "map"},
    "auth-realm": {"auth-type": "basic", "auth-secret": "users"},
    "satisfy": {"auth-type": "basic", "auth-secret": "users", "allowlist-source-range": "10.0.0.0/8"},
    "fastcgi-index": {"backend-protocol": "FCGI"},
    "fastcgi-params-configmap": {"backend-protocol": "FCGI"},
    "x-forwarded-prefix": {"rewrite-target": "/"},
    "proxy-redirect-to": {"proxy-redirect-from": "http://x/"},
    "proxy-redirect-from": {"proxy-redirect-to": "/"},
    "permanent-redirect-code": {"permanent-redirect": "https://x.example.com/"},
    "temporal-redirect-code": {"temporal-redirect": "https://x.example.com/"},
    "limit-burst-multiplier": {"limit-rps": "10", "limit-rpm": "100", "limit-connections": "3"},
    "limit-allowlist": {"limit-rps": "10", "limit-rpm": "100", "limit-connections": "3"},
    "default-backend": {"custom-http-errors": "404"},
}
FAMILIES = {
    "auth-tls-": {"auth-tls-secret": "default/tls"},
    "auth-": {"auth-url": "https://auth.example.com/check"},
    "proxy-ssl-": {"proxy-ssl-secret": "default/tls", "backend-protocol": "HTTPS"},
    "session-": {"affinity": "cookie"},
    "affinity-": {"affinity": "cookie"},
    "cors-": {"enable-cors": "true"},
    "mirror-": {"mirror-target": "https://m.example.com"},
    "canary-": {"canary": "true"},
    "upstream-hash-by-": {"upstream-hash-by": "$request_uri"},
}
REFERENCES = {
    "auth-secret": "users",
    "auth-tls-secret": "default/tls",
    "proxy-ssl-secret": "default/tls",
    "custom-headers": "headers",
    "auth-proxy-set-headers": "headers",
    "fastcgi-params-configmap": "fastcgi",
    "proxy-busy-buffers-size": "8k",
    "stream-snippet": "map $protocol $one { default 1; }",
    "server-snippet": "location /own { return 200; }",
    "auth-snippet": "proxy_set_header X-Own 1;",
    "configuration-snippet": "add_header X-Own 1;",
}
EXTREMES = (
    "0", "1", "2", "65535", "65536", "1000000000", "2147483647", "1k", "16m", "1g", "9999999999g", "100", "444", "499",
    "599", "~", "~*x", "~(", "*", "/", "/a", "a" * 2000, "off", "off off", "default", "x y", "~x y", "$1", "$host",
    "http://x", "https://$host", "https://x:99999/", "TLSv1.3", "ALL", "DEFAULT", "200 1s", "any 10d", "x", "X-One",
    "10.0.0.0/8", "::/0", "*.example.net", "true", "on", "GET", "cookie", "CN=x", "error", "HTTPS", "GRPC", "FCGI",
)  # fmt: skip
OPEN = {
    "allow-snippet-annotations": "true",
    "annotations-risk-level": "Critical",
    "global-allowed-response-headers": "X-One",
    "access-log-path": "/dev/null",
}


def trying(name: str, text: str) -> list[Ingress]:
    """Ingresses of one host with the annotation and what it needs to have an effect."""
    family = next((more for start, more in FAMILIES.items() if name.startswith(start)), {})
    annotations = {**COMPANIONS.get(name, family), name: text}
    host = f"{name}.example.org"
    one = rule(host, path("/app/(.*)", kind=None) if name == "rewrite-target" else path("/app"), path("/"))
    if name.startswith("canary"):
        canary = ingress(f"{name}-canary", rule(host, path("/app", "api")), annotations=annotations)
        return [ingress(name, one), canary]
    secure = [IngressTLS(hosts=(host,), secret_name="cert")] if name.startswith(("auth-tls", "ssl")) else []
    return [ingress(name, one, annotations=annotations, tls=secure)]


def configured(world: NginxWorld, made: Configuration) -> Configuration:
    return replace(made, listeners=world.listeners)


def directives(nodes: tuple[Directive, ...]) -> Iterator[Directive]:
    for node in nodes:
        yield node
        yield from directives(tuple(each for each in node.block or () if isinstance(each, Directive)))


def file_of(world: NginxWorld) -> str:
    return (world.directory / "etc" / "nginx.conf").read_text()


@pytest.fixture(scope="module")
def world() -> Iterator[NginxWorld]:
    with NginxWorld() as made:
        yield made


@pytest.fixture(scope="module")
def things(world: NginxWorld) -> tuple[object, ...]:
    port = world.echo().endpoint.port
    slices = (endpoint_slice(name, endpoint("127.0.0.1"), number=port) for name in ("web", "api", "errors"))
    return (*THINGS, *slices, tls_secret("cert", "*.example.org"))


def good_ones(things: tuple[object, ...]) -> Translation:
    each = [one for name, (text, *_) in TRIED.items() for one in trying(name, REFERENCES.get(name, text))]
    return translated(*each, *things, **{key.replace("-", "_"): text for key, text in OPEN.items()})


def test_nginx_takes_every_annotation(world: NginxWorld, things: tuple[object, ...]) -> None:
    """Each with a good value on a host of its own, and with the others that it needs: nothing is refused."""
    made = good_ones(things)
    refused = {name for name, row in ANNOTATIONS.items() if row.refused}
    assert {problem.object.name for problem in made.problems} == refused | {"ssl-passthrough"}
    assert all(not route.filters.denied for host in made.configuration.hosts for route in host.routes)
    assert world.apply(configured(world, made.configuration)).rejected == ()
    assert world.ask("/app", "proxy-body-size.example.org").status == 200


def test_nginx_takes_whatever_the_parsers_let_through(world: NginxWorld, things: tuple[object, ...]) -> None:
    """Extreme values: what an annotation's parser takes, nginx takes as well."""
    found, _ = settings.parse(OPEN)
    each: list[Ingress] = []
    for name in TRIED:
        for text in EXTREMES if name not in SNIPPETS else ():
            if not ANNOTATIONS[name].refused and not read({PREFIX + name: text}, found).findings:
                each += [_moved(one, f"x{len(each)}.example.org") for one in trying(name, text)]
    made = translate(objects(*each, *things), found, Options())
    assert len(each) > 500
    applied = world.apply(configured(world, made.configuration))
    assert [(source.name, text) for source, text in applied.rejected] == []


def test_hostile_values_reach_nginx_as_nothing(world: NginxWorld, things: tuple[object, ...]) -> None:
    """2,000 Ingresses with hostile values everywhere: nginx takes what is left, and no directive is of their making."""
    assert world.apply(configured(world, good_ones(things).configuration)).rejected == ()
    known = {node.name for node in directives(parse(file_of(world)))}
    chance = random.Random(7)
    names = [name for name in TRIED if name not in SNIPPETS]
    hostile: list[Ingress] = []
    for number in range(2000):
        annotations = {name: _text(chance, number) for name in chance.sample(names, 5)}
        value = chance.choice(("/", "/a", '/";}{', "/a b", "/$x", "/(", "/#", "/'", "/é", "/\\"))
        one = rule(f"h{number % 700}.example.org", path(value, kind=chance.choice((None, "Exact", "Prefix"))))
        hostile.append(ingress(f"i{number}", one, annotations=annotations))
    found, _ = settings.parse(OPEN)
    made = translate(objects(*hostile, ingress("good", rule("good.example.org", path("/"))), *things), found, Options())
    assert {one.metadata.name for one in hostile} <= {problem.object.name for problem in made.problems}
    applied = world.apply(configured(world, made.configuration))
    assert [(source.name, text) for source, text in applied.rejected] == []
    text = file_of(world)
    assert text.count("## start server h") == 700
    for node in directives(parse(text)):
        assert node.name in known, node.name
        assert node.name != "listen" or not {"81", "6666"} & set(node.arguments), node
        assert node.name != "return" or "pwned" not in "".join(node.arguments), node
    assert world.ask("/", "good.example.org").status == 200


def _moved(one: Ingress, host: str) -> Ingress:
    """The Ingress under another host, with a name that says what it tries."""
    rules = tuple(msgspec.structs.replace(each, host=host) for each in one.spec.rules)
    name = f"{host.partition('.')[0]}-{one.metadata.name}"
    spec = msgspec.structs.replace(one.spec, rules=rules, tls=())
    return msgspec.structs.replace(one, metadata=msgspec.structs.replace(one.metadata, name=name), spec=spec)


def _text(chance: random.Random, number: int) -> str:
    if number % 400 == 0:
        return "a" * 1024 * 1024
    return chance.choice(
        (
            *(text for text in HOSTILE if len(text) < 1000),
            'x";} server { listen 6666; } #',
            "x';return 200 pwned;'",
            "x;\nload_module /tmp/x.so;",
            "${x}`id`$(id)",
            "on; return 200 pwned",
            "/$1;return 200 pwned",
            "*.example.org\"; listen 81;",
        )
    )  # fmt: skip
