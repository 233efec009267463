"""How registries are reached, and what a hostile one can do: nothing."""

import asyncio
import functools
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from sampan.http.messages import Response
from sampan.http.server import Request, serve
from sampan.node.images import registry as registries
from sampan.node.images.archive import fits
from sampan.node.images.dialing import MACHINE, Ways, places, through
from sampan.node.images.reference import parse
from sampan.node.images.registry import Registry
from sampan.node.images.types import Credentials, ImagePullError, RegistryUnreachable


def awaited(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """A coroutine function becomes a test."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


NODE = Ways(
    cluster=("10.244.0.0/16", "10.2.2.0/24", "10.96.0.0/12"),
    outside=Path("/run/host"),
    never=("169.254.0.0/16", "fe80::/10"),
    loopback=("inside",),
)


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("10.2.2.10", ("inside",)),
        ("10.96.0.1", ("inside",)),
        ("::ffff:10.2.2.10", ("inside",)),
        ("192.0.2.1", ("outside",)),
        ("2001:db8::1", ("outside",)),
        ("127.0.0.1", ("inside",)),
        ("127.8.8.8", ("inside",)),
        ("0.0.0.0", ("inside",)),
        ("::", ("inside",)),
        ("::1", ("inside",)),
        ("::ffff:127.0.0.1", ("inside",)),
        ("169.254.169.254", ()),
        ("::ffff:169.254.169.254", ()),
        ("fe80::1%eth0", ()),
    ],
)
def test_an_address_is_looked_for_where_it_belongs(address, wanted):
    assert places(address, NODE) == wanted


def test_a_machine_without_cluster_reaches_all_from_its_own_network():
    assert all(places(one, MACHINE) == ("outside",) for one in ("127.0.0.1", "10.2.2.10", "169.254.169.254"))


@awaited
async def test_failures_are_worded_as_go_does(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(OSError, match=rf"^dial tcp 127\.0\.0\.1:{port}: connect: connection refused$"):
        await through(MACHINE)("127.0.0.1", port)

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(OSError, match=r"^dial tcp: lookup quay\.io: no such host$"):
        await through(MACHINE)("quay.io", 443)


class Hostile:
    """A registry that answers as a test says and keeps what it was sent; its address is of the loopback."""

    def __init__(self, answer: Callable[[Request], Response]) -> None:
        self._answer = answer
        self.authorizations: list[str] = []

    async def handle(self, request: Request) -> Response:
        self.authorizations.append(request.headers.get("authorization", ""))
        return self._answer(request)


async def pull(hostile: Hostile) -> tuple[str, dict[str, Any]]:
    server = await serve(hostile.handle)
    try:
        reference = parse(f"127.0.0.1:{server.port}/team/app:1")
        return await Registry(reference, Credentials(), through(MACHINE)).manifest()
    finally:
        await server.close()


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (
            Response(500, b"SECRET"),
            "unexpected status from GET request to http://127.0.0.1:.*: 500 Internal Server Error",
        ),
        (Response(200, b"SECRET"), "not a JSON object"),
        (Response(200, b"[" * 100_000), "not a JSON object"),
        (Response(200, b'{"manifests": 7}'), "the manifest is damaged"),
        (Response(200, b'{"manifests": ["SECRET"]}'), "the manifest is damaged"),
        (Response(200, b" " * (registries.MAX_MANIFEST + 1)), "longer than"),
        (Response(401, headers={"WWW-Authenticate": 'SECRET realm="x"'}), "authorization of an unknown kind"),
        (Response(302, headers={"Location": "file:///etc/SECRET"}), "no URL of http or https"),
        (Response(302, headers={"Location": "http://127.0.0.1:99999/SECRET"}), "no URL of http or https"),
        (Response(302, headers={"Location": "/again"}), "too many redirects"),
    ],
)
@awaited
async def test_what_a_registry_sends_is_bounded_and_never_repeated(answer, text):
    with pytest.raises(ImagePullError, match=text) as failed:
        await pull(Hostile(lambda _: answer))
    assert "SECRET" not in str(failed.value)


@awaited
async def test_a_digest_that_is_none_becomes_no_url():
    entry = f'{{"manifests": [{{"digest": "sha256:../../x", "platform": {json.dumps(native())}}}]}}'
    with pytest.raises(ImagePullError, match="invalid digest"):
        await pull(Hostile(lambda _: Response(200, entry.encode())))


@awaited
async def test_a_token_stays_with_the_origin_that_it_is_for():
    """The registry's own address is the beginning of the other's: 127.0.0.1:80 and 127.0.0.1:8080, say."""
    other = Hostile(lambda _: Response(200, b"{}"))
    elsewhere = await serve(other.handle)

    def answer(request: Request) -> Response:
        if request.path == "/token":
            return Response(200, b'{"token": "t"}')
        if not request.headers.get("authorization"):
            challenge = f'Bearer realm="http://{request.headers["host"]}/token"'
            return Response(401, headers={"WWW-Authenticate": challenge})
        return Response(307, headers={"Location": f"http://127.0.0.1:{elsewhere.port}/manifest?signature=1"})

    registry = Hostile(answer)
    await pull(registry)
    await elsewhere.close()
    assert registry.authorizations == ["", "", "Bearer t"]
    assert other.authorizations == [""]


def test_an_origin_is_scheme_host_and_port():
    """An address that begins like the registry's is another's."""
    assert registries._origin("http://10.0.0.1:50001/x") != registries._origin("http://10.0.0.1:5000")
    assert registries._origin("https://Quay.IO/x") == registries._origin("https://quay.io:443")
    assert registries._origin("http://quay.io") != registries._origin("https://quay.io")


@awaited
async def test_a_blob_is_no_longer_than_the_manifest_says_and_does_not_come_for_ever(tmp_path, monkeypatch):
    server = await serve(Hostile(lambda _: Response(200, b"x" * 1000)).handle)
    reference = parse(f"127.0.0.1:{server.port}/team/app:1")
    registry = Registry(reference, Credentials(), through(MACHINE))
    digest = "sha256:" + "0" * 64
    with pytest.raises(ImagePullError, match="longer than the 999 bytes"):
        await registry.blob(digest, tmp_path / "blob", limit=999)
    await server.close()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx")
        await reader.read()
        writer.close()

    monkeypatch.setattr(registries, "SILENCE_SECONDS", 0.1)
    silence = await asyncio.start_server(silent, "127.0.0.1", 0)
    reference = parse(f"127.0.0.1:{silence.sockets[0].getsockname()[1]}/team/app:1")
    with pytest.raises(RegistryUnreachable, match="no more of"):
        await Registry(reference, Credentials(), through(MACHINE)).blob(digest, tmp_path / "blob", limit=1000)
    silence.close()


def native() -> dict[str, str]:
    """The platform entry that fits this machine."""
    candidates = [{"os": "linux", "architecture": name} for name in ("amd64", "arm64", "riscv64", "ppc64le", "s390x")]
    return next(one for one in candidates if fits({"platform": one}))
