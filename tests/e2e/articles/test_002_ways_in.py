"""The third article: four types of Service, three kinds of port, three kinds of address.

It describes the proxy as it was at first: a port opened on the node for each Service, and rules that lead the cluster
IP there. That is Sampan's mode `userspace`, in which nftables does what iptables did then. Not there yet: no cloud
gives a load balancer its address; its cluster IP and node port work all the same.
"""

import re

from e2e_articles import proxy_mode, table
from e2e_support import Cluster, Kubectl, eventually

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: host
        command: [python3, -m, http.server, "8002", --directory, /srv]
        ports: [{name: http, containerPort: 8002}]
        readinessProbe: {tcpSocket: {port: http}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{port: 80, targetPort: http}]
---
apiVersion: v1
kind: Service
metadata: {name: web-headless}
spec:
  clusterIP: None
  selector: {app: web}
  ports: [{port: 8002}]
---
apiVersion: v1
kind: Pod
metadata: {name: client, labels: {app: client}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: client, image: host, command: [sleep, infinity]}]
"""

OF_EVERY_TYPE = """
apiVersion: v1
kind: Service
metadata: {name: a-cluster-ip}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: b-headless}
spec: {clusterIP: None, selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: c-node-port}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: d-load-balancer}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: e-external-name}
spec: {type: ExternalName, externalName: example.com}
"""

DATABASE = """
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{port: 5432}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 2
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: db, image: busybox, command: [sleep, "3600"]}]
"""

TWO_CONTAINERS = """
apiVersion: v1
kind: Pod
metadata: {name: pair, labels: {app: pair}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: server, image: busybox, args: [httpd, -f, -p, "8080", -h, /etc]}
  - {name: other, image: busybox, args: [sleep, "3600"]}
"""


def status_code(kubectl: Kubectl, url: str) -> str:
    return kubectl.exec("client", "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", url)


def addresses(kubectl: Kubectl, name: str) -> set[str]:
    """What a pod's own resolver makes of a name."""
    return {line.split()[0] for line in kubectl.exec("client", "getent", "ahostsv4", name).splitlines()}


def test_each_type_shows_what_it_has_been_given(namespace: Kubectl):
    namespace.apply(OF_EVERY_TYPE)
    eventually(lambda: "<pending>" not in namespace("get svc"), "the load balancer's address")
    shown = [
        (row["TYPE"], row["CLUSTER-IP"], row["EXTERNAL-IP"], row["PORT(S)"]) for row in table(namespace("get svc"))
    ]
    patterns = [
        ("ClusterIP", r"10\.\d+\.\d+\.\d+", "<none>", "80/TCP"),
        ("ClusterIP", "None", "<none>", "80/TCP"),
        ("NodePort", r"10\.\d+\.\d+\.\d+", "<none>", r"80:3\d{4}/TCP"),
        ("LoadBalancer", r"10\.\d+\.\d+\.\d+", r"10\.2\.2\.2\d\d", r"80:3\d{4}/TCP"),
        ("ExternalName", "<none>", r"example\.com", "<none>"),
    ]
    for row, expected in zip(shown, patterns, strict=True):
        for cell, pattern in zip(row, expected, strict=True):
            assert re.fullmatch(pattern, cell), (row, expected)


def test_port_target_port_and_node_port_lead_to_the_same_pods(cluster: Cluster, namespace: Kubectl):
    namespace.apply(WEB)
    pods = namespace.wait_ready("app=web", 2)
    namespace.wait_ready("app=client", 1)
    eventually(lambda: len(namespace.endpoints("web")) == 2, "two endpoints")
    service = namespace.get("svc web")["spec"]
    node_port = service["ports"][0]["nodePort"]
    assert status_code(namespace, f"http://{service['clusterIP']}:80/") == "200"
    for pod in pods:
        assert status_code(namespace, f"http://{pod['status']['podIP']}:8002/") == "200"
    for ip in cluster.node_ips().values():
        assert status_code(namespace, f"http://{ip}:{node_port}/") == "200"
        assert cluster.on_lan("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"{ip}:{node_port}") == "200"


def test_a_headless_name_is_the_list_of_pods(namespace: Kubectl):
    namespace.apply(WEB)
    namespace.wait_ready("app=web", 2)
    namespace.wait_ready("app=client", 1)

    def pod_ips() -> set[str]:
        return {pod["status"]["podIP"] for pod in namespace.ready_pods("app=web")}

    eventually(lambda: addresses(namespace, "web-headless") == pod_ips() and len(pod_ips()) == 2, "both pods")
    namespace("scale deployment web --replicas=3")
    eventually(lambda: addresses(namespace, "web-headless") == pod_ips() and len(pod_ips()) == 3, "three pods")


def test_a_stateful_sets_pods_keep_their_names_when_their_addresses_change(namespace: Kubectl):
    namespace.apply(WEB.rpartition("---")[2] + "---" + DATABASE)
    namespace.wait_ready("app=client", 1)

    def address() -> str:
        return str(namespace.ready_pod("db-0")["status"]["podIP"])

    namespace.wait_ready("app=db", 2)
    before = address()
    eventually(lambda: addresses(namespace, "db-0.db") == {before}, "the first pod's name")
    assert len(eventually(lambda: addresses(namespace, "db"), "the Service's name")) == 2
    namespace("delete pod db-0")
    after = address()
    assert after != before
    eventually(lambda: addresses(namespace, "db-0.db") == {after}, "the same name, elsewhere")


def test_the_containers_of_a_pod_share_its_address(namespace: Kubectl):
    namespace.apply(TWO_CONTAINERS)
    ip = namespace.ready_pod("pair")["status"]["podIP"]
    for container in ("server", "other"):
        said = namespace("exec pair -c", container, "--", "ip", "-4", "addr", "show", "eth0")
        assert f"inet {ip}/" in said
    fetched = namespace("exec pair -c other -- wget -qO- http://localhost:8080/hostname")
    assert fetched == "pair\n"


def test_the_first_proxy_opened_a_port_for_each_service(cluster: Cluster, namespace: Kubectl):
    namespace.apply(WEB)
    namespace.wait_ready("app=web", 2)
    eventually(lambda: len(namespace.endpoints("web")) == 2, "two endpoints")
    address = namespace.get("svc web")["spec"]["clusterIP"]
    with proxy_mode(cluster, "userspace"):
        rules = cluster.on_node("node-1", "nft", "list", "ruleset")
        listening = cluster.on_node("node-1", "ss", "-Hltn")
        fetched = cluster.on_node("node-1", "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", address)
    [port] = re.findall(rf"{re.escape(address)} \. tcp \. 80 : [\d.]+ \. (\d+)", rules)
    assert re.search(rf":{port}\s", listening), "rules lead the cluster IP to a port that the proxy listens on"
    assert fetched == "200"
