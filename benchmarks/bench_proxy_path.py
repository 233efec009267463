"""What a Service costs the packets: through a cluster IP against the pod's own address, with few Services and many.

A client and a pod, each in a network of its own, on one node that routes between them and whose proxy knows that many
Services; the one that is asked comes last. First packet is the time in which a TCP connection is made (median);
throughput is that of one connection. Everything ends with the processes that it was made for.

    benchmarks/bench_proxy_path.py [--mode nftables] [--services 10,10000]
"""

import argparse
import asyncio
import ctypes
import multiprocessing
import os
import resource
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from bench_proxy import service, slice_
from report import table
from sampan.api.core_v1 import Service, ServicePort, ServiceSpec
from sampan.api.discovery_v1 import EndpointConditions, EndpointPort
from sampan.api.meta_v1 import ObjectMeta
from sampan.client.config import Config
from sampan.proxy.backends.interface import BackendError
from sampan.proxy.backends.registry import BACKENDS
from sampan.proxy.metrics import Metrics
from sampan.proxy.objects import SERVICE_NAME, Slice, SliceEndpoint
from sampan.proxy.options import ProxyOptions
from sampan.proxy.syncer import Syncer
from sampan.proxy.tracker import Tracker

CLONE_NEWNET = 0x40000000
CLIENT, POD, CLUSTER_IP = "10.244.0.2", "10.244.0.3", "10.111.255.254"
PORT = 8080
CONNECTIONS = 400
SECONDS = 1.0
BLOCK = bytes(1 << 16)

Address = tuple[str, int]


@dataclass(frozen=True)
class Row:
    mode: str
    services: int
    to: str
    first_packet: float
    throughput: float


class Peer:
    """A process in a network of its own, joined to this one's, that does what it is told."""

    def __init__(self, name: str, ip: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=obey, args=(theirs,), daemon=True)
        self._process.start()
        self._pipe.recv()
        inside = f"nsenter -t {self._process.pid} -n ip"
        sh(f"ip link add {name} type veth peer name eth0 netns {self._process.pid}; ip link set {name} up")
        sh(f"ip addr add 10.244.0.1/32 dev {name}; {inside} addr add {ip}/32 dev eth0; {inside} link set eth0 up")
        sh(f"{inside} route add 10.244.0.1 dev eth0; {inside} route add default via 10.244.0.1 src {ip}")
        sh(f"ip route add {ip}/32 dev {name}")

    def ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        self._pipe.send((function, arguments))
        return self._pipe.recv()

    def end(self) -> None:
        self._process.terminate()


def sh(commands: str) -> None:
    subprocess.run(["sh", "-ec", commands], check=True)


def leave_network() -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), f"a network namespace: {os.strerror(ctypes.get_errno())}")


def obey(pipe: Connection) -> None:
    leave_network()
    pipe.send("here")
    while True:
        function, arguments = pipe.recv()
        pipe.send(function(*arguments))


# --- done by peers


def serve() -> None:
    """Take connections, and swallow what comes."""
    listener = socket.create_server((POD, PORT), backlog=1024)

    def swallow(connection: socket.socket) -> None:
        with connection:
            while connection.recv(1 << 18):
                pass

    def accept() -> None:
        while True:
            threading.Thread(target=swallow, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def first_packet(address: Address) -> float:
    taken = []
    for _ in range(CONNECTIONS):
        started = time.perf_counter()
        with socket.create_connection(address, timeout=5):
            taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def throughput(address: Address) -> float:
    """Bytes a second of one connection."""
    with socket.create_connection(address, timeout=5) as sock:
        sent, started = 0, time.perf_counter()
        while time.perf_counter() - started < SECONDS:
            sent += sock.send(BLOCK)
        return sent / (time.perf_counter() - started)


# --- the node


def asked() -> tuple[Service, Slice]:
    """The Service whose only endpoint is the pod."""
    meta = ObjectMeta(name="zz-asked", namespace="default")
    endpoint = SliceEndpoint(addresses=(POD,), conditions=EndpointConditions(ready=True), node_name="node-1")
    slice_of_it = Slice(
        metadata=ObjectMeta(name="zz-asked-1", namespace="default", labels={SERVICE_NAME: "zz-asked"}),
        address_type="IPv4",
        ports=(EndpointPort(name="http", port=PORT, protocol="TCP"),),
        endpoints=(endpoint,),
    )
    return Service(
        metadata=meta, spec=ServiceSpec(ports=(ServicePort(name="http", port=80),), cluster_ip=CLUSTER_IP)
    ), slice_of_it


async def measure(mode: str, services: int) -> list[Row]:
    options = ProxyOptions(
        node_name="node-1", node_ips=("10.2.2.10",), config=Config(server="https://unused"), mode=mode
    )
    tracker = Tracker("node-1", (4,), options.node_ips)
    for each, its_slice in [*((service(n), slice_(n, 1, 2)) for n in range(services - 1)), asked()]:
        tracker.service_changed(None, each)
        tracker.slice_changed(None, its_slice)
    backend = BACKENDS[mode](options, 4)
    if why := backend.is_supported():
        raise BackendError(why)
    syncer = Syncer(tracker, {4: backend}, Metrics())
    client, pod = Peer("client", CLIENT), Peer("pod", POD)
    try:
        if not await syncer.sync():
            raise BackendError(f"{mode} cannot have {services} Services here")
        pod.ask(serve)
        rows = []
        for to, address in (("the pod's own address", (POD, PORT)), ("the cluster IP", (CLUSTER_IP, 80))):
            latency = await asyncio.to_thread(client.ask, first_packet, address)
            rows.append(Row(mode, services, to, latency, await asyncio.to_thread(client.ask, throughput, address)))
        return rows
    finally:
        syncer.close()
        for peer in (client, pod):
            peer.end()


def node(pipe: Connection, mode: str, services: int) -> None:
    """Measure in a network that ends with this process."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    leave_network()
    sh("ip link set lo up; ip addr add 10.2.2.10/32 dev lo")
    sh("sysctl -qw net.ipv4.ip_forward=1")
    try:
        pipe.send(asyncio.run(measure(mode, services)))
    except BackendError as error:
        pipe.send(str(error))


def measured(mode: str, services: int) -> list[Row] | str:
    """Two rows, or why there are none."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=node, args=(theirs, mode, services))
    process.start()
    theirs.close()
    try:
        found: list[Row] | str = mine.recv()
    except EOFError:
        found = "the measurement failed"
    process.join()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=list(BACKENDS), action="append")
    parser.add_argument("--services", default="10,10000")
    given = parser.parse_args()
    rows: list[Row] = []
    for mode in given.mode or list(BACKENDS):
        for services in map(int, given.services.split(",")):
            found = measured(mode, services)
            if isinstance(found, str):
                print(f"{mode} with {services:,} Services: {found}")
            else:
                rows += found
    table(
        "A packet's way to a Service",
        ("mode", "services", "to", "first packet us", "throughput Gbit/s"),
        [(each.mode, each.services, each.to, each.first_packet * 1e6, each.throughput * 8 / 1e9) for each in rows],
    )


if __name__ == "__main__":
    main()
