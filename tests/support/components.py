"""Components that do nothing but start, report, and end in every way a real one might."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

Ready = Callable[..., None]


async def steady(_: object, ready: Ready) -> None:
    """Works for ever."""
    ready()
    await asyncio.Event().wait()


async def telling(_: object, ready: Ready) -> None:
    """Tells of progress, of too much too, and ends well."""
    ready("one\nline")
    ready("x" * 100_000)
    ready("last words")
    ready()


async def failing(_: object, ready: Ready) -> None:
    """Ends with an error, before it is ready."""
    raise RuntimeError("as it must be")


async def short_lived(options: Path, ready: Ready) -> None:
    """Is ready, then ends by a signal; counts its lives in a file."""
    lives = len(options.read_text()) if options.exists() else 0
    options.write_text("x" * (lives + 1))
    ready()
    if lives < 3:
        os.kill(os.getpid(), signal.SIGKILL)
    await asyncio.Event().wait()


async def forking(_: object, ready: Ready) -> None:
    """Leaves an orphan that holds everything it has inherited, as conmon would."""
    if os.fork() == 0:
        ready("orphan")
        signal.pause()
    os._exit(3)
