"""The first article: a Deployment and Services on it, the proxy's modes, an Ingress with a certificate.

Its manifests use names in capitals (`myNginx`, `ngService`), which no Kubernetes accepts; a reader sees the reason and
mends them. No cloud gives a load balancer its address. Where the kernel has no IPVS, `ipvsadm -Ln` has nothing to list,
and the mode falls back to iptables, as the article says.
"""

import re
from pathlib import Path

import pytest
from e2e_articles import WELCOME, proxy_mode, table
from e2e_ingress import Ask, ask
from e2e_support import Cluster, CommandFailed, Kubectl, eventually, run

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: NAME
  labels:
    app: NAME
spec:
  replicas: 3
  template:
    metadata:
      name: NAME
      labels:
        app: NAME
        version: 1.7.9
    spec:
      containers:
      - name: NAME
        image: nginx:1.7.9
        imagePullPolicy: IfNotPresent
      restartPolicy: Always
  selector:
    matchLabels:
      app: NAME
"""

SERVICE = """
apiVersion: v1
kind: Service
metadata:
  name: NAME
spec:
  selector:
    app: mynginx
    version: 1.7.9
  ports:
  - port: 80
  type: NodePort
"""

EXTERNAL = """
apiVersion: v1
kind: Service
metadata:
  name: my-service
spec:
  type: ExternalName
  externalName: my.database.example.com
"""

INGRESS = """
apiVersion: extensions/v1beta1
kind: Ingress
metadata:
  name: NAME
spec:
  tls:
  - hosts:
    - a.ice.com
    secretName: tls-secret
  rules:
  - host: a.ice.com
    http:
      paths:
      - path: /
        backend:
          serviceName: ngservice
          servicePort: 80
