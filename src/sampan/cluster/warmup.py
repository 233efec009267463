"""Warm-up before components are forked: caches that every component would fill are filled once and shared.

OpenSSL fills tables at its first handshake, msgspec compiles a decoder for each type, and the event loop has caches of
its own. Filling them here saves each of a dozen processes about 3 MB and 10 ms. The warm-up runs an informer for every
kind that components watch, against a server that has no objects.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from sampan.api.core_v1 import Namespace, Node, Pod, Service
from sampan.api.discovery_v1 import EndpointSlice
from sampan.client import resources
from sampan.client.config import Config
from sampan.client.informer import Informers
from sampan.client.rest import Client
from sampan.http.messages import Response
from sampan.http.server import Request, serve

LIMIT_SECONDS = 2.0
EMPTY_LIST = b'{"metadata":{"resourceVersion":"1"},"items":[]}'
KINDS = (
    (resources.NODES, Node),
    (resources.PODS, Pod),
    (resources.SERVICES, Service),
    (resources.NAMESPACES, Namespace),
    (resources.ENDPOINT_SLICES, EndpointSlice),
)


def warm_up(pki: Path) -> None:
    """Run the warm-up to its end. Raises OSError, TimeoutError."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.Loop) as runner:
        runner.run(_run_informers(pki))


async def _run_informers(pki: Path) -> None:
    server = await serve(_empty, host="127.0.0.1", port=0, ssl=_server_tls(pki))
    config = Config(
        server=f"https://127.0.0.1:{server.port}",
        ca_file=str(pki / "ca.crt"),
        cert_file=str(pki / "admin.crt"),
        key_file=str(pki / "admin.key"),
    )
    client = Client(config)
    informers = Informers(client)
    for resource, kind in KINDS:
        informers.of(resource, kind)
    running = asyncio.create_task(informers.run())
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            await informers.wait_synced()
    finally:
        running.cancel()
        await client.close()
        await server.close()


async def _empty(request: Request) -> Response | None:
    """An empty list; a watch stays open without events."""
    if not request.query.has("watch"):
        return Response(200, EMPTY_LIST)
    await request.stream(200, {"Content-Type": "application/json"})
    await asyncio.get_running_loop().create_future()
    return None


def _server_tls(pki: Path) -> ssl.SSLContext:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pki / "apiserver.crt", pki / "apiserver.key")
    tls.load_verify_locations(pki / "ca.crt")
    tls.verify_mode = ssl.CERT_OPTIONAL
    return tls
