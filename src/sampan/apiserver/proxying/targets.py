"""`pods/NAME/proxy`, `services/NAME/proxy` and `nodes/NAME/proxy`: which address is meant, and under which path.

Names may carry a scheme and a port: `[http:|https:]name[:port]`. Certificates of https targets are not verified, as
upstream does not. HTML is rewritten so that root-relative links stay inside the proxy (`html.py`).
"""

import random
import ssl
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from sampan.apiserver.handlers.call import Call
from sampan.apiserver.proxying.agents import Agents, agent_port, internal_address
from sampan.apiserver.proxying.html import rewrite_links
from sampan.apiserver.proxying.tunnel import forwarded_headers, pass_on, wants_upgrade
from sampan.apiserver.strategy import Services
from sampan.http.client import HTTPClient
from sampan.http.messages import Response
from sampan.machinery.errors import BadRequest, NotFound, ServiceUnavailable
from sampan.machinery.objects import Object

NOT_ALLOWED = "address not allowed"
_READING = ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed proxy name."""

    scheme: str
    name: str
    port: str


def parse_target(text: str) -> Target:
    """Raises BadRequest."""
    match text.split(":"):
        case [name] if name:
            return Target("http", name, "")
        case [name, port] if name and name not in ("http", "https"):
            return Target("http", name, port)
        case [("http" | "https" | "") as scheme, name] if name:
            return Target(scheme or "http", name, "")
        case [("http" | "https" | "") as scheme, name, port] if name:
            return Target(scheme or "http", name, port)
    raise BadRequest(f'invalid proxy request "{text}"')


async def proxy(call: Call, agents: Agents) -> Response | None:
    """Raises NotFound, BadRequest, ServiceUnavailable."""
    path = call.info.proxy_path
    if not path and call.request.method in _READING and not wants_upgrade(call.request):
        return _redirect(call)
    target = parse_target(call.info.name)
    if call.info.resource == "nodes":
        return await _to_node(call, agents, target, path)
    address, port = await _address(call, target)
    return await _dial(call, target, address, port, path)


async def _dial(call: Call, target: Target, address: str, port: int, path: str) -> Response | None:
    """Send the request to an address, which is never a name, so that what is checked is what is dialled."""
    if not is_proxyable(address):
        raise BadRequest(NOT_ALLOWED)
    host = f"[{address}]" if ":" in address else address
    client = HTTPClient(f"{target.scheme}://{host}:{port}", ssl=_unverified() if target.scheme == "https" else None)
    try:
        return await _send(call, client, path)
    finally:
        await client.close()


async def _send(call: Call, client: HTTPClient, path: str) -> Response | None:
    prefix = call.request.raw_path.partition("?")[0].removesuffix(path).rstrip("/")
    query = call.query.text
    headers = {**forwarded_headers(call.request, private=False), "X-Forwarded-Uri": prefix + path}
    return await pass_on(
        call.request,
        client,
        (path or "/") + (f"?{query}" if query else ""),
        rewrite=lambda _, body: rewrite_links(body, prefix),
        headers=headers,
    )


def _redirect(call: Call) -> Response:
    path, _, query = call.request.raw_path.partition("?")
    location = f"{path}/?{query}" if query else f"{path}/"
    return Response(301, b"", "", {"Location": location})


async def _to_node(call: Call, agents: Agents, target: Target, path: str) -> Response | None:
    """The node's agent, which proves who it is, or whatever listens on another port."""
    if not target.port:
        return await _send(call, await agents.of_node(target.name), path)
    node = await call.context.get("nodes", "", target.name)
    if node is None:
        raise NotFound.of("", "nodes", target.name)
    port = _number(target.port)
    if port == agent_port(node):
        return await _send(call, await agents.of_node(target.name), path)
    return await _dial(call, target, internal_address(node), port, path)


async def _address(call: Call, target: Target) -> tuple[str, int]:
    if call.info.resource == "pods":
        return await _pod_address(call.context, call.info.namespace, target)
    return await service_address(call.context, call.info.namespace, target)


async def _pod_address(services: Services, namespace: str, target: Target) -> tuple[str, int]:
    """The pod's IP and the named port, by default its first container port, else 80."""
    pod = await services.get("pods", namespace, target.name)
    if pod is None:
        raise NotFound.of("", "pods", target.name)
    address = (pod.get("status") or {}).get("podIP")
    if not address:
        raise BadRequest(NOT_ALLOWED)
    if target.port:
        return address, _number(target.port)
    ports = [port for container in pod["spec"]["containers"] for port in container.get("ports") or ()]
    return address, int(ports[0]["containerPort"]) if ports else 80


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 65536):
        raise BadRequest(f'invalid port "{text}"')
    return int(text)


async def service_address(services: Services, namespace: str, target: Target) -> tuple[str, int]:
    """A ready endpoint of the Service, at its target port. Raises NotFound, ServiceUnavailable.

    Names outside the cluster (ExternalName) have no Endpoints and are never asked for.
    """
    service = await services.get("services", namespace, target.name)
    if service is None:
        raise NotFound.of("", "services", target.name)
    port = _service_port(service, target.port)
    endpoints = await services.get("endpoints", namespace, target.name)
    if endpoints is None:
        raise NotFound.of("", "endpoints", target.name)
    found = [
        (str(address["ip"]), int(candidate["port"]))
        for subset in endpoints.get("subsets") or ()
        for candidate in subset.get("ports") or ()
        if candidate.get("name", "") == port.get("name", "")
        for address in subset.get("addresses") or ()
    ]
    random.shuffle(found)
    for address, number in found:
        if is_proxyable(address):
            return address, number
    raise ServiceUnavailable(f'no endpoints available for service "{target.name}"')


def is_proxyable(text: str) -> bool:
    """Whether requests may be passed on to an address: a global unicast address, as upstream's proxyutil demands.

    What only looks like one is none: names, zones, IPv4 addresses inside IPv6 ones.
    """
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        if address.scope_id:
            return False
        address = address.ipv4_mapped or address.sixtofour or address
    return not (
        address.is_unspecified or address.is_loopback or address.is_link_local or address.is_multicast
        or address == IPv4Address("255.255.255.255")
    )  # fmt: skip


def _service_port(service: Object, wanted: str) -> Object:
    """By name, by number, or the only one (else port 80's). Raises ServiceUnavailable."""
    ports = service["spec"].get("ports") or []
    for port in ports:
        if wanted and wanted in (port.get("name"), str(port.get("port"))):
            return dict(port)
    if not wanted and ports:
        unnamed = [port for port in ports if not port.get("name")]
        return dict((unnamed or ports)[0])
    raise ServiceUnavailable(f'no service port "{wanted}" found for service "{service["metadata"]["name"]}"')


@cache
def _unverified() -> ssl.SSLContext:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE
    return tls
