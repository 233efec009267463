"""Files from a Secret. Pure; `manager.py` fetches the object and writes the files."""

from sampan.api.core_v1 import Secret, SecretSource
from sampan.node.volumes.atomic import File
from sampan.node.volumes.config_map import select
from sampan.node.volumes.errors import VolumeError


def files(source: SecretSource, found: Secret | None, default_mode: int) -> dict[str, File]:
    """The files of one Secret. Raises VolumeError if it, or a key asked for, is missing and not optional."""
    if found is None:
        if source.optional:
            return {}
        raise VolumeError(f'secret "{secret_name(source)}" not found')
    mode = default_mode if source.default_mode is None else source.default_mode
    return select(found.data, source.items, mode, source.optional, "references non-existent secret key")


def secret_name(source: SecretSource) -> str:
    """A volume names its Secret `secretName`, a projection `name`."""
    return source.secret_name or source.name
