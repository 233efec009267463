"""Which backends are at work: made at the start, exchanged while the proxy runs, cleaned up after.

The next mode's rules stand before the last one's go, so that no packet finds none; what the kernel has translated
before goes on being translated, because connection tracking remembers it.
"""

import asyncio
import logging
from dataclasses import replace

from sampan.kernel.inotify import Watch
from sampan.proxy.backends.interface import Backend, BackendError
from sampan.proxy.backends.registry import BACKENDS
from sampan.proxy.fallback import runnable
from sampan.proxy.options import ModeFile, ProxyOptions
from sampan.proxy.syncer import Syncer

log = logging.getLogger(__name__)


async def remove_leftovers(options: ProxyOptions) -> None:
    """Remove what other modes left on this node: call it when this mode's rules stand, so that no packet is lost."""
    for mode in BACKENDS:
        if mode != options.mode:
            await cleanup(options, mode)


async def cleanup(options: ProxyOptions, mode: str) -> bool:
    """Remove everything that a mode ever made in this network namespace; what cannot be removed is reported.

    Whether everything was removed.
    """
    removed = True
    for family in options.families:
        backend = BACKENDS[mode](options, family)
        if backend.is_supported():
            continue
        try:
            await backend.cleanup()
        except BackendError as error:
            removed = False
            log.error("removing rules of mode %s, IPv%d: %s", mode, family, error)
        finally:
            backend.close()
    return removed


def make_backends(options: ProxyOptions) -> dict[int, Backend]:
    """A backend of the chosen mode for each family. Raises BackendError if there is none or the machine lacks it."""
    factory = BACKENDS.get(options.mode)
    if factory is None:
        raise BackendError(f"unknown proxy mode {options.mode!r}; there are: {', '.join(BACKENDS)}")
    backends = {family: factory(options, family) for family in options.families}
    for backend in backends.values():
        if why := backend.is_supported():
            raise BackendError(f"proxy mode {options.mode} cannot run here: {why}")
    return backends


def wanted_now(options: ProxyOptions) -> ProxyOptions:
    """The options with the mode that the mode file says, if there is one."""
    if options.mode_file is None:
        return options
    try:
        return replace(options, mode=options.mode_file.read(options.mode_file.path))
    except FileNotFoundError:
        return options
    except (OSError, ValueError) as error:
        log.error("%s: %s; the mode is %s", options.mode_file.path, error, options.mode)
        return options


class ModeSwitch:
    """Follows the mode file of a running proxy."""

    def __init__(self, options: ProxyOptions, syncer: Syncer) -> None:
        self._options = options
        self._syncer = syncer

    @property
    def mode(self) -> str:
        """The mode that is in force."""
        return self._options.mode

    async def run(self) -> None:
        """Switch whenever the file says so, until cancelled; a file that cannot be obeyed changes nothing."""
        file = self._options.mode_file
        if file is None:
            return
        watch = await asyncio.to_thread(Watch, file.path.parent)
        try:
            await self._obey(file)
            async for name in watch.names():
                if name == file.path.name:
                    await self._obey(file)
        finally:
            watch.close()

    async def switch(self, mode: str) -> str:
        """Put another mode in force, or what a start would use instead; returns why it is not the one asked for.

        Raises BackendError: then the present one stays.
        """
        options, instead = runnable(replace(self._options, mode=mode))
        if options.mode != self.mode:
            if instead:
                log.warning("%s", instead)
            await self._exchange(options)
        return instead

    async def _exchange(self, options: ProxyOptions) -> None:
        backends = make_backends(options)
        try:
            former = await self._syncer.replace(backends)
        except BackendError:
            await _clean_up(backends, options.mode)
            raise
        before, self._options = self.mode, options
        log.info("the mode is %s from now on, no longer %s", options.mode, before)
        await _clean_up(former, before)

    async def _obey(self, file: ModeFile) -> None:
        problem = ""
        try:
            problem = await self.switch(file.read(file.path))
        except FileNotFoundError:
            pass  # nothing is wanted yet
        except (BackendError, OSError, ValueError) as error:
            problem = f"{error}".replace("\n", " ")
            log.error("%s: %s; the mode stays %s", file.path, problem, self.mode)
        if file.answer is not None:
            file.answer.write_text(f"{self.mode}\n{problem}\n")


async def _clean_up(backends: dict[int, Backend], mode: str) -> None:
    for family, backend in backends.items():
        try:
            await backend.cleanup()
        except BackendError as error:
            log.error("removing rules of mode %s, IPv%d: %s", mode, family, error)
        finally:
            backend.close()
