"""How fast cluster DNS answers, beside DNS servers that have the same names in their configuration; and what it costs.

Every server runs alone on one core, in its default configuration but for one worker and the names; dnsperf has another
core. `hanging` is the same load while every tenth query goes to a resolver that never answers: the rate of the
cluster's names is shown. Memory is the resident set after the load; of `sampan dns` also with 5,000 Services of 50
endpoints each, from a scripted API server.

    benchmarks/bench_dns.py [--seconds 5] [--services 1000]
"""

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import uvloop

from report import table
from sampan.http.messages import Response
from sampan.http.server import Request, serve

HOST = "127.0.0.1"
DOMAIN = "cluster.local"
COREFILE = """\
.:{port} {{
    errors
    kubernetes {domain} in-addr.arpa ip6.arpa {{
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }}
    forward . {upstream} {{
       max_concurrent 1000
       failfast_all_unhealthy_upstreams
    }}
    cache 30
    loop
    reload
    loadbalance
}}
"""
"""The default, but for the ports of health, ready and prometheus."""
SERVER_CORE, LOAD_CORE = 0, 1
RATE = re.compile(r"Queries per second:\s+([\d.]+)")
LATENCY = re.compile(r"Average Latency \(s\):\s+([\d.]+)")
LOST = re.compile(r"Queries lost:\s+\d+ \(([\d.]+)%\)")


def address_of(number: int) -> str:
    return f"10.{96 + number // 62500}.{number // 250 % 250}.{number % 250 + 1}"


def name_of(number: int) -> str:
    return f"svc-{number}.default.svc.{DOMAIN}"


# --- a scripted API server


def services(count: int) -> list[object]:
    return [
        {
            "metadata": {"name": f"svc-{n}", "namespace": "default", "uid": str(n), "resourceVersion": "1"},
            "spec": {
                "clusterIP": address_of(n),
                "clusterIPs": [address_of(n)],
                "ports": [{"name": "http", "port": 80}],
            },
        }
        for n in range(count)
    ]


def slices(count: int, endpoints: int) -> list[object]:
    def endpoint(service: int, number: int) -> object:
        pod = {"kind": "Pod", "namespace": "default", "name": f"svc-{service}-6d4b75cb6d-{number:05}", "uid": "x" * 36}
        conditions = {"ready": True, "serving": True, "terminating": False}
        address = f"10.{128 + service // 256}.{service % 256}.{number + 1}"
        return {"addresses": [address], "conditions": conditions, "nodeName": "node-1", "targetRef": pod}

    return [
        {
            "metadata": {
                "name": f"svc-{n}-abcde", "namespace": "default", "uid": str(n), "resourceVersion": "1",
                "labels": {"kubernetes.io/service-name": f"svc-{n}"}, "generateName": f"svc-{n}-",
            },
            "addressType": "IPv4",
            "endpoints": [endpoint(n, number) for number in range(endpoints)],
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        }
        for n in range(count)
    ]  # fmt: skip


def api_server(count: int, endpoints: int, port: int) -> None:
    """Lists Services and EndpointSlices, in pages where asked to; watches never say anything."""
    namespace = {"metadata": {"name": "default", "resourceVersion": "1"}}
    lists = {"services": services(count), "endpointslices": slices(count, endpoints), "namespaces": [namespace]}

    async def handle(request: Request) -> Response | None:
        if request.query.flag("watch"):
            await request.stream(200, {"Content-Type": "application/json"})
            await asyncio.Event().wait()
        items = lists.get(request.path.rpartition("/")[2], [])
        start, limit = int(request.query.get("continue") or 0), int(request.query.get("limit") or 0) or len(items)
        more = str(start + limit) if start + limit < len(items) else ""
        body = {"metadata": {"resourceVersion": "1", "continue": more}, "items": items[start : start + limit]}
        return Response(200, msgspec.json.encode(body))

    async def main() -> None:
        await serve(handle, host=HOST, port=port)
        await asyncio.Event().wait()

    uvloop.run(main())


# --- the servers


@dataclass(frozen=True)
class Contender:
    name: str
    command: Callable[[Path, int, int], list[str]]
    """From a directory, a port and the number of names."""
    program: str = ""


