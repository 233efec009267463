"""Connections to the node agents' HTTPS API, with the API server's own client certificate."""

import ssl
from pathlib import Path

from sampan.apiserver.context import Context
from sampan.http.client import HTTPClient
from sampan.machinery.errors import BadRequest, NotFound
from sampan.machinery.objects import Object

AGENT_PORT = 10250


class Agents:
    """One HTTP client for each node address in use; TLS is set up with the first."""

    def __init__(self, context: Context, pki: Path) -> None:
        self._context = context
        self._pki = pki
        self._tls: ssl.SSLContext | None = None
        self._clients: dict[tuple[str, int], HTTPClient] = {}

    async def of_node(self, name: str) -> HTTPClient:
        """Raises NotFound, BadRequest (a node without an address)."""
        node = await self._context.get("nodes", "", name)
        if node is None:
            raise NotFound.of("", "nodes", name)
        return self.at(internal_address(node), agent_port(node))

    def at(self, address: str, port: int) -> HTTPClient:
        """A client for the agent at an address."""
        key = (address, port)
        if key not in self._clients:
            host = f"[{address}]" if ":" in address else address
            self._clients[key] = HTTPClient(f"https://{host}:{port}", ssl=self._client_tls())
        return self._clients[key]

    def _client_tls(self) -> ssl.SSLContext:
        if self._tls is None:
            tls = ssl.create_default_context(cafile=str(self._pki / "ca.crt"))
            name = "apiserver-kubelet-client"
            tls.load_cert_chain(self._pki / f"{name}.crt", self._pki / f"{name}.key")
            self._tls = tls
        return self._tls

    async def close(self) -> None:
        for client in self._clients.values():
            await client.close()


def internal_address(node: Object) -> str:
    """Raises BadRequest."""
    addresses = (node.get("status") or {}).get("addresses") or ()
    for kind in ("InternalIP", "ExternalIP", "Hostname"):
        for address in addresses:
            if address.get("type") == kind and address.get("address"):
                return str(address["address"])
    raise BadRequest(f"no preferred addresses found for node {node['metadata']['name']}")


def agent_port(node: Object) -> int:
    endpoint = ((node.get("status") or {}).get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}
    return int(endpoint.get("Port") or AGENT_PORT)
