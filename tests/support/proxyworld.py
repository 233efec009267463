"""A node, its pods, another node and an outsider as network namespaces, with endpoints that say who they are.

    pod, local-1, local-2 ──veth── node ──veth── lan (other node, its pod `remote`, an outside client)

Sockets are made inside a namespace and used from the test's own thread: a socket stays where it was born.
"""

import asyncio
import os
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from sampan.kernel import sysctl
from sampan.kernel.netns import run_in

T = TypeVar("T")

PORT = 8080
OTHER_PORT = 9090
TYPES = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM, "SCTP": socket.SOCK_STREAM}
NUMBERS = {"TCP": 0, "UDP": 0, "SCTP": 132}

NODE = {4: "10.2.2.10", 6: "fd00:2::10"}
PODS = {
    "pod": {4: "10.244.0.5", 6: "fd00:244::5"},
    "local-1": {4: "10.244.0.11", 6: "fd00:244::11"},
    "local-2": {4: "10.244.0.12", 6: "fd00:244::12"},
}
LAN = {
    "other-node": {4: "10.2.2.11", 6: "fd00:2::11"},
    "outside": {4: "10.2.2.100", 6: "fd00:2::100"},
    "remote": {4: "10.244.1.11", 6: "fd00:244:1::11"},
}
ADDRESSES = {**PODS, **LAN, "node": NODE}

RESEND_SECONDS = 1.0
"""How long a datagram's answer is waited for before it is sent again."""

ALL = {4: "0.0.0.0/0", 6: "::/0"}
NO_WAITING = {"net/ipv6/conf/default/accept_dad": 0}
ROUTER = {
    "net/ipv4/ip_forward": 1, "net/ipv6/conf/all/forwarding": 1,
    "net/ipv4/icmp_ratelimit": 0, "net/ipv6/icmp/ratelimit": 0,
}  # fmt: skip
"""The kernel refuses a client only so many times a second unless told otherwise; tests refuse more."""


@dataclass
class World:
    """The namespaces by name, and how to act in them."""

    names: dict[str, str]
    stop: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    def path(self, who: str) -> str:
        return f"/run/netns/{self.names.get(who, self.names['lan'])}"

    def inside(self, who: str, function: Callable[[], T]) -> T:
        return run_in(self.path(who), function)

    def sh(self, who: str, command: str) -> str:
        name = self.names.get(who, self.names["lan"])
        done = subprocess.run(
            ["ip", "netns", "exec", name, "sh", "-ec", command], check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        return done.stdout

    def count_leaving(self, address: str) -> int:
        """How many packets to that address have left the node for the lan since this was first asked."""
        table = "table ip watch { set seen { type ipv4_addr; flags dynamic; counter; size 100; };"
        rule = "chain in { type filter hook prerouting priority -400; update @seen { ip daddr }; }; }"
        if "watch" not in self.sh("lan", "nft list tables"):
            self.sh("lan", f"nft '{table} {rule}'")
        listed = self.sh("lan", "nft list set ip watch seen")
        found = re.search(rf"{re.escape(address)} counter packets (\d+)", listed)
        return int(found[1]) if found else 0

    def on_node(self, coroutine: Callable[[], "asyncio.Future[T]"]) -> T:
        """Run a coroutine with the node's network."""
        return self.inside("node", lambda: asyncio.run(coroutine()))

    def connect(
        self, client: str, address: tuple[str, int], protocol: str = "TCP", timeout: float = 10.0
    ) -> socket.socket:
        """A connected socket of that client. Raises ConnectionRefusedError, TimeoutError."""
        family = 6 if ":" in address[0] else 4
        code = socket.AF_INET6 if family == 6 else socket.AF_INET
        sock = self.inside(client, lambda: socket.socket(code, TYPES[protocol], NUMBERS[protocol]))
        sock.settimeout(timeout)
        try:
            if client in LAN:
                sock.bind((LAN[client][family], 0))
            sock.connect(address)
        except BaseException:
            sock.close()
            raise
        return sock

    def ask(
        self, client: str, address: tuple[str, int], protocol: str = "TCP", timeout: float = 10.0
    ) -> tuple[str, str]:
        """Who answered, and which source address it saw."""
        with self.connect(client, address, protocol, timeout) as sock:
            return self.ask_again(sock)

    @staticmethod
    def ask_again(sock: socket.socket) -> tuple[str, str]:
        answer = _answer_to_datagrams(sock) if sock.type == socket.SOCK_DGRAM else _answer_to(sock)
        name, _, source = answer.decode().partition(" ")
        return name, source

    def serve(self, who: str, family: int, protocol: str, port: int = PORT) -> socket.socket:
        """Let that endpoint answer every message with its name and the client's address."""
        code = socket.AF_INET6 if family == 6 else socket.AF_INET

        def listening() -> socket.socket:
            sock = socket.socket(code, TYPES[protocol], NUMBERS[protocol])
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((ADDRESSES[who][family], port))
            if protocol != "UDP":
                sock.listen(128)
            return sock

        sock = self.inside(who, listening)
        target = _answer_datagrams if protocol == "UDP" else _answer_connections
        thread = threading.Thread(target=target, args=(sock, who, self.stop), daemon=True)
        thread.start()
        self.threads.append(thread)
        return sock


def _answer_to(sock: socket.socket) -> bytes:
    with suppress(PermissionError):  # what a local sender gets for a dropped packet; an ICMP error may follow
        sock.send(b"who?")
    return sock.recv(200)


def _answer_to_datagrams(sock: socket.socket) -> bytes:
    """The answer to a question that is asked again after a while: any one datagram may get lost on a busy machine."""
    timeout = sock.gettimeout() or 0.0
    try:
        sock.settimeout(0)
        with suppress(BlockingIOError):
            while sock.recv(200):  # what came late to a question that was asked twice
                pass
        sock.settimeout(min(timeout, RESEND_SECONDS))
        with suppress(TimeoutError):
            return _answer_to(sock)
        if timeout <= RESEND_SECONDS:
            raise TimeoutError("no answer")
        sock.settimeout(timeout - RESEND_SECONDS)
        return _answer_to(sock)
    finally:
        sock.settimeout(timeout)


def _answer_datagrams(sock: socket.socket, who: str, stop: threading.Event) -> None:
    sock.settimeout(0.2)
    while not stop.is_set():
        with suppress(TimeoutError):
            _, client = sock.recvfrom(200)
            sock.sendto(f"{who} {client[0]}".encode(), client)
    sock.close()


def _answer_connections(sock: socket.socket, who: str, stop: threading.Event) -> None:
    sock.settimeout(0.2)
    while not stop.is_set():
        with suppress(TimeoutError):
            connection, client = sock.accept()
            threading.Thread(target=_answer, args=(connection, who, client[0]), daemon=True).start()
    sock.close()


def _answer(connection: socket.socket, who: str, client: str) -> None:
    with connection, suppress(OSError):
        while connection.recv(200):
            connection.send(f"{who} {client}".encode())


def has_sctp() -> bool:
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132):
        return True
    return False


