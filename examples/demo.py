#!/usr/bin/env python3
"""A Kubernetes cluster in one command, and Services at work in it: what `make demo` runs.

Every step is a command that you can type yourself, and a check of what it must show; the demo ends with an error at
the first check that fails. The cluster is left running.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
CLUSTER = "demo"
CONTEXT = f"sampan-{CLUSTER}"
SAMPAN = str(Path(sys.executable).parent / "sampan")
REQUESTS = 300
HOST = "web.example.com"

BOLD, DIM, GREEN, RED, PLAIN = (
    ("\033[1m", "\033[2m", "\033[32m", "\033[31m", "\033[0m") if sys.stdout.isatty() else [""] * 5
)


class Failed(Exception):
    """A check that does not hold."""


# --- running commands


def show(*command: str) -> None:
    print(
        f"{DIM}$ {' '.join(part if re.fullmatch(r'[^ *?;|&(){}]+', part) else repr(part) for part in command)}{PLAIN}"
    )


def run(*command: str, quiet: bool = False) -> str:
    """Run a command, show it and what it prints, and return that."""
    shown = ("sampan" if command[0] == SAMPAN else command[0], *command[1:])
    if not quiet:
        show(*shown)
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    output = done.stdout.rstrip()
    if output and not quiet:
        print(output)
    if done.returncode:
        raise Failed(f"{' '.join(shown)}: exit status {done.returncode}\n{done.stderr.strip()}")
    return output


def kubectl(*arguments: str, quiet: bool = False) -> str:
    return run("kubectl", "--context", CONTEXT, *arguments, quiet=quiet)


def in_pod(*command: str, namespace: str = "default", quiet: bool = False) -> str:
    return kubectl("-n", namespace, "exec", "client", "--", *command, quiet=quiet)


def get(kind: str, *arguments: str) -> dict:
    return json.loads(kubectl("get", kind, *arguments, "-o", "json", quiet=True))


# --- checking


def check(holds: object, what: str) -> None:
    if not holds:
        raise Failed(what)
    print(f"{GREEN}✓{PLAIN} {what}")


def wait(what: str, holds: Callable[[], object], seconds: float = 30) -> None:
    """Poll until `holds`; fail after the deadline."""
    begun = time.monotonic()
    while not holds():
        if time.monotonic() - begun > seconds:
            raise Failed(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.05)
    print(f"{GREEN}✓{PLAIN} {what} {DIM}(after {time.monotonic() - begun:.1f} s){PLAIN}")


def step(title: str) -> None:
    print(f"\n{BOLD}▌ {title}{PLAIN}")


# --- what the cluster says


def ready_pods(selector: str) -> list[dict]:
    def is_ready(pod: dict) -> bool:
        conditions = {c["type"]: c["status"] for c in pod["status"].get("conditions", ())}
        return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]

    return [pod for pod in get("pods", "-l", selector)["items"] if is_ready(pod)]


def addresses(pods: list[dict]) -> set[str]:
    return {pod["status"]["podIP"] for pod in pods}


def endpoints(service: str) -> set[str]:
    slices = get("endpointslices", "-l", f"kubernetes.io/service-name={service}")["items"]
    found = [e for one in slices for e in one.get("endpoints") or () if e["conditions"].get("ready")]
    return {address for endpoint in found for address in endpoint["addresses"]}


def resolve(name: str) -> set[str]:
    answer = in_pod("sh", "-c", f"getent ahostsv4 {name} || true", quiet=True)
    return {line.split()[0] for line in answer.splitlines()}


@contextmanager
def load(url: str) -> Iterator[dict]:
    """Requests from the client pod, one after another, while the body runs; the counts are there afterwards."""
    command = ["kubectl", "--context", CONTEXT, "exec", "client", "--", "python3", "/load/load.py", url, "/tmp/stop"]
    show(*command[:1], *command[3:])
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    result: dict = {}
    try:
        yield result
    finally:
        in_pod("touch", "/tmp/stop", quiet=True)
        output, _ = process.communicate(timeout=60)
    result.update(json.loads(output or '{"answers": {}, "failures": {"the load did not run": 1}}'))
    total = sum(result["answers"].values())
    print(f"  {total} requests answered, {sum(result['failures'].values())} failed {result['failures'] or ''}")


# --- the steps


def start() -> None:
    step("A cluster of three nodes")
    if Path(SAMPAN).exists() and CLUSTER in run(SAMPAN, "status", "--names", quiet=True).split():
        run(SAMPAN, "down", "--name", CLUSTER)
    command = ("up", "--nodes", "3", "--ingress", "--name", CLUSTER)
    show("sampan", *command)
    subprocess.run([SAMPAN, *command], check=True, timeout=120)
    output = kubectl("get", "nodes", "-o", "wide")
    check(len(re.findall(r"\bReady\b", output)) == 3, "three nodes are Ready")
    wait("the DNS pods are Running and ready", lambda: len(system_dns()) == 2)
    kubectl("-n", "kube-system", "get", "pods,svc", "-o", "wide")


def system_dns() -> list[dict]:
    pods = get("pods", "-n", "kube-system", "-l", "k8s-app=kube-dns")["items"]
    return [p for p in pods if any(s.get("ready") for s in p["status"].get("containerStatuses", ()))]


def deploy() -> None:
    step("A Deployment of two replicas and a Service for it")
    kubectl("apply", "-f", str(HERE / "web.yaml"))
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    wait("both pods are endpoints of the Service", lambda: len(endpoints("web")) == 2)
    kubectl("get", "svc", "web")
    described = kubectl("describe", "svc", "web")
    check(all(f"{ip}:8002" in described for ip in addresses(ready_pods("app=web"))), "describe shows both endpoints")
    kubectl("apply", "-f", str(HERE / "client.yaml"))
    kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=60s")
    kubectl("-n", "other", "wait", "--for=condition=Ready", "pod/client", "--timeout=60s")


def discover(cluster_ip: str) -> None:
    step("Finding the Service: by address, by name, by environment")
    check(in_pod("curl", "-sS", f"http://{cluster_ip}").startswith("v1 web-"), "by its virtual IP")
    check(in_pod("curl", "-sS", "http://web").startswith("v1 web-"), "by its name")
    check(
        in_pod("curl", "-sS", "http://web.default", namespace="other").startswith("v1 web-"),
        "by name.namespace, from another namespace",
    )
    check(in_pod("curl", "-sS", "http://web.default.svc.cluster.local").startswith("v1 web-"), "by its full name")
    command = 'curl -sS "http://$WEB_SERVICE_HOST:$WEB_SERVICE_PORT"'
    check(in_pod("sh", "-c", command).startswith("v1 web-"), "by WEB_SERVICE_HOST and WEB_SERVICE_PORT")


def spread(cluster_ip: str) -> None:
    step(f"{REQUESTS} requests through the virtual IP")
    loop = f"for i in $(seq {REQUESTS}); do curl -sS http://{cluster_ip}; done"
    counts = Counter(in_pod("sh", "-c", loop, quiet=True).split("\n"))
    for answer, count in counts.most_common():
        print(f"  {count:4}  {answer}")
    check(sum(counts.values()) == REQUESTS and len(counts) == 2, "all were answered, by both pods")
    check(min(counts.values()) > REQUESTS / 4, "the load is spread evenly")


def replace_a_pod(cluster_ip: str) -> None:
    step("A pod is deleted: the Service stays")
    before = ready_pods("app=web")
    victim = before[0]["metadata"]["name"]
    with load(f"http://{cluster_ip}") as result:
        kubectl("delete", "pod", victim, "--wait=false")
        wait("a new pod is ready", lambda: is_replaced(victim))
        wait("the endpoints are the new set of pods", lambda: endpoints("web") == addresses(ready_pods("app=web")))
    check(get("svc", "web")["spec"]["clusterIP"] == cluster_ip, "the Service's address is unchanged")
    check(addresses(ready_pods("app=web")) != addresses(before), "the new pod has an address of its own")
    check(result["answers"] and not result["failures"], "no request was lost meanwhile")


def is_replaced(victim: str) -> bool:
    names = {pod["metadata"]["name"] for pod in ready_pods("app=web")}
    return len(names) == 2 and victim not in names


def node_port() -> None:
    step("The Service becomes a NodePort")
    kubectl("patch", "svc", "web", "-p", '{"spec": {"type": "NodePort"}}')
    kubectl("get", "svc", "web")
    port = get("svc", "web")["spec"]["ports"][0]["nodePort"]
    for node in get("nodes")["items"]:
        ip = next(a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP")
        command = (SAMPAN, "shell", "--name", CLUSTER, "--lan", "--", "curl", "-sS", f"http://{ip}:{port}")
        check(run(*command).startswith("v1 web-"), f"reached on {node['metadata']['name']}")


def ingress() -> None:
    step("An Ingress with TLS: by host name, through nginx, at an external address")
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = f"{folder}/tls.key", f"{folder}/tls.crt"
        subject = ("-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}")
        make = "openssl req -x509 -nodes -days 30 -newkey rsa:2048"
        run(*make.split(), "-keyout", key, "-out", certificate, *subject)
        kubectl("create", "secret", "tls", "web-tls", "--key", key, "--cert", certificate)
        kubectl("apply", "-f", str(HERE / "ingress.yaml"))
        wait("nginx serves the host", lambda: "v1 web-" in browse("https", "--cacert", certificate, patient=True))
        kubectl("-n", "ingress-nginx", "get", "svc")
        kubectl("get", "ingress", "web")
        check(browse("https", "--cacert", certificate).startswith("v1 web-"), "HTTPS, with the Secret's certificate")
        check("308" in browse("http", "-o", "/dev/null", "-w", "%{http_code}"), "HTTP is redirected to it")
    run(SAMPAN, "ingress", "test", "--name", CLUSTER, f"https://{HOST}/")


def browse(scheme: str, *options: str, patient: bool = False) -> str:
    """What a client outside the nodes gets at the controller's external address; `patient`: or nothing."""
    address = get("service", "-n", "ingress-nginx", "ingress-nginx-controller")["status"]["loadBalancer"]["ingress"][0]
    known = ("--resolve", f"{HOST}:{80 if scheme == 'http' else 443}:{address['ip']}")
    outside = (SAMPAN, "shell", "--name", CLUSTER, "--lan", "--")
    command = (*outside, "curl", "-sS", *known, *options, f"{scheme}://{HOST}/")
    try:
        return run(*command, quiet=patient)
    except Failed:
        if patient:
            return ""
        raise


