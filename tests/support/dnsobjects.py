"""A small cluster with a Service of each kind, as the tests of the DNS specification ask for them."""

from typing import Any

from sampan.client.resources import ENDPOINT_SLICES, NAMESPACES, SERVICES, Resource

Made = tuple[Resource, dict[str, Any]]
UNREADY = {"ready": False, "serving": False, "terminating": False}


def service(name: str, *ports: str, namespace: str = "default", **spec: Any) -> Made:
    """A Service with ports given as `name:protocol:number`; the name may be left out."""
    return SERVICES, {"metadata": {"name": name, "namespace": namespace}, "spec": {"ports": _ports(ports), **spec}}


def headless(name: str, *ports: str, namespace: str = "default", **spec: Any) -> Made:
    """The same without a virtual address, for both families."""
    families = {"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv4", "IPv6"]}
    return service(name, *ports, namespace=namespace, clusterIP="None", **families, **spec)


def alias(name: str, target: str, namespace: str = "default") -> Made:
    return service(name, namespace=namespace, type="ExternalName", externalName=target)


def endpoints(owner: str, suffix: str, *found: dict[str, Any], ports: tuple[str, ...] = ("http:TCP:8080",)) -> Made:
    """A slice of a Service's endpoints."""
    family = "IPv6" if ":" in found[0]["addresses"][0] else "IPv4"
    metadata = {"name": f"{owner}-{suffix}", "labels": {"kubernetes.io/service-name": owner}}
    made = {"metadata": metadata, "addressType": family, "endpoints": list(found), "ports": _ports(ports)}
    return ENDPOINT_SLICES, made


def at(address: str, hostname: str | None = None, **conditions: bool) -> dict[str, Any]:
    """An endpoint; without conditions it counts as ready."""
    made: dict[str, Any] = {"addresses": [address]}
    if hostname:
        made["hostname"] = hostname
    if conditions:
        made["conditions"] = conditions
    return made


def _ports(texts: tuple[str, ...]) -> list[dict[str, Any]]:
    parts = [text.split(":") for text in texts]
    return [{"protocol": protocol, "port": int(number)} | _named(name) for name, protocol, number in parts]


def _named(name: str) -> dict[str, str]:
    return {"name": name} if name else {}


_BOTH = ("http:TCP:8080", "metrics:TCP:9100")

OBJECTS: tuple[Made, ...] = (
    (NAMESPACES, {"metadata": {"name": "other"}}),
    service("four", "http:TCP:80", "https:TCP:443", "dns:UDP:53", clusterIP="10.96.0.4"),
    service("six", "http:TCP:80", clusterIP="fd00:96::6", ipFamilies=["IPv6"]),
    service(
        "dual", "http:TCP:80", clusterIP="10.96.0.46", clusterIPs=["10.96.0.46", "fd00:96::46"],
        ipFamilyPolicy="RequireDualStack",
    ),
    service("plain", ":TCP:80", clusterIP="10.96.0.8"),
    service("four", "http:TCP:80", namespace="other", clusterIP="10.96.1.4"),
    headless("peers", *_BOTH),
    endpoints("peers", "a", at("10.244.0.2", "peer-0"), at("10.244.0.3"), ports=_BOTH),
    endpoints("peers", "unready", at("10.244.0.4", "peer-2", **UNREADY), ports=_BOTH),
    endpoints("peers", "b", at("10.244.1.2", "peer-0"), ports=_BOTH),
    endpoints("peers", "c", at("fd00:244::2", "peer-0"), at("fd00:244::3", ready=True), ports=_BOTH),
    endpoints("peers", "unready-6", at("fd00:244::4", **UNREADY), ports=_BOTH),
    headless("bare", ":TCP:80"),
    endpoints("bare", "a", at("10.244.2.2"), ports=(":TCP:80",)),
    headless("portless"),
    endpoints("portless", "a", at("10.244.3.2", "only"), ports=()),
    headless("early", "http:TCP:80", publishNotReadyAddresses=True),
    endpoints("early", "a", at("10.244.4.2", "early-0", ready=True, serving=False, terminating=False)),
    headless("lonely", "http:TCP:80"),
    endpoints("lonely", "a", at("10.244.5.2", "lonely-0", **UNREADY)),
    headless("empty", "http:TCP:80"),
    alias("out", "www.example.com"),
    alias("inward", "four.other.svc.cluster.local"),
)  # fmt: skip
