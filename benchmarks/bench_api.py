"""What the API server does a second, with its store on disk: create, get, list, watch fan-out.

The server runs in a process of its own, as in a cluster; the load comes from this one. The upstream figures were taken
with its API server 1.36 and etcd 3.5 on a machine of the same kind.
Run: `.venv/bin/python benchmarks/bench_api.py [--pods N] [--watchers N]`.
"""

import argparse
import asyncio
import multiprocessing
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from report import table
from sampan.apiserver.main import APIServerOptions
from sampan.apiserver.main import run as run_apiserver
from sampan.client.config import Config
from sampan.client.resources import CONFIG_MAPS, PODS
from sampan.client.rest import Client
from sampan.cluster import pki
from sampan.cluster.config import ClusterConfig
from sampan.kernel.processes import proportional_set_size
from sampan.machinery.objects import Object

UPSTREAM = {"create": 840.0, "get": 2450.0, "list": 3.5}
CONCURRENCY = 32


def pod(number: int) -> Object:
    """A pod as small controllers write them: about 1.5 KB once stored."""
    container = {
        "name": "main",
        "image": "registry.example/web:1.0",
        "ports": [{"containerPort": 8080}],
        "env": [{"name": f"SETTING_{n}", "value": f"value-{n}"} for n in range(4)],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
    }
    labels = {"app": f"app-{number % 100}", "tier": "web"}
    return {
        "metadata": {"name": f"pod-{number}", "labels": labels},
        "spec": {"containers": [container], "nodeSelector": {"no": "node"}},
    }


def serve(sock: socket.socket, directory: Path) -> None:
    uvloop.install()
    asyncio.run(run_apiserver(APIServerOptions([sock], f"sqlite:{directory}/store.sqlite", directory / "pki")))


@contextmanager
def running_server() -> Iterator[tuple[Config, int]]:
    """An API server in a process of its own; its client configuration and process id."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "pki").mkdir()
        pki.create(directory / "pki", ClusterConfig())
        sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
        process = multiprocessing.get_context("fork").Process(target=serve, args=(sock, directory))
        process.start()
        files = {"ca_file": "ca.crt", "cert_file": "admin.crt", "key_file": "admin.key"}
        paths = {field: str(directory / "pki" / file) for field, file in files.items()}
        try:
            yield Config(f"https://127.0.0.1:{sock.getsockname()[1]}", **paths), process.pid or 0
        finally:
            process.terminate()
            process.join()


async def rate(count: int, action: Callable[[int], Awaitable[object]]) -> float:
    """Actions a second, CONCURRENCY at a time."""
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await action(number)

    begun = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))
    return count / (time.perf_counter() - begun)


async def list_rate(client: Client, count: int) -> float:
    """Full lists a second, bytes received but not decoded."""
    await client.call("GET", PODS.path())
    begun = time.perf_counter()
    for _ in range(count):
        await client.call("GET", PODS.path())
    return count / (time.perf_counter() - begun)


async def fan_out(config: Config, watchers: int, changes: int) -> float:
    """Watch events delivered a second, over all watchers together."""
    clients = [Client(config) for _ in range(watchers)]
    started = await clients[0].list(CONFIG_MAPS)
    received = [0] * watchers

    async def follow(number: int) -> None:
        path = f"{CONFIG_MAPS.path()}?watch=true&resourceVersion={started.resource_version}"
        async with clients[number]._http.stream("GET", path) as answer:
            async for chunk in answer.chunks:
                received[number] += chunk.count(b"\n")
                if received[number] >= changes:
                    return

    tasks = [asyncio.ensure_future(follow(number)) for number in range(watchers)]
    begun = time.perf_counter()
    await rate(changes, lambda n: clients[0].create(CONFIG_MAPS, {"metadata": {"name": f"c-{n}"}}, "default"))
    await asyncio.gather(*tasks)
    elapsed = time.perf_counter() - begun
    for client in clients:
        await client.close()
    return watchers * changes / elapsed


async def until_ready(client: Client) -> None:
    while True:
        try:
            await client.call("GET", "/readyz")
            return
        except OSError:
            await asyncio.sleep(0.01)


async def measure(config: Config, pods: int, watchers: int, changes: int) -> dict[str, float]:
    client = Client(config)
    await until_ready(client)
    await client.create(CONFIG_MAPS, {"metadata": {"name": "warm-up"}}, "default")
    await client.call("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    results = {"create": await rate(pods, lambda n: client.create(PODS, pod(n), "default"))}
    results["get"] = await rate(pods, lambda n: client.call("GET", PODS.path("default", f"pod-{n}")))
    results["list"] = await list_rate(client, 20)
    results["fan-out"] = await fan_out(config, watchers, changes)
    await client.close()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, default=6700)
    parser.add_argument("--watchers", type=int, default=100)
    parser.add_argument("--changes", type=int, default=500)
    options = parser.parse_args()
    with running_server() as (config, pid):
        results = uvloop.run(measure(config, options.pods, options.watchers, options.changes))
        memory = proportional_set_size(pid)
    rows: list[tuple[object, ...]] = [
        (f"{name}s a second" + (f" of {options.pods} pods" if name == "list" else ""), results[name], upstream,
         f"{results[name] / upstream:.1f}×", {"create": "1.5×", "get": "1.5×", "list": "5×"}[name])
        for name, upstream in UPSTREAM.items()
    ]  # fmt: skip
    rows.append((f"watch events a second to {options.watchers} watchers", results["fan-out"], "", "", ""))
    rows.append((f"memory with {options.pods} pods, PSS (MiB)", memory / 2**20, "", "", ""))
    table("API server, SQLite store", ("what", "measured", "upstream", "ratio", "target"), rows)


if __name__ == "__main__":
    main()
