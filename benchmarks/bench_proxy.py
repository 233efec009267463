"""How fast a proxy mode brings Services into the kernel, and what it costs: a table, in a throw-away network namespace.

Cold is the first sync after the informers have everything; restart is the first sync of another proxy over the rules of
the first; one change is an endpoint added to or removed from one Service, from the event to the committed rules
(median). Memory is the peak of the whole process, objects included. Where this machine's kernel has no IPVS, that mode
is measured in user-mode Linux, in a table of its own: everything is slower there.

    benchmarks/bench_proxy.py [--mode MODE] [--sizes 1000x10,5000x50,10000x10]
"""

import argparse
import asyncio
import ctypes
import gc
import multiprocessing
import os
import resource
import shlex
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from report import table
from sampan.api.core_v1 import Service, ServicePort, ServiceSpec
from sampan.api.discovery_v1 import EndpointConditions, EndpointPort
from sampan.api.meta_v1 import ObjectMeta
from sampan.client.config import Config
from sampan.kernel import ipvs
from sampan.proxy.backends.interface import BackendError
from sampan.proxy.backends.registry import BACKENDS
from sampan.proxy.metrics import Metrics
from sampan.proxy.objects import SERVICE_NAME, Slice, SliceEndpoint
from sampan.proxy.options import ProxyOptions
from sampan.proxy.syncer import Syncer
from sampan.proxy.tracker import Tracker
from support import uml

SIZES = "1000x10,5000x50,10000x10"
CHANGES = 40
GUEST_SECONDS = 900.0
CLONE_NEWNET = 0x40000000
READY = EndpointConditions(ready=True, serving=True, terminating=False)


@dataclass(frozen=True)
class Row:
    mode: str
    services: int
    endpoints: int
    cold: float
    restart: float
    change: float
    memory: int


def service(number: int) -> Service:
    ip = f"10.{96 + number // 62500}.{number // 250 % 250}.{number % 250 + 1}"
    return Service(
        metadata=ObjectMeta(name=f"svc-{number}", namespace="default"),
        spec=ServiceSpec(ports=(ServicePort(name="http", port=80),), cluster_ip=ip),
    )


def slice_(number: int, count: int, stride: int) -> Slice:
    """The slice of one Service with `count` endpoints, on three nodes in turn."""
    first = number * stride
    return Slice(
        metadata=ObjectMeta(name=f"svc-{number}-1", namespace="default", labels={SERVICE_NAME: f"svc-{number}"}),
        address_type="IPv4",
        ports=(EndpointPort(name="http", port=8080, protocol="TCP"),),
        endpoints=tuple(
            SliceEndpoint(
                addresses=(f"10.{128 + each // 62500}.{each // 250 % 250}.{each % 250 + 1}",),
                conditions=READY,
                node_name=f"node-{each % 3 + 1}",
            )
            for each in range(first, first + count)
        ),
    )


async def measure(mode: str, services: int, endpoints: int) -> Row:
    options = ProxyOptions(
        node_name="node-1", node_ips=("10.2.2.10",), config=Config(server="https://unused"), mode=mode
    )

    if why := BACKENDS[mode](options, 4).is_supported():
        raise BackendError(why)

    def fresh() -> tuple[Tracker, Syncer]:
        tracker = Tracker("node-1", (4,), options.node_ips)
        return tracker, Syncer(tracker, {4: BACKENDS[mode](options, 4)}, Metrics())

    objects = [(service(number), slice_(number, endpoints, endpoints + 1)) for number in range(services)]
    times = []
    for round_ in range(2):
        tracker, syncer = fresh()
        for each, its_slice in objects:
            tracker.service_changed(None, each)
            tracker.slice_changed(None, its_slice)
        gc.collect()
        started = time.perf_counter()
        if not await syncer.sync():
            raise BackendError(f"{mode} cannot have {services} Services here")
        times.append(time.perf_counter() - started)
        if round_ == 0:
            syncer.close()
    change = await measure_changes(tracker, syncer, services, endpoints)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    syncer.close()
    return Row(mode, services, endpoints, times[0], times[1], change, memory)


async def measure_changes(tracker: Tracker, syncer: Syncer, services: int, endpoints: int) -> float:
    taken = []
    for number in range(CHANGES):
        which = number * 7 % services
        before = slice_(which, endpoints, endpoints + 1)
        after = slice_(which, endpoints + 1, endpoints + 1)
        for old, new in ((before, after), (after, before)):
            started = time.perf_counter()
            tracker.slice_changed(old, new)
            assert await syncer.sync()
            taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def child(pipe: Connection, mode: str, services: int, endpoints: int) -> None:
    """Measure in a network namespace that ends with this process."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        pipe.send(f"cannot make a network namespace: {os.strerror(ctypes.get_errno())}")
        return
    subprocess.run(["sh", "-ec", "ip link set lo up; ip addr add 10.2.2.10/32 dev lo"], check=True)
    try:
        pipe.send(asyncio.run(measure(mode, services, endpoints)))
    except BackendError as error:
        pipe.send(str(error))


def measured(mode: str, services: int, endpoints: int) -> Row | str:
    """One row, or why there is none; measured in a process of its own, so that memory is that row's alone."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=child, args=(theirs, mode, services, endpoints))
    process.start()
    theirs.close()
    try:
        row: Row | str = mine.recv()
    except EOFError:
        row = "the measurement failed"
    process.join()
    return row


def in_guest(sizes: str) -> str:
    """What this program prints of the ipvs mode on a kernel that has IPVS."""
    again = (
        f"PYTHONPATH=tests exec {sys.executable} {Path(__file__).resolve()} --mode ipvs --sizes {shlex.quote(sizes)}"
    )
    return uml.run(again, seconds=GUEST_SECONDS, memory="4G").output


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=list(BACKENDS), action="append")
    parser.add_argument("--sizes", default=SIZES)
    given = parser.parse_args()
    sizes = [tuple(map(int, each.split("x"))) for each in given.sizes.split(",")]
    rows: list[Row] = []
    for mode in given.mode or list(BACKENDS):
        if mode == "ipvs" and not ipvs.loaded() and not uml.missing():
            print("\nipvs, in user-mode Linux:", in_guest(given.sizes), sep="\n")
            continue
        for services, endpoints in sizes:
            row = measured(mode, services, endpoints)
            if isinstance(row, Row):
                rows.append(row)
            else:
                print(f"{mode} with {services:,} Services of {endpoints} endpoints: {row}")
    if rows:
        show(rows)


def show(rows: list[Row]) -> None:
    table(
        "Services into the kernel",
        ("mode", "services", "endpoints each", "cold s", "restart s", "one change ms", "peak MB"),
        [
            (each.mode, each.services, each.endpoints, each.cold, each.restart, each.change * 1000, each.memory)
            for each in rows
        ],
    )


if __name__ == "__main__":
    main()
