"""The second article: declare and look at a Service, reach it in three ways, expose it, lose a pod.

Its client is a busybox that has wget and no curl, which is what Sampan's is too. The article's cloud gives a Service of
type LoadBalancer an address of the internet; here it is one of the nodes' LAN.
"""

import ipaddress
import re
from collections.abc import Iterator

import pytest
from e2e_articles import WELCOME, described, table
from e2e_support import Cluster, Kubectl, eventually

MY_SERVICE = """
apiVersion: v1
kind: Service
metadata:
  name: my-service
  labels:
    app: my-service
spec:
  selector:
    app: MyApp
  ports:
  - protocol: TCP
    port: 80
    targetPort: 9376
"""

MY_APP = """
apiVersion: v1
kind: Pod
metadata:
  name: NAME
  labels:
    app: MyApp
spec:
  containers:
  - name: app
    image: busybox
    args: ["httpd", "-f", "-p", "9376", "-h", "/etc"]
"""

SERVICE = """
apiVersion: v1
kind: Service
metadata:
  name: nginx
  labels:
    run: nginx
spec:
  ports:
  - port: 80
    protocol: TCP
    targetPort: 80
  selector:
    run: nginx
"""

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: nginx
spec:
  selector:
    matchLabels:
      run: nginx
  replicas: 2
  template:
    metadata:
      labels:
        run: nginx
    spec:
      containers:
      - name: nginx
        image: nginx
        ports:
        - containerPort: 80
"""

CLIENT = """
apiVersion: v1
kind: Pod
metadata:
  name: client
  labels:
    run: client
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: client
    image: busybox
    command: ["sleep", "3600"]
"""

LAN = ipaddress.ip_network("10.2.2.0/24")


@pytest.fixture(scope="module")
def nginx(cluster: Cluster) -> Iterator[Kubectl]:
    """The namespace in which the article's demonstration goes on, from test to test."""
    cluster.kubectl("create namespace demonstration")
    kubectl = cluster.kubectl.within("demonstration")
    kubectl.apply(DEPLOYMENT, verb="create")
    kubectl.wait_ready("run=nginx", 2)
    assert kubectl.apply(SERVICE, verb="create") == "service/nginx created\n"
    eventually(lambda: len(kubectl.endpoints("nginx")) == 2, "two endpoints")
    yield kubectl
    cluster.kubectl("delete namespace demonstration --wait=false")


def test_the_clusters_components_are_healthy(cluster: Cluster):
    states = {row["NAME"]: row["STATUS"] for row in table(cluster.kubectl("get cs"))}
    assert states == {"scheduler": "Healthy", "controller-manager": "Healthy", "etcd-0": "Healthy"}


def test_a_service_is_declared_before_its_pods(namespace: Kubectl):
    """What `describe` shows of the declaration; the endpoints come with the pods that the selector finds."""
    assert namespace.apply(MY_SERVICE) == "service/my-service created\n"
    shown = described(namespace("describe service my-service"))
    address = namespace.get("svc my-service")["spec"]["clusterIP"]
    expected = {
        "Name": "my-service",
        "Namespace": namespace.namespace,
        "Labels": "app=my-service",
        "Selector": "app=MyApp",
        "Type": "ClusterIP",
        "IP": address,
        "Port": "<unset>  80/TCP",
        "TargetPort": "9376/TCP",
        "Session Affinity": "None",
        "Events": "<none>",
    }
    assert shown.items() >= expected.items()
    assert shown["Endpoints"] in ("", "<none>")
    namespace.apply(MY_APP.replace("NAME", "one"))
    pod = namespace.ready_pod("one")
    endpoint = f"{pod['status']['podIP']}:9376"
    eventually(lambda: described(namespace("describe service my-service"))["Endpoints"] == endpoint, "the endpoint")


def test_a_service_is_created_and_described(nginx: Kubectl):
    pods = table(nginx("get pod -o wide -l run=nginx"))
    assert [row["STATUS"] for row in pods] == ["Running"] * 2
    shown = described(nginx("describe svc nginx"))
    assert (shown["Selector"], shown["Type"], shown["TargetPort"]) == ("run=nginx", "ClusterIP", "80/TCP")
    assert set(shown["Endpoints"].split(",")) == {f"{row['IP']}:80" for row in pods}


def test_a_client_reaches_it_by_address_name_and_environment(nginx: Kubectl):
    nginx.apply(CLIENT, verb="create")
    nginx.ready_pod("client")
    address = nginx.get("svc nginx")["spec"]["clusterIP"]
    for host in (address, "nginx", f"nginx.{nginx.namespace}", f"nginx.{nginx.namespace}.svc.cluster.local"):
        said = nginx.exec("client", "wget", "-O", "-", host)
        assert f"Connecting to {host} ({address}:80)" in said
        assert WELCOME in said
    variables = set(nginx.exec("client", "env").splitlines())
    assert variables >= {
        f"NGINX_SERVICE_HOST={address}",
        "NGINX_SERVICE_PORT=80",
        f"NGINX_PORT=tcp://{address}:80",
        f"NGINX_PORT_80_TCP=tcp://{address}:80",
        "NGINX_PORT_80_TCP_PROTO=tcp",
        "NGINX_PORT_80_TCP_PORT=80",
        f"NGINX_PORT_80_TCP_ADDR={address}",
    }
    by_variable = ("sh", "-c", "wget -qO- ${NGINX_SERVICE_HOST}:${NGINX_SERVICE_PORT}")
    assert WELCOME in nginx.exec("client", *by_variable)
    assert "not found" in nginx("exec client -- sh -c", "curl nginx", status=127)


