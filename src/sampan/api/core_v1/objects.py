"""Namespaces, ConfigMaps, Secrets, ServiceAccounts and ReplicationControllers."""

from typing import Any

from sampan.api.core_v1.values import LocalReference
from sampan.api.meta_v1 import APIObject, Condition, Struct


class NamespaceSpec(Struct, frozen=True):
    finalizers: tuple[str, ...] = ()


class NamespaceStatus(Struct, frozen=True):
    phase: str = ""
    conditions: tuple[Condition, ...] = ()


class Namespace(APIObject, frozen=True):
    spec: NamespaceSpec = NamespaceSpec()
    status: NamespaceStatus = NamespaceStatus()


class ConfigMap(APIObject, frozen=True):
    data: dict[str, str] = {}
    binary_data: dict[str, bytes] = {}


class Secret(APIObject, frozen=True):
    """`data` values arrive decoded from base64."""

    type: str = ""
    data: dict[str, bytes] = {}


class ServiceAccount(APIObject, frozen=True):
    image_pull_secrets: tuple[LocalReference, ...] = ()
    automount_service_account_token: bool | None = None


class ReplicationControllerSpec(Struct, frozen=True):
    replicas: int = 1
    min_ready_seconds: int = 0
    selector: dict[str, str] = {}
    template: dict[str, Any] = {}


class ReplicationControllerStatus(Struct, frozen=True):
    replicas: int = 0
    fully_labeled_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()


class ReplicationController(APIObject, frozen=True):
    spec: ReplicationControllerSpec = ReplicationControllerSpec()
    status: ReplicationControllerStatus = ReplicationControllerStatus()


class ResourceQuotaSpec(Struct, frozen=True):
    hard: dict[str, str] = {}


class ResourceQuotaStatus(Struct, frozen=True):
    hard: dict[str, str] = {}
    used: dict[str, str] = {}


class ResourceQuota(APIObject, frozen=True):
    spec: ResourceQuotaSpec = ResourceQuotaSpec()
    status: ResourceQuotaStatus = ResourceQuotaStatus()
