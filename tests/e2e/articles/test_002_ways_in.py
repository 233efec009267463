"""The third and fourth articles: headless names, three kinds of port, and an address that no device carries."""

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
  containers: [{name: client, image: host, command: [sleep, infinity]}]
"""


def status_code(kubectl: Kubectl, url: str) -> str:
    return kubectl.exec("client", "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", url)


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


def test_a_headless_name_is_the_list_of_pods(namespace: Kubectl):
    namespace.apply(WEB)
    namespace.wait_ready("app=web", 2)
    namespace.wait_ready("app=client", 1)

    def resolved() -> set[str]:
        lines = namespace.exec("client", "getent", "ahostsv4", "web-headless").splitlines()
        return {line.split()[0] for line in lines}

    def pod_ips() -> set[str]:
        return {pod["status"]["podIP"] for pod in namespace.ready_pods("app=web")}

    eventually(lambda: resolved() == pod_ips() and len(pod_ips()) == 2, "both pods")
    namespace("scale deployment web --replicas=3")
    eventually(lambda: resolved() == pod_ips() and len(pod_ips()) == 3, "three pods")


def test_no_device_carries_the_virtual_address_so_ping_gets_no_answer(cluster: Cluster, namespace: Kubectl):
    namespace.apply(WEB)
    address = namespace.get("svc web")["spec"]["clusterIP"]
    for node in cluster.node_ips():
        assert address not in cluster.on_node(node, "ip", "address")
    ping = f"busybox ping -c 1 -W 1 {address} >/dev/null 2>&1 && echo answered || echo no answer"
    assert cluster.on_node("node-1", "sh", "-c", ping).strip() == "no answer"
