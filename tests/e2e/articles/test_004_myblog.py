"""The fifth article: `myblog` and `mysql` in namespace jds, from Deployments to Services to names, rules and Ingress.

Commands are typed as the article has them, in a directory with its files; its nodes are called node-1 to node-3 here
and have the addresses that its own have. Its images are loaded instead of built, and fetched with wget, because they
are busybox. Its ingress controller is installed from its manifest, whose image the cluster stands in for.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import e2e_myblog as myblog
import pytest
from e2e_articles import described, editor, proxy_mode, table
from e2e_backends import apply, backend
from e2e_myblog import ADMIN, GREETING, REGISTRY, TITLE, service
from e2e_support import SAMPAN, Cluster, Kubectl, eventually, run

Typed = Callable[..., str]

HOST_NETWORK = myblog.MYSQL.replace("HOSTNETWORK", "hostNetwork: true")
FILES = {
    "deploy-mysql.yaml": HOST_NETWORK,
    "deploy-mysql-2.yaml": myblog.MYSQL.replace("HOSTNETWORK", ""),
    "deploy-myblog.yaml": myblog.MYBLOG,
    "svc-myblog.yaml": service("myblog", 80, 8002, "myblog"),
    "svc-mysql.yaml": service("mysql", 3306, 3306, "mysql"),
    "svc-myblog-nodeport.yaml": service("myblog-np", 80, 8002, "myblog", "NodePort"),
    "ingress.yaml": myblog.INGRESS,
    "ingress-tls.yaml": myblog.INGRESS_TLS,
    "ingress-path.yaml": myblog.INGRESS_PATHS,
    "mandatory.yaml": myblog.CONTROLLER,
}
PORTS = {1: 4200, 2: 8080}
"""Of the Services that the article's fan-out leads to."""


