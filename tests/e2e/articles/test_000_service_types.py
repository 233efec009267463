"""The first article: a Deployment, a NodePort Service on it, an ExternalName; the name that is not allowed.

https://… the article's manifests use `myNginx`, which no Kubernetes accepts; a reader sees the reason and mends it.
"""

import json

from e2e_support import Cluster, Kubectl, eventually

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


def test_upper_case_names_are_refused_in_upstreams_words(namespace: Kubectl):
    answer = namespace.apply_expecting_error(DEPLOYMENT.replace("NAME", "myNginx"))
    assert 'The Deployment "myNginx" is invalid' in answer
    assert (
        'metadata.name: Invalid value: "myNginx": a lowercase RFC 1123 subdomain must consist of lower case '
        "alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character "
        "(e.g. 'example.com', regex used for validation is "
        r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
    ) in answer
    answer = namespace.apply_expecting_error(SERVICE.replace("NAME", "ngService"))
    assert 'The Service "ngService" is invalid: metadata.name: Invalid value: "ngService": a DNS-1035 label' in answer
    assert namespace.items("deployments") == []


def test_a_node_port_service_answers_on_every_node(cluster: Cluster, namespace: Kubectl):
    namespace.apply(DEPLOYMENT.replace("NAME", "mynginx"), verb="create")
    namespace.apply(SERVICE.replace("NAME", "ngservice"), verb="create")
    namespace.wait_ready("app=mynginx,version=1.7.9", 3)
    port = namespace.get("service ngservice")["spec"]["ports"][0]["nodePort"]
    assert 30000 <= port <= 32767
    eventually(lambda: len(namespace.endpoints("ngservice")) == 3, "three endpoints")
    for ip in cluster.node_ips().values():
        assert "Welcome to nginx" in eventually(lambda ip=ip: cluster.on_lan("curl", "-sS", f"http://{ip}:{port}"))


def test_an_external_name_is_an_alias(namespace: Kubectl):
    namespace("create service externalname my-service --external-name my.database.example.com")
    columns = namespace("get service my-service --no-headers").split()
    assert columns[1:5] == ["ExternalName", "<none>", "my.database.example.com", "<none>"]
    namespace("run client --image=host --restart=Never --", "sleep", "infinity")
    namespace.wait_ready("run=client", 1)
    name = f"my-service.{namespace.namespace}.svc.cluster.local"

    def alias() -> str:
        return namespace.exec("client", "dig", "+short", "+time=2", "+tries=1", name, "CNAME").strip()

    eventually(lambda: alias() == "my.database.example.com.", "the CNAME")


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
    assert json.loads(namespace("get endpoints first -o json"))["subsets"][0]["ports"] == [
        {"port": 80, "protocol": "TCP"}
    ]
