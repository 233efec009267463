"""The chains' names, hashed as upstream hashes them, so that what documentation prints is what a reader finds."""

import base64
import hashlib

from sampan.proxy.state import Endpoint, ServicePortName

SERVICES = "KUBE-SERVICES"
NODE_PORTS = "KUBE-NODEPORTS"
EXTERNAL_SERVICES = "KUBE-EXTERNAL-SERVICES"
POSTROUTING = "KUBE-POSTROUTING"
MARK_MASQ = "KUBE-MARK-MASQ"
FORWARD = "KUBE-FORWARD"
FIREWALL = "KUBE-PROXY-FIREWALL"

PER_SERVICE = ("KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-FW-", "KUBE-SEP-")


def title(name: ServicePortName) -> str:
    """How rules and hashes name a service port: always with a colon, even where the port has no name."""
    return f"{name.namespace}/{name.name}:{name.port}"


def service_chain(name: ServicePortName) -> str:
    """Where connections are spread over all endpoints."""
    return "KUBE-SVC-" + _hash(title(name), name.protocol)


def local_chain(name: ServicePortName) -> str:
    """Where connections are spread over this node's endpoints."""
    return "KUBE-SVL-" + _hash(title(name), name.protocol)


def external_chain(name: ServicePortName) -> str:
    """Where connections to external addresses begin."""
    return "KUBE-EXT-" + _hash(title(name), name.protocol)


def firewall_chain(name: ServicePortName) -> str:
    """Where a load balancer's source ranges are looked at."""
    return "KUBE-FW-" + _hash(title(name), name.protocol)


def endpoint_chain(name: ServicePortName, endpoint: Endpoint) -> str:
    """Where connections are sent to one endpoint."""
    return "KUBE-SEP-" + _hash(title(name), name.protocol, address(endpoint))


def address(endpoint: Endpoint) -> str:
    return f"[{endpoint.ip}]:{endpoint.port}" if ":" in endpoint.ip else f"{endpoint.ip}:{endpoint.port}"


def _hash(title: str, protocol: str, endpoint: str = "") -> str:
    digest = hashlib.sha256(f"{title}{protocol.lower()}{endpoint}".encode()).digest()
    return base64.b32encode(digest).decode()[:16]
