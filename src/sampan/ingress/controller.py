"""The controller's loop: what the API server says becomes what nginx serves, and problems become events.

    feed.py ──► translate/ ──► nginx/ ──► teller.py
                    └──────► what is referred to, which the feed then reads

Changes that come together are translated together. A new structure makes nginx reload; between two there are at least
`RELOAD_SECONDS`; endpoints and certificates do not wait for that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from sampan.api.networking_v1 import Ingress
from sampan.ingress import settings
from sampan.ingress.feed import Feed, key_of
from sampan.ingress.flags import Flags
from sampan.ingress.model import Configuration, Listeners, Settings, Source
from sampan.ingress.nginx import Nginx, NginxError
from sampan.ingress.teller import Teller
from sampan.ingress.translate import Translator
from sampan.ingress.translate.types import Key, Objects, Options, Problem, Translation

log = logging.getLogger(__name__)

GATHER_SECONDS = 0.003
RELOAD_SECONDS = 0.1
RETRY_SECONDS = 1.0
INVALID = "InvalidConfigMap"
REJECTED = "Rejected"
"""The reason of events about what nginx refuses."""


class Controller:
    """Keeps one nginx at what the feed says. `wake` is to be called after each change there."""

    def __init__(self, flags: Flags, nginx: Nginx, teller: Teller) -> None:
        self._nginx, self._teller = nginx, teller
        self._translator, self._options = Translator(), options_of(flags)
        self._settings = KnownSettings(flags.configmap)
        self._change = asyncio.Event()
        self._wanted: asyncio.Queue[Translation] = asyncio.Queue(1)
        self._is_bringing = False
        self._translation: Translation | None = None
        self._rejected: tuple[tuple[Source, str], ...] = ()
        self._served: Mapping[Source, object] = {}
        self._feed: Feed | None = None
        self.on_served: Callable[[], None] = lambda: None
        """Called when `served` may give something else."""
        self.applied: Configuration | None = None
        """What nginx was given last."""
        self.first_applied = asyncio.Event()

    def wake(self) -> None:
        self._change.set()

    def served(self) -> Sequence[Ingress]:
        """The Ingresses of this controller's class that nginx has been given."""
        return self._ingresses(self._served)

    def _ingresses(self, sources: Iterable[Source]) -> list[Ingress]:
        feed = self._feed
        if feed is None:
            return []
        found = (feed.ingresses.get(source.namespace, source.name) for source in sources)
        return [ingress for ingress in found if ingress is not None]

    async def run(self, feed: Feed) -> None:
        """Until cancelled."""
        self._feed = feed
        await feed.wait_synced()
        self._change.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._translate_all(feed))
            group.create_task(self._bring_all())

    # --- from the feed to a configuration

    async def _translate_all(self, feed: Feed) -> None:
        while True:
            await self._change.wait()
            await asyncio.sleep(GATHER_SECONDS)
            self._change.clear()
            try:
                await self._translate_once(feed)
            except Exception as error:
                await self._note_failure(error)
                self._change.set()

    async def _translate_once(self, feed: Feed) -> None:
        self._translation = translation = await self._translate(feed)
        if self._wanted.full():
            self._wanted.get_nowait()
        self._wanted.put_nowait(translation)
        if self._is_bringing:
            await self._nginx.push(translation.configuration)
        self._tell()

    async def _translate(self, feed: Feed) -> Translation:
        """Once more, if something that is referred to had not been read yet."""
        while True:
            given = self._settings.current(feed)
            translation = self._translator.translate(objects_of(feed), given, self._options)
            if not await feed.want(translation.secrets, translation.config_maps):
                return translation

    # --- from a configuration to nginx

    async def _bring_all(self) -> None:
        """One after the other; of those that come meanwhile only the last one counts."""
        while True:
            wanted = await self._wanted.get()
            self._is_bringing = True
            try:
                applied = await self._nginx.apply(wanted.configuration)
                self.applied, self._served, self._rejected = wanted.configuration, wanted.served, applied.rejected
                self.first_applied.set()
                self.on_served()
                self._tell()
                if applied.reloaded:
                    await asyncio.sleep(RELOAD_SECONDS)
            except Exception as error:
                await self._note_failure(error)
                if self._wanted.empty():
                    self._wanted.put_nowait(wanted)
            finally:
                self._is_bringing = False

    async def _note_failure(self, error: Exception) -> None:
        is_known = isinstance(error, NginxError | OSError)
        log.error("a change has not reached nginx: %s", error, exc_info=None if is_known else error)
        await asyncio.sleep(RETRY_SECONDS)

    def _tell(self) -> None:
        if self._translation is not None:
            problems = (*self._translation.problems, *self._settings.problems, *self._refusals())
            self._teller.tell(self._ingresses(self._translation.served), problems)

    def _refusals(self) -> Sequence[Problem]:
        found = []
        for source, text in self._rejected:
            told = source if source.name else self._settings.source
            found.append(Problem(told, REJECTED, f"nginx refuses this: {text}"))
        return found


class KnownSettings:
    """The controller's ConfigMap, parsed when it is another one than before."""

    def __init__(self, name: str) -> None:
        self._key = key_of(name)
        self.source = Source(*self._key, "ConfigMap")
        self._read: object = None
        self._settings = settings.DEFAULTS
        self.problems: tuple[Problem, ...] = ()

    def current(self, feed: Feed) -> Settings:
        found = feed.config_maps.objects.get(self._key)
        if found is not self._read:
            self._read = found
            self._settings, wrong = settings.parse(found.data if found else {})
            self.problems = tuple(Problem(self.source, INVALID, f"{key}: {message}") for key, message in wrong)
        return self._settings


def objects_of(feed: Feed) -> Objects:
    ingresses: Mapping[Key, Ingress] = feed.ingresses.by_key
    if feed.namespaces is not None:
        ingresses = {key: one for key, one in ingresses.items() if feed.namespaces.get(None, key[0]) is not None}
    return Objects(
        ingresses=ingresses,
        classes=feed.classes.by_key,
        services=feed.services.by_key,
        slices=feed.slices.by_key,
        secrets=feed.secrets.objects,
        config_maps=feed.config_maps.objects,
    )


def options_of(flags: Flags) -> Options:
    """The part of the flags that decides how objects are understood."""
    same = (name for name in Options.__dataclass_fields__ if name in Flags.__dataclass_fields__)
    given = {name: getattr(flags, name) for name in same}
    return Options(**given, listeners=listeners_of(flags))


def listeners_of(flags: Flags) -> Listeners:
    addresses = [part.strip() for part in flags.bind_addresses.split(",") if part.strip()]
    if not addresses:
        return Listeners(http=flags.http_port, https=flags.https_port, status=flags.status_port)
    return Listeners(
        http=flags.http_port,
        https=flags.https_port,
        ipv4=tuple(one for one in addresses if ":" not in one),
        ipv6=tuple(one for one in addresses if ":" in one),
        status=flags.status_port,
    )
