"""The volumes of one pod: set up before its containers start, kept fresh while it runs; `leftovers.py` removes them.

Volumes made of files (`projected.py`) are rewritten as soon as an object they came from changes, which the object
cache tells, and when a token nears its end. Directories (`empty_dir.py`, `host_path.py`) are made once.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

from sampan.api.core_v1 import Pod, ServiceAccountTokenSource, Volume
from sampan.client.rest import Client
from sampan.kernel.threads import in_thread
from sampan.machinery.errors import StatusError
from sampan.node.env import Reference, Sources
from sampan.node.fields import PodFacts
from sampan.node.images.types import ImageError
from sampan.node.object_cache import ObjectCache
from sampan.node.volumes import atomic, empty_dir, host_path, projected, service_account_token
from sampan.node.volumes.errors import VolumeError
from sampan.node.volumes.projected import Inputs
from sampan.node.volumes.service_account_token import Token

log = logging.getLogger(__name__)

RETRY_SECONDS = 10.0
LOOK_SECONDS = 60.0


class PodVolumes:
    """Where each volume of a pod is on this node: `paths`, by name, once `set_up` has returned."""

    def __init__(
        self, client: Client, objects: ObjectCache, directory: Path, node_root: Callable[[], Path], pod: Pod
    ) -> None:
        self.paths: dict[str, Path] = {}
        self._client = client
        self._objects = objects
        self._directory = directory
        self._node_root = node_root
        self._pod = pod
        self._facts = PodFacts()
        self._references: set[Reference] = set()
        self._tokens: dict[ServiceAccountTokenSource, Token] = {}
        self._changed = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    async def set_up(self, pod: Pod, facts: PodFacts) -> dict[str, Path]:
        """Have every volume of the pod in place. Raises VolumeError naming the volume; may be called again."""
        self._pod, self._facts = pod, facts
        made_of_files = [one for one in pod.spec.volumes if projected.sources_of(one) is not None]
        for volume in pod.spec.volumes:
            if volume not in made_of_files:
                self.paths[volume.name] = await in_thread(self._make_directory, volume)
        if made_of_files:
            await self._set_up_files(made_of_files)
        return self.paths

    def update(self, pod: Pod) -> None:
        """The pod's labels or annotations may have changed."""
        if (
            pod.metadata.labels != self._pod.metadata.labels
            or pod.metadata.annotations != self._pod.metadata.annotations
        ):
            self._changed.set()
        self._pod = pod

    def release(self) -> None:
        """Stop keeping the files fresh; nothing is removed."""
        if self._keeper:
            self._keeper.cancel()
        self._objects.unfollow(self._pod.metadata.namespace, self._references, self._changed.set)

    # --- directories

    def _make_directory(self, volume: Volume) -> Path:
        try:
            if volume.empty_dir is not None:
                security = self._pod.spec.security_context
                group = security.fs_group if security else None
                return empty_dir.make(self._path("empty-dir", volume), volume.empty_dir, group)
            if volume.host_path is not None:
                return host_path.bind(volume.host_path, self._node_root(), self._path("host-path", volume))
        except (VolumeError, ImageError, OSError) as error:
            raise VolumeError(_setup_failed(volume, str(error))) from error
        raise VolumeError(_setup_failed(volume, "no volume plugin matched"))

    def _path(self, plugin: str, volume: Volume) -> Path:
        return self._directory / f"kubernetes.io~{plugin}" / volume.name

    # --- files

    async def _set_up_files(self, volumes: list[Volume]) -> None:
        namespace = self._pod.metadata.namespace
        items = [item for volume in volumes for item in projected.sources_of(volume) or ()]
        self._references = projected.objects_of(items)
        wanted = projected.tokens_of(items)
        sources, _ = await asyncio.gather(
            self._objects.follow(namespace, self._references, self._changed.set), self._renew_tokens(wanted)
        )
        for volume in volumes:
            self.paths[volume.name] = self._write(volume, sources)
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep_fresh(volumes, wanted))

    def _write(self, volume: Volume, sources: Sources) -> Path:
        tokens = {source: token.value for source, token in self._tokens.items()}
        path = self._path(_PLUGINS[_kind(volume)], volume)
        security = self._pod.spec.security_context
        try:
            files = projected.render(volume, Inputs(self._pod, self._facts, sources, tokens))
            atomic.write(path, files, group=security.fs_group if security else None)
        except (VolumeError, OSError) as error:
            raise VolumeError(_setup_failed(volume, str(error))) from error
        return path

    async def _renew_tokens(self, wanted: list[ServiceAccountTokenSource]) -> None:
        now = time.time()
        for source in wanted:
            held = self._tokens.get(source)
            if held is None or held.renew_at <= now:
                try:
                    self._tokens[source] = await service_account_token.request(self._client, self._pod, source, now)
                except (StatusError, OSError) as error:
                    if held is None:
                        raise VolumeError(f"failed to fetch token: {error}") from error
                    log.warning("%s: renewing a token: %s", self._pod.metadata.key, error)

    async def _keep_fresh(self, volumes: list[Volume], wanted: list[ServiceAccountTokenSource]) -> None:
        while True:
            await self._wait_for_change()
            self._changed.clear()
            try:
                await self._renew_tokens(wanted)
            except VolumeError as error:
                log.warning("%s: %s", self._pod.metadata.key, error)
            sources = self._objects.current(self._pod.metadata.namespace, self._references)
            for volume in volumes:
                try:
                    self._write(volume, sources)
                except Exception as error:
                    log.info("%s: %s", self._pod.metadata.key, error)

    async def _wait_for_change(self) -> None:
        renewals = [token.renew_at for token in self._tokens.values()]
        due = max(RETRY_SECONDS, min(renewals) - time.time()) if renewals else 0.0
        timeout = min(due, LOOK_SECONDS) if renewals else None  # the loop's clock stands still while a machine sleeps
        try:
            async with asyncio.timeout(timeout):
                await self._changed.wait()
        except TimeoutError:
            pass


def _kind(volume: Volume) -> str:
    return next(name for name in _PLUGINS if getattr(volume, name) is not None)


_PLUGINS = {
    "config_map": "configmap",
    "secret": "secret",
    "downward_api": "downward-api",
    "projected": "projected",
}


def _setup_failed(volume: Volume, why: str) -> str:
    return f'MountVolume.SetUp failed for volume "{volume.name}" : {why}'
