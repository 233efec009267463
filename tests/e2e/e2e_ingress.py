"""What tests of Ingresses share: the way in, requests from outside the nodes, load that counts failures, objects."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from e2e_support import SAMPAN, Cluster, Kubectl, eventually, run

CONTROLLER = "ingress-nginx-controller"
LABEL = "app.kubernetes.io/component=controller"
LOAD = Path(__file__).parents[1] / "support" / "httpload.py"
ASK = r"""
import http.client, json, ssl, sys

class Named(http.client.HTTPSConnection):
    def connect(self):
        http.client.HTTPConnection.connect(self)
        self.sock = insecure.wrap_socket(self.sock, server_hostname=one["host"])

insecure, answers = ssl._create_unverified_context(), []
for one in json.load(sys.stdin):
    kind = Named if one["tls"] else http.client.HTTPConnection
    connection = kind(one["address"], one["port"], timeout=10)
    headers = {"Host": one["host"], **one["headers"]}
    connection.request(one["method"], one["path"], one["body"].encode() or None, headers)
    certificate = connection.sock.getpeercert(True).hex() if one["tls"] else ""
    answer = connection.getresponse()
    told = {"status": answer.status, "headers": dict(answer.getheaders()), "text": answer.read().decode()}
    answers.append({**told, "certificate": certificate})
    connection.close()
print(json.dumps(answers))
"""


@dataclass(frozen=True)
class Ask:
    """One request."""

    host: str
    path: str = "/"
    method: str = "GET"
    tls: bool = False
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    text: str
    certificate: str

    @property
    def told(self) -> Any:
        """What a backend of these tests says of the request."""
        return json.loads(self.text)


def entrance(cluster: Cluster) -> str:
    """The address at which clients outside the nodes reach the controller."""

    def given() -> str:
        service = cluster.kubectl.within("ingress-nginx").get(f"service {CONTROLLER}")
        return str(service["status"]["loadBalancer"]["ingress"][0]["ip"])

    return str(eventually(given, "the controller's address"))


def ask(cluster: Cluster, *requests: Ask) -> list[Answer]:
    """Answers to requests from the nodes' LAN, in order."""
    address = entrance(cluster)
    told = [asdict(one) | {"address": address, "port": 443 if one.tls else 80} for one in requests]
    command = (SAMPAN, "shell", "--name", cluster.name, "--lan", "--", "python3", "-c", ASK)
    return [Answer(**one) for one in json.loads(run(*command, stdin=json.dumps(told)))]


@contextmanager
def load(cluster: Cluster, host: str, rate: int) -> Iterator[dict[str, Any]]:
    """Requests at a steady rate from the nodes' LAN while the body runs; the dictionary then has what they met."""
    urls = f"http://{host}/", f"https://{host}/"
    place = (SAMPAN, "shell", "--name", cluster.name, "--lan", "--")
    process = subprocess.Popen(
        [*place, "python3", str(LOAD), str(rate), entrance(cluster), *urls],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    met: dict[str, Any] = {}
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield met
    finally:
        output, _ = process.communicate("", timeout=60)
    met.update(json.loads(output))


def certificate(folder: Path, *hosts: str) -> tuple[Path, Path]:
    """A key and a self-signed certificate for hosts, in files."""
    folder.mkdir(parents=True, exist_ok=True)
    key, found = folder / "tls.key", folder / "tls.crt"
    names = ",".join(f"DNS:{host}" for host in hosts)
    make = "openssl req -x509 -nodes -days 30 -newkey ec -pkeyopt ec_paramgen_curve:P-256"
    subject = ["-subj", f"/CN={hosts[0]}", "-addext", f"subjectAltName={names}"]
    run(*make.split(), "-keyout", str(key), "-out", str(found), *subject)
    return key, found


def fingerprint(file: Path) -> str:
    """A certificate as `Answer.certificate` has it."""
    return run("openssl", "x509", "-in", str(file), "-outform", "DER").encode("latin-1").hex()


def ingress(name: str, rules: Sequence[Any], tls: Sequence[Any] = (), **annotations: str) -> dict[str, Any]:
    """Rules are (host, ((path, type, service, port), …)); annotations have _ for -, without the prefix."""
    names = {f"nginx.ingress.kubernetes.io/{key.replace('_', '-')}": text for key, text in annotations.items()}
    made = []
    for host, paths in rules:
        listed = [
            {"path": path, "pathType": kind, "backend": {"service": {"name": service, "port": {"number": port}}}}
            for path, kind, service, port in paths
        ]
        made.append({"http": {"paths": listed}} | ({"host": host} if host else {}))
    found: dict[str, Any] = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name, "annotations": names},
        "spec": {"rules": made},
    }
    if tls:
        found["spec"]["tls"] = list(tls)
    return found


def services(*names: str) -> list[dict[str, Any]]:
    """A Service of port 80 for the backends of each app."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]},
        }
        for name in names
    ]


def events(kubectl: Kubectl, name: str) -> set[tuple[str, str]]:
    """Reasons and messages of the events on an Ingress."""
    found = kubectl.items(f"events --field-selector involvedObject.kind=Ingress,involvedObject.name={name}")
    return {(one["reason"], one["message"]) for one in found}
