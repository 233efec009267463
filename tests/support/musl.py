"""A program that resolves names with musl's resolver, the one of Alpine images: not glibc's with other settings.

Debian's `musl` has the library, and its loader runs what is linked with it.
"""

import platform
import shutil
import subprocess
from pathlib import Path

LOADER = "/lib/ld-musl-x86_64.so.1"
_LIBRARY = "/lib/x86_64-linux-musl/libc.so"
_SOURCE = Path(__file__).parent / "musl_resolve.c"


def missing() -> str:
    """Why there can be no such program here; the empty string if there can."""
    if platform.machine() != "x86_64":
        return "the program is for x86-64"
    if not shutil.which("tcc") or not Path(LOADER).exists():
        return "needs tcc and musl; `make test` prepares both"
    return ""


def build(directory: Path) -> bytes:
    """The program; it is run as `LOADER PROGRAM NAME…`."""
    program = directory / "resolve"
    subprocess.run(["tcc", "-nostdlib", "-o", str(program), str(_SOURCE), _LIBRARY], check=True)
    return program.read_bytes()
