"""What the Ingress costs beside the same nginx configured by hand, and how fast changes come at scale.

Requests per second of CPU time of nginx's one worker, so that the load and the backends do not count; wrk asks over
kept connections on loopback. `by hand` is a location with a static upstream, keep-alive, the four usual headers and an
access log in the standard format; `same job` has the thirteen headers, the request ids and both logs of an Ingress as
well. Then, with N Ingresses: the first start, one more of them until its first answer, one
endpoint replaced until the first answer from the new one, and memory. Without an API server: what is measured begins
with a translated configuration.

    benchmarks/bench_ingress.py [--seconds 4] [--sizes 1000,5000]
"""

import argparse
import asyncio
import contextlib
import http.client
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import uvloop

from report import table
from sampan.ingress.model import (
    Backend,
    BackendKey,
    Canary,
    Configuration,
    CookieAffinity,
    Endpoint,
    Host,
    HostTLS,
    Listeners,
    LoadBalancing,
    PathMatch,
    PathType,
    Route,
    Settings,
    Source,
    Variable,
)
from sampan.ingress.nginx import Nginx, Place
from sampan.ingress.nginx.push import mark

HTTP, HTTPS, STATUS, HAND_HTTP, HAND_HTTPS = 18080, 18443, 18254, 18081, 18444
SAME_HTTP, SAME_HTTPS, SAME_STATUS = 18082, 18445, 18255
BACKENDS = (19081, 19082)
ROUNDS = 3
TICKS = os.sysconf("SC_CLK_TCK")
SMALL, LARGE = "/small", "/large"
RATE = re.compile(r"(\d+) requests in")
BAD = re.compile(r"(Non-2xx|Socket errors).*")

BACKEND = """
daemon off; pid {home}/backend.pid; error_log stderr crit; worker_processes 1;
events {{ worker_connections 4096; }}
http {{
    access_log off; keepalive_requests 1000000; sendfile on; tcp_nopush on;
    server {{ listen 127.0.0.1:{ports[0]}; listen 127.0.0.1:{ports[1]}; root {home}/www; default_type text/plain; }}
}}
"""
BY_HAND = """
daemon off; pid {home}/hand.pid; error_log stderr crit; worker_processes 1;
events {{ worker_connections 16384; multi_accept on; }}
http {{
    access_log {home}/hand.log combined buffer=4k flush=1s;
    keepalive_requests 1000; tcp_nopush on; ssl_session_cache shared:SSL:10m; proxy_buffering off; server_tokens off;
    upstream backend {{
        server 127.0.0.1:{ports[0]}; server 127.0.0.1:{ports[1]}; keepalive 320; keepalive_requests 10000;
    }}
    server {{
        listen 127.0.0.1:{http}; listen 127.0.0.1:{https} ssl http2; server_name a.example;
        ssl_certificate {private}/default.pem; ssl_certificate_key {private}/default.pem;
        location / {{
            proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_set_header Host $http_host; proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;
        }}
    }}
}}
"""


def balanced(balancing: LoadBalancing, canaries: tuple[Canary, ...] = (), hosts: int = 1) -> Configuration:
    endpoints = tuple(Endpoint("127.0.0.1", port) for port in BACKENDS)
    backends, made = {}, []
    for number in range(hosts):
        key = BackendKey("default", f"web-{number}", "80")
        backends[str(key)] = Backend(str(key), key, endpoints, balancing)
        source = Source("default", f"web-{number}")
        routes = (Route(PathMatch(PathType.PREFIX, "/"), source, str(key), key, canaries=canaries),)
        made.append(Host("a.example" if number == 0 else f"h{number}.example", routes, tls=HostTLS(), source=source))
    if canaries:
        key = BackendKey("default", "canary", "80")
        backends["canary"] = Backend("canary", key, endpoints)
    return Configuration(
        Listeners(HTTP, HTTPS, ("127.0.0.1",), (), STATUS), tuple(sorted(made, key=lambda host: host.name)), backends,
        settings=Settings({"access-log-path": "/tmp/bench-ingress.log", "error-log-level": "error"}),
    )  # fmt: skip


