"""Start one container of a pod: environment, mounts, root file system, creation, start.

The inputs are a pod whose shared resources are ready (`pod_resources.py`) and an image that is present
(`pulling.py`); `container_spec.py` makes the runtime's description of them. The few short system calls that all this
takes are made on the event loop: in a thread, each would wait its turn for the interpreter.
"""

import asyncio
import secrets
from dataclasses import dataclass, replace
from pathlib import Path

from sampan.api.core_v1 import Container, Pod, VolumeMount
from sampan.kernel.mounts import is_read_only, unmount_below
from sampan.kernel.threads import in_thread
from sampan.machinery.errors import StatusError
from sampan.node import container_spec, env, pod_resources, rootfs, service_env
from sampan.node.container_spec import Launch
from sampan.node.env import ConfigError
from sampan.node.errors import StartFailure
from sampan.node.expansion import expand
from sampan.node.images.types import Image, ImageError
from sampan.node.logs import rotation
from sampan.node.node import Node
from sampan.node.pod_resources import PodResources, Prepared
from sampan.node.runtime import users
from sampan.node.runtime.types import ContainerError, ContainerSpec, Mount
from sampan.node.volumes import subpath
from sampan.node.volumes.errors import VolumeError


@dataclass(frozen=True, slots=True)
class Started:
    """A container that runs."""

    id: str
    image: str
    image_id: str
    at: float


