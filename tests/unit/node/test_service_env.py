"""Service environment variables are those that upstream's agent sets."""

from sampan.api.core_v1 import Service, ServicePort, ServiceSpec
from sampan.api.meta_v1 import ObjectMeta
from sampan.node.service_env import service_variables


def service(name: str, ip: str, *ports: ServicePort, namespace: str = "shop") -> Service:
    return Service(metadata=ObjectMeta(name=name, namespace=namespace), spec=ServiceSpec(cluster_ip=ip, ports=ports))


KUBERNETES = service("kubernetes", "10.96.0.1", ServicePort(name="https", port=443), namespace="default")


def test_all_variables_of_a_service_with_two_ports() -> None:
    redis = service(
        "redis-master",
        "10.0.0.11",
        ServicePort(name="main", port=6379),
        ServicePort(name="udp-x", port=53, protocol="UDP"),
    )
    assert service_variables([redis], "shop", True) == {
        "REDIS_MASTER_SERVICE_HOST": "10.0.0.11",
        "REDIS_MASTER_SERVICE_PORT": "6379",
        "REDIS_MASTER_SERVICE_PORT_MAIN": "6379",
        "REDIS_MASTER_SERVICE_PORT_UDP_X": "53",
        "REDIS_MASTER_PORT": "tcp://10.0.0.11:6379",
        "REDIS_MASTER_PORT_6379_TCP": "tcp://10.0.0.11:6379",
        "REDIS_MASTER_PORT_6379_TCP_PROTO": "tcp",
        "REDIS_MASTER_PORT_6379_TCP_PORT": "6379",
        "REDIS_MASTER_PORT_6379_TCP_ADDR": "10.0.0.11",
        "REDIS_MASTER_PORT_53_UDP": "udp://10.0.0.11:53",
        "REDIS_MASTER_PORT_53_UDP_PROTO": "udp",
        "REDIS_MASTER_PORT_53_UDP_PORT": "53",
        "REDIS_MASTER_PORT_53_UDP_ADDR": "10.0.0.11",
    }


def test_headless_and_external_services_are_not_announced() -> None:
    services = [service("headless", "None", ServicePort(port=80)), service("external", "", ServicePort(port=80))]
    assert service_variables(services, "shop", True) == {}


def test_services_of_other_namespaces_are_not_announced_but_the_api_server_always_is() -> None:
    services = [KUBERNETES, service("web", "10.0.0.2", ServicePort(port=80), namespace="other")]
    names = service_variables(services, "shop", True)
    assert names["KUBERNETES_SERVICE_HOST"] == "10.96.0.1"
    assert "WEB_SERVICE_HOST" not in names


def test_without_service_links_only_the_api_server_is_announced() -> None:
    services = [KUBERNETES, service("web", "10.0.0.2", ServicePort(port=80))]
    names = service_variables(services, "shop", False)
    assert "WEB_SERVICE_HOST" not in names
    assert names["KUBERNETES_PORT"] == "tcp://10.96.0.1:443"


def test_addresses_of_ipv6_services_are_bracketed_in_urls() -> None:
    names = service_variables([service("six", "fd00::1", ServicePort(port=80))], "shop", True)
    assert names["SIX_PORT"] == "tcp://[fd00::1]:80"
    assert names["SIX_SERVICE_HOST"] == "fd00::1"
