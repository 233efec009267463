"""A pod's /etc/resolv.conf, from its dnsPolicy, its dnsConfig and the node's own resolver.

Pure. `containers.py` writes the text into the pod's directory and mounts it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sampan.api.core_v1 import Pod, PodDNSConfig

MAX_NAMESERVERS = 3
MAX_SEARCHES = 32


@dataclass(frozen=True, slots=True)
class ResolvConf:
    """What a resolv.conf says. Options are whole words such as `ndots:5`."""

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def render(self) -> str:
        lines = [f"nameserver {address}" for address in self.nameservers]
        if self.searches:
            lines.append("search " + " ".join(self.searches))
        if self.options:
            lines.append("options " + " ".join(self.options))
        return "".join(f"{line}\n" for line in lines)


def parse(text: str) -> ResolvConf:
    """Read a resolv.conf; the last `search` (or `domain`) line counts, as in resolv.conf(5)."""
    nameservers: list[str] = []
    searches: tuple[str, ...] = ()
    options: list[str] = []
    for line in text.splitlines():
        words = line.split("#", 1)[0].split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver":
            nameservers.append(words[1])
        elif words[0] in ("search", "domain"):
            searches = tuple(word for word in words[1:] if word != ".")
        elif words[0] == "options":
            options += words[1:]
    return ResolvConf(tuple(nameservers), searches, tuple(options))


def for_pod(pod: Pod, cluster_dns: Iterable[str], cluster_domain: str, host: ResolvConf) -> ResolvConf:
    """The resolver of one pod. A host-network pod with `ClusterFirst` uses the host's, as upstream does."""
    base = _by_policy(pod, tuple(cluster_dns), cluster_domain, host)
    merged = _merge(base, pod.spec.dns_config) if pod.spec.dns_config else base
    return ResolvConf(merged.nameservers[:MAX_NAMESERVERS], merged.searches[:MAX_SEARCHES], merged.options)


def _by_policy(pod: Pod, cluster_dns: tuple[str, ...], domain: str, host: ResolvConf) -> ResolvConf:
    policy = pod.spec.dns_policy or "ClusterFirst"
    if policy == "None":
        return ResolvConf()
    use_cluster = policy == "ClusterFirstWithHostNet" or (policy == "ClusterFirst" and not pod.spec.host_network)
    if not use_cluster or not cluster_dns:
        return host
    own = (f"{pod.metadata.namespace}.svc.{domain}", f"svc.{domain}", domain)
    return ResolvConf(cluster_dns, _unique((*own, *host.searches)), ("ndots:5",))


def _merge(base: ResolvConf, extra: PodDNSConfig) -> ResolvConf:
    options = {option.partition(":")[0]: option for option in base.options}
    for option in extra.options:
        options[option.name] = f"{option.name}:{option.value}" if option.value else option.name
    return ResolvConf(
        _unique((*base.nameservers, *extra.nameservers)),
        _unique((*base.searches, *extra.searches)),
        tuple(options.values()),
    )


def _unique(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))
