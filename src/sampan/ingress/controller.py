"""The controller's loop: what the API server says becomes what nginx serves, and problems become events.

    feed.py ──► translate/ ──► nginx/ ──► teller.py
                    └──────► what is referred to, which the feed then reads

Changes that come together are translated together. A new structure makes nginx reload, so one is brought at most every
`RELOAD_SECONDS`; endpoints and certificates do not wait for that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from sampan.api.networking_v1 import Ingress
from sampan.ingress import settings
from sampan.ingress.feed import Feed, key_of
from sampan.ingress.flags import Flags
from sampan.ingress.model import Configuration, Listeners, Settings, Source
from sampan.ingress.nginx import Applied, Nginx, NginxError
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
        self.applied: Configuration | None = None
        """What nginx was given last."""
        self._rejected: tuple[tuple[Source, str], ...] = ()
        self._reloaded_at = float("-inf")
        self._served: Mapping[Source, object] = {}
        self._feed: Feed | None = None
        self.first_applied = asyncio.Event()

    def wake(self) -> None:
        self._change.set()

    def served(self) -> Sequence[Ingress]:
        """The Ingresses of this controller's class."""
        feed = self._feed
        if feed is None:
            return ()
        found = (feed.ingresses.get(source.namespace, source.name) for source in self._served)
        return [ingress for ingress in found if ingress is not None]

    async def run(self, feed: Feed) -> None:
        """Until cancelled."""
        self._feed = feed
        await feed.wait_synced()
        self._change.set()
        while True:
            await self._change.wait()
            await asyncio.sleep(GATHER_SECONDS)
            self._change.clear()
            try:
                await self._sync(feed)
            except Exception as error:
                is_known = isinstance(error, NginxError | OSError)
                log.error("a change has not reached nginx: %s", error, exc_info=None if is_known else error)
                await asyncio.sleep(RETRY_SECONDS)
                self._change.set()

    async def _sync(self, feed: Feed) -> None:
        translation = await self._translate(feed)
        self._served = translation.served
        await self._bring(translation.configuration)
        self._teller.tell(self.served(), (*translation.problems, *self._settings.problems, *self._refusals()))

    async def _translate(self, feed: Feed) -> Translation:
        """Once more, if something that is referred to had not been read yet."""
        while True:
            given = self._settings.current(feed)
            translation = self._translator.translate(objects_of(feed), given, self._options)
            if not await feed.want(translation.secrets, translation.config_maps):
                return translation

    async def _bring(self, wanted: Configuration) -> None:
        loop = asyncio.get_running_loop()
        wait = self._reloaded_at + RELOAD_SECONDS - loop.time()
        if wait > 0 and self.applied is not None and not has_same_structure(self.applied, wanted):
            await self._apply(without_structure(self.applied, wanted))
            loop.call_later(wait, self._change.set)
            return
        applied = await self._apply(wanted)
        self._rejected = applied.rejected
        if applied.reloaded:
            self._reloaded_at = loop.time()

    async def _apply(self, configuration: Configuration) -> Applied:
        """Raises NginxError, OSError."""
        applied = await self._nginx.apply(configuration)
        self.applied = configuration
        self.first_applied.set()
        return applied

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


def has_same_structure(one: Configuration, other: Configuration) -> bool:
    """Whether they differ in nothing for which nginx would reload; equal hosts are mostly the same objects."""
    return replace(one, backends={}, certificates={}) == replace(other, backends={}, certificates={})


def without_structure(old: Configuration, new: Configuration) -> Configuration:
    """The new backends and certificates under the old structure, which may still name old ones."""
    certificates = {**old.certificates, **new.certificates}
    return replace(old, backends={**old.backends, **new.backends}, certificates=certificates)


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
