"""Ingresses and IngressClasses (networking.k8s.io/v1)."""

from msgspec import field

from sampan.api.meta_v1 import APIObject, Struct


class ServiceBackendPort(Struct, frozen=True):
    """A port of a Service by name or by number; one of the two is set."""

    name: str = ""
    number: int = 0

    def __str__(self) -> str:
        return self.name or str(self.number)


class IngressServiceBackend(Struct, frozen=True):
    name: str = ""
    port: ServiceBackendPort = ServiceBackendPort()


class TypedLocalObjectReference(Struct, frozen=True):
    api_group: str | None = None
    kind: str = ""
    name: str = ""


class IngressBackend(Struct, frozen=True):
    service: IngressServiceBackend | None = None
    resource: TypedLocalObjectReference | None = None


class HTTPIngressPath(Struct, frozen=True):
    path: str = ""
    path_type: str | None = None
    backend: IngressBackend = IngressBackend()


class HTTPIngressRuleValue(Struct, frozen=True):
    paths: tuple[HTTPIngressPath, ...] = ()


class IngressRule(Struct, frozen=True):
    host: str = ""
    http: HTTPIngressRuleValue | None = None


class IngressTLS(Struct, frozen=True):
    hosts: tuple[str, ...] = ()
    secret_name: str = ""


class IngressSpec(Struct, frozen=True):
    ingress_class_name: str | None = None
    default_backend: IngressBackend | None = None
    tls: tuple[IngressTLS, ...] = ()
    rules: tuple[IngressRule, ...] = ()


class IngressPortStatus(Struct, frozen=True):
    port: int = 0
    protocol: str = "TCP"
    error: str | None = None


class IngressLoadBalancerIngress(Struct, frozen=True):
    ip: str = ""
    hostname: str = ""
    ports: tuple[IngressPortStatus, ...] = ()


class IngressLoadBalancerStatus(Struct, frozen=True):
    ingress: tuple[IngressLoadBalancerIngress, ...] = ()


class IngressStatus(Struct, frozen=True):
    load_balancer: IngressLoadBalancerStatus = IngressLoadBalancerStatus()


class Ingress(APIObject, frozen=True):
    spec: IngressSpec = IngressSpec()
    status: IngressStatus = IngressStatus()


class IngressClassParametersReference(Struct, frozen=True):
    api_group: str | None = field(default=None, name="apiGroup")
    kind: str = ""
    name: str = ""
    namespace: str | None = None
    scope: str | None = None


class IngressClassSpec(Struct, frozen=True):
    controller: str = ""
    parameters: IngressClassParametersReference | None = None


class IngressClass(APIObject, frozen=True):
    spec: IngressClassSpec = IngressClassSpec()
