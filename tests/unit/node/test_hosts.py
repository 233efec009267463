"""Hostnames and /etc/hosts of pods."""

from sampan.api.core_v1 import HostAlias, Pod, PodSpec
from sampan.api.meta_v1 import ObjectMeta
from sampan.node.hosts import PodHostname, host_network_hosts_file, hosts_file, pod_hostname


def pod(name: str = "web", **spec: object) -> Pod:
    return Pod(metadata=ObjectMeta(name=name, namespace="shop"), spec=PodSpec(**spec))  # type: ignore[arg-type]


def names(one: Pod) -> PodHostname:
    return pod_hostname(one, "cluster.local", "node-1")


def test_a_pods_hostname_is_its_name() -> None:
    assert names(pod()) == PodHostname("web")


def test_a_long_name_is_cut_to_a_label() -> None:
    assert names(pod("a" * 62 + "-bcd")).hostname == "a" * 62


def test_hostname_and_subdomain_make_a_full_name() -> None:
    full = "one.sub.shop.svc.cluster.local"
    assert names(pod(hostname="one", subdomain="sub")) == PodHostname("one", full)
    assert names(pod(hostname="one", subdomain="sub", set_hostname_as_fqdn=True)).hostname == full


def test_a_host_network_pod_is_called_like_its_node() -> None:
    assert names(pod(host_network=True, hostname="x")) == PodHostname("node-1")


def test_the_hosts_file_lists_address_full_name_and_hostname() -> None:
    one = pod(hostname="one", subdomain="sub", host_aliases=(HostAlias(ip="1.2.3.4", hostnames=("a", "b")),))
    text = hosts_file(one, ("10.244.0.5",), names(one))
    assert text.startswith("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n")
    assert "10.244.0.5\tone.sub.shop.svc.cluster.local\tone\n" in text
    assert text.endswith("\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n")


def test_a_host_network_pod_sees_the_nodes_own_hosts() -> None:
    text = host_network_hosts_file(pod(), "127.0.0.1 localhost node\n")
    assert text == "# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost node\n"
