"""Other people's commands, run to their end: the one way in which kernel modules call nft, iptables and the like."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple


class Ended(NamedTuple):
    """How a command ended and what it said."""

    status: int
    output: bytes
    errors: str


async def run(command: Sequence[str], given: bytes | None = None) -> Ended:
    """Run a command with that input. If the caller is cancelled, the command is ended first. Raises OSError."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL if given is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await process.communicate(given)
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    return Ended(process.returncode or 0, output, errors.decode(errors="replace").strip())
