"""subPath: mount one file or directory of a volume instead of the whole, and never anything outside of it."""

from pathlib import Path

from sampan.node.volumes.errors import VolumeError


def resolve(volume: Path, sub_path: str) -> Path:
    """The real path of `sub_path` in a volume, made as a directory if missing. Raises VolumeError."""
    if Path(sub_path).is_absolute() or ".." in Path(sub_path).parts:
        raise VolumeError(f'subPath "{sub_path}" must be a relative path without ".."')
    root = volume.resolve()
    path = (root / sub_path).resolve()
    if path != root and root not in path.parents:
        raise VolumeError(f'subpath "{path}" not within volume path "{root}"')
    if not path.exists():
        path.mkdir(parents=True, mode=0o750)
    return path
