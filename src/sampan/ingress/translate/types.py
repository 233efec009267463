"""What a translation reads and what it gives."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sampan.api.core_v1 import ConfigMap, Secret, Service
from sampan.api.discovery_v1 import EndpointSlice
from sampan.api.networking_v1 import Ingress, IngressClass
from sampan.ingress.annotations.parse import PREFIX, Annotations
from sampan.ingress.model import BackendKey, Configuration, Listeners, LoadBalancing, PathType, Source

Key = tuple[str, str]
"""Namespace and name; the namespace of an IngressClass is ""."""


@dataclass(frozen=True, slots=True)
class Objects:
    """What informers hold, by key. An object that has changed is another Python object; mappings may be live.

    Secrets and ConfigMaps are read only when something refers to them: None stands for one that does not exist, a
    missing key for one that nobody has looked for yet.
    """

    ingresses: Mapping[Key, Ingress] = field(default_factory=dict)
    classes: Mapping[Key, IngressClass] = field(default_factory=dict)
    services: Mapping[Key, Service] = field(default_factory=dict)
    slices: Mapping[Key, EndpointSlice] = field(default_factory=dict)
    secrets: Mapping[Key, Secret | None] = field(default_factory=dict)
    config_maps: Mapping[Key, ConfigMap | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Options:
    """Flags of the controller, under the names that ingress-nginx gives them. Names of objects are `namespace/name`."""

    controller_class: str = "k8s.io/ingress-nginx"
    ingress_class: str = "nginx"
    ingress_class_by_name: bool = False
    watch_ingress_without_class: bool = False
    watch_namespace: str = ""
    annotations_prefix: str = PREFIX
    default_backend_service: str = ""
    default_ssl_certificate: str = ""
    tcp_services_configmap: str = ""
    udp_services_configmap: str = ""
    enable_ssl_passthrough: bool = False
    disable_catch_all: bool = False
    disable_svc_external_name: bool = False
    enable_topology_aware_routing: bool = False
    zone: str = ""
    """Of the node that the controller runs on, for topology aware routing."""
    listeners: Listeners = field(default_factory=Listeners)


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Something wrong with one object. `reason` is an event's; `is_fatal`: nothing of the object is served."""

    object: Source
    reason: str
    message: str
    is_fatal: bool = False


@dataclass(frozen=True, slots=True)
class Shadowed:
    """A path that an older Ingress already has."""

    host: str
    path: str
    type: PathType
    source: Source
    winner: Source


@dataclass(frozen=True, slots=True)
class Translation:
    """The configuration, and what is to be told. `problems` are sorted by object.

    `served` are the Ingresses of our class, those that are rejected too, with their annotations; `secrets` and
    `config_maps` are what they refer to. `missing` are references that nobody has looked for yet: with them read, the
    configuration may be another.
    """

    configuration: Configuration
    problems: tuple[Problem, ...]
    served: Mapping[Source, Annotations]
    secrets: frozenset[Key]
    config_maps: frozenset[Key]
    missing: frozenset[Key] = frozenset()
    shadowed: tuple[Shadowed, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """A Backend that routes ask for; backends.py finds its endpoints. Port "" of the key is the Service's first."""

    name: str
    key: BackendKey
    balancing: LoadBalancing
    service_upstream: bool
    source: Source
    """Who asks for it."""
    protocol: str = "TCP"