def headless() -> None:
    step("A headless Service resolves to the pods, and follows them")
    kubectl("apply", "-f", str(HERE / "headless.yaml"))
    wait("the name resolves to both pods", lambda: resolve("web-headless") == addresses(ready_pods("app=web")) != set())
    in_pod("getent", "ahostsv4", "web-headless")
    kubectl("scale", "deployment/web", "--replicas=3")
    wait("with three replicas, to three", lambda: len(resolve("web-headless")) == 3)
    kubectl("scale", "deployment/web", "--replicas=2")
    wait("and to two again", lambda: len(resolve("web-headless")) == 2)


def rolling_update() -> None:
    step("A rolling update under load")
    with load("http://web") as result:
        kubectl("set", "env", "deployment/web", "VERSION=v2")
        kubectl("rollout", "status", "deployment/web", "--timeout=90s")
        wait("only the new version answers", lambda: in_pod("curl", "-sS", "http://web", quiet=True).startswith("v2 "))
    versions: Counter[str] = Counter()
    for answer, count in result["answers"].items():
        versions[answer.split()[0]] += count
    print(f"  answers by version: {dict(versions)}")
    check(set(versions) == {"v1", "v2"} and not result["failures"], "both versions answered, and no request failed")
    kubectl("rollout", "history", "deployment/web")


