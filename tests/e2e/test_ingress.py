"""Ingresses as clients outside the nodes meet them: hosts, paths, TLS, methods, a browser; what is wrong with one."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_backends import apply, backend
from e2e_ingress import CONTROLLER, LABEL, Ask, ask, certificate, entrance, events, ingress, services
from e2e_support import Cluster, Kubectl, eventually

EXACT, PREFIX, ANY = "Exact", "Prefix", "ImplementationSpecific"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

TABLE = [
    # host, path, backend (or the status of an answer without one)
    ("shop.example.com", "/", "root"),
    ("shop.example.com", "/other", "root"),
    ("shop.example.com", "/cart", "cart"),
    ("shop.example.com", "/cart/", "cart"),
    ("shop.example.com", "/cart/1?x=y", "cart"),
    ("shop.example.com", "/cartoon", "root"),
    ("shop.example.com", "/cart/pay", "pay"),
    ("shop.example.com", "/cart/pay/", "cart"),
    ("SHOP.example.com", "/cart", "cart"),
    ("api.shop.example.com", "/", "wild"),
    ("a.b.shop.example.com", "/", 404),
    ("exact.example.com", "/only", "pay"),
    ("exact.example.com", "/only/", 404),
    ("exact.example.com", "/", 404),
    ("nobody.example.com", "/", 404),
    ("empty.example.com", "/", 503),
]


@pytest.fixture(scope="module")
def site(ingress_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """Namespace `site`: four backends, and the hosts of the table, some with a certificate."""
    kubectl = ingress_cluster.kubectl.within("site")
    ingress_cluster.kubectl("create namespace site")
    names = ("root", "cart", "pay", "wild")
    key, file = certificate(tmp_path_factory.mktemp("site"), "shop.example.com")
    kubectl(f"create secret tls shop --key {key} --cert {file}")
    shop = ("/", PREFIX, "root", 80), ("/cart", PREFIX, "cart", 80), ("/cart/pay", EXACT, "pay", 80)
    apply(
        kubectl,
        *(backend(name, None, app=name) for name in names),
        *services(*names, "empty"),
        ingress(
            "shop",
            [("shop.example.com", shop)],
            [{"hosts": ["shop.example.com"], "secretName": "shop"}],
            ssl_redirect="false",
        ),
        ingress("wild", [("*.shop.example.com", [("/", PREFIX, "wild", 80)])]),
        ingress("exact", [("exact.example.com", [("/only", EXACT, "pay", 80)])]),
        ingress("empty", [("empty.example.com", [("/", ANY, "empty", 80)])]),
    )
    for name in names:
        kubectl.ready_pod(name)
        eventually(lambda name=name: kubectl.endpoints(name), f"an endpoint of {name}")
    eventually(lambda: [a.status for a in ask(ingress_cluster, *map(Ask, HOSTS))] == [200, 200], "the hosts")
    yield kubectl
    ingress_cluster.kubectl("delete namespace site --wait=false")


HOSTS = ("shop.example.com", "api.shop.example.com")


def test_every_host_and_path_leads_where_it_should_with_and_without_tls(ingress_cluster: Cluster, site: Kubectl):
    rows = [(row, tls) for row in TABLE for tls in (False, True)]
    answers = ask(ingress_cluster, *(Ask(host, path, tls=tls) for (host, path, _), tls in rows))
    found = [a.told["name"] if a.status == 200 else a.status for a in answers]
    expected = [(row, tls, row[2]) for row, tls in rows]
    assert [(row, tls, got) for (row, tls), got in zip(rows, found, strict=True)] == expected


@pytest.mark.parametrize("tls", [False, True])
def test_methods_and_bodies_pass_as_they_are(ingress_cluster: Cluster, site: Kubectl, tls: bool):
    bodies = {method: "" if method in ("GET", "HEAD", "OPTIONS") else f"{method}: €" for method in METHODS}
    requests = [Ask("shop.example.com", "/cart/a?b=c%20d", m, tls, body) for m, body in bodies.items()]
    for request, answer in zip(requests, ask(ingress_cluster, *requests), strict=True):
        assert (answer.status, answer.headers["X-Method"]) == (200, request.method)
        if request.method != "HEAD":
            told = {"name": "cart", "path": "/cart/a", "query": "b=c%20d", "body": request.body}
            assert answer.told.items() >= told.items()


def test_a_certificate_is_chosen_by_name(ingress_cluster: Cluster, site: Kubectl):
    shop, wild = ask(ingress_cluster, Ask("shop.example.com", tls=True), Ask("api.shop.example.com", tls=True))
    assert shop.certificate != wild.certificate
    assert b"shop.example.com" in bytes.fromhex(shop.certificate)
    assert b"Fake Certificate" in bytes.fromhex(wild.certificate)


def test_its_status_has_the_controllers_address_and_its_events_say_that_it_is_served(
    ingress_cluster: Cluster, site: Kubectl
):
    system = ingress_cluster.kubectl.within("ingress-nginx")

    def addresses() -> bool:
        service = system.get(f"service {CONTROLLER}")["status"]["loadBalancer"].get("ingress", [])
        own = site.get("ingress shop")["status"]["loadBalancer"].get("ingress", [])
        return bool(own) and [one["ip"] for one in own] == [one["ip"] for one in service]

    eventually(addresses, "the Service's address in the status")
    eventually(lambda: ("Sync", "Scheduled for sync") in events(site, "shop"), "the event")


def test_what_is_wrong_with_one_ingress_is_told_on_it_and_harms_no_other(ingress_cluster: Cluster, site: Kubectl):
    apply(
        site,
        ingress("bad-secret", [("bad.example.com", [("/", PREFIX, "root", 80)])], [{"hosts": ["bad.example.com"],
                "secretName": "missing"}]),
        ingress("bad-service", [("bad.example.com", [("/no", PREFIX, "missing", 80)])]),
        ingress("bad-value", [("bad.example.com", [("/v", PREFIX, "root", 80)])], proxy_body_size='1m; } evil "'),
        ingress("bad-name", [("bad.example.com", [("/n", PREFIX, "root", 80)])], whitelist_source_rnage="10.0.0.0/8"),
    )  # fmt: skip
    for name in ("bad-secret", "bad-service", "bad-value", "bad-name"):
        found = eventually(lambda name=name: {e for e in events(site, name) if e[0] != "Sync"}, f"an event on {name}")
        assert not any("evil" in reason for reason, _ in found)
    pod = ingress_cluster.kubectl.within("ingress-nginx").ready_pods(LABEL)[0]["metadata"]["name"]
    assert "evil" not in ingress_cluster.kubectl.within("ingress-nginx").exec(pod, "cat", "/etc/nginx/nginx.conf")
    [answer] = ask(ingress_cluster, Ask("shop.example.com", "/cart"))
    assert answer.told["name"] == "cart"


def test_the_controller_is_an_ordinary_user(ingress_cluster: Cluster, site: Kubectl):
    system = ingress_cluster.kubectl.within("ingress-nginx")
    pod = system.ready_pods(LABEL)[0]["metadata"]["name"]
    assert system.exec(pod, "id", "-u") == "101\n"
    status = system.exec(pod, "cat", "/proc/1/status")
    assert re.search(r"^CapEff:\s+0*400$", status, re.M), "NET_BIND_SERVICE and nothing else"


@pytest.mark.skipif(not shutil.which("chromium"), reason="there is no Chromium")
def test_a_browser_opens_the_site_over_https(ingress_cluster: Cluster, site: Kubectl, tmp_path: Path):
    """It accepts no other certificate than the Ingress's own, by its key."""
    address = entrance(ingress_cluster)
    pem = site.get("secret shop")["data"]["tls.crt"]
    pin = (
        f"echo {pem} | base64 -d | openssl x509 -pubkey -noout | openssl pkey -pubin -outform der"
        " | openssl dgst -sha256 -binary | openssl base64"
    )
    key = ingress_cluster.on_lan("sh", "-c", pin).strip()
    shown = ingress_cluster.on_lan(
        "timeout", "60", "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        f"--user-data-dir={tmp_path}", f"--ignore-certificate-errors-spki-list={key}",
        f"--host-resolver-rules=MAP shop.example.com {address}",
        "--dump-dom", "https://shop.example.com/cart/index.html",
    )  # fmt: skip
    assert '<a href="/next">x</a>' in shown
