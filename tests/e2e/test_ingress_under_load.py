"""While 200 requests a second come through an Ingress, whatever changes: none fails."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e_backends import apply
from e2e_ingress import LABEL, Ask, ask, certificate, ingress, load, services
from e2e_support import Cluster, Kubectl, eventually

HOST = "busy.example.com"
APP = """\
cat > /tmp/nginx.conf <<END
pid /tmp/nginx.pid;
events {}
http { access_log off; server { listen 8080; location / { return 200 $VERSION; } } }
END
exec nginx -c /tmp/nginx.conf -g "daemon off;"
"""


def deployment(name: str, replicas: int) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": "host",
        "command": ["sh", "-c", APP],
        "env": [{"name": "VERSION", "value": name}],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", "1"]}}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": 5},
            },
        },
    }


@pytest.fixture(scope="module")
def busy(ingress_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """Namespace `busy`: two pods behind a host with a certificate, and a canary of it that gets nothing yet."""
    kubectl = ingress_cluster.kubectl.within("busy")
    ingress_cluster.kubectl("create namespace busy")
    key, file = certificate(tmp_path_factory.mktemp("busy"), HOST)
    kubectl(f"create secret tls busy --key {key} --cert {file}")
    tls = [{"hosts": [HOST], "secretName": "busy"}]
    apply(
        kubectl,
        deployment("main", 2),
        deployment("canary", 1),
        *services("main", "canary"),
        ingress("main", [(HOST, [("/", "Prefix", "main", 80)])], tls, ssl_redirect="false"),
        ingress("canary", [(HOST, [("/", "Prefix", "canary", 80)])], canary="true", canary_weight="0"),
    )
    kubectl("rollout status deployment/main deployment/canary --timeout=60s")
    eventually(lambda: len(kubectl.endpoints("main")) == 2 and kubectl.endpoints("canary"), "endpoints")
    eventually(
        lambda: [a.status for a in ask(ingress_cluster, Ask(HOST), Ask(HOST, tls=True))] == [200, 200], "answers"
    )
    yield kubectl
    ingress_cluster.kubectl("delete namespace busy --wait=false")


@pytest.fixture
def steady(ingress_cluster: Cluster, busy: Kubectl) -> Callable[..., Any]:
    """Load on the host while something happens; gives how often which body came."""

    def run(*happening: Callable[[], Any], may_repeat: bool = False) -> dict[str, int]:
        with load(ingress_cluster, HOST, rate=200) as met:
            for one in happening:
                one()
        assert met["failures"] == {}, met
        assert met["statuses"] == {"200": met["requests"]}
        assert may_repeat or met["retries"] == 0, met
        return Counter(met["bodies"])

    return run


def test_a_rolling_update(busy: Kubectl, steady: Callable[..., Any]):
    def update() -> None:
        busy("set env deployment/main VERSION=new")
        busy("rollout status deployment/main --timeout=60s")

    bodies = steady(update)
    assert bodies["main"]
    assert bodies["new"]


def test_one_pod_and_then_two_again(busy: Kubectl, steady: Callable[..., Any]):
    def scale(count: int) -> None:
        busy(f"scale deployment/main --replicas={count}")
        eventually(lambda: len(busy.endpoints("main")) == count, f"{count} endpoints")
        busy.wait_ready("app=main", count)

    steady(lambda: scale(1), lambda: scale(2))


def test_another_certificate_and_a_canary(
    ingress_cluster: Cluster, busy: Kubectl, steady: Callable[..., Any], tmp_path: Path
):
    """Both without a reload: nginx's workers are the same ones before and after."""
    key, file = certificate(tmp_path, HOST)
    [before] = ask(ingress_cluster, Ask(HOST, tls=True))
    workers = processes(ingress_cluster, "nginx: worker")

    def renew() -> None:
        busy("delete secret busy --wait")
        busy(f"create secret tls busy --key {key} --cert {file}")
        eventually(
            lambda: ask(ingress_cluster, Ask(HOST, tls=True))[0].certificate != before.certificate, "the new one"
        )

    def shift() -> None:
        busy("annotate ingress canary --overwrite nginx.ingress.kubernetes.io/canary-weight=50")
        eventually(lambda: "canary" in {a.text for a in ask(ingress_cluster, *[Ask(HOST)] * 20)}, "the canary")
        busy("annotate ingress canary --overwrite nginx.ingress.kubernetes.io/canary-weight=0")

    bodies = steady(renew, shift)
    assert bodies["canary"]
    assert processes(ingress_cluster, "nginx: worker") == workers


def test_a_hundred_ingresses_more(ingress_cluster: Cluster, busy: Kubectl, steady: Callable[..., Any]):
    many = [ingress(f"more-{n}", [(f"more-{n}.example.com", [("/", "Prefix", "main", 80)])]) for n in range(100)]

    def add() -> None:
        busy.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": many}), verb="create")
        asked = [Ask(f"more-{n}.example.com") for n in range(100)]
        eventually(lambda: {a.status for a in ask(ingress_cluster, *asked)} == {200}, "all of them")

    steady(add, may_repeat=True)


def test_deaths_of_a_worker_and_of_the_controller(ingress_cluster: Cluster, steady: Callable[..., Any]):
    def kill(title: str) -> Callable[[], None]:
        def killing() -> None:
            for pod, found in processes(ingress_cluster, title).items():
                system(ingress_cluster).exec(pod, "kill", "-9", min(found, key=int))
            eventually(lambda: all(processes(ingress_cluster, title).values()), "another one")

        return killing

    steady(kill("nginx: worker"), kill("controller"), may_repeat=True)


def test_a_rolling_update_of_the_controller_itself(ingress_cluster: Cluster, steady: Callable[..., Any]):
    def restart() -> None:
        system(ingress_cluster)("rollout restart deployment/ingress-nginx-controller")
        system(ingress_cluster)("rollout status deployment/ingress-nginx-controller --timeout=90s")

    steady(restart, may_repeat=True)


def system(cluster: Cluster) -> Kubectl:
    return cluster.kubectl.within("ingress-nginx")


def processes(cluster: Cluster, title: str) -> dict[str, list[str]]:
    """Numbers of the processes of each controller's pod whose title has this; `controller` is the parent's child."""
    found = {}
    for pod in system(cluster).ready_pods(LABEL):
        listed = system(cluster).exec(pod["metadata"]["name"], "ps", "-eo", "pid=,ppid=,args=")
        lines = [line.split(maxsplit=2) for line in listed.splitlines()]
        if title == "controller":
            own = [pid for pid, parent, args in lines if parent == "1" and "sampan" in args and "nginx:" not in args]
        else:
            own = [pid for pid, _, args in lines if title in args and "shutting down" not in args]
        found[pod["metadata"]["name"]] = own
    return found
