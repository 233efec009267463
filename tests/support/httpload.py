"""Requests at a steady rate, whose failures are counted: `httpload.py RATE ADDRESS URL…` until standard input ends.

The URLs are asked in turn, at ADDRESS. Half of the connections are kept and half are used once. RFC 9110 (9.2.2) lets
clients repeat a GET whose connection has ended before the whole answer was there: it is sent once more, and how often
is told. A line is printed first, and at the end one JSON object: requests, statuses, bodies (by their first line, at
most 60 characters), retries, failures (text: count), slowest in ms.
"""

import asyncio
import itertools
import json
import ssl
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import urlsplit

ANSWER_SECONDS = 15.0


@dataclass
class Counts:
    requests: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    bodies: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    retries: int = 0
    slowest: float = 0.0


class Target:
    """One URL, asked by two kinds of clients."""

    def __init__(self, url: str, address: str, counts: Counts) -> None:
        parts = urlsplit(url)
        self.tls = parts.scheme == "https"
        self.host = parts.netloc
        self.name = parts.hostname or ""
        self.path = parts.path or "/"
        self.address = address
        self.port = parts.port or (443 if self.tls else 80)
        self.context = ssl._create_unverified_context()
        self.counts = counts
        self.idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def one(self, kept: bool) -> None:
        self.counts.requests += 1
        began = time.perf_counter()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                try:
                    status, body = await self.ask(kept)
                except (asyncio.IncompleteReadError, ConnectionResetError, BrokenPipeError):
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
        reader, writer = (self.reused() if kept else None) or await self.connect()
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

    def reused(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """A connection that the server has not ended."""
        while self.idle:
            reader, writer = self.idle.pop()
            if not reader.at_eof() and reader.exception() is None:
                return reader, writer
            writer.close()
        return None

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = self.context if self.tls else None
        return await asyncio.open_connection(
            self.address, self.port, ssl=context, server_hostname=self.name if context else None
        )

    async def answer(self, reader: asyncio.StreamReader) -> tuple[str, str, bool]:
        head = await reader.readuntil(b"\r\n\r\n")
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


async def run(targets: list[Target], rate: float, until: asyncio.Event) -> None:
    loop, tasks = asyncio.get_running_loop(), set()
    due = loop.time()
    for target, kept in itertools.cycle((target, kept) for kept in (True, False) for target in targets):
        if until.is_set():
            break
        task = asyncio.create_task(target.one(kept))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        due += 1 / rate
        await asyncio.sleep(max(0.0, due - loop.time()))
    if tasks:
        await asyncio.wait(tasks)


async def main(rate: float, address: str, *urls: str) -> None:
    counts, end = Counts(), asyncio.Event()
    print("begun", flush=True)
    asyncio.get_running_loop().run_in_executor(None, sys.stdin.read).add_done_callback(lambda _: end.set())
    await run([Target(url, address, counts) for url in urls], rate, end)
    told = {"requests": counts.requests, "retries": counts.retries, "slowest": round(counts.slowest * 1000)}
    print(json.dumps({**told, "statuses": counts.statuses, "bodies": counts.bodies, "failures": counts.failures}))


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), *sys.argv[2:]))
