"""A pod's hostname and its managed /etc/hosts.

Pure. `containers.py` writes the text into the pod's directory and mounts it, unless the container mounts a file of
its own there.
"""

from dataclasses import dataclass

from sampan.api.core_v1 import HostAlias, Pod

_LOCAL_NAMES = """\
127.0.0.1	localhost
::1	localhost ip6-localhost ip6-loopback
fe00::0	ip6-localnet
fe00::0	ip6-mcastprefix
fe00::1	ip6-allnodes
fe00::2	ip6-allrouters
"""
_LONGEST_LABEL = 63


@dataclass(frozen=True, slots=True)
class PodHostname:
    """`hostname` is what the kernel reports; `fqdn` is empty for a pod without a subdomain."""

    hostname: str
    fqdn: str = ""


def pod_hostname(pod: Pod, cluster_domain: str, node_name: str) -> PodHostname:
    """The pod's name cut to a label, or `spec.hostname`; with `spec.subdomain` there is a full name too."""
    if pod.spec.host_network:
        return PodHostname(node_name)
    label = pod.spec.hostname or pod.metadata.name[:_LONGEST_LABEL].rstrip("-.")
    if not pod.spec.subdomain:
        return PodHostname(label)
    fqdn = f"{label}.{pod.spec.subdomain}.{pod.metadata.namespace}.svc.{cluster_domain}"
    return PodHostname(fqdn if pod.spec.set_hostname_as_fqdn else label, fqdn)


def hosts_file(pod: Pod, pod_ips: tuple[str, ...], names: PodHostname) -> str:
    """The content of /etc/hosts for a pod with a network of its own."""
    short = names.fqdn.partition(".")[0] if names.fqdn else names.hostname
    own = f"{names.fqdn}\t{short}" if names.fqdn else short
    lines = "".join(f"{address}\t{own}\n" for address in pod_ips)
    return f"# Kubernetes-managed hosts file.\n{_LOCAL_NAMES}{lines}{_aliases(pod.spec.host_aliases)}"


def host_network_hosts_file(pod: Pod, node_hosts: str) -> str:
    """The content of /etc/hosts for a host-network pod: the node's own and the pod's aliases."""
    return f"# Kubernetes-managed hosts file (host network).\n{node_hosts}{_aliases(pod.spec.host_aliases)}"


def _aliases(aliases: tuple[HostAlias, ...]) -> str:
    if not aliases:
        return ""
    lines = "".join(f"{alias.ip}\t{chr(9).join(alias.hostnames)}\n" for alias in aliases)
    return f"\n# Entries added by HostAliases.\n{lines}"
