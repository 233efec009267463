"""A server that says who it is and who asks: over HTTP, and over UDP at the same port.

python -m support.answering ADDRESS PORT NAME
"""

import asyncio
import sys


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, name: str) -> None:
        self._name = name

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(f"{self._name} {data.decode()} {addr[0]}".encode(), addr)


async def serve(address: str, port: int, name: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = f"{name} {writer.get_extra_info('peername')[0]}\n"
        writer.write(f"HTTP/1.0 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, address, port)
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: _Datagrams(name), (address, port))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
