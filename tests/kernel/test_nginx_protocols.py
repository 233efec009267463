"""Backends that speak something else than HTTP/1.1: gRPC (HTTP/2) and FastCGI."""

from __future__ import annotations

import socketserver
import struct
import subprocess
import threading
from collections.abc import Iterator

import pytest

from sampan.ingress.model import BackendProtocol, Endpoint, Host, Proxying
from support.nginxworld import NginxWorld, backend, free_port

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def world() -> Iterator[NginxWorld]:
    with NginxWorld() as one:
        yield one


def test_grpc(world: NginxWorld) -> None:
    """The request goes out as HTTP/2, with the headers that every backend gets; without endpoints it is a 503."""
    port = free_port()
    home = world.directory / "grpc"
    home.mkdir()
    (home / "nginx.conf").write_text(
        f"daemon off; pid {home}/pid; error_log stderr crit; worker_processes 1; events {{}}\n"
        f"http {{ access_log off; client_body_temp_path {home}/t1; proxy_temp_path {home}/t2;"
        f"fastcgi_temp_path {home}/t3;"
        f"uwsgi_temp_path {home}/t4; scgi_temp_path {home}/t5; server {{ listen 127.0.0.1:{port} http2;"
        'location / { return 200 "$server_protocol $http_host $http_x_forwarded_proto"; } } }'
    )
    process = subprocess.Popen(["nginx", "-c", str(home / "nginx.conf"), "-e", "stderr", "-p", str(home)])
    try:
        grpc, none = backend("grpc", Endpoint("127.0.0.1", port)), backend("none")
        hosts = [
            Host("a.example", (world.route("/", grpc, protocol=BackendProtocol.GRPC),)),
            Host("b.example", (world.route("/", none, protocol=BackendProtocol.GRPC),)),
        ]
        assert world.apply(world.configuration(hosts, [grpc, none])).rejected == ()
        world.eventually(lambda: world.ask("/").status == 200)
        assert world.ask("/", method="POST", body=b"x").body == b"HTTP/2.0 a.example http"
        assert world.ask("/", "b.example").status == 503
    finally:
        process.terminate()
        process.wait(10)


class FastCgi(socketserver.BaseRequestHandler):
    """One request: answers with the parameters that it got (FastCGI 1.0, section 3)."""

    def handle(self) -> None:
        stream = self.request.makefile("rb")
        parameters, number = b"", 0
        while header := stream.read(8):
            _, kind, number, length, padding = struct.unpack(">BBHHBx", header)
            content = stream.read(length)
            stream.read(padding)
            if kind == 4:
                parameters += content
            if kind == 5 and not content:
                break
        lines, at = [], 0
        while at < len(parameters):
            sizes = []
            for _ in range(2):
                size = parameters[at]
                at += 1
                if size > 127:
                    size = (size & 127) << 24 | int.from_bytes(parameters[at : at + 3], "big")
                    at += 3
                sizes.append(size)
            name = parameters[at : at + sizes[0]]
            value = parameters[at + sizes[0] : at + sum(sizes)]
            at += sum(sizes)
            lines.append(name + b"=" + value)
        body = b"Content-Type: text/plain\r\n\r\n" + b"\n".join(lines)
        self.request.sendall(struct.pack(">BBHHBx", 1, 6, number, len(body), 0) + body)
        self.request.sendall(struct.pack(">BBHHBx", 1, 6, number, 0, 0))
        self.request.sendall(struct.pack(">BBHHBx", 1, 3, number, 8, 0) + bytes(8))


def test_fastcgi(world: NginxWorld) -> None:
    """The standard parameters, and those of a ConfigMap, with variables."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), FastCgi) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        php = backend("php", Endpoint("127.0.0.1", server.server_address[1]))
        more = Proxying(
            fastcgi_index="index.php", fastcgi_params=(("SCRIPT_FILENAME", "/app$fastcgi_script_name"), ("OWN", "a $"))
        )
        route = world.route("/", php, protocol=BackendProtocol.FCGI, proxying=more)
        assert world.apply(world.configuration([Host("a.example", (route,))], [php])).rejected == ()
        lines = world.ask("/x/?q=1", method="POST", body=b"abc").body.decode().splitlines()
        server.shutdown()
    expected = {
        "REQUEST_METHOD=POST",
        "QUERY_STRING=q=1",
        "SCRIPT_FILENAME=/app/x/index.php",
        "CONTENT_LENGTH=3",
        "OWN=a $",
    }
    assert expected <= set(lines)
