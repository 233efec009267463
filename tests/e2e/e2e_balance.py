"""Clients on the nodes' LAN, outside every node: who answers ARP, what a server sees of them, what fails meanwhile."""

import json
import subprocess
import sys
import time
from typing import Any

from e2e_support import SAMPAN, Cluster, eventually, run

ASK = """
import socket, sys, time
from sampan.kernel import arp
from sampan.kernel.packet import PacketSocket
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as own:
    own.bind(("br-lan", 0))
    mac = own.getsockname()[4]
asked, _ = arp.announcements(sys.argv[1], mac)
with_socket = PacketSocket("br-lan", arp.ETHERTYPE)
with_socket.send(asked[:28] + bytes((10, 2, 2, 1)) + asked[32:])
time.sleep(0.2)
for frame in iter(with_socket.receive, None):
    if frame[:6] == mac and frame[20:22] == b"\\0\\2" and ".".join(map(str, frame[28:32])) == sys.argv[1]:
        print(frame[6:12].hex(":"))
"""

STEADY = """
import socket, sys, time
ip, port = sys.argv[1], int(sys.argv[2])
bad, total, good_since = [], 0, time.monotonic()
print("begun", flush=True)
import threading
ending = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ending.set()), daemon=True).start()
while not ending.is_set():
    began = time.monotonic()
    total += 1
    try:
        with socket.create_connection((ip, port), timeout=0.5) as one:
            one.sendall(b"GET /name HTTP/1.0\\r\\n\\r\\n")
            good = one.recv(100).startswith(b"HTTP")
    except OSError:
        good = False
    if not good:
        bad.append(round(began, 2))
    time.sleep(max(0.0, 0.01 - (time.monotonic() - began)))
print(total, len(bad), round(bad[-1] - bad[0], 2) if bad else 0.0)
"""

SERVER = r"""
import http.server, os, signal, socket, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text = f"{socket.gethostname()} {self.client_address[0]}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *_):
        pass
def echo():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("0.0.0.0", 8080))
        while True:
            _, sender = sock.recvfrom(2048)
            sock.sendto(f"{socket.gethostname()} {sender[0]}".encode(), sender)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
threading.Thread(target=echo, daemon=True).start()
http.server.ThreadingHTTPServer.request_queue_size = 128
http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Handler).serve_forever()
"""

UDP = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.settimeout(2)
    one.sendto(b"?", (sys.argv[1], int(sys.argv[2])))
    print(one.recv(100).decode())
"""


def pod(name: str, node: str, app: str) -> dict[str, Any]:
    probe = {"httpGet": {"port": 8080}, "periodSeconds": 1}
    container = {
        "name": "main",
        "image": "host",
        "command": ["python3", "-c", SERVER],
        "readinessProbe": probe,
    }
    spec = {"containers": [container], "nodeName": node, "terminationGracePeriodSeconds": 1}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": app}}, "spec": spec}


def service(name: str, app: str, *, annotations: dict[str, str] | None = None, udp: bool = False, **spec: Any) -> Any:
    protocol = "UDP" if udp else "TCP"
    ports = [{"port": 80, "targetPort": 8080, "protocol": protocol}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "annotations": annotations or {}},
        "spec": {"type": "LoadBalancer", "selector": {"app": app}, "ports": ports, **spec},
    }


def apply(kubectl: Any, *objects: Any) -> None:
    kubectl.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))


def _mac(cluster: Cluster, node: str) -> str:
    return str(json.loads(cluster.on_node(node, "ip", "-j", "link", "show", "eth0"))[0]["address"])


class Lan:
    """What a neighbour of a cluster's nodes can find out."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._nodes = {_mac(cluster, node): node for node in cluster.node_ips()}

    def answering(self, address: str) -> list[str]:
        """The nodes that answer an ARP request, each as often as it does."""
        said = self.cluster.on_lan(sys.executable, "-c", ASK, address)
        return [self._nodes[mac] for mac in said.split()]

    def announcer(self, address: str, *others: str) -> str:
        """The one node that answers, as soon as there is one (of these, if any are given)."""

        def alone() -> str | None:
            found = self.answering(address)
            return found[0] if len(found) == 1 and (not others or found[0] in others) else None

        return str(eventually(alone, f"one node answers for {address}"))

    def get(self, address: str, *more: str) -> tuple[str, str]:
        """What the server says of a request: the server's name, and the client's address as it sees it."""
        said = self.cluster.on_lan("curl", "-sS", "--max-time", "2", *more, f"http://{address}/")
        server, client = said.split()
        return server, client

    def get_soon(self, address: str) -> tuple[str, str]:
        return tuple(eventually(lambda: self.get(address), f"{address} answers"))  # type: ignore[return-value]

    def ask_udp(self, address: str) -> list[str]:
        return self.cluster.on_lan(sys.executable, "-c", UDP, address, "80").split()


class Steady:
    """A client that asks a hundred times a second until it is ended; then it tells what has failed."""

    def __init__(self, cluster: Cluster, address: str) -> None:
        command = [SAMPAN, "shell", "--name", cluster.name, "--lan", "--", sys.executable, "-c", STEADY, address, "80"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "begun\n"

    def end(self) -> tuple[int, int, float]:
        """How many requests there were, how many failed, and the seconds from the first of these to the last."""
        said, _ = self._process.communicate("", timeout=30)
        total, failed, span = said.split()
        return int(total), int(failed), float(span)


def component(cluster: Cluster, name: str) -> int:
    """A component's process id, as processes in the box see it."""
    status = json.loads(run(SAMPAN, "status", "--name", cluster.name, "-o", "json"))
    return int(next(one["pid"] for one in status["components"] if one["name"] == name))


def signal(cluster: Cluster, name: str, which: str) -> None:
    cluster.on_lan("kill", f"-{which}", str(component(cluster, name)))


def settle(seconds: float = 0.5) -> None:
    """Let a steady client go on for a while."""
    time.sleep(seconds)