def figures() -> None:
    step("What it took")
    status = json.loads(run(SAMPAN, "status", "--name", CLUSTER, "-o", "json", quiet=True))
    memory = status["memoryBytes"] / 2**20
    print(f"  started in {status['startSeconds']:.2f} s; uses {memory:.0f} MiB (PSS), pods included")


def next_steps() -> None:
    print(f"""
The cluster is still running. Try:
  kubectl --context {CONTEXT} get all -A
  {os.path.relpath(SAMPAN)} shell --name {CLUSTER}               # a shell where ClusterIPs answer
  {os.path.relpath(SAMPAN)} publish --name {CLUSTER} web 8080    # the Service on http://127.0.0.1:8080
Remove it with:
  {os.path.relpath(SAMPAN)} down --name {CLUSTER}""")


def main() -> int:
    begun = time.monotonic()
    try:
        start()
        deploy()
        cluster_ip = get("svc", "web")["spec"]["clusterIP"]
        discover(cluster_ip)
        spread(cluster_ip)
        replace_a_pod(cluster_ip)
        node_port()
        ingress()
        headless()
        rolling_update()
        figures()
    except (Failed, subprocess.SubprocessError) as error:
        print(f"{RED}✗ {error}{PLAIN}", file=sys.stderr)
        return 1
    next_steps()
    print(f"\n{GREEN}Every check held.{PLAIN} {time.monotonic() - begun:.0f} s in all.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
