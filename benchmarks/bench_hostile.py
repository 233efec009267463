"""How long one hostile request keeps everybody else waiting: the longest pause of the API server's event loop.

The server runs in this process beside a task that looks at the clock every millisecond; the requests come from a
thread. A pause holds the thread's work too, so that a figure is an upper bound.
Run: `.venv/bin/python benchmarks/bench_hostile.py`.
"""

import asyncio
import http.client
import socket
import ssl
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from report import table
from sampan.apiserver.main import APIServerOptions, start
from sampan.cluster import pki
from sampan.cluster.config import ClusterConfig

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps?dryRun=All"
PODS = "/api/v1/namespaces/default/pods?dryRun=All"
Case = tuple[str, str, str, bytes, str]
"""Name, method, path, body, media type."""


def cases() -> Iterator[Case]:
    json, yaml = "application/json", "application/yaml"
    quantity = {"metadata": {"name": "x"}, "spec": {"containers": [
        {"name": "c", "image": "host", "resources": {"limits": {"cpu": "1" * 3_000_000}}}]}}  # fmt: skip
    yield "a quantity of 3,000,000 digits", "POST", PODS, msgspec.json.encode(quantity), json
    yield "YAML: 2.8 MB list", "POST", CONFIG_MAPS, b"a:\n" + b"- 1\n" * 700_000, yaml
    yield "YAML: 2.8 MB flow list", "POST", CONFIG_MAPS, b"a: [" + b"1," * 1_400_000 + b"1]", yaml
    lines = b"".join(b"  k%d: v\n" % number for number in range(200_000))
    yield "YAML: 200,000 keys, valid", "POST", CONFIG_MAPS, b"metadata: {name: x}\ndata:\n" + lines, yaml
    yield "YAML: 16 KB", "POST", CONFIG_MAPS, b"a: [" + b"1," * 8_000 + b"1]", yaml
    data = {f"k{number}": "v" for number in range(150_000)}
    yield (
        "JSON: 150,000 keys, valid",
        "POST",
        CONFIG_MAPS,
        msgspec.json.encode({"metadata": {"name": "x"}, "data": data}),
        json,
    )
    yield "JSON: 1,000,000 deep", "POST", CONFIG_MAPS, b"[" * 1_000_000, json
    yield (
        "JSON: 700,000 unknown fields",
        "POST",
        CONFIG_MAPS,
        b"{" + b",".join(b'"%x":1' % n for n in range(250_000)) + b"}",
        json,
    )
    selector = ",".join(f"k{number}=v" for number in range(6_000))
    yield "a selector of 6,000 terms", "GET", f"/api/v1/configmaps?labelSelector={selector}", b"", json
    operations = [{"op": "add", "path": f"/data/k{number}", "value": "v"} for number in range(9_000)]
    patch = "application/json-patch+json"
    yield (
        "a JSON patch of 9,000 steps",
        "PATCH",
        "/api/v1/namespaces/default/configmaps/there?dryRun=All",
        msgspec.json.encode(operations),
        patch,
    )
    fields = {f"f:k{number}": {} for number in range(60_000)}
    managed = [
        {
            "manager": "m",
            "operation": "Apply",
            "apiVersion": "v1",
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:data": fields},
        }
    ]
    yield (
        "managed fields of 60,000 paths",
        "POST",
        CONFIG_MAPS,
        msgspec.json.encode({"metadata": {"name": "x", "managedFields": managed}}),
        json,
    )


async def longest_pause(stop: asyncio.Event) -> float:
    longest, before = 0.0, time.perf_counter()
    while not stop.is_set():
        await asyncio.sleep(0.001)
        now = time.perf_counter()
        longest, before = max(longest, now - before), now
    return longest


def send(port: int, directory: Path, case: Case) -> int:
    _, method, path, body, kind = case
    tls = ssl.create_default_context(cafile=str(directory / "ca.crt"))
    tls.load_cert_chain(directory / "admin.crt", directory / "admin.key")
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=120, context=tls)
    try:
        connection.request(method, path, body or None, {"Content-Type": kind})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


async def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name) / "pki"
        directory.mkdir()
        pki.create(directory, ClusterConfig())
        sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
        port = sock.getsockname()[1]
        async with AsyncExitStack() as stack:
            await start(APIServerOptions(sockets=[sock], store="memory:", pki=directory), stack)
            there = (
                "",
                "POST",
                "/api/v1/namespaces/default/configmaps",
                b'{"metadata":{"name":"there"},"data":{}}',
                "application/json",
            )
            await asyncio.to_thread(send, port, directory, there)
            for case in cases():
                stop = asyncio.Event()
                watching = asyncio.create_task(longest_pause(stop))
                begun = time.perf_counter()
                status = await asyncio.to_thread(send, port, directory, case)
                stop.set()
                pause = await watching
                rows.append(
                    [case[0], str(status), f"{(time.perf_counter() - begun) * 1000:.0f}", f"{pause * 1000:.0f}"]
                )
    columns = ["request", "status", "answered after (ms)", "longest pause (ms)"]
    table("Hostile requests", columns, rows)


if __name__ == "__main__":
    asyncio.run(main())
