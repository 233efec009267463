"""Starting short-lived helpers cheaply.

uvloop starts children with fork, which copies the page tables of the whole agent: some 5 ms for each crun. The
standard library uses vfork, at a fifth of that. A pidfd tells the end, whatever loop runs.
"""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from sampan.kernel import processes


def start(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    stderr: int = subprocess.DEVNULL,
) -> "subprocess.Popen[bytes]":
    """Start a program in a session of its own, with nothing to read and nowhere to print. Raises OSError."""
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        pass_fds=pass_fds,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        start_new_session=True,
    )


async def wait(process: "subprocess.Popen[bytes]") -> int:
    """The exit code of a program that `start` started."""
    await processes.gone(process.pid)
    return process.wait()