def sampan(directory: Path, port: int, count: int) -> list[str]:
    kubeconfig = (directory / "kubeconfig").as_posix()
    command = [str(Path(sys.executable).parent / "sampan"), "dns", "--kubeconfig", kubeconfig]
    return [*command, "--conf", str(directory / "Corefile")]


def unbound(directory: Path, port: int, count: int) -> list[str]:
    data = "".join(f'  local-data: "{name_of(n)}. 30 IN A {address_of(n)}"\n' for n in range(count))
    (directory / "unbound.conf").write_text(
        f"server:\n  interface: {HOST}@{port}\n  num-threads: 1\n  username: ''\n  chroot: ''\n  use-syslog: no\n"
        f"  do-daemonize: no\n  pidfile: ''\n  directory: {directory}\n  auto-trust-anchor-file: ''\n"
        f"  module-config: iterator\n  local-zone: {DOMAIN} static\n{data}remote-control:\n  control-enable: no\n"
    )
    return ["unbound", "-d", "-c", str(directory / "unbound.conf")]


def knot(directory: Path, port: int, count: int) -> list[str]:
    zone = directory / f"{DOMAIN}.zone"
    records = "".join(f"{name_of(n)}. 30 A {address_of(n)}\n" for n in range(count))
    zone.write_text(f"{DOMAIN}. 30 SOA ns.{DOMAIN}. admin.{DOMAIN}. 1 1 1 1 1\n{DOMAIN}. 30 NS ns.{DOMAIN}.\n{records}")
    (directory / "knot.conf").write_text(
        f"server:\n  listen: {HOST}@{port}\n  rundir: {directory}\n  udp-workers: 1\n  tcp-workers: 1\n"
        f"  background-workers: 1\ndatabase:\n  storage: {directory}\n"
        f"zone:\n  - domain: {DOMAIN}\n    file: {zone}\n    zonefile-sync: -1\n"
    )
    return ["knotd", "-c", str(directory / "knot.conf")]


def dnsmasq(directory: Path, port: int, count: int) -> list[str]:
    hosts = directory / "hosts"
    hosts.write_text("".join(f"{address_of(n)} {name_of(n)}\n" for n in range(count)))
    hosts.chmod(0o644)
    options = ["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--bind-interfaces"]
    return ["dnsmasq", *options, f"--addn-hosts={hosts}", f"--port={port}", f"--listen-address={HOST}", "--user=root"]


CONTENDERS = (
    Contender("sampan dns", sampan),
    Contender("unbound", unbound, "unbound"),
    Contender("knot", knot, "knotd"),
    Contender("dnsmasq", dnsmasq, "dnsmasq"),
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(command: list[str], port: int) -> Iterator[int]:
    """The process id of a server that answers."""
    pinned = ["taskset", "--cpu-list", str(SERVER_CORE), *command]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(pinned, stdout=subprocess.DEVNULL, stderr=log)
        try:
            if not answers(process, port):
                log.seek(0)
                raise SystemExit(f"{' '.join(command)} does not answer: {log.read()[-500:]}")
            yield process.pid
        finally:
            process.terminate()
            process.wait(20)


def answers(process: "subprocess.Popen[bytes]", port: int) -> bool:
    """Whether a server answers before it ends or patience does."""
    query = bytes.fromhex("000101000001000000000000") + b"\x05svc-0\x07default\x03svc\x07cluster\x05local\0\0\1\0\1"
    deadline = time.monotonic() + 60
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.2)
        while time.monotonic() < deadline:
            if process.poll() is not None:
                return False
            with contextlib.suppress(OSError):
                client.sendto(query, (HOST, port))
                if client.recv(512)[7] == 1:
                    return True
                time.sleep(0.05)
    return False