@pytest.fixture(scope="module")
def images(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> None:
    for archive in myblog.archives(tmp_path_factory.mktemp("images")):
        run(SAMPAN, "image", "load", str(archive))


@contextmanager
def articles_namespace(cluster: Cluster) -> Iterator[Kubectl]:
    """With its settings, and the label that places mysql."""
    cluster.kubectl("create namespace jds")
    cluster.kubectl("label node node-2 component=mysql --overwrite")
    kubectl = cluster.kubectl.within("jds")
    kubectl.apply(myblog.SETTINGS)
    try:
        yield kubectl
    finally:
        cluster.kubectl("delete namespace jds --wait=true --timeout=60s")
        cluster.kubectl("label node node-2 component-")


@pytest.fixture
def jds(cluster: Cluster, images: None) -> Iterator[Kubectl]:
    with articles_namespace(cluster) as kubectl:
        yield kubectl


@pytest.fixture
def typed(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Typed:
    """Run a line as the article's reader types it, among the article's files; `kn` is its alias."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    config = tmp_path / "config"
    config.write_text(cluster.kubectl("config view --minify --raw"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(config))

    def run_line(line: str, status: int = 0) -> str:
        return run("sh", "-c", f'kn() {{ kubectl -n jds "$@"; }}\n{line}', status=status, env=os.environ.copy())

    return run_line


def without(rows: list[dict[str, str]], *headings: str) -> list[dict[str, str]]:
    return [{key: cell for key, cell in row.items() if key not in headings} for row in rows]


def start_myblog(typed: Typed, jds: Kubectl, replicas: int = 1) -> None:
    Path("deploy-myblog.yaml").write_text(myblog.MYBLOG.replace("replicas: 1", f"replicas: {replicas}"))
    assert typed("kubectl create -f deploy-myblog.yaml") == "deployment.apps/myblog created\n"
    jds.wait_ready("app=myblog", replicas)


def browse(cluster: Cluster, url: str, *options: str) -> str:
    """What a client outside the nodes gets, which has the article's line in its hosts file."""
    known = [word for port in (80, 443) for word in ("--resolve", f"myblog.jds.com:{port}:10.2.2.10")]
    return cluster.on_lan("curl", "-sSk", *known, *options, url)


def endpoints_of(jds: Kubectl, name: str, count: int) -> set[str]:
    what = f"{count} endpoints of {name}"
    [found] = eventually(lambda: len(found := jds.endpoints(name)) == count and [found], what)
    return set(found)


def test_deployments_keep_their_pods(cluster: Cluster, jds: Kubectl, typed: Typed, monkeypatch: pytest.MonkeyPatch):
    assert typed("kubectl create -f deploy-mysql.yaml") == "deployment.apps/mysql created\n"
    start_myblog(typed, jds)
    jds.wait_ready("app=mysql", 1)
    one = {"READY": "1/1", "UP-TO-DATE": "1", "AVAILABLE": "1"}
    assert without(table(typed("kubectl -n jds get deploy")), "AGE") == [
        {"NAME": "myblog", **one},
        {"NAME": "mysql", **one},
    ]
    assert re.search(r"^1 +<none>$", typed("kubectl -n jds rollout history deploy myblog"), re.M)
    sets = without(table(typed("kubectl -n jds get rs")), "NAME", "AGE")
    assert sets == [{"DESIRED": "1", "CURRENT": "1", "READY": "1"}] * 2
    shown = {row["NAME"].partition("-")[0]: row for row in table(typed("kubectl -n jds get pods -o wide"))}
    assert [row["READY"] + row["STATUS"] for row in shown.values()] == ["1/1Running"] * 2
    assert shown["mysql"]["NODE"] == "node-2"
    assert shown["mysql"]["IP"] == cluster.node_ips()["node-2"] == "10.2.2.11", "a hostNetwork pod has its node's"
    assert re.fullmatch(r"10\.244\.\d+\.\d+", shown["myblog"]["IP"])

    name = shown["myblog"]["NAME"]
    assert f'pod "{name}" deleted' in typed(f"kubectl -n jds delete pod {name} --grace-period=1")
    assert jds.wait_ready("app=myblog", 1)[0]["metadata"]["name"] != name
    assert typed("kubectl -n jds scale deploy myblog --replicas=2") == "deployment.apps/myblog scaled\n"
    assert len(jds.wait_ready("app=myblog", 2)) == 2
    with editor(monkeypatch, "s/replicas:.2/replicas:\\ 1/"):
        assert typed("kubectl -n jds edit deploy myblog") == "deployment.apps/myblog edited\n"
    jds.wait_ready("app=myblog", 1)


def test_update_history_and_rollback(jds: Kubectl, typed: Typed):
    Path("deploy-myblog.yaml").write_text(myblog.MYBLOG.replace("replicas: 1", "replicas: 2"))
    typed("kubectl create -f deploy-myblog.yaml --record")
    jds.wait_ready("app=myblog", 2)
    typed(f"kubectl -n jds set image deploy myblog myblog={REGISTRY}/myblog:v2 --record=true")
    jds("rollout status deploy myblog --timeout=60s")
    shown = typed("kubectl -n jds describe deploy myblog")
    new, old = re.findall(r"(Scaled up|Scaled down) replica set (\S+) (?:from \d )?to (\d)", shown)[1:3]
    assert re.findall(r"(Scaled up|Scaled down) replica set (\S+) (?:from \d )?to (\d)", shown)[1:] == [
        ("Scaled up", new[1], "1"),
        ("Scaled down", old[1], "1"),
        ("Scaled up", new[1], "2"),
        ("Scaled down", old[1], "0"),
    ]
    assert "RollingUpdateStrategy:  25% max unavailable, 25% max surge" in shown
    sets = {row["NAME"]: row["DESIRED"] + row["CURRENT"] + row["READY"] for row in table(typed("kn get rs"))}
    assert sets == {new[1]: "222", old[1]: "000"}

    history = typed("kubectl -n jds rollout history deploy myblog")
    first = "kubectl create --filename=deploy-myblog.yaml --record=true"
    second = f"kubectl set image deploy myblog myblog={REGISTRY}/myblog:v2 --namespace=jds --record=true"
    assert [line.split(maxsplit=1) for line in history.splitlines() if line[:1].isdecimal()] == [
        ["1", first],
        ["2", second],
    ]
    said = typed("kubectl -n jds rollout undo deploy myblog --to-revision=1")
    assert said == "deployment.apps/myblog rolled back\n"
    jds("rollout status deploy myblog --timeout=60s")
    images = {c["image"] for pod in jds.wait_ready("app=myblog", 2) for c in pod["spec"]["containers"]}
    assert images == {f"{REGISTRY}/myblog:v1"}
    assert re.findall(r"^(\d)", typed("kubectl -n jds rollout history deploy myblog"), re.M) == ["2", "3"]


def test_a_cluster_ip_follows_its_pods(cluster: Cluster, jds: Kubectl, typed: Typed):
    start_myblog(typed, jds)
    assert typed("kn create -f svc-myblog.yaml") == "service/myblog created\n"
    [row] = table(typed("kn get service"))
    address = row["CLUSTER-IP"]
    assert (row["NAME"], row["TYPE"], row["EXTERNAL-IP"], row["PORT(S)"]) == ("myblog", "ClusterIP", "<none>", "80/TCP")
    [endpoint] = endpoints_of(jds, "myblog", 1)
    expected = {
        "Name": "myblog",
        "Namespace": "jds",
        "Labels": "<none>",
        "Annotations": "<none>",
        "Selector": "app=myblog",
        "Type": "ClusterIP",
        "IP": address,
        "Port": "<unset>  80/TCP",
        "TargetPort": "8002/TCP",
        "Endpoints": endpoint,
        "Session Affinity": "None",
        "Events": "<none>",
    }
    assert described(typed("kn describe svc myblog")).items() >= expected.items()
    assert TITLE in cluster.on_node("node-1", "curl", "-sS", f"{address}/blog/index/")

    [pod] = table(typed("kn get po --show-labels"))
    assert pod["LABELS"] == f"app=myblog,pod-template-hash={pod['NAME'].split('-')[1]}"
    said = typed(f"kubectl delete -n jds pod {pod['NAME']} --force --grace-period=0")
    assert "Immediate deletion does not wait for confirmation" in said
    assert f'pod "{pod["NAME"]}" force deleted' in said
    typed("kn scale deploy myblog --replicas=2")
    expected_endpoints = {f"{p['status']['podIP']}:8002" for p in jds.wait_ready("app=myblog", 2)}
    eventually(lambda: jds.endpoints("myblog") == expected_endpoints, "both endpoints")
    shown = described(typed("kn describe svc myblog"))
    assert shown["IP"] == address
    assert set(shown["Endpoints"].split(",")) == expected_endpoints
    eventually(
        lambda: set(table(typed("kn get endpoints myblog"))[0]["ENDPOINTS"].split(",")) == expected_endpoints,
        "both in the older Endpoints",
    )


def test_a_pod_that_fails_its_probes_leaves_the_service_and_starts_again(jds: Kubectl, typed: Typed):
    quick = myblog.MYBLOG.replace("initialDelaySeconds: 10\n          periodSeconds: 15", "periodSeconds: 1")
    jds.apply(quick.replace("initialDelaySeconds: 1\n          timeoutSeconds: 2", "failureThreshold: 1"))
    [pod] = jds.wait_ready("app=myblog", 1)
    typed("kn create -f svc-myblog.yaml")
    endpoints = endpoints_of(jds, "myblog", 1)
    name = pod["metadata"]["name"]
    jds.exec(name, "busybox", "rm", "-r", "/www/blog")
    endpoints_of(jds, "myblog", 0)
    restarted = eventually(lambda: (row := table(typed("kn get pods"))[0])["READY"] == "1/1" and row, "ready again")
    assert (restarted["NAME"], restarted["RESTARTS"][0]) == (name, "1")
    assert endpoints_of(jds, "myblog", 1) == endpoints, "the pod has kept its address"
    assert "Liveness probe failed: HTTP probe failed with statuscode: 404" in jds("describe pod", name)


def test_components_find_each_other_by_name(
    cluster: Cluster, jds: Kubectl, typed: Typed, monkeypatch: pytest.MonkeyPatch
):
    """First by a node's address from a ConfigMap, which is then edited to be a Service's name."""
    typed("kubectl create -f deploy-mysql.yaml")
    jds.wait_ready("app=mysql", 1)
    start_myblog(typed, jds)
    for file in ("svc-mysql.yaml", "svc-myblog.yaml"):
        typed(f"kn create -f {file}")
    ask = ("sh", "-c", "echo $MYSQL_HOST as $MYSQL_USER:$MYSQL_PASSWD; wget -qO- http://$MYSQL_HOST:$MYSQL_PORT")
    pod = jds.ready_pods("app=myblog")[0]["metadata"]["name"]
    assert jds.exec(pod, *ask) == f"10.2.2.11 as root:123456\n{GREETING}\n"

    with editor(monkeypatch, "s/10.2.2.11/mysql/"):
        assert typed("kn edit cm myblog") == "configmap/myblog edited\n"
    said = typed("kubectl delete -f deploy-mysql.yaml && kubectl create -f deploy-mysql-2.yaml")
    assert 'deployment.apps "mysql" deleted' in said
    jds("delete pod", pod, "--grace-period=1")
    pod = jds.wait_ready("app=myblog", 1)[0]["metadata"]["name"]
    jds.wait_ready("app=mysql", 1)
    reached = f"mysql as root:123456\n{GREETING}\n"
    eventually(lambda: jds.exec(pod, *ask) == reached, "mysql by its Service's name")

    assert jds.exec(pod, "cat", "/etc/resolv.conf") == (
        "nameserver 10.96.0.10\nsearch jds.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
    )
    for name in ("mysql", "mysql.jds", "mysql.jds.svc.cluster.local"):
        assert jds.exec(pod, "wget", "-qO-", f"http://{name}:3306") == GREETING + "\n"
    assert TITLE in jds.exec(pod, "wget", "-qO-", "http://myblog/blog/index/")
    assert GREETING in cluster.on_node("node-1", "curl", "-sS", jds.get("svc mysql")["spec"]["clusterIP"] + ":3306")


def test_the_clusters_own_services_are_where_the_article_has_them(typed: Typed):
    rows = without(table(typed("kubectl -n kube-system get svc; kubectl get svc kubernetes --no-headers")), "AGE")
    [dns] = [row for row in rows if row["NAME"] == "kube-dns"]
    assert list(dns.values()) == ["kube-dns", "ClusterIP", "10.96.0.10", "<none>", "53/UDP,53/TCP,9153/TCP"]
    [api] = without(table(typed("kubectl get svc kubernetes")), "AGE")
    assert list(api.values()) == ["kubernetes", "ClusterIP", "10.96.0.1", "<none>", "443/TCP"]
    pods = typed("kubectl -n kube-system get pods -o wide | grep dns").splitlines()
    assert len(pods) == 2
    for line in pods:
        assert re.match(r"coredns-\S+ +1/1 +Running .* 10\.244\.\d\.\d+ +node-\d ", line)


def test_the_other_controllers_that_the_article_names(jds: Kubectl, typed: Typed):
    """One pod on every node, one that ends, one that is not due; Deployments and their ReplicaSets are all around."""
    jds.apply(myblog.KINDS, verb="create")
    jds.wait_ready("app=agent", 3)
    assert {pod["spec"]["nodeName"] for pod in jds.ready_pods("app=agent")} == {"node-1", "node-2", "node-3"}
    eventually(lambda: table(typed("kn get jobs"))[0]["COMPLETIONS"] == "1/1", "the job")
    [row] = table(typed("kn get cronjobs"))
    assert (row["SCHEDULE"], row["SUSPEND"], row["ACTIVE"]) == ("0 3 * * *", "False", "0")


class TestServicesOfTwoPods:
    """`jds` is here for all of them, with two pods of myblog behind a cluster IP and a node port."""

    @pytest.fixture(scope="class")
    @classmethod
    def jds(cls, cluster: Cluster, images: None) -> Iterator[Kubectl]:
        with articles_namespace(cluster) as kubectl:
            kubectl.apply(myblog.MYBLOG.replace("replicas: 1", "replicas: 2"))
            kubectl.wait_ready("app=myblog", 2)
            for file in ("svc-myblog.yaml", "svc-myblog-nodeport.yaml"):
                kubectl.apply(FILES[file], verb="create")
            assert endpoints_of(kubectl, "myblog", 2) == endpoints_of(kubectl, "myblog-np", 2)
            yield kubectl

    def test_a_node_port_listens_on_every_node(self, cluster: Cluster, jds: Kubectl, typed: Typed):
        row = next(row for row in table(typed("kn get svc")) if row["NAME"] == "myblog-np")
        assert row["TYPE"] == "NodePort"
        port = re.fullmatch(r"80:(\d+)/TCP", row["PORT(S)"])
        assert port
        for ip in ("10.2.2.10", "10.2.2.11", "10.2.2.12"):
            assert TITLE in cluster.on_lan("curl", "-sS", f"{ip}:{port[1]}/blog/index/")
            assert TITLE in cluster.on_node("node-1", "curl", "-sS", f"{ip}:{port[1]}/blog/index/")

    def test_iptables_mode_writes_the_rules_that_the_article_prints(self, cluster: Cluster, jds: Kubectl, typed: Typed):
        """Every line that its greps find, and no other; upstream computes the same chain's name for jds/myblog."""
        endpoints = jds.endpoints("myblog")
        address = jds.get("svc myblog")["spec"]["clusterIP"]
        with proxy_mode(cluster, "iptables"):
            saved = eventually(lambda: "jds/myblog:" in (text := cluster.on_node("node-1", "iptables-save")) and text)
            assert TITLE in cluster.on_node("node-1", "curl", "-sS", f"{address}/blog/index/")

        def grep(word: str, but: str = "") -> list[str]:
            return [line for line in saved.splitlines() if word in line and not (but and but in line)]

        chain = "KUBE-SVC-HNPXLKIY6BVOTTG2"
        to_service = f'-d {address}/32 -p tcp -m comment --comment "jds/myblog: cluster IP" -m tcp --dport 80 -j'
        entry = f"-A KUBE-SERVICES {to_service} {chain}"
        assert grep("jds/myblog", but="myblog-np") == [
            f"-A KUBE-SERVICES ! -s 10.244.0.0/16 {to_service} KUBE-MARK-MASQ",
            entry,
        ]
        first, second = re.findall(rf"^-A {chain} .*-j (KUBE-SEP-\w{{16}})$", saved, re.M)
        half = f"-A {chain} -m statistic --mode random --probability 0.50000000000 -j {first}"
        rest = f"-A {chain} -j {second}"
        assert grep(chain) == [f":{chain} - [0:0]", entry, half, rest]
        found = set()
        for separate, jump in ((first, half), (second, rest)):
            [ip] = re.findall(rf"^-A {separate} -s ([\d.]+)/32 ", saved, re.M)
            assert grep(separate) == [
                f":{separate} - [0:0]",
                f"-A {separate} -s {ip}/32 -j KUBE-MARK-MASQ",
                f"-A {separate} -p tcp -m tcp -j DNAT --to-destination {ip}:8002",
                jump,
            ]
            found.add(f"{ip}:8002")
        assert found == endpoints


class TestIngress:
    """Two pods of myblog behind a Service, and the article's controller, on the node that it has labelled."""

    @pytest.fixture(scope="class")
    @classmethod
    def jds(cls, cluster: Cluster, images: None) -> Iterator[Kubectl]:
        with articles_namespace(cluster) as kubectl:
            kubectl.apply(myblog.MYBLOG.replace("replicas: 1", "replicas: 2"))
            kubectl.apply(FILES["svc-myblog.yaml"])
            apply(kubectl, backend("service1", None, app="service1"), backend("service2", None, app="service2"))
            kubectl.apply("---".join(service(f"service{n}", port, 8080, f"service{n}") for n, port in PORTS.items()))
            kubectl.wait_ready("app=myblog", 2)
            endpoints_of(kubectl, "myblog", 2)
            try:
                yield kubectl
            finally:
                cluster.kubectl("label node node-1 ingress-")
                cluster.kubectl("delete --ignore-not-found -f -", stdin=myblog.CONTROLLER)

    def test_the_controller_waits_for_a_node_with_its_label(self, cluster: Cluster, jds: Kubectl, typed: Typed):
        said = typed("kubectl create -f mandatory.yaml")
        for created in (
            "namespace/ingress-nginx",
            "configmap/nginx-configuration",
            "configmap/tcp-services",
            "configmap/udp-services",
            "serviceaccount/nginx-ingress-serviceaccount",
            "clusterrole.rbac.authorization.k8s.io/nginx-ingress-clusterrole",
            "role.rbac.authorization.k8s.io/nginx-ingress-role",
            "rolebinding.rbac.authorization.k8s.io/nginx-ingress-role-nisa-binding",
            "clusterrolebinding.rbac.authorization.k8s.io/nginx-ingress-clusterrole-nisa-binding",
            "deployment.apps/nginx-ingress-controller",
            "limitrange/ingress-nginx",
        ):
            assert f"{created} created\n" in said
        assert re.search(r"^ingress-nginx +Active ", typed("kubectl get ns | grep nginx"), re.M)
        [pod] = eventually(lambda: table(typed("kubectl -n ingress-nginx get pod")), "the pod")
        assert (pod["READY"], pod["STATUS"]) == ("0/1", "Pending")
        assert "didn't match Pod's node affinity/selector" in eventually(
            lambda: typed("kubectl -n ingress-nginx describe pod | grep FailedScheduling"), "the scheduler's reason"
        )
        assert typed("kubectl label node node-1 ingress=true") == "node/node-1 labeled\n"
        labels = typed("kubectl get node node-1 --show-labels --no-headers").split()[-1].split(",")
        assert {"ingress=true", "kubernetes.io/hostname=node-1"} <= set(labels)
        cluster.kubectl.within("ingress-nginx").wait_ready("app.kubernetes.io/name=ingress-nginx", 1)
        [pod] = table(typed("kubectl -n ingress-nginx get pods -o wide"))
        assert (pod["READY"], pod["IP"], pod["NODE"]) == ("1/1", "10.2.2.10", "node-1")
        [deployment] = table(typed("kubectl -n ingress-nginx get deploy"))
        assert (deployment["NAME"], deployment["READY"]) == ("nginx-ingress-controller", "1/1")

    def test_an_ingress_is_served_by_its_host(self, cluster: Cluster, jds: Kubectl, typed: Typed):
        said = typed("kubectl create -f ingress.yaml")
        assert "ingress.extensions/myblog created\n" in said
        assert "Warning: extensions/v1beta1 Ingress is deprecated in v1.14+" in said
        assert TITLE in eventually(lambda: browse(cluster, "http://myblog.jds.com/blog/index/"), "the page")
        [row] = table(typed("kubectl -n jds get ing"))
        assert (row["NAME"], row["HOSTS"], row["ADDRESS"], row["PORTS"]) == ("myblog", "myblog.jds.com", "", "80")
        shown = typed("kubectl -n jds describe ingress myblog")
        [listed] = re.findall(r"/   myblog:80 \((.*)\)", shown)
        assert set(listed.split(",")) == jds.endpoints("myblog")
        assert re.search(
            r"Normal +CREATE +\S+ +nginx-ingress-controller +Ingress jds/myblog",
            eventually(
                lambda: "CREATE" in (text := typed("kubectl -n jds describe ingress myblog")) and text, "CREATE"
            ),
        )

    def test_the_controllers_file_shows_what_the_article_greps_for(self, jds: Kubectl, typed: Typed):
        pod = table(typed("kubectl -n ingress-nginx get pods"))[0]["NAME"]
        processes = typed(f"kubectl -n ingress-nginx exec {pod} -- ps aux")
        assert "nginx: master process" in processes
        assert "root" not in {line.split()[0] for line in processes.splitlines()}
        found = typed(f"kubectl -n ingress-nginx exec {pod} -- grep -n -A20 myblog /etc/nginx/nginx.conf")
        lines = [re.sub(r"^\d+[:-]\s*", "", line) for line in found.splitlines()]
        expected = [
            "server_name myblog.jds.com ;",
            "listen 80 ;",
            "listen [::]:80 ;",
            "listen 443 ssl http2 ;",
            "listen [::]:443 ssl http2 ;",
            'set $proxy_upstream_name "-";',
            "ssl_certificate_by_lua_block {",
            "certificate.call()",
            "}",
            "location / {",
            'set $namespace "jds";',
            'set $ingress_name "myblog";',
        ]
        assert [line for line in lines if line in expected][: len(expected)] == expected

    def test_it_is_served_with_the_certificate_of_a_secret(self, cluster: Cluster, jds: Kubectl, typed: Typed):
        certificate = "-keyout tls.key -out tls.crt -subj '/CN=*.luffy.com/O=ingress-nginx'"
        typed(f"openssl req -x509 -nodes -days 2920 -newkey rsa:2048 {certificate}")
        assert typed("kubectl -n jds create secret tls https-secret --key tls.key --cert tls.crt") == (
            "secret/https-secret created\n"
        )
        assert "ingress.extensions/myblog-tls created\n" in typed("kubectl create -f ingress-tls.yaml")
        rows = [(row["NAME"], row["HOSTS"], row["PORTS"]) for row in table(typed("kubectl -n jds get ing"))]
        assert rows == [("myblog", "myblog.jds.com", "80"), ("myblog-tls", "myblog.jds.com", "80, 443")]
        assert "https-secret terminates myblog.jds.com" in typed("kubectl -n jds describe ingress myblog-tls")
        eventually(lambda: browse(cluster, "http://myblog.jds.com/blog/index/", "-w", "%{http_code}").endswith("308"))
        assert TITLE in browse(cluster, "https://myblog.jds.com/blog/index/")
        assert TITLE in browse(cluster, "http://myblog.jds.com/blog/index/", "-L")

    def test_paths_fan_out_and_are_rewritten(self, cluster: Cluster, jds: Kubectl, typed: Typed):
        assert "ingress.networking.k8s.io/rewrite-path created\n" in typed("kubectl create -f ingress-path.yaml")
        paths = typed("kubectl -n jds describe ingress simple-fanout-example")
        assert re.findall(r"^ +(/\w*) +(\w+:\d+) ", paths, re.M) == [
            ("/foo", "service1:4200"),
            ("/bar", "service2:8080"),
            ("/", "myblog:80"),
        ]
        assert "rewrite-target: /admin/$1" in typed("kubectl -n jds describe ingress rewrite-path")
        site = "https://myblog.jds.com"
        assert ADMIN in eventually(
            lambda: ADMIN in (text := browse(cluster, f"{site}/foo/users.html")) and text, "foo/"
        )
        for path, name in (("/foo", "service1"), ("/bar", "service2"), ("/bar/x", "service2")):
            assert json.loads(browse(cluster, site + path)).items() >= {"name": name, "path": path}.items()
        assert TITLE in browse(cluster, f"{site}/blog/index/")
