"""IPv4, IPv6 or both: which families a Service has, and whether its pods and the client's node have them, too."""

from collections.abc import Iterator

from sampan.api.core_v1 import Node, Pod, Service
from sampan.proxy.explain.facts import ClusterFacts
from sampan.proxy.explain.report import Step, note, wrong
from sampan.proxy.explain.selection import selected, why_not_ready
from sampan.proxy.state import FAMILY_NAMES, is_family

FAMILIES = "Families"


def pod_ips(pod: Pod) -> tuple[str, ...]:
    """A pod's addresses, one of each family."""
    return tuple(each.ip for each in pod.status.pod_ips if each.ip) or tuple(ip for ip in (pod.status.pod_ip,) if ip)


def node_ips(node: Node) -> tuple[str, ...]:
    """The addresses at which a node serves node ports."""
    return tuple(each.address for each in node.status.addresses if each.type == "InternalIP")


def service_families(service: Service) -> tuple[int, ...]:
    """What the Service has addresses of; IPv4 if it does not say."""
    spec = service.spec
    found = [family for family, name in FAMILY_NAMES.items() if name in spec.ip_families]
    ips = [ip for ip in spec.cluster_ips or (spec.cluster_ip,) if ip and ip != "None"]
    found += [6 if is_family(ip, 6) else 4 for ip in ips]
    return tuple(sorted(set(found))) or (4,)


def proxied_families(service: Service, facts: ClusterFacts) -> tuple[int, ...]:
    """Those of the Service that the proxy of the client's node serves: it has rules for the families of its Node."""
    node = facts.node(facts.client.node)
    ips = node_ips(node) if node else ()
    if not ips:
        return service_families(service)
    return tuple(family for family in service_families(service) if any(is_family(ip, family) for ip in ips))


def family_steps(service: Service, facts: ClusterFacts) -> Iterator[Step]:
    """Whether every family that the Service has addresses of leads somewhere."""
    mine, proxied, node = service_families(service), proxied_families(service, facts), facts.client.node
    if not proxied and service.spec.cluster_ip != "None":
        patch = '{"spec":{"ipFamilyPolicy":"PreferDualStack"}}'
        yield wrong(
            FAMILIES,
            f"the Service has {_names(mine)} only, and node {node} has no such address: its proxy has no rules for it",
            f"kubectl -n {facts.namespace} patch service {facts.name} -p '{patch}'",
        )
    elif len(proxied) < len(mine):
        yield note(
            FAMILIES, f"node {node} proxies {_names(proxied)} only; the Service also has {_others(mine, proxied)}"
        )
    ready = [pod for pod in selected(facts) if not why_not_ready(pod, facts.events)]
    for family in mine:
        without = [pod.metadata.name for pod in ready if not any(is_family(ip, family) for ip in pod_ips(pod))]
        if ready and len(without) == len(ready):
            name = FAMILY_NAMES[family]
            yield wrong(
                FAMILIES,
                f"the Service has {name}, but no ready pod has an {name} address: who asks by {name} finds no endpoint",
                "let the pods' network give such addresses and restart the pods, or take the family out of ipFamilies",
            )
        elif without:
            yield note(
                FAMILIES, f"without an {FAMILY_NAMES[family]} address, and so left out there: {', '.join(without)}"
            )


def _names(families: tuple[int, ...]) -> str:
    return " and ".join(FAMILY_NAMES[family] for family in families)


def _others(families: tuple[int, ...], known: tuple[int, ...]) -> str:
    return _names(tuple(family for family in families if family not in known))
