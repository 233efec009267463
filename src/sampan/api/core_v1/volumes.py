"""Volumes: the sources of files in pods."""

from msgspec import field

from sampan.api.core_v1.values import ObjectFieldSelector, ResourceFieldSelector
from sampan.api.meta_v1 import Struct


class KeyToPath(Struct, frozen=True):
    key: str = ""
    path: str = ""
    mode: int | None = None


class DownwardFile(Struct, frozen=True):
    path: str = ""
    field_ref: ObjectFieldSelector | None = None
    resource_field_ref: ResourceFieldSelector | None = None
    mode: int | None = None


class ConfigMapSource(Struct, frozen=True):
    name: str = ""
    items: tuple[KeyToPath, ...] = ()
    default_mode: int | None = None
    optional: bool = False


class SecretSource(Struct, frozen=True):
    secret_name: str = ""
    name: str = ""
    items: tuple[KeyToPath, ...] = ()
    default_mode: int | None = None
    optional: bool = False


class DownwardSource(Struct, frozen=True):
    items: tuple[DownwardFile, ...] = ()
    default_mode: int | None = None


class ServiceAccountTokenSource(Struct, frozen=True):
    audience: str = ""
    expiration_seconds: int = 3600
    path: str = ""


class ProjectedItem(Struct, frozen=True):
    config_map: ConfigMapSource | None = None
    secret: SecretSource | None = None
    downward_api: DownwardSource | None = field(default=None, name="downwardAPI")
    service_account_token: ServiceAccountTokenSource | None = None


class ProjectedSource(Struct, frozen=True):
    sources: tuple[ProjectedItem, ...] = ()
    default_mode: int | None = None


class EmptyDirSource(Struct, frozen=True):
    medium: str = ""
    size_limit: str | int | None = None


class HostPathSource(Struct, frozen=True):
    path: str = ""
    type: str = ""


class PersistentVolumeClaimSource(Struct, frozen=True):
    claim_name: str = ""
    read_only: bool = False


class Volume(Struct, frozen=True):
    name: str = ""
    empty_dir: EmptyDirSource | None = None
    host_path: HostPathSource | None = None
    config_map: ConfigMapSource | None = None
    secret: SecretSource | None = None
    downward_api: DownwardSource | None = field(default=None, name="downwardAPI")
    projected: ProjectedSource | None = None
    persistent_volume_claim: PersistentVolumeClaimSource | None = None


class VolumeMount(Struct, frozen=True):
    name: str = ""
    mount_path: str = ""
    sub_path: str = ""
    sub_path_expr: str = ""
    read_only: bool = False
    mount_propagation: str = ""
