"""Connect a client's session with a command in a container, or with the container's own program."""

import asyncio
from collections.abc import Iterable
from typing import Any

from sampan.machinery.objects import Object
from sampan.node.runtime.sessions import AttachSession, ExecSession
from sampan.node.streaming.session import SUCCESS, Session, exit_status

BLOCK = 32 * 1024
DRAIN_SECONDS = 1.0
"""How long output is still read after the command has ended, in case another process holds its streams open."""


async def connect_exec(session: Session, command: ExecSession) -> Object:
    """Pump until the command ends or the client leaves; returns the Status to finish with."""
    outputs = [
        asyncio.create_task(_copy_output(reader, session, number))
        for number, reader in ((1, command.stdout), (2, command.stderr))
        if reader is not None
    ]
    inputs = [asyncio.create_task(_copy_input(session, command)), asyncio.create_task(_resize(session, command))]
    waiting = asyncio.create_task(command.wait())
    leaving = asyncio.create_task(session.gone())
    try:
        await asyncio.wait({waiting, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            return SUCCESS
        if outputs:
            await asyncio.wait(outputs, timeout=DRAIN_SECONDS)
        return exit_status(waiting.result())
    finally:
        await _cancel([*outputs, *inputs, waiting, leaving])
        await command.close()


async def connect_attach(session: Session, container: AttachSession, *, stdin: bool) -> Object:
    """Pump until the container ends or the client leaves."""
    reading = asyncio.create_task(_copy_attached(container, session))
    inputs = [asyncio.create_task(_resize(session, container))]
    if stdin:
        inputs.append(asyncio.create_task(_feed_attached(session, container)))
    leaving = asyncio.create_task(session.gone())
    try:
        await asyncio.wait({reading, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return SUCCESS
    finally:
        await _cancel([reading, leaving, *inputs])
        await container.close()


async def _copy_output(reader: asyncio.StreamReader, session: Session, number: int) -> None:
    while data := await reader.read(BLOCK):
        await session.write(number, data)


async def _copy_input(session: Session, command: ExecSession) -> None:
    if command.stdin is None:
        return
    async for data in session.stdin():
        command.stdin.write(data)
        await command.stdin.drain()
    command.stdin.close()


async def _copy_attached(container: AttachSession, session: Session) -> None:
    while True:
        stream, data = await container.read()
        if not stream:
            return
        await session.write(stream, data)


async def _feed_attached(session: Session, container: AttachSession) -> None:
    async for data in session.stdin():
        await container.write(data)
    container.end_input()


async def _resize(session: Session, target: ExecSession | AttachSession) -> None:
    async for width, height in session.sizes():
        target.resize(width, height)


async def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
