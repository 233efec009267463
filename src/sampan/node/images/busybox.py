"""A root made of nothing but a static busybox: the program, a link for each of its applets, and the usual directories.

That is what the image `busybox` is in a registry too. So a pod of it shows what tutorials show (its own wget and
nslookup, a ping, no curl and no bash) although no registry was asked.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

DIRECTORIES = ("bin", "etc", "home", "root", "tmp", "usr/bin", "var")
ACCOUNTS = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
    "etc/group": "root:x:0:\nnobody:x:65534:\n",
}
_LOADER = b"/ld-"
_HEADER_BYTES = 4096


def is_static(program: str) -> bool:
    """Whether the program runs without the machine's libraries: its head names no dynamic loader."""
    with Path(program).open("rb") as file:
        return _LOADER not in file.read(_HEADER_BYTES)


def root_of(program: str, directory: Path) -> Path:
    """The root below `directory`, made at first use and again when the program has changed. Raises OSError."""
    status = Path(program).stat()
    made = directory / f"{status.st_mtime_ns:x}-{status.st_size:x}"
    if made.exists():
        return made
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".making-", dir=directory))
    try:
        _fill(partial, program)
        partial.chmod(0o755)
        partial.rename(made)
    except OSError:
        if not made.exists():  # else another process was first
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return made


def _fill(root: Path, program: str) -> None:
    for name in DIRECTORIES:
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    (root / "root").chmod(0o700)
    for name, text in ACCOUNTS.items():
        (root / name).write_text(text)
    busybox = root / "bin" / "busybox"
    shutil.copyfile(program, busybox)
    busybox.chmod(0o755)
    listed = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout
    for applet in set(listed.split()) - {"busybox"}:
        os.link(busybox, root / "bin" / applet)
    (root / "usr/bin/env").symlink_to("/bin/env")
