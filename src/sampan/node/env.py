"""The environment of a container, computed from its declaration and from what it refers to.

Order of strength, weakest first: Services (`service_env.py`), `envFrom` in its order, `env` in its order. A value may
refer to variables declared before it and to those of Services. What a pod refers to (ConfigMaps, Secrets) is looked
up by the caller beforehand, so that this module stays pure; `references` says what to look up.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sampan.api.core_v1 import ConfigMap, Container, EnvFromSource, EnvVarSource, KeySelector, Pod, Secret
from sampan.node import fields
from sampan.node.expansion import expand
from sampan.node.fields import PodFacts

_NAME = re.compile(r"^[ -<>-~]+$")  # printable ASCII without "=" (upstream's relaxed validation)

Reference = tuple[str, str]  # ("ConfigMap" | "Secret", name)


class ConfigError(Exception):
    """A container cannot be configured; becomes the waiting reason CreateContainerConfigError."""


@dataclass(frozen=True, slots=True)
class Sources:
    """ConfigMaps and Secrets of the pod's namespace, by name. None: known not to exist."""

    config_maps: Mapping[str, ConfigMap | None] = field(default_factory=dict)
    secrets: Mapping[str, Secret | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Environment:
    """The variables in order, and names that were skipped because no variable can be called so."""

    variables: dict[str, str]
    skipped: tuple[str, ...] = ()


def references(container: Container) -> set[Reference]:
    """Every ConfigMap and Secret that the container's environment reads."""
    found: set[Reference] = set()
    for bulk in container.env_from:
        if bulk.config_map_ref:
            found.add(("ConfigMap", bulk.config_map_ref.name))
        if bulk.secret_ref:
            found.add(("Secret", bulk.secret_ref.name))
    for variable in container.env:
        source = variable.value_from
        if source and source.config_map_key_ref:
            found.add(("ConfigMap", source.config_map_key_ref.name))
        if source and source.secret_key_ref:
            found.add(("Secret", source.secret_key_ref.name))
    return found


def environment(
    pod: Pod, container: Container, facts: PodFacts, sources: Sources, services: Mapping[str, str]
) -> Environment:
    """All variables of one container. Raises ConfigError in upstream's words."""
    result: dict[str, str] = {}
    skipped: list[str] = []
    for bulk in container.env_from:
        for name, value in _bulk_values(pod, bulk, sources):
            if _NAME.match(name):
                result[name] = value
            else:
                skipped.append(name)
    for variable in container.env:
        if variable.value_from is None:
            result[variable.name] = expand(variable.value, result, services)
            continue
        value_or_none = _sourced_value(pod, container, facts, sources, variable.value_from)
        if value_or_none is not None:
            result[variable.name] = value_or_none
    rest = {name: value for name, value in services.items() if name not in result}
    return Environment(rest | result, tuple(skipped))


def _bulk_values(pod: Pod, bulk: EnvFromSource, sources: Sources) -> Iterable[tuple[str, str]]:
    if bulk.config_map_ref:
        config_map = _find_config_map(sources, bulk.config_map_ref.name, bulk.config_map_ref.optional)
        for key, value in sorted((config_map.data if config_map else {}).items()):
            yield bulk.prefix + key, value
    if bulk.secret_ref:
        secret = _find_secret(sources, bulk.secret_ref.name, bulk.secret_ref.optional)
        for key, raw in sorted((secret.data if secret else {}).items()):
            yield bulk.prefix + key, _text(raw)


def _sourced_value(
    pod: Pod, container: Container, facts: PodFacts, sources: Sources, source: EnvVarSource
) -> str | None:
    """None: the source is optional and missing, so the variable is not set."""
    try:
        if source.field_ref:
            return fields.pod_field(pod, facts, source.field_ref.field_path)
        if source.resource_field_ref:
            return fields.container_resource(pod, container, facts, source.resource_field_ref)
    except fields.UnsupportedField as error:
        raise ConfigError(str(error)) from error
    if source.config_map_key_ref:
        return _config_map_value(pod, sources, source.config_map_key_ref)
    if source.secret_key_ref:
        return _secret_value(pod, sources, source.secret_key_ref)
    return ""


def _config_map_value(pod: Pod, sources: Sources, ref: KeySelector) -> str | None:
    found = _find_config_map(sources, ref.name, ref.optional)
    if found and ref.key in found.data:
        return found.data[ref.key]
    if ref.optional:
        return None
    raise ConfigError(f"couldn't find key {ref.key} in ConfigMap {pod.metadata.namespace}/{ref.name}")


def _secret_value(pod: Pod, sources: Sources, ref: KeySelector) -> str | None:
    found = _find_secret(sources, ref.name, ref.optional)
    if found and ref.key in found.data:
        return _text(found.data[ref.key])
    if ref.optional:
        return None
    raise ConfigError(f"couldn't find key {ref.key} in Secret {pod.metadata.namespace}/{ref.name}")


def _find_config_map(sources: Sources, name: str, optional: bool) -> ConfigMap | None:
    found = sources.config_maps.get(name)
    if found is None and not optional:
        raise ConfigError(f'configmap "{name}" not found')
    return found


def _find_secret(sources: Sources, name: str, optional: bool) -> Secret | None:
    found = sources.secrets.get(name)
    if found is None and not optional:
        raise ConfigError(f'secret "{name}" not found')
    return found


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