VARIANTS = {
    "plain Ingress": balanced(LoadBalancing()),
    "canary by weight": balanced(LoadBalancing(), (Canary("canary", Source("default", "c"), weight=20),)),
    "cookie affinity": balanced(LoadBalancing(affinity=CookieAffinity())),
    "consistent hash": balanced(LoadBalancing(hash_by=(Variable("request_uri"),))),
    "ewma": balanced(LoadBalancing("ewma")),
}


def cpu_of(pids: list[int]) -> float:
    seconds = 0.0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        seconds += (int(fields[11]) + int(fields[12])) / TICKS
    return seconds


def workers_of(master: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{master}/task/{master}/children").read_text().split()]


def load(port: int, path: str, seconds: float, master: int, tls: bool) -> float:
    """Requests per CPU second of nginx."""
    url = f"{'https' if tls else 'http'}://127.0.0.1:{port}{path}"
    cookie = ["-H", f"Cookie: INGRESSCOOKIE=1.2.3|{mark('default-web-0-80')}"]
    command = ["wrk", "-t1", "-c32", f"-d{seconds:.0f}s", "-H", "Host: a.example", *cookie, url]
    before = cpu_of(workers_of(master))
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    spent = cpu_of(workers_of(master)) - before
    if wrong := BAD.search(result.stdout):
        print("  !", url, wrong[0])
    return int(RATE.search(result.stdout)[1]) / max(spent, 0.01)  # type: ignore[index]


@contextlib.contextmanager
def same_job(home: Path) -> Iterator[int]:
    """The headers, logs and request ids of an Ingress with a static upstream: what is left is the price of Lua."""
    text = (home / "etc" / "nginx.conf").read_text()
    servers = "".join(f"server 127.0.0.1:{port}; " for port in BACKENDS)
    text = re.sub(r"server 0\.0\.0\.1;\s*balancer_by_lua_block \{[^}]*\}", servers, text)
    for old, new in ((HTTP, SAME_HTTP), (HTTPS, SAME_HTTPS), (STATUS, SAME_STATUS)):
        text = text.replace(f":{old}", f":{new}")
    shutil.copytree(home / "private", home / "same", ignore=lambda *_: {"control.sock", "unavailable.sock"})
    text = text.replace(f"{home}/private", f"{home}/same")
    with by_hand(home, "same", text.replace("{", "{{").replace("}", "}}")) as master:
        yield master


@contextlib.contextmanager
def by_hand(home: Path, name: str, text: str, **values: object) -> Iterator[int]:
    path = home / f"{name}.conf"
    path.write_text(text.format(home=home, ports=BACKENDS, **values))
    process = subprocess.Popen(["nginx", "-c", str(path), "-e", "stderr", "-p", str(home)])
    try:
        time.sleep(0.3)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


async def throughput(nginx: Nginx, home: Path, seconds: float) -> None:
    """Each figure is taken beside one of nginx by hand, in turns: this machine's other work meets both alike."""
    columns = {"HTTP, 100 B": (False, SMALL), "HTTP, 100 KB": (False, LARGE), "HTTPS, 100 B": (True, SMALL),
               "HTTPS, 100 KB": (True, LARGE)}  # fmt: skip
    await nginx.apply(VARIANTS["plain Ingress"])
    with by_hand(home, "hand", BY_HAND, http=HAND_HTTP, https=HAND_HTTPS, private=home / "private") as hand:

        def cell(ports: tuple[int, int], master: int, tls: bool, path: str) -> str:
            pairs = []
            for _ in range(ROUNDS):
                base = load((HAND_HTTP, HAND_HTTPS)[tls], path, seconds, hand, tls)
                pairs.append((base, load(ports[tls], path, seconds, master, tls)))
            share = statistics.median(ours / base for base, ours in pairs)
            return f"{statistics.median(ours for _, ours in pairs):,.0f} ({share:.2f})"

        def row(name: str, ports: tuple[int, int], master: int) -> tuple[str, ...]:
            return (name, *(cell(ports, master, tls, path) for tls, path in columns.values()))

        rows = [await asyncio.to_thread(row, "by hand", (HAND_HTTP, HAND_HTTPS), hand)]
        with same_job(home) as master:
            rows.append(await asyncio.to_thread(row, "by hand, same job", (SAME_HTTP, SAME_HTTPS), master))
        for name, configuration in VARIANTS.items():
            await nginx.apply(configuration)
            rows.append(await asyncio.to_thread(row, name, (HTTP, HTTPS), nginx.pid))
    table("Ingress: requests per second of nginx's CPU time (share of nginx by hand)", ("", *columns), rows)


def first_answer(host: str, seconds: float = 10) -> float:
    """When the first 200 came."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", HTTP, timeout=5)) as connection:
            connection.request("GET", SMALL, headers={"Host": host})
            if connection.getresponse().status == 200:
                return time.monotonic()
        time.sleep(0.001)
    raise TimeoutError(host)


def memory_of(master: int) -> float:
    """Proportional set of all processes, in MB."""
    total = 0
    for pid in (master, *workers_of(master)):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


async def scale(home: Path, size: int) -> tuple[str, ...]:
    nginx = Nginx(Place(home / "etc", home / "private"), workers=1)
    await nginx.start()
    full = balanced(LoadBalancing(), hosts=size)
    # One more is one more object: what is the same as before is the same object, as from the translator.
    more = balanced(LoadBalancing(), hosts=size + 1)
    known = {host.name: host for host in full.hosts}
    more = replace(more, hosts=tuple(known.get(host.name, host) for host in more.hosts),
                   backends={**more.backends, **full.backends})  # fmt: skip
    try:
        start = time.monotonic()
        await nginx.apply(full)
        cold = await asyncio.to_thread(first_answer, "a.example") - start
        start = time.monotonic()
        waiting = asyncio.create_task(asyncio.to_thread(first_answer, f"h{size}.example"))
        await nginx.apply(more)
        one_more, applied = await waiting - start, time.monotonic() - start
        name = f"default-web-{size}-80"
        backends = {**more.backends, name: replace(more.backends[name], endpoints=())}
        await nginx.apply(replace(more, backends=backends))
        start = time.monotonic()
        waiting = asyncio.create_task(asyncio.to_thread(first_answer, f"h{size}.example"))
        await nginx.apply(more)
        endpoint = await waiting - start
        await asyncio.sleep(1)
        memory = memory_of(nginx.pid)
    finally:
        await nginx.stop(1)
    return f"{size:,}", *(f"{x * 1000:,.0f} ms" for x in (cold, one_more, applied, endpoint)), f"{memory:,.0f} MB"


def _files(home: Path) -> None:
    home.chmod(0o755)
    (home / "www").mkdir()
    (home / "www" / "small").write_bytes(b"x" * 100)
    (home / "www" / "large").write_bytes(b"x" * 100_000)


async def main(seconds: float, sizes: list[int]) -> None:
    home = Path(tempfile.mkdtemp(prefix="bench-ingress-"))
    try:
        _files(home)
        with by_hand(home, "backend", BACKEND):
            if seconds:
                nginx = Nginx(Place(home / "etc", home / "private"), workers=1)
                await nginx.start()
                try:
                    await throughput(nginx, home, seconds)
                finally:
                    await nginx.stop(1)
            rows = [await scale(home, size) for size in sizes]
        if rows:
            columns = ("Ingresses", "first start", "one more: first 200", "everywhere", "endpoint: first 200", "memory")
            table("Ingress: how fast changes come", columns, rows)
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2, help="of load per figure and round; 0 leaves that part out")
    parser.add_argument("--sizes", default="1000,5000")
    arguments = parser.parse_args()
    uvloop.run(main(arguments.seconds, [int(size) for size in arguments.sizes.split(",") if size]))
