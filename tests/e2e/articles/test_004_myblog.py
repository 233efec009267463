"""The fifth article: the `jds` namespace with myblog and mysql; controllers, updates, rollback, discovery, NodePort."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_support import SAMPAN, Cluster, Kubectl, eventually, run

from support.images import docker_archive

REGISTRY = "10.2.2.10:5000"

SETTINGS = """
apiVersion: v1
kind: ConfigMap
metadata: {name: myblog, namespace: jds}
data: {MYSQL_HOST: mysql, MYSQL_PORT: "3306"}
---
apiVersion: v1
kind: Secret
metadata: {name: myblog, namespace: jds}
stringData: {MYSQL_USER: root, MYSQL_PASSWD: "123456"}
"""

MYSQL = f"""
apiVersion: apps/v1
kind: Deployment
metadata:
  name: mysql
  namespace: jds
spec:
  replicas: 1
  selector:
    matchLabels:
      app: mysql
  template:
    metadata:
      labels:
        app: mysql
    spec:
      volumes:
      - name: mysql-data
        hostPath:
          path: /opt/mysql/data
      nodeSelector:
        component: mysql
      HOSTNETWORK
      containers:
      - name: mysql
        image: {REGISTRY}/mysql:5.7-utf8
        ports:
        - containerPort: 3306
        env:
        - name: MYSQL_USER
          valueFrom:
            secretKeyRef:
              name: myblog
              key: MYSQL_USER
        - name: MYSQL_ROOT_PASSWORD
          valueFrom:
            secretKeyRef:
              name: myblog
              key: MYSQL_PASSWD
        - name: MYSQL_DATABASE
          value: "myblog"
        resources:
          requests:
            memory: 100Mi
            cpu: 50m
          limits:
            memory: 500Mi
            cpu: 100m
        readinessProbe:
          tcpSocket:
            port: 3306
          initialDelaySeconds: 1
          periodSeconds: 1
        livenessProbe:
          tcpSocket:
            port: 3306
          initialDelaySeconds: 15
          periodSeconds: 20
        volumeMounts:
        - name: mysql-data
          mountPath: /var/lib/mysql
"""

MYBLOG = f"""
apiVersion: apps/v1
kind: Deployment
metadata:
  name: myblog
  namespace: jds
spec:
  replicas: 1
  selector:
    matchLabels:
      app: myblog
  template:
    metadata:
      labels:
        app: myblog
    spec:
      containers:
      - name: myblog
        image: {REGISTRY}/myblog:v1
        imagePullPolicy: IfNotPresent
        env:
        - name: MYSQL_HOST
          valueFrom:
            configMapKeyRef:
              name: myblog
              key: MYSQL_HOST
        - name: MYSQL_PASSWD
          valueFrom:
            secretKeyRef:
              name: myblog
              key: MYSQL_PASSWD
        ports:
        - containerPort: 8002
        resources:
          requests:
            memory: 100Mi
            cpu: 50m
          limits:
            memory: 500Mi
            cpu: 100m
        livenessProbe:
          httpGet:
            path: /blog/index/
            port: 8002
            scheme: HTTP
          initialDelaySeconds: 10
          periodSeconds: 15
          timeoutSeconds: 2
        readinessProbe:
          httpGet:
            path: /blog/index/
            port: 8002
            scheme: HTTP
          initialDelaySeconds: 1
          timeoutSeconds: 2
          periodSeconds: 1
"""


def service(name: str, port: int, target: int, app: str, kind: str = "ClusterIP") -> str:
    return f"""
apiVersion: v1
kind: Service
metadata:
  name: {name}
  namespace: jds
spec:
  ports:
  - port: {port}
    protocol: TCP
    targetPort: {target}
  selector:
    app: {app}
  type: {kind}
"""


@pytest.fixture(scope="module")
def images(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder: Path = tmp_path_factory.mktemp("images")
    serve = ("sh", "-c", "trap 'exit 0' TERM; httpd -f -p 8002 -h /www & wait")
    for version, title in (("v1", "我的博客列表"), ("v2", "我的博客列表 v2")):
        files = {"www/blog/index/index.html": title + "\n"}
        archive = docker_archive(folder / f"{version}.tar", f"{REGISTRY}/myblog:{version}", serve, files)
        run(SAMPAN, "image", "load", str(archive))
    serve = ("sh", "-c", "trap 'exit 0' TERM; httpd -f -p 3306 -h /www & wait")
    mysql = docker_archive(folder / "m.tar", f"{REGISTRY}/mysql:5.7-utf8", serve, {"www/index.html": "5.7-mysql\n"})
    run(SAMPAN, "image", "load", str(mysql))


@pytest.fixture
def jds(cluster: Cluster, images: None) -> Iterator[Kubectl]:
    """The article's namespace, with its settings and the label that places mysql."""
    cluster.kubectl("create namespace jds")
    cluster.kubectl("label node node-2 component=mysql --overwrite")
    kubectl = cluster.kubectl.within("jds")
    kubectl.apply(SETTINGS)
    yield kubectl
    cluster.kubectl("delete namespace jds --wait=true --timeout=60s")
    cluster.kubectl("label node node-2 component-")