@contextmanager
def world() -> Iterator[World]:
    """A world of fresh namespaces, taken down afterwards."""
    prefix = f"sp-{os.getpid()}-"
    made = World({name: prefix + name for name in ("node", "lan", *PODS)})
    try:
        _ip("", [f"netns add {name}" for name in made.names.values()])
        _wire(made)
        for who in ("local-1", "local-2", "remote"):
            for family in (4, 6):
                for protocol in ("TCP", "UDP", *(["SCTP"] if has_sctp() else [])):
                    made.serve(who, family, protocol)
        yield made
    finally:
        made.stop.set()
        for thread in made.threads:
            thread.join(2)
        _ip("", [f"netns delete {name}" for name in made.names.values()], check=False)


def _wire(made: World) -> None:
    """All addresses and routes, by one command for each namespace: processes are what takes time."""
    for name in made.names:
        settings = NO_WAITING | (ROUTER if name == "node" else {})
        made.inside(name, partial(sysctl.write_all, settings))
    lines = {name: ["link set lo up"] for name in made.names}
    lines["lan"] += [f"link add eth0 type veth peer name eth0 netns {made.names['node']}", "link set eth0 up"]
    for name, addresses in PODS.items():
        _wire_pod(made, name, addresses, lines)
    for who, addresses in LAN.items():
        bits, device = ((32, 128), "lo") if who == "remote" else ((24, 64), "eth0")
        lines["lan"] += [
            f"addr add {addresses[4]}/{bits[0]} dev {device}",
            f"addr add {addresses[6]}/{bits[1]} dev {device} nodad",
        ]
    lines["node"] += [f"addr add {NODE[4]}/24 dev eth0", f"addr add {NODE[6]}/64 dev eth0 nodad", "link set eth0 up"]
    lines["node"] += [f"route add {ALL[family]} via {LAN['other-node'][family]}" for family in (4, 6)]
    lines["lan"] += [f"route add {ALL[family]} via {NODE[family]}" for family in (4, 6)]
    for name in ("lan", "node", *PODS):  # who makes a pair of interfaces comes before who has its other end
        _ip(made.names[name], lines[name])


def _wire_pod(made: World, name: str, addresses: dict[int, str], lines: dict[str, list[str]]) -> None:
    lines["node"] += [
        f"link add v-{name} type veth peer name eth0 netns {made.names[name]}",
        f"link set v-{name} up",
        f"addr add 10.244.0.1/32 dev v-{name}",
        f"addr add fe80::1/64 dev v-{name} nodad",
        f"route add {addresses[4]}/32 dev v-{name}",
        f"route add {addresses[6]}/128 dev v-{name}",
    ]
    lines[name] += [
        f"addr add {addresses[4]}/32 dev eth0",
        f"addr add {addresses[6]}/128 dev eth0 nodad",
        "link set eth0 up",
        "route add 10.244.0.1 dev eth0",
        f"route add {ALL[4]} via 10.244.0.1",
        f"route add {ALL[6]} via fe80::1 dev eth0",
    ]


def _ip(network: str, lines: Iterable[str], *, check: bool = True) -> None:
    """Have ip(8) obey all lines, in a network namespace if one is given."""
    command = ["ip", *(["-n", network] if network else []), *([] if check else ["-force"]), "-batch", "-"]
    done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, done.stderr
