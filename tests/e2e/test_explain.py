"""`sampan explain service` on Services that really are broken, each in its own way, and on one that is not."""

import pytest
from e2e_support import Cluster, Kubectl, eventually

WEB = """\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 0
      {place}
      containers:
      - name: main
        image: host
        command: [python3, -m, http.server, "8080", --bind, {bind}]
        ports: [{{name: http, containerPort: 8080}}]
        {probe}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec:
  type: {type}
  {policy}
  selector: {{app: {app}}}
  ports: [{{port: 80, targetPort: {target}}}]
"""
PROBE = "readinessProbe: {httpGet: {path: /no-such-page, port: 8080}, periodSeconds: 1}"
ON_NODE_2 = "nodeName: node-2"

DEFAULTS = {
    "replicas": 2, "bind": "0.0.0.0", "probe": "", "type": "ClusterIP", "policy": "", "app": "web", "target": 8080,
    "place": "",
}  # fmt: skip


def make(namespace: Kubectl, *, ready: bool = True, **given: object) -> None:
    """Create pods and their Service; wait until the pods run, or are ready."""
    values = {**DEFAULTS, **given}
    namespace.apply(WEB.format(**values))
    if ready:
        namespace.wait_ready("app=web", int(str(values["replicas"])))
    else:
        running = "jsonpath={.items[*].status.containerStatuses[0].state.running}"
        eventually(lambda: namespace("get pods -l app=web -o", running).strip(), "a running container")


def explain(cluster: Cluster, namespace: Kubectl, *more: str, status: int = 0, name: str = "web") -> str:
    return cluster.sampan(f"explain service {name} -n {namespace.namespace}", *more, status=status)


def test_nothing_is_wrong_with_a_service_that_works(cluster: Cluster, namespace: Kubectl) -> None:
    """Every station is there: DNS, pods, slices, the rule with its counters, connections, sockets, and ping."""
    make(namespace, target="http")
    eventually(lambda: len(namespace.endpoints("web")) == 2, "endpoints")
    ip = namespace("get service web -o jsonpath={.spec.clusterIP}")
    cluster.on_node("node-1", "curl", "-s", f"http://{ip}/")
    output = eventually(lambda: explain(cluster, namespace), "an explanation without a fault")
    assert f"web.{namespace.namespace}.svc.cluster.local → {ip}" in output
    assert "http is port 8080" in output
    assert all(endpoint in output for endpoint in namespace.endpoints("web"))
    assert f"services: {ip} . tcp . 80 : jump pick-2" in output
    assert "remembered on node node-1" in output
    assert "listen on 8080/TCP" in output
    assert f"ping {ip} tells nothing about the Service" in output
    assert output.strip().endswith("Nothing is wrong.")


BROKEN = [
    ("a label off by a letter", {"app": "wbe"}, "no pod has app=wbe", "set selector service web app=web"),
    ("a wrong target port", {"target": 80}, "nothing listens on 80/TCP", '"value":8080}'),
    ("a target port by a wrong name", {"target": "htpp"}, "has no TCP port named 'htpp'; it has http",
     "targetPort: http"),
    ("a program that listens for itself", {"bind": "127.0.0.1"}, "only at 127.0.0.1", "0.0.0.0"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "wrong", "mend"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_what_is_wrong_is_named(
    cluster: Cluster, namespace: Kubectl, given: dict[str, object], wrong: str, mend: str
) -> None:
    """The first thing that is wrong, and how to mend it; exit status 1."""
    make(namespace, replicas=1, **given)

    def named() -> bool:
        first, _, advice = (
            explain(cluster, namespace, status=1)
            .partition("The first thing that is wrong: ")[2]
            .partition("To mend it: ")
        )
        return wrong in first and mend in advice

    assert eventually(named, wrong)


def test_a_mended_service_is_explained_as_working(cluster: Cluster, namespace: Kubectl) -> None:
    """The advice is a command that works."""
    make(namespace, replicas=1, app="wbe")
    advice = explain(cluster, namespace, status=1).partition("To mend it: ")[2]
    command = advice.partition("kubectl ")[2].partition(" (or")[0].split(" ", 2)[2]
    namespace(command)
    assert "Nothing is wrong." in eventually(lambda: explain(cluster, namespace), "a working Service")


def test_a_failing_probe_is_told_with_what_it_said(cluster: Cluster, namespace: Kubectl) -> None:
    make(namespace, ready=False, replicas=1, probe=PROBE)

    def told() -> bool:
        output = explain(cluster, namespace, status=1)
        return "http GET :8080/no-such-page) fails" in output and "404" in output

    assert eventually(told, "the probe's own words")


def test_a_local_policy_is_judged_by_the_node_that_is_asked(cluster: Cluster, namespace: Kubectl) -> None:
    """From outside through a node without an endpoint it fails, through the other it works; pods are not concerned."""
    make(namespace, replicas=1, type="NodePort", policy="externalTrafficPolicy: Local", place=ON_NODE_2)
    eventually(lambda: len(namespace.endpoints("web")) == 1, "the endpoint")
    through_1 = eventually(
        lambda: explain(cluster, namespace, "--from", "outside", "--via", "node-1", status=1), "a fault"
    )
    assert "externalTrafficPolicy is Local and node node-1 has no endpoint" in through_1
    assert "ask a node that has one (node-2)" in through_1
    assert "dropped, as the policy says" in through_1
    assert "Nothing is wrong." in explain(cluster, namespace, "--from", "outside", "--via", "node-2")
    assert "Nothing is wrong." in explain(cluster, namespace, "--from", "node-1")


def test_a_pod_may_ask(cluster: Cluster, namespace: Kubectl) -> None:
    make(namespace, replicas=1)
    eventually(lambda: len(namespace.endpoints("web")) == 1, "the endpoint")
    pod = namespace.ready_pods("app=web")[0]["metadata"]["name"]
    output = eventually(lambda: explain(cluster, namespace, "--from", pod), "an explanation")
    assert f"asked for from pod {namespace.namespace}/{pod} on node" in output
    assert "did you mean" in explain(cluster, namespace, "--from", f"{pod}x", status=1)


def test_names_that_are_not_there_are_compared_with_those_that_are(cluster: Cluster, namespace: Kubectl) -> None:
    make(namespace, replicas=1)
    assert "there is web" in explain(cluster, namespace, status=1, name="wbe")


@pytest.mark.parametrize("mode", ["iptables", "userspace"])
def test_every_mode_is_read_back(cluster: Cluster, namespace: Kubectl, mode: str) -> None:
    make(namespace, replicas=1)
    eventually(lambda: len(namespace.endpoints("web")) == 1, "the endpoint")
    before = cluster.sampan("proxy-mode").strip()
    try:
        cluster.sampan(f"proxy-mode {mode}")
        output = eventually(lambda: explain(cluster, namespace), "an explanation")
        assert f"in mode {mode} on node node-1" in output
        assert ("KUBE-SEP-" in output) == (mode == "iptables")
    finally:
        cluster.sampan(f"proxy-mode {before}")
