"""logs, exec and port-forward through the API server, with the upstream kubectl, over SPDY and over WebSocket."""

import asyncio
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.agent import Cluster, cluster, eventually, ready
from support.apiserver import make_pki, write_kubeconfig
from support.isolated import isolated

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")]
make_pki()

WEBSOCKET = {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "true", "KUBECTL_PORT_FORWARD_WEBSOCKETS": "true"}
SPDY = {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false", "KUBECTL_PORT_FORWARD_WEBSOCKETS": "false"}
both_protocols = pytest.mark.parametrize("protocol", [SPDY, WEBSOCKET], ids=["spdy", "websocket"])


@dataclass
class Result:
    code: int
    out: bytes
    err: bytes


async def kubectl(one: Cluster, *arguments: str, stdin: bytes = b"", env: dict[str, str] | None = None) -> Result:
    config = write_kubeconfig(one.client.config, one.options.root.parent / "kubeconfig")
    process = await asyncio.create_subprocess_exec(
        "kubectl", f"--kubeconfig={config}", *arguments, stdin=-1, stdout=-1, stderr=-1, env=os.environ | (env or {})
    )
    out, err = await process.communicate(stdin)
    assert process.returncode is not None
    return Result(process.returncode, out, err)


@both_protocols
@isolated
async def test_exec_keeps_streams_apart_and_tells_the_exit_code(tmp_path: Path, protocol: dict[str, str]) -> None:
    async with cluster(tmp_path) as one, one.agent():
        await one.create("box", "sleep", "1000")
        await one.until("box", ready)
        command = ("exec", "-i", "box", "--", "sh", "-c", "cat; echo aside >&2; exit 5")
        data = os.urandom(500_000)
        result = await kubectl(one, *command, stdin=data, env=protocol)
        assert result.out == data
        assert result.err == b"aside\ncommand terminated with exit code 5\n"
        assert result.code == 5


@both_protocols
@isolated
async def test_port_forward_reaches_the_pods_own_loopback(tmp_path: Path, protocol: dict[str, str]) -> None:
    async with cluster(tmp_path) as one, one.agent():
        await one.create("web", "python3", "-m", "http.server", "--bind", "127.0.0.1", "8000")
        await one.until("web", ready)
        config = write_kubeconfig(one.client.config, tmp_path / "kubeconfig")
        line = ("kubectl", f"--kubeconfig={config}", "port-forward", "web", "18000:8000")
        forward = await asyncio.create_subprocess_exec(*line, stdout=-1, stderr=-1, env=os.environ | protocol)
        assert forward.stdout is not None
        assert b"127.0.0.1:18000 -> 8000" in await forward.stdout.readline()
        answers: list[bytes] = []

        async def look() -> bool:
            answers.append(await get("127.0.0.1", 18000, "/etc/hostname"))
            return answers[-1].endswith(b"web\n")

        await eventually(look, lambda: repr(answers[-1:]))
        forward.terminate()
        await forward.wait()


@isolated
async def test_logs_honour_their_options(tmp_path: Path) -> None:
    async with cluster(tmp_path) as one, one.agent():
        await one.create("talker", "sh", "-c", "echo one; sleep 0.1; echo two >&2; sleep 0.1; echo three; sleep 1000")
        await one.until("talker", ready)
        path = next((tmp_path / "node" / "logs").glob("*/main/0.log"))

        async def written() -> bool:
            return b"three" in path.read_bytes()

        await eventually(written, lambda: "no log")
        assert (await kubectl(one, "logs", "talker")).out == b"one\ntwo\nthree\n"
        assert (await kubectl(one, "logs", "talker", "--tail=1")).out == b"three\n"
        assert (await kubectl(one, "logs", "talker", "--limit-bytes=5")).out == b"one\nt"
        assert (await kubectl(one, "logs", "talker", "--since=1h")).out == b"one\ntwo\nthree\n"
        stamped = (await kubectl(one, "logs", "talker", "--timestamps", "--tail=1")).out
        assert stamped.endswith(b" three\n")
        assert stamped.startswith(b"20")
        previous = await kubectl(one, "logs", "talker", "--previous")
        assert b'previous terminated container "main" in pod "talker" not found' in previous.err


@isolated
async def test_followed_logs_end_with_their_container(tmp_path: Path) -> None:
    async with cluster(tmp_path) as one, one.agent():
        script = "for i in 1 2 3; do echo $i; sleep 0.3; done"
        await one.create("counter", "sh", "-c", script, spec={"restartPolicy": "Never"})
        await one.until("counter", ready)
        assert (await kubectl(one, "logs", "-f", "counter")).out == b"1\n2\n3\n"


async def get(host: str, port: int, path: str) -> bytes:
    """A plain HTTP request; b"" while nobody answers."""
    try:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
    except OSError:
        return b""
    return answer
