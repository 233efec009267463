"""Questions to a supervisor are answered, refused with a reason, or fail in words when nobody is there."""

import asyncio
import socket
from pathlib import Path

import pytest

from sampan.cluster import control
from sampan.cluster.control import Answer, ClusterStatus, ControlError, Done, Publish, Request, Status, Stop


async def answer(request: Request) -> Answer:
    match request:
        case Status():
            return ClusterStatus(box_pid=7, components=[], published=[])
        case Publish(service=service):
            raise ControlError(f"no {service}")
        case _:
            return Done()


async def ask(path: Path, request: Request, kind: type[control.A]) -> control.A:
    return await asyncio.to_thread(control.ask, path, request, kind, timeout=2.0)


def test_questions_get_their_answers_however_long_the_path(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / ("deep" * 40) / "control.sock"
        path.parent.mkdir()
        server = await control.serve(path, answer)
        assert (await ask(path, Status(), ClusterStatus)).box_pid == 7
        assert await ask(path, Stop(), Done) == Done()
        with pytest.raises(ControlError, match="no web"):
            await ask(path, Publish(namespace="default", service="web", ports={"": 0}), control.Published)
        with pytest.raises(ControlError, match="unexpected"):
            await ask(path, Stop(), ClusterStatus)
        assert path.stat().st_mode & 0o777 == 0o600
        server.close()

    asyncio.run(main())


def test_a_supervisor_that_is_gone_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="does not answer"):
        control.ask(tmp_path / "control.sock", Status(), ClusterStatus)
    socket.socket(socket.AF_UNIX).bind(str(tmp_path / "dead.sock"))
    with pytest.raises(ControlError, match="does not answer"):
        control.ask(tmp_path / "dead.sock", Status(), ClusterStatus)


@pytest.mark.parametrize("garbage", [b"\n", b"{}\n", b'{"type":"Explode"}\n', b"\xff\xfe\n", b""])
def test_a_request_that_is_not_understood_is_refused_and_the_server_goes_on(tmp_path: Path, garbage: bytes) -> None:
    async def main() -> None:
        path = tmp_path / "control.sock"
        server = await control.serve(path, answer)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(garbage)
        writer.write_eof()
        assert b'"Refused"' in await reader.read()
        writer.close()
        assert (await ask(path, Status(), ClusterStatus)).box_pid == 7
        server.close()

    asyncio.run(main())
