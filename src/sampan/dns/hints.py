"""Why a name was not found, and which one was meant: what `sampan dns query` says at its end. Pure.

It takes the name as it was typed for one of a Service, as nearly all names asked in a cluster are, and compares that
with what the cluster has.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from sampan.dns import wire
from sampan.dns.cluster import Cluster, Key
from sampan.dns.objects import Service
from sampan.dns.walk import Resolver

_MAX = 3
_REVERSE = (".in-addr.arpa.", ".ip6.arpa.")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, as it was meant and by whom."""

    name: str
    kind: int
    resolver: Resolver
    namespace: str
    """The asker's."""
    domain: str
    servers: tuple[str, ...]
    """Who knows the cluster's names."""

    @property
    def labels(self) -> list[str]:
        """The name without the cluster's part: a Service, or a Service and its namespace, after what is inside it."""
        name = self.name.lower().removesuffix(".").removesuffix(f".{self.domain}").removesuffix(".svc")
        return name.split(".")

    @property
    def service(self) -> Key:
        """The namespace and name of the Service that it may mean."""
        labels = self.labels
        return (labels[-1], labels[-2]) if len(labels) > 1 else (self.namespace, labels[0])


def hint(asked: Asked, cluster: Cluster) -> str:
    """One sentence or two, or nothing if nothing is known."""
    if asked.name.endswith(_REVERSE):
        return "No Service has this address, and no ready endpoint of one."
    namespace, name = asked.service
    service = cluster.services.get((namespace, name)) or cluster.services.get((asked.namespace, name))
    if not set(asked.resolver.servers) & set(asked.servers):
        return _other_resolver(asked) if service is not None or asked.name.rstrip(".").endswith(asked.domain) else ""
    if (found := cluster.services.get((namespace, name))) is not None:
        return _of_service(asked, found, cluster)
    if namespace in cluster.namespaces:
        return _no_service(asked, cluster)
    return _no_namespace(asked, cluster)


def _other_resolver(asked: Asked) -> str:
    servers = ", ".join(asked.resolver.servers)
    return (
        f"The cluster's DNS at {asked.servers[0]} was not asked, but {servers}, without the cluster's names. "
        "Pods ask the cluster's with dnsPolicy ClusterFirst, or on the node's network with ClusterFirstWithHostNet."
    )


def _of_service(asked: Asked, service: Service, cluster: Cluster) -> str:
    """Why a Service that is there did not help."""
    namespace, name = asked.service
    full, shown = f"{name}.{namespace}.svc.{asked.domain}.", f"{namespace}/{name}"
    if service.spec.external_name:
        return f"Service {shown} is an alias for {service.spec.external_name}, for which nothing was found."
    if asked.labels[0].startswith("_"):
        named = [f"_{port.name}._{(port.protocol or 'TCP').lower()}" for port in service.spec.ports if port.name]
        return f"Service {shown} has {_listed('such records', named)}; only named ports have them."
    if service.headless and not any(cluster.endpoints(asked.service)):
        return f"Service {shown} is headless and has no ready pod; its name stands for its ready pods' addresses."
    if asked.kind == wire.AAAA and not any(":" in address for address in service.addresses):
        return f"Service {shown} has no IPv6 address."
    if len(asked.labels) > 2 or (len(asked.labels) == 2 and asked.labels[-1] != namespace):
        return f"Service {shown} has no ready pod whose hostname is {asked.labels[0]}."
    if not any(domain.endswith(asked.domain) for domain in asked.resolver.searches) and not asked.name.endswith("."):
        return f"This resolver has no search path for the cluster: ask for {full}"
    return ""


def _no_service(asked: Asked, cluster: Cluster) -> str:
    namespace, name = asked.service
    missing = f"There is no Service {name} in namespace {namespace}"
    here = [known for space, known in cluster.services if space == namespace]
    if near := _near(name, here):
        return f"{missing}; is it {_either(near)}?"
    if elsewhere := sorted(space for space, known in cluster.services if known == name):
        return f"{missing}, but in {_either(elsewhere)}: ask for {name}.{elsewhere[0]}."
    return f"{missing}." if len(asked.labels) > 1 or asked.name.count(".") == 0 else ""


def _no_namespace(asked: Asked, cluster: Cluster) -> str:
    namespace, name = asked.service
    missing = f"There is no namespace {namespace}"
    if near := _near(namespace, cluster.namespaces):
        with_it = [space for space in near if (space, name) in cluster.services]
        return f"{missing}; is it {_either([f'{name}.{space}' for space in with_it] or near)}?"
    if elsewhere := sorted(space for space, known in cluster.services if known == name):
        return f"{missing}; a Service {name} is in {_either(elsewhere)}: ask for {name}.{elsewhere[0]}."
    inside = asked.name.rstrip(".").endswith((f".{asked.domain}", ".svc"))
    return (
        f"{missing}." if inside else "It is no name of the cluster; what is outside was asked of the node's resolver."
    )


def _near(name: str, known: Iterable[str]) -> list[str]:
    """The names most like this one."""
    return get_close_matches(name, sorted(known), _MAX)


def _either(names: list[str]) -> str:
    return " or ".join(names)


def _listed(what: str, names: list[str]) -> str:
    return f"no {what}" if not names else f"{what} for {', '.join(names)}"
