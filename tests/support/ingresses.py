"""Makers of Ingresses, Services, EndpointSlices, certificates, and of what the translation reads."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from sampan.api.core_v1 import ConfigMap, Secret, Service, ServicePort, ServiceSpec
from sampan.api.discovery_v1 import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from sampan.api.meta_v1 import ObjectMeta
from sampan.api.networking_v1 import (
    HTTPIngressPath,
    HTTPIngressRuleValue,
    Ingress,
    IngressBackend,
    IngressClass,
    IngressClassSpec,
    IngressRule,
    IngressServiceBackend,
    IngressSpec,
    IngressTLS,
    ServiceBackendPort,
)
from sampan.ingress import settings as ingress_settings
from sampan.ingress.model import Configuration, Host, Route, Source
from sampan.ingress.translate import Objects, Options, Translation, translate

PREFIX = "nginx.ingress.kubernetes.io/"
CLASS = IngressClass(metadata=ObjectMeta(name="nginx"), spec=IngressClassSpec(controller="k8s.io/ingress-nginx"))


def backend(service: str, port: int | str = 80) -> IngressBackend:
    name, number = (port, 0) if isinstance(port, str) else ("", port)
    return IngressBackend(
        service=IngressServiceBackend(name=service, port=ServiceBackendPort(name=name, number=number))
    )


def path(value: str, service: str = "web", kind: str | None = "Prefix", port: int | str = 80) -> HTTPIngressPath:
    return HTTPIngressPath(path=value, path_type=kind, backend=backend(service, port))


def rule(host: str, *paths: HTTPIngressPath) -> IngressRule:
    return IngressRule(host=host, http=HTTPIngressRuleValue(paths=paths) if paths else None)


def ingress(
    name: str,
    *rules: IngressRule,
    namespace: str = "default",
    created: str = "2026-01-01T00:00:00Z",
    annotations: Mapping[str, str] | None = None,
    tls: Iterable[IngressTLS] = (),
    default: IngressBackend | None = None,
    class_name: str | None = "nginx",
    raw: Mapping[str, str] | None = None,
) -> Ingress:
    """`annotations` are without their prefix, `raw` ones with."""
    named = {PREFIX + key: text for key, text in (annotations or {}).items()} | dict(raw or {})
    return Ingress(
        metadata=ObjectMeta(name=name, namespace=namespace, creation_timestamp=created, annotations=named),
        spec=IngressSpec(ingress_class_name=class_name, rules=rules, tls=tuple(tls), default_backend=default),
    )


def service(name: str = "web", namespace: str = "default", **spec: Any) -> Service:
    spec.setdefault("ports", (ServicePort(name="http", port=80, target_port=8080),))
    spec.setdefault("cluster_ip", "10.96.0.10")
    return Service(metadata=ObjectMeta(name=name, namespace=namespace), spec=ServiceSpec(**spec))


def endpoint(
    address: str, ready: bool | None = True, serving: bool | None = None, terminating: bool | None = None
) -> Endpoint:
    conditions = EndpointConditions(ready=ready, serving=serving, terminating=terminating)
    return Endpoint(addresses=(address,), conditions=conditions)


def endpoint_slice(
    service_name: str = "web", *endpoints: Endpoint, namespace: str = "default", name: str = "", port: str = "http",
    number: int = 8080, family: str = "IPv4",
) -> EndpointSlice:  # fmt: skip
    return EndpointSlice(
        metadata=ObjectMeta(
            name=name or f"{service_name}-1", namespace=namespace, labels={"kubernetes.io/service-name": service_name}
        ),
        address_type=family,
        endpoints=endpoints or (endpoint("10.1.0.1"),),
        ports=(EndpointPort(name=port, port=number, protocol="TCP"),),
    )


def secret(name: str, namespace: str = "default", **data: bytes) -> Secret:
    """`tls_crt` is the key tls.crt."""
    return Secret(
        metadata=ObjectMeta(name=name, namespace=namespace),
        data={key.replace("_", "."): content for key, content in data.items()},
    )


def config_map(name: str, data: Mapping[str, str], namespace: str = "default") -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace=namespace), data=dict(data))


@lru_cache
def certificate(*names: str, common_name: str = "") -> tuple[bytes, bytes]:
    """A self-signed certificate for `names` and its key, both PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name or names[0])])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=3650))
    )
    if names:
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
    signed = made.sign(key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return signed.public_bytes(serialization.Encoding.PEM), private


def tls_secret(name: str, *names: str, namespace: str = "default", common_name: str = "") -> Secret:
    chain, key = certificate(*names, common_name=common_name)
    return secret(name, namespace, tls_crt=chain, tls_key=key)


def objects(*each: Any, absent: Iterable[tuple[str, str]] = ()) -> Objects:
    """The objects, with class nginx. Secrets and ConfigMaps that are not among them are known not to exist."""
    kinds: dict[type, dict[tuple[str, str], Any]] = {
        kind: {} for kind in (Ingress, IngressClass, Service, EndpointSlice, Secret, ConfigMap)
    }
    for one in (CLASS, *each):
        kinds[type(one)][one.metadata.namespace, one.metadata.name] = one
    return Objects(
        kinds[Ingress], kinds[IngressClass], kinds[Service], kinds[EndpointSlice],
        _Complete(kinds[Secret]), _Complete(kinds[ConfigMap]),
    )  # fmt: skip


class _Complete(dict):  # type: ignore[type-arg]
    """A mapping in which every key is known: what is not there does not exist."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(key)

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: object) -> None:
        return None


def translated(*each: Any, options: Options | None = None, **data: str) -> Translation:
    """Translate; keywords are keys of the ConfigMap with _ for -."""
    found, problems = ingress_settings.parse({key.replace("_", "-"): text for key, text in data.items()})
    assert not problems, problems
    return translate(objects(*each), found, options or Options())


def host(made: Translation | Configuration, name: str) -> Host:
    configuration = made.configuration if isinstance(made, Translation) else made
    found = [one for one in configuration.hosts if one.name == name]
    assert found, f"no host {name!r} among {[one.name for one in configuration.hosts]}"
    return found[0]


def route(made: Translation, host_name: str, value: str) -> Route:
    found = [one for one in host(made, host_name).routes if one.path.value == value]
    assert found, f"no path {value!r} among {[one.path for one in host(made, host_name).routes]}"
    return found[0]


def told(made: Translation, name: str, namespace: str = "default", kind: str = "Ingress") -> list[str]:
    """The reasons of an object's problems."""
    return [one.reason for one in made.problems if one.object == Source(namespace, name, kind)]


def messages(made: Translation, name: str, namespace: str = "default", kind: str = "Ingress") -> str:
    return "\n".join(one.message for one in made.problems if one.object == Source(namespace, name, kind))
