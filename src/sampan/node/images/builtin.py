"""Images that need no registry: the machine's own root, and the same with Sampan's own interpreter in it.

Their containers see the machine's programs read-only below a writable layer of their own. Users' homes, temporary
files and Sampan's state stay hidden.
"""

import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import sampan
from sampan.kernel import mounts
from sampan.node.images.types import Image, ImageConfig
from sampan.node.runtime.oci import DEFAULT_PATH
from sampan.node.runtime.types import Mount

HOST = "host"
SAMPAN = "sampan"
NAMES = (HOST, SAMPAN)
START = "from sampan.cli.main import main; raise SystemExit(main())"
HIDDEN = (Path("/root"), Path("/home"), Path("/tmp"), Path("/var/tmp"), Path("/run"))
SYSTEM_DIRECTORIES = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/opt", "/srv", "/var", "/nix")


def name_of(text: str) -> str | None:
    """The built-in image that a reference means, with or without a tag."""
    name = text.partition(":")[0]
    return name if name in NAMES else None


def host(
    hidden: Sequence[Path],
    *,
    reference: str = HOST,
    config: ImageConfig | None = None,
    files: Mapping[str, str] | None = None,
) -> Image:
    """The machine's own root file system, with `files` put over it."""
    return Image(
        id=f"host:{reference}",
        reference=reference,
        config=config or ImageConfig(command=("sh",), env=(f"PATH={DEFAULT_PATH}",)),
        layers=(Path("/"),),
        hidden=(*HIDDEN, *hidden),
        files=dict(files or {}),
        mounts=_separate_file_systems(),
    )


def own(hidden: Sequence[Path]) -> Image:
    """The machine's root with the interpreter and packages that run this process, wherever they are installed."""
    base = host(hidden)
    program = (sys.executable, "-c", START)
    environment = (*base.config.env, f"PYTHONPATH={':'.join(map(str, _packages()))}", "PYTHONDONTWRITEBYTECODE=1")
    return Image(
        id="host:sampan",
        reference=SAMPAN,
        config=ImageConfig(entrypoint=program, env=environment),
        layers=base.layers,
        hidden=base.hidden,
        mounts=(*base.mounts, *(_read_only(path) for path in _own_directories())),
    )


def _packages() -> list[Path]:
    """Where Python finds Sampan."""
    return [Path(sampan.__file__).resolve().parent.parent]


def _own_directories() -> list[Path]:
    """Directories that Sampan runs from and that are not among the machine's own, outer ones first."""
    wanted = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parent.parent, *_packages()}
    outside = sorted(path for path in wanted if path != Path("/usr") and Path("/usr") not in path.parents)
    return [path for path in outside if not any(other in path.parents for other in outside)]


def _read_only(path: Path) -> Mount:
    return Mount.bind(path, str(path), read_only=True)


@cache
def _separate_file_systems() -> tuple[Mount, ...]:
    """System directories with a file system of their own, which a view of the root alone would show empty."""
    targets = {point.target for point in mounts.mounted()}
    return tuple(_read_only(Path(name)) for name in SYSTEM_DIRECTORIES if name in targets and Path(name).is_dir())
