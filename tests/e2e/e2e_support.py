"""A kubectl that checks what it is told, a running cluster, and waiting with a deadline: what end-to-end tests use."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

SAMPAN = str(Path(sys.executable).parent / "sampan")
NAME = "e2e"


def eventually(holds: Callable[[], Any], what: str = "the condition", seconds: float = 30.0) -> Any:
    """The first true value of `holds`, which is asked again and again until a deadline."""
    deadline = time.monotonic() + seconds
    last: Any = None
    while time.monotonic() < deadline:
        try:
            last = holds()
        except (AssertionError, LookupError, CommandFailed) as error:
            last = error
        else:
            if last:
                return last
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds:.0f} s: {what}; last seen: {last!r}")


class CommandFailed(AssertionError):
    """A command that ended with another exit status than expected; its output is the message."""


def run(*command: str, stdin: str | None = None, status: int = 0, env: dict[str, str] | None = None) -> str:
    """Run a command that must end with `status`; its standard output, then its standard error."""
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=120, check=False, env=env or os.environ.copy()
    )
    output = done.stdout + done.stderr
    if done.returncode != status:
        raise CommandFailed(f"{' '.join(command)}: exit status {done.returncode}, not {status}\n{output}")
    return output


@dataclass(frozen=True)
class Kubectl:
    """The upstream kubectl, talking to one cluster."""

    kubeconfig: Path
    context: str
    namespace: str = "default"
    prefix: tuple[str, ...] = ()
    """What leads to where it runs, if the cluster is on another machine."""

    def __call__(self, line: str, *more: str, stdin: str | None = None, status: int = 0) -> str:
        """Run `kubectl LINE MORE…`; the words of `line` are split at spaces, those of `more` are not."""
        base = [*self.prefix, "kubectl", "--kubeconfig", str(self.kubeconfig), "--context", self.context]
        if self.namespace != "default":
            base += ["--namespace", self.namespace]
        return run(*base, *line.split(), *more, stdin=stdin, status=status)

    @property
    def minor_version(self) -> int:
        """kubectl's own: 20 for 1.20."""
        return int(json.loads(self("version --client -o json"))["clientVersion"]["minor"].rstrip("+"))

    def within(self, namespace: str) -> "Kubectl":
        return replace(self, namespace=namespace)

    def apply(self, manifest: str, verb: str = "apply") -> str:
        return self(f"{verb} -f -", stdin=manifest)

    def apply_expecting_error(self, manifest: str, verb: str = "create") -> str:
        return self(f"{verb} -f -", stdin=manifest, status=1)

    def get(self, line: str) -> Any:
        """`kubectl get LINE -o json`, decoded; warnings come behind it."""
        return json.JSONDecoder().raw_decode(self(f"get {line} -o json"))[0]

    def items(self, line: str) -> list[Any]:
        return list(self.get(line)["items"])

    def exec(self, pod: str, *command: str) -> str:
        return self(f"exec {pod} --", *command)

    def ready_pods(self, selector: str) -> list[Any]:
        """Pods that are Ready and not being deleted."""
        return [pod for pod in self.items(f"pods -l {selector}") if is_ready(pod)]

    def wait_ready(self, selector: str, count: int, seconds: float = 60.0) -> list[Any]:
        def exactly() -> list[Any] | None:
            pods = self.ready_pods(selector)
            return pods if len(pods) == count else None

        if count == 0:
            eventually(lambda: not self.items(f"pods -l {selector}"), f"no pods {selector}", seconds)
            return []
        return list(eventually(exactly, f"{count} ready pods {selector}", seconds))

    def ready_pod(self, name: str, seconds: float = 30.0) -> Any:
        """The pod, as soon as it is Ready."""

        def found() -> Any:
            pod = self.get(f"pod {name}")
            return pod if is_ready(pod) else None

        return eventually(found, f"pod {name} is ready", seconds)

    def endpoints(self, service: str) -> set[str]:
        """Ready addresses of a Service, as `ip:port`."""
        found = set()
        for item in self.items(f"endpointslices -l kubernetes.io/service-name={service}"):
            for endpoint in item.get("endpoints") or ():
                if endpoint["conditions"].get("ready"):
                    found |= {f"{a}:{p['port']}" for a in endpoint["addresses"] for p in item.get("ports") or ()}
        return found


def is_ready(pod: Any) -> bool:
    conditions = {c["type"]: c["status"] for c in pod["status"].get("conditions", ())}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


@dataclass(frozen=True)
class Cluster:
    """A running cluster and the way to its command line."""

    name: str
    kubectl: Kubectl

    def sampan(self, line: str, *more: str, status: int = 0) -> str:
        command, *arguments = line.split()
        return run(SAMPAN, command, "--name", self.name, *arguments, *more, status=status)

    def on_lan(self, *command: str) -> str:
        """Run a command on the nodes' LAN, outside every node."""
        return run(SAMPAN, "shell", "--name", self.name, "--lan", "--", *command)

    def on_node(self, node: str, *command: str) -> str:
        return run(SAMPAN, "shell", "--name", self.name, "--node", node, "--", *command)

    def node_ips(self) -> dict[str, str]:
        def internal(node: Any) -> str:
            return next(a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP")

        return {node["metadata"]["name"]: internal(node) for node in self.kubectl.items("nodes")}
