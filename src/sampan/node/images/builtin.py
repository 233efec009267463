"""Images that need no registry: the machine's own root, and the same with Sampan's own interpreter in it.

`sampan-ingress` is the latter as images of ingress-nginx are made: its entry point takes the program from the
arguments, the user 101 writes nginx's configuration, and the programs that manifests name are there.

Their containers see the machine's programs read-only below a writable layer of their own. What is not program stays
hidden, wherever it really is: users' homes, temporary files, Sampan's state, passwords, private keys, other services'
data and logs. Programs' directories in /var/lib and /var/log are there, but empty.
"""

import glob
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import sampan
from sampan.kernel import mounts
from sampan.node.images.types import Directory, Image, ImageConfig
from sampan.node.runtime.oci import DEFAULT_PATH
from sampan.node.runtime.types import Mount

HOST = "host"
SAMPAN = "sampan"
INGRESS = "sampan-ingress"
NAMES = (HOST, SAMPAN, INGRESS)
START = "from sampan.cli.main import main; raise SystemExit(main())"
_SECRET = """
    /root /home /tmp /var/tmp /run /var/lib /var/log /var/spool /var/backups /var/mail /etc/ssl/private
    /etc/shadow /etc/shadow- /etc/gshadow /etc/gshadow- /etc/sudoers /etc/sudoers.d /etc/krb5.keytab
"""
_SECRET_PATTERNS = ("/etc/ssh/ssh_host_*_key", "/etc/security/opasswd*", "/etc/NetworkManager/system-connections")
_WRITABLE = (Path("/tmp"), Path("/var/tmp"))
INGRESS_USER = 101
"""www-data in images of ingress-nginx; its manifests say it by number."""
INGRESS_DIRECTORIES = ("/etc/nginx", "/run/sampan-ingress")
"""Where the controller writes: the configuration that people look at, and what only nginx reads."""
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
        separate=_separate_file_systems(),
        hidden=_hidden(tuple(hidden)),
        files=dict(files or {}),
        mounts=_masks(tuple(hidden)),
    )


@cache
def _hidden(more: tuple[Path, ...]) -> tuple[Path, ...]:
    """What containers must not see, by the paths where it really is."""
    names = [*_SECRET.split(), *(name for pattern in _SECRET_PATTERNS for name in glob.glob(pattern))]
    found = dict.fromkeys(Path(path).resolve() for path in [*map(Path, names), *more])
    return tuple(path for path in found if path != Path("/"))


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
        separate=base.separate,
        hidden=base.hidden,
        mounts=(*base.mounts, *(_read_only(path) for path in _own_directories())),
    )


def ingress(hidden: Sequence[Path], *, reference: str = INGRESS, flags: Sequence[str] = ()) -> Image:
    """The machine's nginx under Sampan's controller, with these flags, in the place of an image of ingress-nginx."""
    base = own(hidden)
    command = shlex.join(base.config.entrypoint)
    return replace(
        base,
        id=f"host:{reference}",
        reference=reference,
        config=replace(base.config, entrypoint=(), command=("/nginx-ingress-controller",)),
        files={
            "/nginx-ingress-controller": f'#!/bin/sh\nexec {command} {shlex.join(("ingress", *flags))} "$@"\n',
            "/wait-shutdown": f"#!/bin/sh\nexec {command} ingress wait-shutdown\n",
        },
        directories=(*_ways_to_own(base.hidden), *(Directory(path, INGRESS_USER) for path in INGRESS_DIRECTORIES)),
    )


def _ways_to_own(hidden: Sequence[Path]) -> Iterator[Directory]:
    """Directories above Sampan's own, which other users than root may pass in this image."""
    above = {parent for path in _own_directories() for parent in path.parents}
    closed = (path for path in sorted(above) if path.stat().st_mode & 0o001 == 0 or path in hidden)
    return (Directory(str(path), mode=0o711) for path in closed)


def _packages() -> list[Path]:
    """Where Python finds Sampan."""
    return [Path(sampan.__file__).resolve().parent.parent]


def _own_directories() -> list[Path]:
    """Directories that Sampan runs from and that are not among the machine's own, outer ones first."""
    wanted = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parent.parent, *_packages()}
    outside = sorted(path for path in wanted if path != Path("/usr") and Path("/usr") not in path.parents)
    return [path for path in outside if not any(other in path.parents for other in outside)]


def _read_only(path: Path) -> Mount:
    """A mount of the machine's with all that is mounted below it, none of it writable."""
    return Mount(str(path), str(path), "bind", ("rbind", "rprivate", "rro"))


@cache
def _separate_file_systems() -> tuple[Path, ...]:
    """System directories with a file system of their own, which a view of the root alone would show empty."""
    targets = {point.target for point in mounts.mounted()}
    return tuple(Path(name) for name in SYSTEM_DIRECTORIES if name in targets and Path(name).is_dir())


@cache
def _masks(more: tuple[Path, ...]) -> tuple[Mount, ...]:
    """Masks over what is to be hidden on separate file systems, which lie above the layer that hides the rest."""
    separate = _separate_file_systems()
    masked = [path for path in _hidden(more) if path.exists() and any(one in path.parents for one in separate)]
    outermost = [path for path in sorted(masked) if not any(other in path.parents for other in masked)]
    return tuple(_mask(path) for path in outermost)


def _mask(path: Path) -> Mount:
    if not path.is_dir():
        return Mount.bind("/dev/null", str(path), read_only=True)
    return Mount.tmpfs(str(path), mode="1777" if path in _WRITABLE else "0755")
