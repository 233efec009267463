"""Blocking calls in threads for coroutines that may be cancelled: the thread is always awaited.

`asyncio.to_thread` returns to a cancelled caller while the thread still runs: a namespace would still be in the making
while its owner removes it.
"""

import asyncio
import contextvars
import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """The function's result. If the caller is cancelled, CancelledError is raised once the function has returned."""
    call = functools.partial(contextvars.copy_context().run, function, *args, **kwargs)
    work = asyncio.get_running_loop().run_in_executor(None, call)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        while not work.done():
            try:
                await asyncio.wait([work])
            except asyncio.CancelledError:
                continue
        if not work.cancelled():
            work.exception()
        raise