def create_myblog(jds: Kubectl, replicas: int = 1) -> None:
    jds.apply(MYBLOG.replace("replicas: 1", f"replicas: {replicas}"), verb="create")
    jds.wait_ready("app=myblog", replicas)


def test_deployments_keep_their_pods(cluster: Cluster, jds: Kubectl):
    jds.apply(MYSQL.replace("HOSTNETWORK", "hostNetwork: true"), verb="create")
    create_myblog(jds)
    jds.wait_ready("app=mysql", 1)
    deployments = {line.split()[0]: line.split()[1:4] for line in jds("get deploy --no-headers").splitlines()}
    assert deployments == {"myblog": ["1/1", "1", "1"], "mysql": ["1/1", "1", "1"]}
    sets = jds("get rs --no-headers").splitlines()
    assert sorted(line.split()[1:4] for line in sets) == [["1", "1", "1"], ["1", "1", "1"]]
    on = {line.split()[0][:5]: line.split() for line in jds("get pods -o wide --no-headers").splitlines()}
    assert on["mysql"][6] == "node-2"
    assert on["mysql"][5] == cluster.node_ips()["node-2"], "a hostNetwork pod has its node's address"
    assert re.fullmatch(r"10\.244\.\d+\.\d+", on["myblo"][5])

    name = on["myblo"][0]
    jds("delete pod", name, "--grace-period=1")
    assert jds.wait_ready("app=myblog", 1)[0]["metadata"]["name"] != name
    jds("scale deploy myblog --replicas=2")
    assert len(jds.wait_ready("app=myblog", 2)) == 2


def test_update_history_and_rollback(jds: Kubectl):
    jds.apply(MYBLOG.replace("replicas: 1", "replicas: 2"), verb="create --record")
    jds.wait_ready("app=myblog", 2)
    jds(f"set image deploy myblog myblog={REGISTRY}/myblog:v2 --record=true")
    jds("rollout status deploy myblog --timeout=60s")
    described = jds("describe deploy myblog")
    scaled = re.findall(r"ScalingReplicaSet\s.*(Scaled (?:up|down) replica set myblog-\w+)", described)
    assert len(scaled) >= 4
    assert "RollingUpdateStrategy:  25% max unavailable, 25% max surge" in described
    assert sorted(line.split()[1:4] for line in jds("get rs --no-headers").splitlines()) == [["0"] * 3, ["2"] * 3]
    history = jds("rollout history deploy myblog")
    assert re.search(r"1\s+kubectl create .*--record=true", history)
    assert re.search(r"2\s+kubectl set image deploy myblog .*--record=true", history)
    assert "rolled back" in jds("rollout undo deploy myblog --to-revision=1")
    jds("rollout status deploy myblog --timeout=60s")
    images = {c["image"] for pod in jds.wait_ready("app=myblog", 2) for c in pod["spec"]["containers"]}
    assert images == {f"{REGISTRY}/myblog:v1"}


def test_a_cluster_ip_follows_its_pods(cluster: Cluster, jds: Kubectl):
    create_myblog(jds)
    jds.apply(service("myblog", 80, 8002, "myblog"), verb="create")
    row = jds("get service --no-headers").split()
    assert row[:2] == ["myblog", "ClusterIP"]
    assert row[3:5] == ["<none>", "80/TCP"]
    address = row[2]
    pod = jds.ready_pods("app=myblog")[0]
    eventually(lambda: jds.endpoints("myblog") == {f"{pod['status']['podIP']}:8002"}, "one endpoint")
    described = jds("describe svc myblog")
    for line in (r"Selector:\s+app=myblog", r"Type:\s+ClusterIP", rf"IP:\s+{address}", r"Port:\s+<unset>\s+80/TCP"):
        assert re.search(line, described), line
    assert "我的博客列表" in cluster.on_node("node-1", "curl", "-sS", f"{address}/blog/index/")

    jds("delete pod", pod["metadata"]["name"], "--force", "--grace-period=0")
    jds("scale deploy myblog --replicas=2")
    jds.wait_ready("app=myblog", 2)
    expected = {f"{p['status']['podIP']}:8002" for p in jds.ready_pods("app=myblog")}
    eventually(lambda: jds.endpoints("myblog") == expected, "both endpoints")
    listed = eventually(
        lambda: (cells := jds("get endpoints myblog --no-headers").split()) and "," in cells[-2] and cells
    )
    assert set(listed[-2].split(",")) == expected
    assert jds.get("svc myblog")["spec"]["clusterIP"] == address