"""

SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)


def test_upper_case_names_are_refused_in_upstreams_words(namespace: Kubectl):
    answer = namespace.apply_expecting_error(DEPLOYMENT.replace("NAME", "myNginx"))
    assert 'The Deployment "myNginx" is invalid' in answer
    assert f'metadata.name: Invalid value: "myNginx": {SUBDOMAIN}' in answer
    assert 'spec.template.spec.containers[0].name: Invalid value: "myNginx": a lowercase RFC 1123 label' in answer
    answer = namespace.apply_expecting_error(SERVICE.replace("NAME", "ngService"))
    assert 'The Service "ngService" is invalid: metadata.name: Invalid value: "ngService": a DNS-1035 label' in answer
    answer = namespace.apply_expecting_error(INGRESS.replace("NAME", "my-Ingress"))
    assert f'"my-Ingress" is invalid: metadata.name: Invalid value: "my-Ingress": {SUBDOMAIN}' in answer
    assert namespace.items("deployments,services,ingresses") == []


def test_a_node_port_service_answers_on_every_node(cluster: Cluster, namespace: Kubectl):
    assert namespace.apply(DEPLOYMENT.replace("NAME", "mynginx"), verb="create") == "deployment.apps/mynginx created\n"
    assert namespace.apply(SERVICE.replace("NAME", "ngservice"), verb="create") == "service/ngservice created\n"
    namespace.wait_ready("app=mynginx,version=1.7.9", 3)
    port = namespace.get("service ngservice")["spec"]["ports"][0]["nodePort"]
    assert 30000 <= port <= 32767
    [row] = table(namespace("get svc"))
    assert (row["TYPE"], row["EXTERNAL-IP"], row["PORT(S)"]) == ("NodePort", "<none>", f"80:{port}/TCP")
    eventually(lambda: len(namespace.endpoints("ngservice")) == 3, "three endpoints")
    for ip in cluster.node_ips().values():
        assert WELCOME in eventually(lambda ip=ip: cluster.on_lan("curl", "-sS", f"http://{ip}:{port}"))


def test_an_external_name_is_an_alias_that_one_update_moves(namespace: Kubectl):
    namespace.apply(EXTERNAL, verb="create")
    [row] = table(namespace("get service my-service"))
    del row["AGE"]
    assert row == {
        "NAME": "my-service",
        "TYPE": "ExternalName",
        "CLUSTER-IP": "<none>",
        "EXTERNAL-IP": "my.database.example.com",
        "PORT(S)": "<none>",
    }
    namespace("run client --image=host --restart=Never --", "sleep", "infinity")
    namespace.wait_ready("run=client", 1)
    name = f"my-service.{namespace.namespace}.svc.cluster.local"

    def alias() -> str:
        return namespace.exec("client", "dig", "+short", "+time=2", "+tries=1", name, "CNAME").strip()

    eventually(lambda: alias() == "my.database.example.com.", "the CNAME")
    namespace.apply(EXTERNAL.replace("my.database", "other"), verb="replace")
    eventually(lambda: alias() == "other.example.com.", "the other CNAME, with no pod touched")


def test_services_and_pods_are_many_to_many(namespace: Kubectl):
    namespace.apply(DEPLOYMENT.replace("NAME", "mynginx"), verb="create")
    for name in ("first", "second"):
        namespace.apply(SERVICE.replace("NAME", name), verb="create")
    pods = namespace.wait_ready("app=mynginx", 3)
    expected = {f"{pod['status']['podIP']}:80" for pod in pods}
    for name in ("first", "second"):
        eventually(lambda name=name: namespace.endpoints(name) == expected, f"{name} has all pods")
    namespace("label pod", pods[0]["metadata"]["name"], "version-", "--overwrite")
    eventually(lambda: len(namespace.endpoints("first")) == 2, "a pod without the label leaves")
    [subset] = namespace.get("endpoints first")["subsets"]
    assert subset["ports"] == [{"port": 80, "protocol": "TCP"}]


@pytest.mark.skipif(Path("/proc/net/ip_vs").exists(), reason="this kernel has IPVS")
def test_without_ipvs_in_the_kernel_the_proxy_falls_back_to_iptables(cluster: Cluster, namespace: Kubectl):
    namespace.apply(DEPLOYMENT.replace("NAME", "mynginx"), verb="create")
    namespace.apply(SERVICE.replace("NAME", "ngservice"), verb="create")
    eventually(lambda: len(namespace.endpoints("ngservice")) == 3, "three endpoints")
    address = namespace.get("svc ngservice")["spec"]["clusterIP"]
    with proxy_mode(cluster, "ipvs", status=1) as said:
        listed = cluster.on_node("node-2", "iptables", "-t", "nat", "-nvL")
        assert WELCOME in cluster.on_node("node-2", "curl", "-sS", address)
        with pytest.raises(CommandFailed, match="Can't initialize ipvs"):
            cluster.on_node("node-2", "ipvsadm", "-Ln")
    assert "node-2: iptables (not ipvs: Can't use the ipvs proxier, using the iptables proxier: " in said
    portal = rf"KUBE-SVC-\w{{16}} .* {address} +/\* {namespace.namespace}/ngservice: cluster IP \*/ tcp dpt:80"
    assert re.search(portal, listed)


def test_an_ingress_is_served_with_a_certificate(ingress_cluster: Cluster, ingress_namespace: Kubectl, tmp_path: Path):
    namespace = ingress_namespace
    namespace.apply(DEPLOYMENT.replace("NAME", "mynginx"), verb="create")
    namespace.apply(SERVICE.replace("NAME", "ngservice"), verb="create")
    key, certificate = tmp_path / "tls.key", tmp_path / "tls.crt"
    typed = "openssl req -x509 -sha256 -nodes -days 365 -newkey rsa:2048 -subj /CN=nginxsvc/O=nginxsvc"
    run(*typed.split(), "-keyout", str(key), "-out", str(certificate))
    said = namespace(f"create secret tls tls-secret --key {key} --cert {certificate}")
    assert said == "secret/tls-secret created\n"
    shown = namespace("describe secret tls-secret")
    for line in ("Type:  kubernetes.io/tls", f"tls.crt:  {certificate.stat().st_size} bytes"):
        assert line in shown
    said = namespace.apply(INGRESS.replace("NAME", "my-ingress"), verb="create")
    assert said.startswith("ingress.extensions/my-ingress created\n")
    assert "Warning: extensions/v1beta1 Ingress is deprecated in v1.14+, unavailable in v1.22+; " in said
    [row] = table(namespace("get ingress"))
    assert (row["CLASS"], row["HOSTS"], row["PORTS"]) == ("nginx", "a.ice.com", "80, 443")
    assert "tls-secret terminates a.ice.com" in namespace("describe ingress my-ingress")
    eventually(lambda: ask(ingress_cluster, Ask("a.ice.com", tls=True))[0].status == 200, "the page over HTTPS")
    secure, plain = ask(ingress_cluster, Ask("a.ice.com", tls=True), Ask("a.ice.com"))
    assert WELCOME in secure.text
    assert (plain.status, plain.headers["Location"]) == (308, "https://a.ice.com")
