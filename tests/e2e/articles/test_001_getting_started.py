"""The second article: create and look at a Service, reach it in three ways, expose it, lose a pod."""

import re

from e2e_support import Cluster, Kubectl, eventually

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
  containers:
  - name: client
    image: busybox
    command: ["sleep", "3600"]
"""

WELCOME = "Welcome to nginx"


def start(kubectl: Kubectl) -> None:
    kubectl.apply(DEPLOYMENT, verb="create")
    kubectl.wait_ready("run=nginx", 2)
    kubectl.apply(SERVICE)
    eventually(lambda: len(kubectl.endpoints("nginx")) == 2, "two endpoints")


def test_the_clusters_components_are_healthy(cluster: Cluster):
    assert "Healthy" in cluster.kubectl("get cs")


def test_a_service_is_created_and_described(namespace: Kubectl):
    start(namespace)
    pods = namespace("get pod -o wide -l run=nginx --no-headers").splitlines()
    assert len(pods) == 2
    assert all(line.split()[2] == "Running" for line in pods)
    described = namespace("describe svc nginx")
    for line in (r"Name:\s+nginx", r"Selector:\s+run=nginx", r"Type:\s+ClusterIP", r"TargetPort:\s+80/TCP"):
        assert re.search(line, described), line
    for line in pods:
        assert f"{line.split()[5]}:80" in described


def test_a_client_reaches_it_by_address_name_and_environment(namespace: Kubectl):
    start(namespace)
    namespace.apply(CLIENT)
    namespace.wait_ready("run=client", 1)
    address = namespace.get("svc nginx")["spec"]["clusterIP"]
    for host in (address, "nginx", f"nginx.{namespace.namespace}"):
        assert WELCOME in namespace.exec("client", "wget", "-qO-", f"http://{host}"), host
    variables = namespace.exec("client", "env")
    assert f"NGINX_SERVICE_HOST={address}\n" in variables
    assert "NGINX_SERVICE_PORT=80\n" in variables
    by_variable = ("sh", "-c", 'wget -qO- "http://$NGINX_SERVICE_HOST:$NGINX_SERVICE_PORT"')
    assert WELCOME in namespace.exec("client", *by_variable)


def test_the_service_outlives_its_pods(namespace: Kubectl):
    start(namespace)
    address = namespace.get("svc nginx")["spec"]["clusterIP"]
    before = namespace.endpoints("nginx")
    victim = namespace.ready_pods("run=nginx")[0]
    namespace("delete pod", victim["metadata"]["name"], "--grace-period=1")
    namespace.wait_ready("run=nginx", 2)
    gone = f"{victim['status']['podIP']}:80"
    after = eventually(
        lambda: (now := namespace.endpoints("nginx")) != before and len(now) == 2 and now, "new endpoints"
    )
    assert gone in before
    assert gone not in after
    assert namespace.get("svc nginx")["spec"]["clusterIP"] == address
