"""crun(1) as a program that is started for every container.

A container could overwrite the binary that made it (CVE-2019-5736), so crun copies itself into sealed memory each time
it starts, and runs that. Started from a copy that is sealed already it goes ahead at once, at half the cost.
"""

import fcntl
import os
from pathlib import Path

from sampan.kernel.descriptors import Descriptor

CRUN = "/usr/bin/crun"
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class Crun:
    """crun with its state below `root`, run from a sealed copy that is there as long as this object and its process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._copy = _sealed_copy(Path(CRUN))

    def close(self) -> None:
        """Nothing can be started any more."""
        if self._copy:
            self._copy.close()

    @property
    def path(self) -> str:
        """What any process of this PID namespace starts it by; where crun is missing, the place where it is missed."""
        return f"/proc/{os.getpid()}/fd/{self._copy.fileno()}" if self._copy else CRUN

    def command(self, *arguments: str) -> list[str]:
        """The command line for one of crun's own commands."""
        return [self.path, f"--root={self.root}", *arguments]


def _sealed_copy(program: Path) -> Descriptor | None:
    """A program's copy that nobody can change; None if there is no such program. Raises OSError."""
    try:
        content = program.read_bytes()
    except FileNotFoundError:
        return None
    with Descriptor(os.memfd_create(program.name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)) as writing:
        with open(writing.fileno(), "wb", closefd=False) as copy:
            copy.write(content)
        os.fchmod(writing.fileno(), 0o555)
        fcntl.fcntl(writing.fileno(), fcntl.F_ADD_SEALS, _SEALS)
        return Descriptor.open(writing.path, os.O_RDONLY)  # none may be open for writing
