"""The fourth article: what a Service is in the kernel, and whose address its pods see.

Its device `kube-ipvs0` and its IPVS tables need a kernel with IPVS, which this test does not: the proxy's own tests
look at them where there is one.
"""

import re
from collections.abc import Iterator

import pytest
from e2e_articles import proxy_mode
from e2e_support import Cluster, CommandFailed, Kubectl, eventually

NO_ANSWER = "exit 28"

WHO_ASKS = """
apiVersion: v1
kind: ConfigMap
metadata: {name: who-asks}
data:
  default.conf: |
    server { listen 8080; location / { default_type text/plain; return 200 "$remote_addr\\n"; } }
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: hostnames}
spec:
  replicas: 1
  selector: {matchLabels: {app: hostnames}}
  template:
    metadata: {labels: {app: hostnames}}
    spec:
      nodeName: node-1
      containers:
      - name: nginx
        image: nginx
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
        volumeMounts: [{name: conf, mountPath: /etc/nginx/conf.d}]
      volumes: [{name: conf, configMap: {name: who-asks}}]
---
apiVersion: v1
kind: Service
metadata: {name: hostnames}
spec:
  type: NodePort
  selector: {app: hostnames}
  ports: [{port: 80, targetPort: 8080}]
"""


@pytest.fixture(scope="module")
def service(cluster: Cluster) -> Iterator[Kubectl]:
    """A namespace with a Service whose only pod, on node-1, answers with the address of who asks."""
    kubectl = cluster.kubectl.within("how-it-works")
    cluster.kubectl("create namespace how-it-works")
    kubectl.apply(WHO_ASKS)
    kubectl.wait_ready("app=hostnames", 1)
    eventually(lambda: len(kubectl.endpoints("hostnames")) == 1, "the endpoint")
    yield kubectl
    cluster.kubectl("delete namespace how-it-works --wait=false")


@pytest.fixture(scope="module", params=("nftables", "iptables"))
def mode(cluster: Cluster, service: Kubectl, request: pytest.FixtureRequest) -> Iterator[str]:
    with proxy_mode(cluster, request.param):
        yield request.param


def spec(kubectl: Kubectl) -> dict[str, str]:
    service = kubectl.get("svc hostnames")["spec"]
    return {"address": service["clusterIP"], "port": str(service["ports"][0]["nodePort"])}


def asked_from_outside(cluster: Cluster, node_ip: str, port: str) -> str:
    """The address that the pod sees of a client beside the nodes; or how curl failed."""
    return cluster.on_lan("sh", "-c", f"curl -s --max-time 1 {node_ip}:{port} || echo exit $?").strip()


def failed(cluster: Cluster, *command: str) -> str:
    with pytest.raises(CommandFailed) as caught:
        cluster.on_node("node-2", *command)
    return str(caught.value)


def test_no_device_carries_the_virtual_address_so_ping_gets_no_answer(cluster: Cluster, service: Kubectl, mode: str):
    address = spec(service)["address"]
    for node in cluster.node_ips():
        assert address not in cluster.on_node(node, "ip", "addr")
    assert "1 packets transmitted, 0 received" in failed(cluster, "ping", "-c", "1", "-W", "1", address)
    assert cluster.on_node("node-2", "curl", "-sS", address).strip() == cluster.node_ips()["node-2"]


def test_the_pod_sees_the_node_unless_the_policy_is_local(cluster: Cluster, service: Kubectl, mode: str):
    """With SNAT every node forwards; without it, only the node that has the endpoint answers, and the pod sees who."""
    port, nodes = spec(service)["port"], cluster.node_ips()
    [client] = re.findall(r"inet (10\.2\.2\.\d+)/", cluster.on_lan("ip", "-4", "addr"))

    def seen() -> list[str]:
        return [asked_from_outside(cluster, nodes[name], port) for name in ("node-1", "node-2")]

    assert seen() == [nodes["node-1"], nodes["node-2"]]
    service("patch svc hostnames -p", '{"spec":{"externalTrafficPolicy":"Local"}}')
    eventually(lambda: seen() == [client, NO_ANSWER], "the client's own address, from one node")
    service("patch svc hostnames -p", '{"spec":{"externalTrafficPolicy":"Cluster"}}')
    eventually(lambda: seen() == [nodes["node-1"], nodes["node-2"]], "the nodes' addresses again")


@pytest.mark.parametrize("mode", ["iptables"], indirect=True)
def test_every_node_has_the_rules_of_a_node_port(cluster: Cluster, service: Kubectl, mode: str):
    """The way of a packet through iptables: node port, masquerade mark, Service, endpoint; and the mark's use."""
    port, name = spec(service)["port"], f"{service.namespace}/hostnames:"
    [endpoint] = service.endpoints("hostnames")
    for node in cluster.node_ips():
        rules = cluster.on_node(node, "iptables-save", "-t", "nat")
        comment = f'-m comment --comment "{name}"'
        [entry] = re.findall(
            rf"^-A KUBE-NODEPORTS -p tcp {comment} -m tcp --dport {port} -j (KUBE-EXT-\w+)$", rules, re.M
        )
        mark, jump = re.findall(rf"^-A {entry} (?:.* )?-j (\S+)$", rules, re.M)
        assert mark == "KUBE-MARK-MASQ"
        [separate] = re.findall(rf"^-A {jump} -j (KUBE-SEP-\w+)$", rules, re.M)
        assert f"-A {separate} -p tcp -m tcp -j DNAT --to-destination {endpoint}\n" in rules
        assert "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\n" in rules
        assert re.search(r"^-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN$", rules, re.M)
        assert re.search(r"^-A KUBE-POSTROUTING .*-j MASQUERADE", rules, re.M)


def test_the_policy_is_written_with_a_capital(service: Kubectl):
    said = service("patch svc hostnames -p", '{"spec":{"externalTrafficPolicy":"local"}}', status=1)
    assert 'Unsupported value: "local": supported values: "Cluster", "Local"' in said
