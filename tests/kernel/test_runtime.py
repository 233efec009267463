"""Containers of the host image: their life, streams, exits and adoption by a second runtime."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sampan.kernel import cgroups
from sampan.node.images import builtin
from sampan.node.rootfs import mount_rootfs, unmount_rootfs
from sampan.node.runtime.crun import CRUN, Crun
from sampan.node.runtime.runtime import VANISHED, Runtime
from sampan.node.runtime.types import ContainerError, ContainerSpec, ExecTimeout, Mount, Resources, Security
from support.isolated import isolated

pytestmark = pytest.mark.kernel

DEADLINE = 20.0


@dataclass
class Box:
    """A runtime and what its containers need, all below one directory."""

    directory: Path
    runtime: Runtime
    group: str

    async def run(self, name: str, *argv: str, **options: Any) -> ContainerSpec:
        spec = ContainerSpec(
            id=name,
            pod_uid="pod",
            name=name,
            rootfs=mount_rootfs(builtin.host(()), self.directory / "roots" / name),
            argv=argv,
            log_path=self.directory / "logs" / f"{name}.log",
            cgroup_parent=f"{self.group}/pod",
            **options,
        )
        await self.runtime.create(spec)
        await self.runtime.start(name)
        return spec

    async def output(self, name: str) -> str:
        """What a container printed, once it has ended."""
        async with asyncio.timeout(DEADLINE):
            await self.runtime.wait(name)
        text = (self.directory / "logs" / f"{name}.log").read_text()
        return "\n".join(line.split(" ", 3)[3] for line in text.splitlines())


@asynccontextmanager
async def box(directory: Path) -> AsyncIterator[Box]:
    made = Box(directory, Runtime(directory / "runtime"), f"/sampan-test-{os.getpid()}")
    watching = asyncio.create_task(made.runtime.run())
    try:
        yield made
    finally:
        watching.cancel()
        for state in made.runtime.list():
            await made.runtime.delete(state.id)
        for name in os.listdir(directory / "roots"):
            unmount_rootfs(directory / "roots" / name)
        cgroups.remove(made.group)


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not holds():
            await asyncio.sleep(0.01)


@isolated
async def test_a_program_runs_logs_and_leaves_its_exit_code(tmp_path: Path) -> None:
    async with box(tmp_path) as made:
        await made.run("one", "sh", "-c", "echo out; echo err >&2; exit 3")
        assert sorted((await made.output("one")).splitlines()) == ["err", "out"]
        state = made.runtime.state("one")
        assert state is not None
        assert (state.status, state.exit_code, state.oom_killed) == ("stopped", 3, False)
        assert state.created_at <= state.started_at <= state.finished_at
        log = (tmp_path / "logs" / "one.log").read_text()
        assert " stdout F out\n" in log
        assert " stderr F err\n" in log


@isolated
async def test_the_specification_decides_what_the_program_sees(tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume" / "file").write_text("from the volume\n")
    async with box(tmp_path) as made:
        script = "cat /data/file; echo $GREETING; pwd; id -u; id -g; ls -A /root /home 2>&1; "
        script += "touch /data/x 2>/dev/null || echo ro"
        await made.run(
            "one",
            "sh",
            "-c",
            script,
            env={"GREETING": "hello"},
            cwd="/usr",
            mounts=(Mount.bind(tmp_path / "volume", "/data", read_only=True),),
            security=Security(run_as_user=65534, run_as_group=1000),
        )
        lines = (await made.output("one")).splitlines()
        assert lines[:5] == ["from the volume", "hello", "/usr", "65534", "1000"]
        assert lines[-1] == "ro"


@isolated
async def test_containers_do_not_see_homes_and_do_not_write_to_the_machine(tmp_path: Path) -> None:
    marker = Path("/home") / f"sampan-{os.getpid()}"
    async with box(tmp_path) as made:
        await made.run("one", "sh", "-c", f"ls -A /root /home; echo x > /etc/sampan-test; mkdir {marker}")
        assert (await made.output("one")).splitlines() == ["/home:", "", "/root:"]
        assert not os.path.exists(marker)
        assert not os.path.exists("/etc/sampan-test")


@isolated
async def test_a_failed_creation_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    async with box(tmp_path) as made:
        with pytest.raises(ContainerError, match=r"no-such-program.*No such file or directory"):
            await made.run("one", "no-such-program")
        assert made.runtime.list() == []
        with pytest.raises(ContainerError, match="unable to find user nobody-here"):
            await made.run("two", "true", security=Security(user="nobody-here"))
        assert made.runtime.list() == []


@isolated
async def test_signals_end_programs_and_listeners_hear_of_it(tmp_path: Path) -> None:
    async with box(tmp_path) as made:
        heard: list[tuple[str, int]] = []
        made.runtime.add_exit_listener(lambda state: heard.append((state.id, state.exit_code)))
        await made.run("one", "sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.05; done")
        await made.run("two", "sleep", "1000")
        await made.runtime.kill("one", signal.SIGTERM)
        await made.runtime.kill("two", signal.SIGKILL)
        await eventually(lambda: {("one", 7), ("two", 137)} <= set(heard))


@isolated
async def test_a_second_runtime_adopts_what_the_first_left(tmp_path: Path) -> None:
    async with box(tmp_path) as made:
        await made.run("lives", "sleep", "1000", labels={"pod": "web"})
        await made.run("ends", "sh", "-c", "exit 5")
        await made.output("ends")
        successor = Runtime(tmp_path / "runtime")
        found = {state.id: (state.status, state.exit_code) for state in successor.list()}
        assert found == {"lives": ("running", 0), "ends": ("stopped", 5)}
        adopted = successor.state("lives")
        assert adopted is not None
        assert adopted.labels == {"pod": "web"}
        heard: list[str] = []
        successor.add_exit_listener(lambda state: heard.append(state.id))
        watching = asyncio.create_task(successor.run())
        await eventually(lambda: heard == ["ends"])
        await successor.kill("lives", signal.SIGKILL)
        await eventually(lambda: "lives" in heard)
        watching.cancel()


@isolated
async def test_a_container_that_vanished_unseen_counts_as_ended(tmp_path: Path) -> None:
    async with box(tmp_path) as made:
        await made.run("one", "sleep", "1000")
        state = made.runtime.state("one")
        assert state is not None
        os.kill(int((tmp_path / "runtime/containers/one/conmon.pid").read_text()), signal.SIGKILL)
        os.kill(state.pid, signal.SIGKILL)

        def ended() -> bool:
            now = made.runtime.state("one")
            return now is not None and now.status == "stopped" and now.exit_code == 255

        await eventually(ended)


@isolated
async def test_a_program_ends_with_its_conmon(tmp_path: Path) -> None:
    """Also one whose conmon was killed while no agent looked."""
    async with box(tmp_path) as made:
        for name in ("seen", "unseen"):
            await made.run(name, "sleep", "inf")
        for name in ("seen", "unseen"):
            if name == "unseen":
                made.runtime = Runtime(tmp_path / "runtime")
            os.kill(int((tmp_path / "runtime/containers" / name / "conmon.pid").read_text()), signal.SIGKILL)
            watching = asyncio.create_task(made.runtime.run())
            async with asyncio.timeout(DEADLINE):
                state = await made.runtime.wait(name)
            assert state.exit_code == VANISHED
            watching.cancel()


@isolated
async def test_exec_collects_output_and_kills_what_takes_too_long(tmp_path: Path) -> None:
    async with box(tmp_path) as made:
        await made.run("one", "sleep", "1000", env={"WHO": "me"})
        result = await made.runtime.exec("one", ["sh", "-c", "echo $WHO; echo bad >&2; exit 4"])
        assert (result.exit_code, result.stdout, result.stderr) == (4, b"me\n", b"bad\n")
        with pytest.raises(ExecTimeout):
            await made.runtime.exec("one", ["sleep", "777"], timeout=0.3)
        listing = await made.runtime.exec("one", ["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"])
        assert b"sleep 777" not in listing.stdout
        cut = await made.runtime.exec("one", ["sh", "-c", "head -c 100000 /dev/zero"], limit=10)
        assert len(cut.stdout) == 10


@isolated
async def test_exec_is_as_much_the_containers_user_as_its_own_program(tmp_path: Path) -> None:
    async with box(tmp_path) as made:
        security = Security(run_as_user=65534, run_as_group=1000)
        await made.run("one", "sleep", "1000", env={"WHO": "me"}, security=security)
        result = await made.runtime.exec("one", ["sh", "-c", "id -u; id -g; echo $WHO; grep CapEff /proc/self/status"])
        assert result.stdout.split() == [b"65534", b"1000", b"me", b"CapEff:", b"0000000000000000"]
        session = await made.runtime.open_exec("one", ["id", "-u"], env={"X": "y"})
        assert session.stdout is not None
        assert await session.stdout.read() == b"65534\n"
        await session.close()


@isolated
async def test_exec_streams_with_pipes_and_with_a_terminal(tmp_path: Path) -> None:
    async with box(tmp_path) as made:
        await made.run("one", "sleep", "1000")
        piped = await made.runtime.open_exec("one", ["sh", "-c", "cat; echo done >&2"], stdin=True)
        assert piped.stdin is not None
        assert piped.stdout is not None
        assert piped.stderr is not None
        piped.stdin.write(b"through")
        piped.stdin.write_eof()
        assert (await piped.stdout.read(), await piped.stderr.read(), await piped.wait()) == (b"through", b"done\n", 0)
        await piped.close()
        terminal = await made.runtime.open_exec("one", ["sh"], stdin=True, tty=True)
        assert terminal.stdin is not None
        assert terminal.stdout is not None
        terminal.resize(100, 40)
        terminal.stdin.write(b"stty size; exit 5\n")
        assert b"40 100" in await terminal.stdout.read()
        assert await terminal.wait() == 5
        await terminal.close()


@isolated
async def test_attach_joins_the_programs_own_streams(tmp_path: Path) -> None:
    async with box(tmp_path) as made:
        await made.run("one", "cat", stdin=True)
        session = await made.runtime.attach("one")
        await session.write(b"hello\n")
        async with asyncio.timeout(DEADLINE):
            assert await session.read() == (1, b"hello\n")
        await session.close()


@isolated
async def test_limits_reach_the_control_group_and_memory_beyond_them_kills(tmp_path: Path) -> None:
    async with box(tmp_path) as made:
        limits = Resources(memory_limit=32 << 20, cpu_shares=512, pids_limit=100)
        await made.run("one", "python3", "-c", "x = bytearray(200 << 20)", resources=limits)
        async with asyncio.timeout(DEADLINE):
            state = await made.runtime.wait("one")
        assert (state.exit_code, state.oom_killed) == (137, True)
        await made.run("two", "sleep", "1000", resources=limits)
        used = made.runtime.stats("two")
        assert used is not None
        assert 0 < used.memory_working_set < 32 << 20


@isolated
async def test_deleting_leaves_no_process_group_or_file(tmp_path: Path) -> None:
    async with box(tmp_path) as made:
        await made.run("one", "sh", "-c", "sleep 1000 & sleep 1000")
        await made.runtime.delete("one")
        await made.runtime.delete("one")
        assert made.runtime.state("one") is None
        assert cgroups.processes(f"{made.group}/pod/one") == set()
        assert not cgroups.exists(f"{made.group}/pod/one")
        assert [list((tmp_path / "runtime" / name).iterdir()) for name in ("containers", "exits", "crun")] == [
            [],
            [],
            [],
        ]


@isolated
async def test_crun_runs_from_a_copy_that_no_container_can_write_to(tmp_path: Path) -> None:
    crun = Crun(tmp_path)
    assert Path(crun.path).read_bytes() == Path(CRUN).read_bytes()
    descriptor = os.open(crun.path, os.O_RDWR)
    for change in (lambda: os.write(descriptor, b"x"), lambda: os.ftruncate(descriptor, 0)):
        with pytest.raises(PermissionError):
            change()
    os.close(descriptor)
    listed = subprocess.run(crun.command("list"), capture_output=True, text=True, check=True)
    assert listed.stdout.startswith("NAME")