def test_a_client_of_another_namespace_needs_the_namespaces_name(cluster: Cluster, namespace: Kubectl):
    namespace.apply(MY_SERVICE)
    namespace.apply(MY_APP.replace("NAME", "one"))
    address = namespace.get("svc my-service")["spec"]["clusterIP"]
    namespace.ready_pod("one")
    other = cluster.kubectl.within("default")
    other.apply(CLIENT, verb="create")
    try:
        other.ready_pod("client")
        host = f"my-service.{namespace.namespace}"
        reached = other("exec client -- wget -O -", f"{host}/passwd")
        assert f"Connecting to {host} ({address}:80)" in reached
        assert "bad address 'my-service'" in other("exec client -- wget -O - my-service", status=1)
        assert "MY_SERVICE_SERVICE_HOST" not in other.exec("client", "env")
    finally:
        other("delete pod client --wait=false")


def resolve(kubectl: Kubectl, name: str) -> str:
    """What nslookup in the client says; its exit status tells of the search list too, so it does not count."""
    return kubectl.exec("client", "sh", "-c", f"nslookup {name} || true")


def test_a_headless_name_is_the_list_of_pods(namespace: Kubectl):
    namespace.apply(MY_SERVICE.replace("spec:\n", "spec:\n  clusterIP: None\n"))
    for name in ("one", "two"):
        namespace.apply(MY_APP.replace("NAME", name))
    namespace.apply(CLIENT)
    namespace.ready_pod("client")
    [row] = table(namespace("get svc my-service"))
    assert row["CLUSTER-IP"] == "None"

    def answers() -> set[str]:
        return set(re.findall(r"^Address: ([\d.]+)$", resolve(namespace, "my-service"), re.M))

    def pods(count: int) -> set[str]:
        return {pod["status"]["podIP"] for pod in namespace.wait_ready("app=MyApp", count)}

    both = pods(2)
    eventually(lambda: answers() == both, "both pods")
    namespace("delete pod one --grace-period=1")
    [left] = both & pods(1)
    eventually(lambda: answers() == {left}, "the pod that is left")
    assert "Connecting to my-service:9376" in namespace("exec client -- wget -O /dev/null my-service:9376", status=1)


def test_a_load_balancer_has_an_external_address_that_serves_it(cluster: Cluster, nginx: Kubectl):
    """The type is changed in the manifest and applied; then the address is opened from outside the nodes."""
    address = nginx.get("svc nginx")["spec"]["clusterIP"]
    said = nginx.apply(SERVICE.replace("spec:\n", "spec:\n  type: LoadBalancer\n"))
    assert "service/nginx configured\n" in said

    def served() -> dict[str, str] | None:
        [row] = table(nginx("get svc nginx -o wide"))
        return row if row["EXTERNAL-IP"] != "<pending>" else None

    row = eventually(served, "an EXTERNAL-IP")
    assert (row["TYPE"], row["CLUSTER-IP"]) == ("LoadBalancer", address)
    external = row["EXTERNAL-IP"]
    assert ipaddress.ip_address(external) in LAN
    assert re.fullmatch(r"80:3\d{4}/TCP", row["PORT(S)"])
    assert row["SELECTOR"] == "run=nginx"
    assert described(nginx("describe svc nginx"))["LoadBalancer Ingress"].split()[0] == external
    fetch = ("curl", "-sS", "--max-time", "2", f"http://{external}")
    assert WELCOME in eventually(lambda: cluster.on_lan(*fetch), "the external address answers outside")
    for node in cluster.node_ips():
        assert WELCOME in eventually(lambda node=node: cluster.on_node(node, *fetch), f"it answers on {node}")
    assert WELCOME in nginx.exec("client", "wget", "-qO-", external)


def test_the_service_outlives_its_pods(nginx: Kubectl):
    """Whatever else has been done to it: an external address stays as well."""
    shown_before = described(nginx("describe svc nginx"))
    shown_before.pop("Events", None)
    before = nginx.endpoints("nginx")
    victim = nginx.ready_pods("run=nginx")[0]
    name = victim["metadata"]["name"]
    assert f'pod "{name}" deleted' in nginx("delete pod", name, "--grace-period=1")
    nginx.wait_ready("run=nginx", 2)
    gone = f"{victim['status']['podIP']}:80"
    after = eventually(lambda: (now := nginx.endpoints("nginx")) != before and len(now) == 2 and now, "new endpoints")
    assert gone in before
    assert gone not in after
    shown = described(nginx("describe svc nginx"))
    shown.pop("Events", None)
    assert set(shown.pop("Endpoints").split(",")) == after
    assert set(shown_before.pop("Endpoints").split(",")) == before
    assert shown == shown_before
