"""Write-side flow control shared by server and client connections: wait while the transport's buffer is full."""

import asyncio


class WriteFlow(asyncio.Protocol):
    """A protocol whose `drain` waits for the peer to take what was written, and raises once the peer is gone."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._writable: asyncio.Future[None] | None = None

    def pause_writing(self) -> None:
        if self._writable is None:
            self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        waiting, self._writable = self._writable, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    async def drain(self) -> None:
        """Raises ConnectionResetError when the connection is closed."""
        if self.transport is None or self.transport.is_closing():
            raise ConnectionResetError("the peer closed the connection")
        if self._writable is not None:
            await asyncio.shield(self._writable)

    def release_writers(self) -> None:
        """Let everyone who waits in `drain` find out that the connection has ended."""
        waiting, self._writable = self._writable, None
        if waiting is not None and not waiting.done():
            waiting.set_exception(ConnectionResetError("the peer closed the connection"))
            waiting.exception()


def adopt_streams(transport: asyncio.Transport, early: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Turn a connection that left HTTP (101) into a reader and a writer; `early` is what was received already."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=2**18, loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    if early:
        reader.feed_data(early)
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    return reader, writer
