"""A machine within the machine, with network, processes, /etc and /run of its own: the real one feels nothing."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_SETUP = """\
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$0"
mkdir "$0"/upper "$0"/work
mount -t overlay overlay -o lowerdir=/etc,upperdir="$0"/upper,workdir="$0"/work /etc
if [ -n "$1" ]; then mount -t overlay overlay -o lowerdir="$1":/usr /usr; fi
mount -t tmpfs run /run
ip link set lo up
ip link add eth0 type veth peer name wire
ip address add 198.51.100.2/24 dev eth0
ip link set eth0 up
ip link set wire up
echo made
sleep infinity &
while :; do wait $!; done
"""


@dataclass
class Machine:
    """`enter` is what a command must begin with to run there."""

    pid: int
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def enter(self) -> tuple[str, ...]:
        return ("nsenter", f"--target={self.pid}", "--net", "--mount", "--pid", "--")

    def run(self, *command: str, status: int = 0, environment: dict[str, str] | None = None) -> str:
        """Run a command that must end with `status`; its output and errors together."""
        done = subprocess.run(
            [*self.enter, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, **(environment or {})},
        )
        assert done.returncode == status, f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}"
        return done.stdout

    def start(self, *command: str, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start what runs for as long as the machine."""
        process = subprocess.Popen(
            [*self.enter, *command], stdin=subprocess.DEVNULL, env={**os.environ, **(environment or {})}
        )
        self.processes.append(process)
        return process

    def write(self, path: str, text: str) -> None:
        """A file of that machine. It is changed in place: pods may have something mounted over it."""
        subprocess.run(
            [*self.enter, "sh", "-c", f'mkdir -p "$(dirname "{path}")" && cat > "{path}"'],
            input=text.encode(),
            timeout=30,
            check=True,
        )

    def read(self, path: str) -> str:
        return self.run("cat", path)


@contextmanager
def machine(directory: Path, usr: Path | None = None) -> Iterator[Machine]:
    """It ends with all of its processes. `directory` must be empty; what is in `usr` seems to be installed."""
    unshare = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
    holder = subprocess.Popen(
        [*unshare, "sh", "-c", _SETUP, str(directory), str(usr or "")], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "made\n"
        (first,) = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()
        made = Machine(int(first))
        yield made
        for process in made.processes:
            process.kill()
            process.wait()
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
