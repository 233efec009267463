"""From a service port to its rules: chains of its own, and lines in the chains that all share. Pure.

The words are upstream's, so that the listings in documentation and in other people's heads stay true. Every line is
written exactly as iptables-save prints it, so that a restart can tell by comparison which chains it must rewrite.
render.py puts the parts of all service ports together.
"""

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from sampan.proxy.backends.iptables import names
from sampan.proxy.state import Endpoint, ServicePort, ServicePortName

KERNEL_ONE = 1 << 31
"""The kernel keeps a probability as a fraction of this."""

WHOLE_ADDRESS = {4: "255.255.255.255", 6: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}
REJECT = {4: "REJECT --reject-with icmp-port-unreachable", 6: "REJECT --reject-with icmp6-port-unreachable"}


@dataclass(frozen=True, slots=True)
class LocalDetector:
    """Tells local traffic, which is not masqueraded (kube-proxy's --detect-local-mode).

    Local is what comes from `cluster_cidrs` of this family, or in by `interface` (the pods') if that is set.
    """

    cluster_cidrs: tuple[str, ...] = ()
    interface: str = ""
    masquerade_all: bool = False
    node_ips: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PortRules:
    """The lines of one service port. `chains` are its own in the nat table; the rest stand in shared chains."""

    chains: dict[str, list[str]] = field(default_factory=dict)
    services: list[str] = field(default_factory=list)
    node_ports: list[str] = field(default_factory=list)
    filter_services: list[str] = field(default_factory=list)
    filter_external: list[str] = field(default_factory=list)
    firewall: list[str] = field(default_factory=list)

    def shared(self) -> "PortRules":
        """The same without the chains of its own, which are nearly all of its lines."""
        return replace(self, chains={})


def port_rules(name: ServicePortName, port: ServicePort, local_detector: LocalDetector) -> PortRules:
    """All rules of one service port."""
    made = PortRules()
    _spread_chains(made, name, port)
    _cluster_ip(made, name, port, local_detector)
    if port.external_ips or port.load_balancer_ips or port.node_port:
        _external_chain(made, name, port, local_detector)
        _external_addresses(made, name, port, local_detector)
    return made


# --- chains of its own


def _spread_chains(made: PortRules, name: ServicePortName, port: ServicePort) -> None:
    everywhere = port.cluster_endpoints if port.internal_local else port.endpoints
    here = port.endpoints if port.internal_local else port.local_endpoints
    targets = {each: names.endpoint_chain(name, each) for each in (*everywhere, *here)}
    for chain, endpoints in ((names.service_chain(name), everywhere), (names.local_chain(name), here)):
        if endpoints:
            made.chains[chain] = list(_spread(port, chain, [targets[each] for each in endpoints]))
    for endpoint, chain in targets.items():
        made.chains[chain] = _endpoint(chain, port, endpoint)


def _spread(port: ServicePort, chain: str, targets: Sequence[str]) -> Iterator[str]:
    if port.affinity_seconds:
        for target in targets:
            recent = f"-m recent --rcheck --seconds {port.affinity_seconds} --reap {_remembered(target, port)}"
            yield f"-A {chain} {recent} -j {target}"
    for target, chance in zip(targets, _chances(len(targets)), strict=True):
        yield f"-A {chain} {chance}-j {target}"


@cache
def _chances(count: int) -> tuple[str, ...]:
    """How each of `count` rules takes its share of what the ones before it left, as the kernel rounds it."""
    shares = (round(KERNEL_ONE / left) / KERNEL_ONE for left in range(count, 1, -1))
    return (*(f"-m statistic --mode random --probability {share:0.11f} " for share in shares), "")


def _endpoint(chain: str, port: ServicePort, endpoint: Endpoint) -> list[str]:
    protocol = port.protocol.lower()
    recent = f"-m recent --set {_remembered(chain, port)} " if port.affinity_seconds else ""
    target = names.address(endpoint)
    return [
        f"-A {chain} -s {_host(endpoint.ip)} -j {names.MARK_MASQ}",
        f"-A {chain} -p {protocol} {recent}-m {protocol} -j DNAT --to-destination {target}",
    ]


def _remembered(chain: str, port: ServicePort) -> str:
    """The list of clients that a chain keeps, each by its whole address."""
    return f"--name {chain} --mask {WHOLE_ADDRESS[_family(port)]} --rsource"


def _external_chain(made: PortRules, name: ServicePortName, port: ServicePort, local_detector: LocalDetector) -> None:
    chain, service = names.external_chain(name), names.service_chain(name)
    title = names.title(name)
    spread = [f"-A {chain} -j {service}"] if port.cluster_endpoints else []
    if not port.external_local:
        comment = _comment(f"masquerade traffic for {title} external destinations")
        made.chains[chain] = [f"-A {chain} {comment} -j {names.MARK_MASQ}", *spread]
        return
    rules = []
    if spread:
        pods = _comment(f"pod traffic for {title} external destinations")
        local = _comment(f"masquerade LOCAL traffic for {title} external destinations")
        route = _comment(f"route LOCAL traffic for {title} external destinations")
        sources = (
            [f"-i {local_detector.interface}"]
            if local_detector.interface
            else [f"-s {cidr}" for cidr in local_detector.cluster_cidrs]
        )
        rules = [f"-A {chain} {source} {pods} -j {service}" for source in sources]
        rules.append(f"-A {chain} {local} -m addrtype --src-type LOCAL -j {names.MARK_MASQ}")
        rules.append(f"-A {chain} {route} -m addrtype --src-type LOCAL -j {service}")
    if port.local_endpoints:
        rules.append(f"-A {chain} -j {names.local_chain(name)}")
    made.chains[chain] = rules


