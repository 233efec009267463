"""Passing one request on to another server and its answer back: whole, streamed, or as a raw connection after 101."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

from sampan.apiserver import bodies
from sampan.http.client import HTTPClient
from sampan.http.messages import Response
from sampan.http.server import Request
from sampan.machinery.errors import InternalError, ServiceUnavailable

_CHUNK = 64 * 1024
_HOP_HEADERS = frozenset({
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding",
    "upgrade", "content-length", "host", "expect",
})  # fmt: skip
_PRIVATE_HEADERS = frozenset({"authorization", "cookie"})
_BODILESS = (204, 304)

Rewrite = Callable[[Mapping[str, str], bytes], bytes]


def forwarded_headers(request: Request, *, private: bool) -> dict[str, str]:
    """The request's headers without those that belong to its connection; credentials only where `private` says so."""
    dropped = _hop_headers(request.headers)
    return request.headers.without(dropped if private else dropped | _PRIVATE_HEADERS)


def _hop_headers(headers: Mapping[str, str]) -> frozenset[str]:
    """Those of the connection, which are not passed on, and what `Connection` names (RFC 9110 section 7.6.1)."""
    named = headers.get("connection", "").lower().split(",")
    return _HOP_HEADERS | {name.strip() for name in named}


def wants_upgrade(request: Request) -> bool:
    return "upgrade" in request.headers.get("connection", "").lower() and bool(request.headers.get("upgrade"))


async def pass_on(
    request: Request, client: HTTPClient, path: str, *, rewrite: Rewrite | None = None, headers: Mapping[str, str] = {}
) -> Response | None:
    """Send the request to `client` as `path` and answer with what comes back. Raises ServiceUnavailable.

    `rewrite` gets whole HTML bodies; everything else is streamed as it arrives.
    """
    request.cancel_when_client_leaves()
    sent = {**forwarded_headers(request, private=False), **headers}
    try:
        if wants_upgrade(request):
            return await _upgrade(request, client, path, sent)
        return await _relay(request, client, path, sent, rewrite)
    except (OSError, TimeoutError) as error:
        raise ServiceUnavailable(f"error trying to reach service: {error}") from error
    except ValueError as error:
        raise InternalError(f"error trying to reach service: {error}") from error


async def _relay(
    request: Request, client: HTTPClient, path: str, headers: Mapping[str, str], rewrite: Rewrite | None
) -> Response | None:
    body = await bodies.read_raw(request)
    async with client.stream(request.method, path, body=body or None, headers=headers) as answer:
        kept = answer.headers.without(_hop_headers(answer.headers))
        is_html = rewrite is not None and answer.headers.get("content-type", "").startswith("text/html")
        if request.method == "HEAD" or answer.status in _BODILESS:
            kept.update(_length(answer.headers))
            return Response(answer.status, b"", "", kept)
        if is_html and rewrite is not None and "content-encoding" not in answer.headers:
            return Response(answer.status, rewrite(answer.headers, await answer.read()), "", kept)
        await _stream(request, answer.status, kept, answer.chunks)
    return None


def _length(headers: Mapping[str, str]) -> dict[str, str]:
    return {"Content-Length": headers["content-length"]} if "content-length" in headers else {}


async def _stream(request: Request, status: int, headers: Mapping[str, str], chunks: AsyncIterator[bytes]) -> None:
    stream = await request.stream(status, headers)
    try:
        async for chunk in chunks:
            await stream.write(chunk)
    except OSError:
        stream.abort()
        return
    await stream.close()


async def _upgrade(request: Request, client: HTTPClient, path: str, headers: Mapping[str, str]) -> Response | None:
    wanted = {**headers, "Upgrade": request.headers["upgrade"]}
    answer = await client.upgrade(request.method, path, wanted)
    kept = answer.headers.without(_hop_headers(answer.headers))
    if answer.streams is None:
        return Response(answer.status, answer.body, "", kept)
    kept |= {"Connection": "Upgrade", "Upgrade": answer.headers.get("upgrade", request.headers["upgrade"])}
    ours = await request.upgrade(kept)
    await join(ours, answer.streams)
    return None


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def join(one: Streams, other: Streams) -> None:
    """Carry bytes both ways until either side ends; what is under way is flushed. (TLS cannot be half closed.)"""
    copies = [asyncio.create_task(_copy(one[0], other[1])), asyncio.create_task(_copy(other[0], one[1]))]
    try:
        await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for copy in copies:
            copy.cancel()
        await asyncio.gather(*copies, return_exceptions=True)
        for writer in (one[1], other[1]):
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
