"""What lives through reloads, deaths and refusals: connections, requests, the last good configuration."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from sampan.ingress.model import (
    Configuration,
    Filters,
    Host,
    HostTLS,
    PathType,
    Rewrite,
    Source,
    Stream,
)
from support.nginxworld import Echo, NginxWorld, ask, backend, certificate, free_port

pytestmark = pytest.mark.kernel


@pytest.fixture
def world() -> Iterator[NginxWorld]:
    with NginxWorld() as one:
        yield one


def simple(world: NginxWorld, *names: str, echo: Echo, **more: object) -> Configuration:
    web = backend("web", echo)
    return world.configuration([Host(name, (world.route("/", web),)) for name in names], [web], **more)  # type: ignore[arg-type]


class Tunnel(threading.Thread):
    """A backend that upgrades one connection and then echoes its bytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.start()

    @property
    def port(self) -> int:
        port: int = self.listener.getsockname()[1]
        return port

    def run(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self.listener.accept()
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
            while data := connection.recv(65536):
                connection.sendall(data)


def test_an_open_websocket_lives_through_reloads(world: NginxWorld) -> None:
    """Bytes flow both ways after three reloads; the old worker ends when the connection does."""
    from sampan.ingress.model import Endpoint

    tunnel = Tunnel()
    web = backend("web", Endpoint("127.0.0.1", tunnel.port))
    hosts = [Host("a.example", (world.route("/", web),))]
    world.apply(world.configuration(hosts, [web]))
    with socket.create_connection(("127.0.0.1", world.listeners.http), timeout=20) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a.example\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
        assert b" 101 " in client.recv(65536)
        for turn in range(3):
            more = [Host(f"new-{turn}.example", (world.route("/", web),))]
            assert world.apply(world.configuration(hosts + more, [web])).reloaded
            client.sendall(b"still there")
            assert client.recv(100) == b"still there"
        world.eventually(lambda: len(world.nginx.master.old_workers()) == 1)
    world.eventually(lambda: not world.nginx.master.old_workers())


def test_old_workers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the oldest is ended, with what it serves; the younger one lives."""
    from sampan.ingress.model import Endpoint
    from sampan.ingress.nginx import engine

    monkeypatch.setattr(engine, "OLD_GENERATIONS", 1)
    with NginxWorld(workers=1) as world, contextlib.ExitStack() as stack:
        clients = []
        for turn in range(3):
            tunnel = Tunnel()
            web = backend("web", Endpoint("127.0.0.1", tunnel.port))
            world.apply(world.configuration([Host(f"h{turn}.example", (world.route("/", web),))], [web]))
            client = stack.enter_context(socket.create_connection(("127.0.0.1", world.listeners.http), timeout=20))
            request = f"GET / HTTP/1.1\r\nHost: h{turn}.example\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n"
            client.sendall(request.encode())
            assert b" 101 " in client.recv(65536)
            clients.append(client)
        assert clients[0].recv(10) == b""
        clients[1].sendall(b"still there")
        assert clients[1].recv(100) == b"still there"


class Load(threading.Thread):
    """Asks without a pause on new connections; `failures` are answers other than 200."""

    def __init__(self, world: NginxWorld, host: str = "a.example", tls: bool = False) -> None:
        super().__init__(daemon=True)
        self.world, self.host, self.tls = world, host, tls
        self.count, self.failures, self.ends = 0, list[object](), threading.Event()
        self.start()

    def run(self) -> None:
        while not self.ends.is_set():
            try:
                status: object = self.world.ask("/", self.host, tls=self.tls).status
            except (OSError, http.client.HTTPException) as error:
                status = error
            self.count += 1
            if status != 200:
                self.failures.append(status)

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        self.ends.set()
        self.join(30)


def test_no_request_fails_while_things_change(world: NginxWorld) -> None:
    """Under load: hosts come, endpoints are replaced and refuse connections, certificates change."""
    first, second = world.echo(), world.echo()
    made = [certificate("default/own", "a.example")[0] for _ in range(2)]

    def configuration(turn: int) -> Configuration:
        web = backend("web", (first, second)[turn % 2])
        hosts = [Host("a.example", (world.route("/", web),), tls=HostTLS("default/own"))]
        hosts += [Host(f"h{n}.example", (world.route("/", web),)) for n in range(turn // 2)]
        return world.configuration(hosts, [web], certificates=[made[turn // 4 % 2]])

    world.apply(configuration(0))
    with Load(world) as plain, Load(world, tls=True) as secure:
        for turn in range(1, 13):
            world.apply(configuration(turn))
            world.eventually(
                lambda before=plain.count, tls=secure.count: plain.count > before + 3 and secure.count > tls
            )
    assert world.nginx.reloads >= 6
    assert (plain.failures, secure.failures) == ([], [])
    assert min(plain.count, secure.count) > 12


def test_killed_workers_are_replaced_and_know_everything(world: NginxWorld) -> None:
    """What was pushed is in shared memory: a new worker has it."""
    old, new = world.echo(), world.echo()
    world.apply(simple(world, "a.example", echo=old))
    world.apply(simple(world, "a.example", echo=new))
    before = world.nginx.master.workers()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    world.eventually(lambda: len(world.nginx.master.workers() - before) == world.workers)
    assert {world.ask("/").seen["port"] for _ in range(6)} == {new.server_port}


def test_a_killed_master_is_replaced(world: NginxWorld) -> None:
    """A new one serves what the old one did; its orphaned workers leave."""
    echo = world.echo()
    world.apply(simple(world, "a.example", echo=echo))
    master, workers = world.nginx.pid, world.nginx.master.workers()
    os.kill(master, signal.SIGKILL)
    world.eventually(lambda: world.nginx.pid not in (0, master) and world.nginx.master.is_alive())
    world.eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in workers))
    world.eventually(lambda: world.nginx.master.workers())
    assert world.ask("/").seen["port"] == echo.server_port


def test_a_new_controller_takes_over(world: NginxWorld) -> None:
    """nginx serves on without its controller; the next one changes it without a restart."""
    old, new = world.echo(), world.echo()
    world.apply(simple(world, "a.example", echo=old))
    master, workers = world.nginx.pid, world.nginx.master.workers()
    world.run(world.nginx.detach())
    assert world.ask("/").seen["port"] == old.server_port
    world.nginx = world.new_controller()
    assert world.nginx.pid == master
    applied = world.apply(simple(world, "a.example", echo=new))
    assert applied.reloaded is False
    assert world.nginx.master.workers() == workers
    assert world.ask("/").seen["port"] == new.server_port


# --- refusals


def bad(world: NginxWorld, name: str, source: str) -> Host:
    """A host that nginx refuses: a path whose expression does not compile."""
    route = world.route("/x((", backend("web"), PathType.REGEX, ingress=source)
    return Host(name, (route,), source=Source("default", source))


def test_a_refused_host_takes_no_other_down(world: NginxWorld) -> None:
    """At the start and later; the object is named with nginx's reason; all others change as asked."""
    echo = world.echo()
    applied = world.apply(replace_hosts(simple(world, "a.example", echo=echo), bad(world, "bad.example", "wrong")))
    assert [source.name for source, _ in applied.rejected] == ["wrong"]
    assert "regular expression" in applied.rejected[0][1] or "pcre" in applied.rejected[0][1]
    assert world.ask("/").status == 200
    assert world.ask("/", "bad.example").status == 404
    grown = simple(world, "a.example", "b.example", echo=echo)
    applied = world.apply(replace_hosts(grown, bad(world, "bad.example", "wrong")))
    assert [source.name for source, _ in applied.rejected] == ["wrong"]
    assert world.ask("/", "b.example").status == 200
    assert world.apply(simple(world, "a.example", "b.example", echo=echo)).rejected == ()


def replace_hosts(configuration: Configuration, *hosts: Host) -> Configuration:
    return replace(configuration, hosts=(*configuration.hosts, *hosts))


def test_a_refused_part_of_a_host_stays_as_it_was(world: NginxWorld) -> None:
    """Two objects share a host: what is wrong in one keeps its old routes, and the other's change is served."""
    one, other = world.echo(), world.echo()
    web, new = backend("web", one), backend("new", other)
    good = world.route("/left", web, ingress="left"), world.route("/right", web, ingress="right")
    world.apply(world.configuration([Host("a.example", good)], [web, new]))
    broken = replace(good[0], filters=Filters(rewrite=Rewrite("/x", "$9\0")))
    changed = (broken, world.route("/right", new, ingress="right"))
    applied = world.apply(world.configuration([Host("a.example", changed)], [web, new]))
    assert {source.name for source, _ in applied.rejected} == {"left"}
    assert world.ask("/left").seen["port"] == one.server_port
    assert world.ask("/right").seen["port"] == other.server_port


def test_refused_settings_stay_as_they_were(world: NginxWorld) -> None:
    echo = world.echo()
    world.apply(simple(world, "a.example", echo=echo))
    wrong = simple(world, "a.example", "b.example", echo=echo, settings={"http-snippet": "no_such_directive on;"})
    applied = world.apply(wrong)
    assert [source.kind for source, _ in applied.rejected] == ["ConfigMap"]
    assert "no_such_directive" in applied.rejected[0][1]
    assert world.ask("/", "b.example").status == 200


def test_a_port_that_is_taken_stops_only_its_stream(world: NginxWorld) -> None:
    echo = world.echo()
    web = backend("web", echo)
    configuration = simple(world, "a.example", echo=echo)
    world.apply(configuration)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        stream = Stream(taken.getsockname()[1], "TCP", web.name)
        applied = world.apply(replace(replace_hosts(configuration), streams=(stream,)))
    assert len(applied.rejected) == 1
    assert "Address already in use" in applied.rejected[0][1] or "still could not bind" in applied.rejected[0][1]
    assert world.ask("/").status == 200


# --- streams


def test_tcp_streams_lead_to_a_service(world: NginxWorld) -> None:
    """New endpoints are taken, open streams live on, and a stream that goes closes its port."""
    one, other = world.echo(), world.echo()
    port = free_port()

    def configuration(echo: Echo, *streams: Stream) -> Configuration:
        return replace(simple(world, "a.example", echo=echo), streams=streams)

    def through() -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.connect()
        return connection

    stream = Stream(port, "TCP", "default/web/80")
    assert world.apply(configuration(one, stream)).rejected == ()
    with contextlib.closing(through()) as kept:
        assert ask(kept, "/", "x").seen["port"] == one.server_port
        world.apply(configuration(other, stream))
        assert ask(kept, "/", "x").seen["port"] == one.server_port
        with contextlib.closing(through()) as fresh:
            assert ask(fresh, "/", "x").seen["port"] == other.server_port
    world.apply(configuration(other))
    with pytest.raises(OSError):
        through()


def test_udp_streams_lead_to_a_service(world: NginxWorld) -> None:
    from sampan.ingress.model import Endpoint

    echo = world.echo()
    with socket.socket(type=socket.SOCK_DGRAM) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
        server.bind(("127.0.0.1", 0))
        server.settimeout(20)
        client.settimeout(20)
        dns = backend("dns", Endpoint("127.0.0.1", server.getsockname()[1]))
        port = free_port()
        configuration = simple(world, "a.example", echo=echo)
        configuration = replace(
            configuration, backends={**configuration.backends, dns.name: dns}, streams=(Stream(port, "UDP", dns.name),)
        )
        assert world.apply(configuration).rejected == ()
        client.sendto(b"question", ("127.0.0.1", port))
        question, sender = server.recvfrom(100)
        server.sendto(question + b"!", sender)
        assert client.recv(100) == b"question!"


def test_tls_passes_through_by_name(world: NginxWorld) -> None:
    """One host's TLS ends at its backend; the others' ends here, and the client's address is known there."""
    import ssl

    from sampan.ingress.model import Passthrough

    made, _ = certificate("x", "backend.internal")
    (world.directory / "crt").write_bytes(made.certificate)
    (world.directory / "key").write_bytes(made.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(world.directory / "crt", world.directory / "key")
    web, secure = backend("web", world.echo()), backend("secure", world.echo(context))
    source = Source("default", "web")
    hosts = [
        Host("a.example", (world.route("/", web),), tls=HostTLS()),
        Host("through.example", (world.route("/", web),), passthrough=Passthrough(secure.name, source)),
    ]
    assert world.apply(world.configuration(hosts, [web, secure])).rejected == ()
    passed, ended = world.ask("/", "through.example", tls=True), world.ask("/", tls=True)
    assert passed.seen["port"] == secure.endpoints[0].port
    assert passed.certificate == ssl.PEM_cert_to_DER_cert(made.certificate.decode())
    assert ended.seen["port"] == web.endpoints[0].port
    assert ended.seen["headers"]["x-real-ip"] == "127.0.0.1"
    assert world.apply(world.configuration(hosts[:1], [web])).rejected == ()
    assert world.ask("/", tls=True).status == 200


def test_a_new_host_answers_before_the_reload_that_brings_it(
    world: NginxWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shared memory has its routes, its certificate and its redirect; the reload only makes it lasting."""
    one, other = world.echo(), world.echo()
    own, _ = certificate("default/new", "new.example")
    web, deep = backend("web", one), backend("deep", other)
    old = Host("a.example", (world.route("/", web),))
    world.apply(world.configuration([old], [web, deep]))
    routes = (
        world.route("/app", web), world.route("/app/deep", deep), world.route("/only", deep, PathType.EXACT),
    )  # fmt: skip
    routes = tuple(replace(route, filters=Filters(https_redirect=route is routes[2])) for route in routes)
    new = Host("new.example", routes, tls=HostTLS("default/new"))
    seen: list[object] = []

    async def held(*_: object) -> None:
        import asyncio

        def look() -> list[object]:
            found: list[object] = []
            for path in ("/app", "/app/x", "/app/deep/er", "/application", "/only", "/only/"):
                answer = world.ask(path, "new.example")
                found.append(answer.seen["port"] if answer.status == 200 else answer.status)
            found.append(world.ask("/app", "new.example", tls=True).certificate)
            return found

        seen.extend(await asyncio.to_thread(look))

    monkeypatch.setattr(world.nginx.master, "reload", held)
    world.apply(world.configuration([old, new], [web, deep], certificates=[own]))
    import ssl

    der = ssl.PEM_cert_to_DER_cert(own.certificate.decode())
    ports = one.server_port, other.server_port
    assert seen == [ports[0], ports[0], ports[1], 404, 308, 404, der]