def wait_until_open(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit("the scripted API server does not listen")


def dnsperf(queries: Path, port: int, seconds: int, *more: str) -> tuple[float, float, float]:
    """Queries a second, average latency in milliseconds, per cent lost."""
    command = ["taskset", "--cpu-list", str(LOAD_CORE), "dnsperf", "-s", HOST, "-p", str(port), "-d", str(queries)]
    done = subprocess.run([*command, "-l", str(seconds), *more], capture_output=True, text=True, check=True)
    rate, latency, lost = (pattern.search(done.stdout) for pattern in (RATE, LATENCY, LOST))
    return float(rate[1]) if rate else 0, float(latency[1]) * 1000 if latency else 0, float(lost[1]) if lost else 0


def memory(pid: int) -> float:
    """The resident set, in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


# --- the runs


def write_sampan(directory: Path, port: int, api: int, upstream: int) -> None:
    (directory / "Corefile").write_text(COREFILE.format(domain=DOMAIN, port=port, upstream=f"{HOST}:{upstream}"))
    (directory / "kubeconfig").write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\n"
        f"clusters: [{{name: x, cluster: {{server: 'http://{HOST}:{api}'}}}}]\n"
        "users: [{name: x, user: {}}]\ncontexts: [{name: x, context: {cluster: x, user: x}}]\n"
    )


def compare(directory: Path, count: int, seconds: int) -> Iterator[tuple[object, ...]]:
    queries = directory / "queries"
    queries.write_text("".join(f"{name_of(n)} A\n" for n in range(count)))
    for contender in CONTENDERS:
        if contender.program and not shutil.which(contender.program):
            yield contender.name, "not installed", "", "", ""
            continue
        port = free_port()
        with serving(directory, contender, port, count, 0) as pid:
            rate, latency, lost = dnsperf(queries, port, seconds)
            yield contender.name, rate, latency, lost, memory(pid)


@contextlib.contextmanager
def serving(directory: Path, contender: Contender, port: int, count: int, endpoints: int) -> Iterator[int]:
    """A contender, with what it needs around it."""
    api, hanging = free_port(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with contextlib.ExitStack() as stack:
        stack.enter_context(hanging)
        hanging.bind((HOST, 0))
        if contender.program == "":
            process = multiprocessing.Process(target=api_server, args=(count, endpoints, api), daemon=True)
            process.start()
            stack.callback(process.terminate)
            wait_until_open(api)
            write_sampan(directory, port, api, hanging.getsockname()[1])
        yield stack.enter_context(running(contender.command(directory, port, count), port))


def while_hanging(directory: Path, count: int, seconds: int) -> tuple[object, ...]:
    """The rate of cluster names, while others wait for a resolver that says nothing."""
    queries, others = directory / "queries", directory / "others"
    others.write_text("".join(f"host-{n}.example.com A\n" for n in range(100_000)))
    port = free_port()
    with serving(directory, CONTENDERS[0], port, count, 0) as pid:
        load = ["taskset", "--cpu-list", str(LOAD_CORE), "dnsperf", "-s", HOST, "-p", str(port), "-d", str(others)]
        load += ["-Q", "200", "-l", str(seconds + 2), "-t", "1"]
        beside = subprocess.Popen(load, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(1)
        rate, latency, lost = dnsperf(queries, port, seconds)
        used = memory(pid)
        beside.wait()
    return "sampan dns, 200 q/s to a resolver that hangs", rate, latency, lost, used


def large(directory: Path, seconds: int) -> tuple[object, ...]:
    port = free_port()
    with serving(directory, CONTENDERS[0], port, 5000, 50) as pid:
        (directory / "queries").write_text("".join(f"{name_of(n)} A\n" for n in range(5000)))
        rate, latency, lost = dnsperf(directory / "queries", port, seconds)
        return "sampan dns, 5,000 Services × 50 endpoints", rate, latency, lost, memory(pid)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--services", type=int, default=1000)
    options = parser.parse_args()
    if not shutil.which("dnsperf"):
        raise SystemExit("bench_dns needs dnsperf: scripts/setup bench")
    with tempfile.TemporaryDirectory(prefix="sampan-bench-dns-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        rows = [*compare(directory, options.services, options.seconds)]
        rows.append(while_hanging(directory, options.services, options.seconds))
        rows.append(large(directory, options.seconds))
    columns = ("server on one core", "queries/s", "latency ms", "lost %", "memory MB")
    table(f"DNS: A records of {options.services:,} Services", columns, rows)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()
