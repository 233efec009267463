"""Requests at a steady rate, whose failures are counted: `httpload.py RATE URL [ADDRESS]` until standard input ends.

Half of the connections are kept and half are used once. As RFC 9112 (9.3.1) lets clients do, a GET that meets a
connection which ends before the first byte of an answer is sent once more; how often is told. Prints one JSON object:
requests, statuses, bodies (by their first line, at most 60 characters), retries, failures (text: count), slowest in ms.
"""

import asyncio
import json
import ssl
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import urlsplit

ANSWER_SECONDS = 5.0


class Unanswered(OSError):
    """The connection ended before the first byte of an answer."""


@dataclass
class Counts:
    requests: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    bodies: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    retries: int = 0
    slowest: float = 0.0


class Load:
    """One target, asked by two kinds of clients."""

    def __init__(self, url: str, address: str) -> None:
        parts = urlsplit(url)
        self.tls = parts.scheme == "https"
        self.host = parts.netloc
        self.name = parts.hostname or ""
        self.path = parts.path or "/"
        self.address = address or self.name
        self.port = parts.port or (443 if self.tls else 80)
        self.counts = Counts()
        self.idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.tasks: set[asyncio.Task[None]] = set()

    async def run(self, rate: float, until: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        due, kept = loop.time(), False
        while not until.is_set():
            task = asyncio.create_task(self.one(kept))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
            due, kept = due + 1 / rate, not kept
            await asyncio.sleep(max(0.0, due - loop.time()))
        if self.tasks:
            await asyncio.wait(self.tasks)

    async def one(self, kept: bool) -> None:
        self.counts.requests += 1
        began = time.perf_counter()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                try:
                    status, body = await self.ask(kept)
                except Unanswered:
                    self.counts.retries += 1
                    status, body = await self.ask(kept=False)
        except (OSError, ValueError, asyncio.IncompleteReadError) as error:
            self.counts.failures[f"{type(error).__name__}: {error}"] += 1
            return
        self.counts.slowest = max(self.counts.slowest, time.perf_counter() - began)
        self.counts.statuses[status] += 1
        self.counts.bodies[body] += 1
        if not status.startswith(("2", "3")):
            self.counts.failures[f"status {status}"] += 1

    async def ask(self, kept: bool) -> tuple[str, str]:
        reader, writer = self.idle.pop() if kept and self.idle else await self.connect()
        reusable = False
        try:
            connection = "keep-alive" if kept else "close"
            writer.write(f"GET {self.path} HTTP/1.1\r\nHost: {self.host}\r\nConnection: {connection}\r\n\r\n".encode())
            status, body, reusable = await self.answer(reader)
        finally:
            if kept and reusable:
                self.idle.append((reader, writer))
            else:
                writer.close()
        return status, body

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = None
        if self.tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return await asyncio.open_connection(
            self.address, self.port, ssl=context, server_hostname=self.name if context else None
        )

    async def answer(self, reader: asyncio.StreamReader) -> tuple[str, str, bool]:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if not error.partial:
                raise Unanswered("closed before an answer") from error
            raise
        except ConnectionResetError as error:
            raise Unanswered("reset before an answer") from error
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if headers.get("transfer-encoding") == "chunked":
            body = await self.chunks(reader)
        else:
            body = await reader.readexactly(int(headers.get("content-length", 0)))
        text = body.decode(errors="replace").partition("\n")[0][:60]
        return first.split()[1], text, headers.get("connection", "").lower() != "close"

    async def chunks(self, reader: asyncio.StreamReader) -> bytes:
        body = b""
        while size := int((await reader.readline()).split(b";")[0], 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
        return body


async def main(rate: float, url: str, address: str) -> None:
    load, end = Load(url, address), asyncio.Event()
    asyncio.get_running_loop().run_in_executor(None, sys.stdin.read).add_done_callback(lambda _: end.set())
    await load.run(rate, end)
    counts = load.counts
    told = {"requests": counts.requests, "retries": counts.retries, "slowest": round(counts.slowest * 1000)}
    print(json.dumps({**told, "statuses": counts.statuses, "bodies": counts.bodies, "failures": counts.failures}))


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else ""))
