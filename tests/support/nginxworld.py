"""A real nginx on loopback that serves a model configuration, unprivileged, with backends that say what they were sent.

with NginxWorld() as world:
    one = world.backend()
    world.apply(world.configuration(world.host("a.example", world.route("/", one))))
    assert world.ask("/x", "a.example").status == 200
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import http.server
import json
import os
import shutil
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sampan.ingress.model import (
    Backend,
    BackendKey,
    Certificate,
    Configuration,
    Endpoint,
    Host,
    Listeners,
    LoadBalancing,
    PathMatch,
    PathType,
    Route,
    Settings,
    Source,
)
from sampan.ingress.nginx import Applied, Nginx, Place

T = TypeVar("T")
WWW_DATA = 33


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    """Names in lower case; several of one name are joined by `, `."""
    body: bytes
    certificate: bytes = b""

    @property
    def seen(self) -> dict[str, Any]:
        """What an echoing backend says that it was sent: port, method, path, headers (lower case), body."""
        seen: dict[str, Any] = json.loads(self.body)
        return seen


class Echo(http.server.ThreadingHTTPServer):
    """Answers every request with what it was sent. `status` and `answer_headers` may be changed."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.status, self.answer_headers, self.delay = 200, list[tuple[str, str]](), 0.0
        self.requests: list[dict[str, Any]] = []
        self.rule: Callable[[dict[str, Any]], int] | None = None
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("127.0.0.1", self.server_port)

    def end(self) -> None:
        self.shutdown()
        self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Echo

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            headers[name.lower()] = value
        seen = {
            "port": self.server.server_port, "method": self.command, "path": self.path, "headers": headers,
            "body": body.decode(errors="replace"),
        }  # fmt: skip
        self.server.requests.append(seen)
        time.sleep(self.server.delay)
        text = json.dumps(seen).encode()
        self.send_response(self.server.rule(seen) if self.server.rule else self.server.status)
        self.send_header("Content-Length", str(len(text)))
        for name, value in self.server.answer_headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@dataclass
class NginxWorld:
    workers: int = 2
    directory: Path = field(init=False)
    backends: list[Backend] = field(default_factory=list)

    def __enter__(self) -> NginxWorld:
        self._ends = contextlib.ExitStack()
        self.directory = Path(tempfile.mkdtemp(prefix="sampan-nginx-"))
        self.directory.chmod(0o755)
        self._ends.callback(shutil.rmtree, self.directory, True)
        self._loop = asyncio.new_event_loop()
        thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        thread.start()
        self._ends.callback(lambda: (self._loop.call_soon_threadsafe(self._loop.stop), thread.join(10)))
        self.listeners = Listeners(free_port(), free_port(), ("127.0.0.1",), (), free_port())
        user = WWW_DATA if os.geteuid() == 0 else None
        self.place = Place(self.directory / "etc", self.directory / "private", user_id=user, group_id=user)
        self.nginx = self.new_controller()
        self._ends.callback(lambda: self.run(self.nginx.stop(1)))
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def run(self, task: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(task, self._loop).result(120)

    def new_controller(self) -> Nginx:
        """A controller's view of nginx, as after its start."""

        async def made() -> Nginx:
            nginx = Nginx(self.place, workers=self.workers)
            await nginx.start()
            return nginx

        return self.run(made())

    def apply(self, configuration: Configuration) -> Applied:
        return self.run(self.nginx.apply(configuration))

    # --- building configurations

    def echo(self, tls: ssl.SSLContext | None = None, port: int = 0) -> Echo:
        server = Echo(port, tls)
        self._ends.callback(server.end)
        return server

    def route(
        self, path: str, backend: Backend, kind: PathType = PathType.PREFIX, ingress: str = "web", **more: Any
    ) -> Route:
        source = Source("default", ingress)
        return Route(PathMatch(kind, path), source, backend.name, backend.key, **more)

    def configuration(self, hosts: list[Host], backends: list[Backend], **more: Any) -> Configuration:
        """`settings` may be a mapping of ConfigMap keys."""
        settings = Settings({"access-log-path": "/dev/null", **more.pop("settings", {})})
        certificates: list[Certificate] = more.pop("certificates", [])
        return Configuration(
            listeners=more.pop("listeners", self.listeners), hosts=tuple(sorted(hosts, key=lambda host: host.name)),
            backends={backend.name: backend for backend in backends}, settings=settings,
            certificates={certificate.name: certificate for certificate in certificates}, **more,
        )  # fmt: skip

    # --- asking

    def ask(
        self, path: str, host: str = "a.example", method: str = "GET", headers: dict[str, str] | None = None,
        body: bytes | None = None, tls: bool = False, client: tuple[str, str] | None = None,
    ) -> Answer:  # fmt: skip
        """One request on a connection of its own. `client` are files of a client certificate and its key."""
        with contextlib.closing(self.connect(host if tls else "", client)) as connection:
            return ask(connection, path, host, method, headers, body)

    def connect(self, tls_name: str = "", client: tuple[str, str] | None = None) -> http.client.HTTPConnection:
        port = self.listeners.https if tls_name else self.listeners.http
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.connect()
        if tls_name:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            if client:
                context.load_cert_chain(*client)
            connection.sock = context.wrap_socket(connection.sock, server_hostname=tls_name)
        return connection

    def eventually(self, holds: Callable[[], object], seconds: float = 20) -> None:
        """Wait until it holds."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, "it does not come to hold"
            time.sleep(0.02)


def ask(
    connection: http.client.HTTPConnection, path: str, host: str, method: str = "GET",
    headers: dict[str, str] | None = None, body: bytes | None = None,
) -> Answer:  # fmt: skip
    connection.request(method, path, body, {"Host": host, **(headers or {})})
    response = connection.getresponse()
    found: dict[str, str] = {}
    for name, value in response.getheaders():
        found[name.lower()] = f"{found[name.lower()]}, {value}" if name.lower() in found else value
    sock = connection.sock
    certificate = sock.getpeercert(True) if isinstance(sock, ssl.SSLSocket) else None
    return Answer(response.status, found, response.read(), certificate or b"")


def backend(name: str, *servers: Echo | Endpoint, balancing: LoadBalancing | None = None, **more: Any) -> Backend:
    """A backend `default/NAME/80`."""
    endpoints = tuple(server.endpoint if isinstance(server, Echo) else server for server in servers)
    key = BackendKey("default", name, "80")
    return Backend(f"default/{name}/80", key, endpoints, balancing or LoadBalancing(), **more)


def certificate(name: str, *hosts: str, issuer: Any = None, is_ca: bool = False) -> tuple[Certificate, Any]:
    """A certificate for these names, and what `issuer` is for one signed by it."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, hosts[0])])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), False)
        .add_extension(x509.BasicConstraints(is_ca, None), True)
    )  # fmt: skip
    made = builder.sign(issuer[1] if issuer else key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    text = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Certificate(name, made.public_bytes(pem), text), (made, key)
