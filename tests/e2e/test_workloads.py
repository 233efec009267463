"""Workloads as users run them: each kind's promise, seen through kubectl."""

import json

from e2e_support import Cluster, Kubectl, eventually

SLEEPING = """
      terminationGracePeriodSeconds: 0
      containers:
      - name: main
        image: host
        command: [sleep, "1000"]
"""

DAEMON_SET = f"""
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: everywhere}}
spec:
  selector: {{matchLabels: {{app: everywhere}}}}
  template:
    metadata: {{labels: {{app: everywhere}}}}
    spec:{SLEEPING}"""

STATEFUL_SET = f"""
apiVersion: v1
kind: Service
metadata: {{name: db}}
spec: {{clusterIP: None, selector: {{app: db}}, ports: [{{port: 80}}]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db}}
spec:
  serviceName: db
  replicas: 2
  selector: {{matchLabels: {{app: db}}}}
  template:
    metadata: {{labels: {{app: db}}}}
    spec:{SLEEPING}"""

DEPLOYMENT = f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 3
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:{SLEEPING}"""

BUDGET = """
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: 3, selector: {matchLabels: {app: web}}}
"""


def nodes_of(kubectl: Kubectl, selector: str) -> list[str]:
    return sorted(pod["spec"]["nodeName"] for pod in kubectl.ready_pods(selector))


def version_of(kubectl: Kubectl) -> str:
    container = kubectl.get("deployment web")["spec"]["template"]["spec"]["containers"][0]
    return "".join(one["value"] for one in container.get("env", ()))


def test_a_daemon_set_has_one_pod_on_every_node_and_replaces_failed_ones(namespace: Kubectl):
    namespace.apply(DAEMON_SET)
    namespace("rollout status daemonset everywhere --timeout=20s")
    nodes = sorted(node["metadata"]["name"] for node in namespace.items("nodes"))
    assert nodes_of(namespace, "app=everywhere") == nodes
    pod = namespace.items("pods -l app=everywhere")[0]
    failed = pod["metadata"]["name"]
    pod["status"]["phase"] = "Failed"
    del pod["metadata"]["resourceVersion"]
    path = f"/api/v1/namespaces/{namespace.namespace}/pods/{failed}/status"
    namespace(f"replace --raw {path} -f -", stdin=json.dumps(pod))
    eventually(lambda: failed not in namespace("get pods -l app=everywhere"), "the failed pod is gone")
    eventually(lambda: nodes_of(namespace, "app=everywhere") == nodes, "it is replaced")


def test_a_stateful_set_keeps_its_names_in_dns_too(namespace: Kubectl):
    namespace.apply(STATEFUL_SET)
    namespace("rollout status statefulset db --timeout=20s")
    assert [pod["metadata"]["name"] for pod in namespace.wait_ready("app=db", 2)] == ["db-0", "db-1"]

    def resolved() -> bool:
        address = namespace.get("pod db-1")["status"]["podIP"]
        asked = f"import socket; print(socket.gethostbyname('db-1.db.{namespace.namespace}.svc.cluster.local'))"
        return namespace.exec("db-0", "python3", "-c", asked).strip() == address

    eventually(resolved, "db-1.db resolves")
    first = namespace.get("pod db-1")["metadata"]["uid"]
    namespace("delete pod db-1")
    eventually(lambda: namespace.get("pod db-1")["metadata"]["uid"] != first, "a new db-1")
    namespace.ready_pod("db-1")
    eventually(resolved, "the new db-1.db resolves")
    namespace("scale statefulset db --replicas=1")
    eventually(lambda: len(namespace.items("pods -l app=db")) == 1, "the last goes first")
    assert namespace.get("pod db-0")


def test_a_job_runs_to_completion(namespace: Kubectl):
    namespace("create job once --image=host --", "echo", "done")
    namespace("wait --for=condition=complete job/once --timeout=20s")
    assert "done" in namespace("logs job/once")
    status = namespace.get("job once")["status"]
    assert status["succeeded"] == 1
    assert "1/1" in namespace("get job once")


def test_a_job_is_made_by_hand_from_a_cron_job(namespace: Kubectl):
    namespace("create cronjob nightly --image=host --schedule", "0 3 * * *", "--", "echo", "tidy")
    origin = "cronjob" if namespace.minor_version >= 21 else "cronjob.v1beta1.batch"
    namespace(f"create job now --from={origin}/nightly")
    namespace("wait --for=condition=complete job/now --timeout=20s")
    assert "tidy" in namespace("logs job/now")
    assert namespace.get("job now")["metadata"]["annotations"]["cronjob.kubernetes.io/instantiate"] == "manual"


def test_a_rollout_is_paused_resumed_undone_and_restarted(namespace: Kubectl):
    namespace.apply(DEPLOYMENT)
    namespace("rollout status deployment web --timeout=20s")
    namespace("set env deployment web VERSION=2")
    namespace("rollout status deployment web --timeout=20s")
    history = namespace("rollout history deployment web")
    assert [line.split()[0] for line in history.splitlines() if line[:1].isdigit()] == ["1", "2"]
    assert "VERSION:" in namespace("rollout history deployment web --revision=2")

    namespace("rollout pause deployment web")
    namespace("set env deployment web VERSION=3")
    assert "paused" in namespace("rollout undo deployment web", status=1)
    assert len(namespace.items("replicasets")) == 2
    namespace("rollout resume deployment web")
    namespace("rollout status deployment web --timeout=20s")
    assert len(namespace.items("replicasets")) == 3

    namespace("rollout undo deployment web --to-revision=1")
    namespace("rollout status deployment web --timeout=20s")
    assert version_of(namespace) == ""
    assert namespace.get("deployment web")["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "4"

    before = {pod["metadata"]["name"] for pod in namespace.ready_pods("app=web")}
    namespace("rollout restart deployment web")
    namespace("rollout status deployment web --timeout=20s")
    after = {pod["metadata"]["name"] for pod in namespace.wait_ready("app=web", 3)}
    assert not before & after


def test_scaling_is_followed_up_and_down(namespace: Kubectl):
    namespace.apply(DEPLOYMENT)
    for replicas in (5, 0, 2):
        namespace(f"scale deployment web --replicas={replicas}")
        namespace.wait_ready("app=web", replicas)


def test_a_cordoned_node_gets_no_pods_and_a_drained_one_has_none(cluster: Cluster, namespace: Kubectl):
    namespace.apply(DEPLOYMENT)
    namespace.wait_ready("app=web", 3)
    try:
        namespace("cordon node-1")
        assert "SchedulingDisabled" in namespace("get node node-1")
        namespace("scale deployment web --replicas=6")
        new = namespace.wait_ready("app=web", 6)
        assert sum(pod["spec"]["nodeName"] == "node-1" for pod in new) <= 1
        namespace(
            f"drain node-1 --ignore-daemonsets --force --delete-emptydir-data --timeout=30s "
            f"--pod-selector=app=web --namespace={namespace.namespace}"
        )
        eventually(lambda: "node-1" not in nodes_of(namespace, "app=web"), "node-1 is empty")
        namespace.wait_ready("app=web", 6)
    finally:
        namespace("uncordon node-1")
    assert "SchedulingDisabled" not in namespace("get node node-1")


def test_a_budget_refuses_evictions_until_there_are_enough(namespace: Kubectl):
    namespace.apply(DEPLOYMENT)
    namespace.apply(BUDGET)
    pod = namespace.wait_ready("app=web", 3)[0]["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
    path = f"/api/v1/namespaces/{namespace.namespace}/pods/{pod}/eviction"

    def evict(status: int = 0) -> str:
        return namespace(f"create --raw {path} -f -", stdin=json.dumps(eviction), status=status)

    eventually(lambda: namespace.get("pdb web")["status"]["currentHealthy"] == 3, "the budget has counted")
    assert "Cannot evict pod as it would violate the pod's disruption budget." in evict(status=1)
    namespace("scale deployment web --replicas=4")
    eventually(lambda: namespace.get("pdb web")["status"]["disruptionsAllowed"] == 1, "one may go")
    assert "Success" in evict()
    eventually(lambda: pod not in namespace("get pods"), "it is gone")


def test_taints_keep_pods_off_and_drive_them_out(namespace: Kubectl):
    namespace.apply(DEPLOYMENT.replace("replicas: 3", "replicas: 6"))
    namespace.wait_ready("app=web", 6)
    assert "node-2" in nodes_of(namespace, "app=web")
    try:
        namespace("taint node node-2 sampan.test/away=yes:NoExecute")
        eventually(lambda: set(nodes_of(namespace, "app=web")) == {"node-1", "node-3"}, "node-2 is left")
        namespace.wait_ready("app=web", 6)
    finally:
        namespace("taint node node-2 sampan.test/away-")


def test_a_quota_stops_a_replication_controller_until_it_wants_less(namespace: Kubectl):
    namespace("create quota few --hard=pods=2,services=1")
    controller = {
        "apiVersion": "v1",
        "kind": "ReplicationController",
        "metadata": {"name": "many"},
        "spec": {
            "replicas": 3,
            "selector": {"app": "many"},
            "template": {
                "metadata": {"labels": {"app": "many"}},
                "spec": {"containers": [{"name": "main", "image": "host", "command": ["sleep", "1000"]}]},
            },
        },
    }
    namespace.apply(json.dumps(controller))

    def failures() -> list[str]:
        conditions = namespace.get("replicationcontroller many")["status"].get("conditions") or ()
        return [one["message"] for one in conditions if one["type"] == "ReplicaFailure"]

    (message,) = eventually(failures, "ReplicaFailure is set")
    assert "exceeded quota: few, requested: pods=1, used: pods=2, limited: pods=2" in message
    eventually(
        lambda: namespace.get("resourcequota few")["status"]["used"] == {"pods": "2", "services": "0"}, "both counted"
    )
    namespace("scale replicationcontroller many --replicas=2")
    eventually(lambda: not failures(), "ReplicaFailure is cleared")