def test_components_find_each_other_by_name(cluster: Cluster, jds: Kubectl):
    jds.apply(MYSQL.replace("HOSTNETWORK", ""), verb="create")
    jds.apply(service("mysql", 3306, 3306, "mysql"), verb="create")
    create_myblog(jds)
    jds.apply(service("myblog", 80, 8002, "myblog"), verb="create")
    jds.wait_ready("app=mysql", 1)
    pod = jds.ready_pods("app=myblog")[0]["metadata"]["name"]
    assert jds.exec(pod, "cat", "/etc/resolv.conf") == (
        "nameserver 10.96.0.10\nsearch jds.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
    )
    for name in ("mysql", "mysql.jds.svc.cluster.local"):
        talk = ("wget", "-qO-", f"http://{name}:3306")
        assert "5.7-mysql" in eventually(lambda talk=talk: jds.exec(pod, *talk), f"{name}:3306")
    assert "我的博客列表" in jds.exec(pod, "wget", "-qO-", "http://myblog/blog/index/")
    dns = cluster.kubectl("-n kube-system get svc kube-dns --no-headers").split()
    assert dns[1:5] == ["ClusterIP", "10.96.0.10", "<none>", "53/UDP,53/TCP,9153/TCP"]
    assert cluster.kubectl("get svc kubernetes --no-headers").split()[1:5] == [
        "ClusterIP",
        "10.96.0.1",
        "<none>",
        "443/TCP",
    ]
    assert len(re.findall(r"^coredns-", cluster.kubectl("-n kube-system get pods"), re.M)) == 2


def test_a_node_port_listens_on_every_node(cluster: Cluster, jds: Kubectl):
    create_myblog(jds, replicas=2)
    jds.apply(service("myblog-np", 80, 8002, "myblog", "NodePort"), verb="create")
    row = jds("get svc myblog-np --no-headers").split()
    assert row[1] == "NodePort"
    port = re.fullmatch(r"80:(\d+)/TCP", row[4])
    assert port
    eventually(lambda: len(jds.endpoints("myblog-np")) == 2, "both endpoints")
    for ip in cluster.node_ips().values():
        assert "我的博客列表" in cluster.on_lan("curl", "-sS", f"{ip}:{port[1]}/blog/index/")


def test_iptables_mode_writes_the_rules_that_the_article_prints(cluster: Cluster, jds: Kubectl):
    create_myblog(jds, replicas=2)
    jds.apply(service("myblog", 80, 8002, "myblog"), verb="create")
    endpoints = sorted(eventually(lambda: len(found := jds.endpoints("myblog")) == 2 and found, "both endpoints"))
    address = jds.get("svc myblog")["spec"]["clusterIP"]
    cluster.sampan("proxy-mode iptables")
    try:
        saved = eventually(lambda: "jds/myblog" in (text := cluster.on_node("node-1", "iptables-save")) and text)
        assert "我的博客列表" in cluster.on_node("node-1", "curl", "-sS", f"{address}/blog/index/")
    finally:
        cluster.sampan("proxy-mode nftables")
    comment = '--comment "jds/myblog: cluster IP"'
    entry = rf"-A KUBE-SERVICES -d {address}/32 -p tcp -m comment {comment} -m tcp --dport 80 -j (KUBE-SVC-\w{{16}})"
    chain = re.search(entry, saved)
    assert chain, saved
    assert chain[1] == "KUBE-SVC-HNPXLKIY6BVOTTG2", "the name is the one that upstream computes for jds/myblog"
    jumps = re.findall(rf"-A {chain[1]} (.*)-j (KUBE-SEP-\w{{16}})", saved)
    assert len(jumps) == 2
    assert "--mode random --probability 0.50000000000" in jumps[0][0]
    assert "--probability" not in jumps[1][0]
    destinations = []
    for _, separate in jumps:
        [ip] = re.findall(rf"-A {separate} -s ([\d.]+)/32 .*-j KUBE-MARK-MASQ", saved)
        [destination] = re.findall(rf"-A {separate} -p tcp .*-j DNAT --to-destination (\S+)", saved)
        assert destination == f"{ip}:8002"
        destinations.append(destination)
    assert sorted(destinations) == endpoints