@dataclass(frozen=True, slots=True)
class PodContainers:
    """Starts and removes the containers of one pod."""

    node: Node
    resources: PodResources

    async def start(self, pod: Pod, container: Container, image: Image, attempt: int, *, init: bool) -> Started:
        """Run the container once more. Raises StartFailure in the API's words."""
        prepared = await self.resources.ready(pod)
        async with self.node.creation_slots:
            spec = await self._configure(pod, container, image, attempt, prepared, init)
            return await self._run(pod, container, image, spec, init)

    async def remove(self, pod: Pod, container: str, attempt: int, container_id: str) -> None:
        """Remove what an ended run left, but for its log. Raises ContainerError, OSError."""
        await self.node.runtime.delete(container_id)
        await in_thread(rootfs.unmount_rootfs, self._rootfs(container, attempt))
        places = self._sub_paths(container, attempt)
        if places.exists():
            await in_thread(unmount_below, places)

    def remove_log(self, pod: Pod, container: str, attempt: int) -> None:
        """Remove the log of a run, older files included. Repeatable."""
        path = self.log_path(pod, container, attempt)
        for file in (path, *rotation.rotated(path)):
            file.unlink(missing_ok=True)

    def termination_log(self, container: str, attempt: int) -> Path:
        return self.resources.directory / "containers" / container / f"termination-{attempt}"

    def log_path(self, pod: Pod, container: str, attempt: int) -> Path:
        return log_directory(self.node, pod) / container / f"{attempt}.log"

    # --- configuring

    async def _configure(
        self, pod: Pod, container: Container, image: Image, attempt: int, prepared: Prepared, init: bool
    ) -> ContainerSpec:
        try:
            environment = await self._environment(pod, container, prepared, init)
            mounts = self._mounts(container, attempt, prepared, environment)
            launch = Launch(
                id=secrets.token_hex(32),
                attempt=attempt,
                image=image,
                rootfs=self._rootfs(container.name, attempt),
                sandbox=prepared.sandbox,
                hostname=prepared.names.hostname,
                environment=environment,
                mounts=mounts,
                log_path=self.log_path(pod, container.name, attempt),
                cgroup_parent=self.node.options.cgroup_parent,
                memory_capacity=self.node.memory_capacity,
            )
            return container_spec.build(pod, container, launch)
        except (ConfigError, VolumeError, StatusError, OSError) as error:
            self.node.event(pod, "Warning", "Failed", f"Error: {error}", container.name, init=init)
            raise StartFailure("CreateContainerConfigError", str(error)) from error

    async def _environment(self, pod: Pod, container: Container, prepared: Prepared, init: bool) -> dict[str, str]:
        namespace = pod.metadata.namespace
        references = env.references(container)
        sources = await self.node.objects.read(namespace, references) if references else env.Sources()
        await self.node.services.wait_synced()
        services = service_env.service_variables(self.node.services.items(), namespace, pod.spec.enable_service_links)
        result = env.environment(pod, container, self.node.facts(pod, prepared.ips), sources, services)
        if result.skipped:
            keys = ", ".join(sorted(result.skipped))
            message = f"Keys [{keys}] were skipped since they are considered invalid environment variable names."
            self.node.event(pod, "Warning", "InvalidEnvironmentVariableNames", message, container.name, init=init)
        return result.variables

    def _mounts(
        self, container: Container, attempt: int, prepared: Prepared, environment: dict[str, str]
    ) -> tuple[Mount, ...]:
        places = self._sub_paths(container.name, attempt)
        mounts = [
            _volume_mount(one, prepared.volumes, environment, places / str(index))
            for index, one in enumerate(container.volume_mounts)
        ]
        mounts += pod_resources.file_mounts(self.resources, {one.mount_path for one in container.volume_mounts})
        if container.termination_message_path:
            message = self.termination_log(container.name, attempt)
            message.parent.mkdir(parents=True, exist_ok=True)
            message.touch(mode=0o666)
            message.chmod(0o666)
            mounts.append(Mount.bind(message, container.termination_message_path))
        return container_spec.in_mount_order(mounts)

    def _sub_paths(self, container: str, attempt: int) -> Path:
        """Where subPaths of a run are bound, each to a path named after its mount's number."""
        return self.resources.directory / "containers" / container / f"{attempt}-sub-paths"

    def _rootfs(self, container: str, attempt: int) -> Path:
        return self.resources.directory / "containers" / container / str(attempt)

    # --- running

    async def _run(self, pod: Pod, container: Container, image: Image, spec: ContainerSpec, init: bool) -> Started:
        runtime = self.node.runtime
        try:
            self.node.images.use(image, spec.rootfs)
            root = rootfs.mount_rootfs(image, spec.rootfs, mask_layers=self.node.options.mask_layers)
            if spec.security.non_root and users.identity(spec.security, root).uid == 0:
                raise ConfigError(container_spec.root_refused(pod, container))
            await runtime.create(replace(spec, rootfs=root))
            self.node.event(pod, "Normal", "Created", "Container created", container.name, init=init)
            state = await runtime.start(spec.id)
            self.node.event(pod, "Normal", "Started", "Container started", container.name, init=init)
        except (ConfigError, ContainerError, ImageError, OSError, ValueError) as error:
            await self.remove(pod, container.name, spec.attempt, spec.id)
            self.node.event(pod, "Warning", "Failed", f"Error: {error}", container.name, init=init)
            kind = "CreateContainerConfigError" if isinstance(error, ConfigError) else "CreateContainerError"
            raise StartFailure(kind, str(error)) from error
        except BaseException:
            await asyncio.shield(self.remove(pod, container.name, spec.attempt, spec.id))
            raise
        return Started(spec.id, image.reference, image.digest or image.id, state.started_at)


def log_directory(node: Node, pod: Pod) -> Path:
    """Where the logs of a pod's containers are."""
    meta = pod.metadata
    return node.options.logs / f"{meta.namespace}_{meta.name}_{meta.uid}"


def _volume_mount(mount: VolumeMount, volumes: dict[str, Path], environment: dict[str, str], place: Path) -> Mount:
    """The mount of a volume, or of what is bound to `place` if only a part of it is asked for."""
    source = volumes.get(mount.name)
    if source is None:
        raise VolumeError(f'cannot find volume "{mount.name}" to mount into container')
    sub_path = expand(mount.sub_path_expr, environment) if mount.sub_path_expr else mount.sub_path
    if sub_path:
        source = subpath.bind(source, sub_path, place)
    read_only = mount.read_only or is_read_only(source)  # otherwise crun would remount a read-only source writable
    return Mount.bind(source, mount.mount_path, read_only=read_only, propagation=mount.mount_propagation)
