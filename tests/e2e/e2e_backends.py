"""Backends that say who they are, and clients that ask them: pods for the tests of the data path.

A backend answers HTTP on 8080 (HTTPS on 8443) with its name and what it was asked, and UDP on 8080 with its name.
"""

import json
from typing import Any

from e2e_support import Kubectl

SERVER = r"""
import http.server, json, os, signal, socket, ssl, subprocess, threading
NAME = socket.gethostname()
PAGE = b'<a href="/next">x</a> <img src="/i.png"> <a href="//other/">y</a> text "/stays"'

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        path, _, query = self.path.partition("?")
        told = {"name": NAME, "method": self.command, "path": path, "query": query, "body": body}
        html, plain = path.endswith(".html"), path.endswith("/name")
        text = PAGE if html or path.endswith(".txt") else (NAME + "\n").encode() if plain else json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if html else "text/plain")
        self.send_header("Content-Length", str(len(text)))
        self.send_header("X-Method", self.command)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer

    def log_message(self, *_):
        pass

def echo():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("0.0.0.0", 8080))
        while True:
            _, sender = sock.recvfrom(2048)
            sock.sendto(NAME.encode(), sender)

def tls():
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=x -keyout /tmp/k -out /tmp/c"
    subprocess.run(make.split(), check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("/tmp/c", "/tmp/k")
    server = http.server.ThreadingHTTPServer(("0.0.0.0", 8443), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()

signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
http.server.ThreadingHTTPServer.request_queue_size = 128
plain = http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Handler)
for run in (echo, tls, plain.serve_forever):
    threading.Thread(target=run, daemon=True).start()
threading.Event().wait()
"""

ASK_UDP = """
import socket, sys
host, port, count, source = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.bind(("", source))
    sock.settimeout(0.5)
    for _ in range(count):
        try:
            sock.sendto(b"?", (host, port))
            print(sock.recv(100).decode())
        except OSError as error:
            print("-")
"""


def backend(name: str, node: str | None, app: str = "web") -> dict[str, Any]:
    ports = [{"name": "http", "containerPort": 8080}, {"name": "https", "containerPort": 8443}]
    probe = {"tcpSocket": {"port": 8443}, "periodSeconds": 1}
    container = {"command": ["python3", "-c", SERVER], "ports": ports, "readinessProbe": probe}
    return pod(name, node, container, app=app)


def client(name: str, node: str | None = None, *, host_network: bool = False) -> dict[str, Any]:
    spec = {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"} if host_network else {}
    found = pod(name, node, {"command": ["sh", "-c", "trap exit TERM; sleep infinity & wait"]}, app="client")
    return found | {"spec": found["spec"] | spec}


def pod(name: str, node: str | None, container: dict[str, Any], *, app: str) -> dict[str, Any]:
    spec = {"containers": [{"name": "main", "image": "host"} | container], "terminationGracePeriodSeconds": 1}
    if node:
        spec["nodeName"] = node  # type: ignore[assignment]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": app}}, "spec": spec}


def apply(kubectl: Kubectl, *objects: dict[str, Any]) -> None:
    kubectl.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))


def ask(kubectl: Kubectl, url: str, count: int = 1, pod: str = "client") -> list[str]:
    """The names of the backends that answered; `-` for a request without an answer."""
    script = f'for i in $(seq {count}); do curl -s -m 2 "http://{url}/name" || echo -; done'
    return kubectl.exec(pod, "sh", "-c", script).split()


def ask_udp(kubectl: Kubectl, host: str, port: int, count: int = 1, source: int = 0, pod: str = "client") -> list[str]:
    """The same over UDP; one source port for all packets."""
    return kubectl.exec(pod, "python3", "-c", ASK_UDP, host, str(port), str(count), str(source)).split()