# --- lines in shared chains


def _cluster_ip(made: PortRules, name: ServicePortName, port: ServicePort, local_detector: LocalDetector) -> None:
    chain = names.local_chain(name) if port.internal_local else names.service_chain(name)
    comment = f"{names.title(name)} cluster IP"
    match = _match(port, port.cluster_ip, comment)
    if not port.endpoints:
        made.filter_services.append(_turn_away(names.SERVICES, name, port, port.cluster_ip))
        return
    if local_detector.masquerade_all:
        made.services.append(f"-A {names.SERVICES} {match} -j {names.MARK_MASQ}")
    elif local_detector.interface:
        outside = _match(port, port.cluster_ip, comment, f"! -i {local_detector.interface} ")
        made.services.append(f"-A {names.SERVICES} {outside} -j {names.MARK_MASQ}")
    elif local_detector.cluster_cidrs:
        outside = " ".join(f"! -s {cidr}" for cidr in local_detector.cluster_cidrs[:1])
        made.services.append(f"-A {names.SERVICES} {outside} {match} -j {names.MARK_MASQ}")
    made.services.append(f"-A {names.SERVICES} {match} -j {chain}")


def _external_addresses(
    made: PortRules, name: ServicePortName, port: ServicePort, local_detector: LocalDetector
) -> None:
    title, chain = names.title(name), names.external_chain(name)
    for ip in port.external_ips:
        made.services.append(f"-A {names.SERVICES} {_match(port, ip, f'{title} external IP')} -j {chain}")
    for ip in port.load_balancer_ips:
        first = names.firewall_chain(name) if port.source_ranges else chain
        made.services.append(f"-A {names.SERVICES} {_match(port, ip, f'{title} loadbalancer IP')} -j {first}")
    if port.source_ranges and port.load_balancer_ips:
        _firewall(made, name, port, local_detector)
    protocol = port.protocol.lower()
    if port.node_port:
        match = f"-p {protocol} {_comment(title)} -m {protocol} --dport {port.node_port}"
        made.node_ports.append(f"-A {names.NODE_PORTS} {match} -j {chain}")
    if not (port.local_endpoints if port.external_local else port.cluster_endpoints):
        for ip in (*port.external_ips, *port.load_balancer_ips):
            made.filter_external.append(_turn_away(names.EXTERNAL_SERVICES, name, port, ip))
        if port.node_port:
            made.filter_external.append(_turn_away(names.EXTERNAL_SERVICES, name, port, ""))


def _firewall(made: PortRules, name: ServicePortName, port: ServicePort, local_detector: LocalDetector) -> None:
    chain, title = names.firewall_chain(name), names.title(name)
    comment = _comment(f"{title} loadbalancer IP")
    networks = [ipaddress.ip_network(each, strict=False) for each in port.source_ranges]
    sources = [str(each) for each in networks]
    if any(ipaddress.ip_address(ip) in network for ip in local_detector.node_ips for network in networks):
        sources += map(_host, port.load_balancer_ips)
    made.chains[chain] = [f"-A {chain} -s {each} {comment} -j {names.external_chain(name)}" for each in sources]
    for ip in port.load_balancer_ips:
        match = _match(port, ip, f"{title} traffic not accepted by {chain}")
        made.firewall.append(f"-A {names.FIREWALL} {match} -j DROP")


def _turn_away(chain: str, name: ServicePortName, port: ServicePort, ip: str) -> str:
    """REJECT where there is no endpoint at all, DROP where only the policy leaves none; without `ip`: a node port."""
    dropped, refused = ("DROP", "has no local endpoints"), (REJECT[_family(port)], "has no endpoints")
    what, why = dropped if port.has_endpoints else refused
    comment = f"{names.title(name)} {why}"
    if ip:
        return f"-A {chain} {_match(port, ip, comment)} -j {what}"
    protocol = port.protocol.lower()
    match = f"-m addrtype --dst-type LOCAL -m {protocol} --dport {port.node_port}"
    return f"-A {chain} -p {protocol} {_comment(comment)} {match} -j {what}"


def _match(port: ServicePort, ip: str, comment: str, interface: str = "") -> str:
    protocol = port.protocol.lower()
    return f"-d {_host(ip)} {interface}-p {protocol} {_comment(comment)} -m {protocol} --dport {port.port}"


def _comment(text: str) -> str:
    return f'-m comment --comment "{text}"'


def _host(ip: str) -> str:
    return f"{ip}/128" if ":" in ip else f"{ip}/32"


def _family(port: ServicePort) -> int:
    return 6 if ":" in port.cluster_ip else 4
