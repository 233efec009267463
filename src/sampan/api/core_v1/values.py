"""Where the values of environment variables come from."""

from sampan.api.meta_v1 import Struct

IntOrString = int | str


class KeySelector(Struct, frozen=True):
    name: str = ""
    key: str = ""
    optional: bool = False


class ObjectFieldSelector(Struct, frozen=True):
    api_version: str = ""
    field_path: str = ""


class ResourceFieldSelector(Struct, frozen=True):
    container_name: str = ""
    resource: str = ""
    divisor: str | int = ""


class EnvVarSource(Struct, frozen=True):
    field_ref: ObjectFieldSelector | None = None
    resource_field_ref: ResourceFieldSelector | None = None
    config_map_key_ref: KeySelector | None = None
    secret_key_ref: KeySelector | None = None


class EnvVar(Struct, frozen=True):
    name: str = ""
    value: str = ""
    value_from: EnvVarSource | None = None


class LocalReference(Struct, frozen=True):
    name: str = ""
    optional: bool = False


class EnvFromSource(Struct, frozen=True):
    prefix: str = ""
    config_map_ref: LocalReference | None = None
    secret_ref: LocalReference | None = None
