"""Files from a ConfigMap. Pure; `manager.py` fetches the object and writes the files."""

from collections.abc import Mapping

from sampan.api.core_v1 import ConfigMap, ConfigMapSource, KeyToPath
from sampan.node.volumes import atomic
from sampan.node.volumes.atomic import File
from sampan.node.volumes.errors import VolumeError


def files(source: ConfigMapSource, found: ConfigMap | None, default_mode: int) -> dict[str, File]:
    """The files of one ConfigMap. Raises VolumeError if it, or a key asked for, is missing and not optional."""
    if found is None:
        if source.optional:
            return {}
        raise VolumeError(f'configmap "{source.name}" not found')
    values = {key: value.encode() for key, value in found.data.items()} | dict(found.binary_data)
    mode = default_mode if source.default_mode is None else source.default_mode
    return select(values, source.items, mode, source.optional, "configmap references non-existent config key")


def select(
    values: Mapping[str, bytes], items: tuple[KeyToPath, ...], mode: int, optional: bool, complaint: str
) -> dict[str, File]:
    """All keys as files, or only those listed, under the paths listed. Shared with Secrets."""
    if not items:
        return {key: File(value, mode) for key, value in values.items()}
    chosen: dict[str, File] = {}
    for item in items:
        if item.key not in values:
            if optional:
                continue
            raise VolumeError(f"{complaint}: {item.key}")
        if not atomic.is_safe(item.path):
            raise VolumeError(f"invalid path: {item.path}")
        chosen[item.path] = File(values[item.key], mode if item.mode is None else item.mode)
    return chosen
