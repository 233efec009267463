"""Getting a container's image: present, pulled or not to be had, with the events that say so."""

import asyncio
import logging
import time
from collections.abc import Callable

from sampan.api.core_v1 import Container, Pod
from sampan.client.resources import SECRETS
from sampan.machinery.errors import StatusError
from sampan.machinery.objects import Object
from sampan.node.errors import PullFailure, StartFailure
from sampan.node.images.types import Credentials, Image, ImageError, ImagePullError
from sampan.node.node import Node

log = logging.getLogger(__name__)

_RETRY_SECONDS = 10.0


Report = Callable[[str, str, str], None]


async def image_for(node: Node, pod: Pod, container: Container, *, init: bool, retry_after: float) -> Image:
    """The container's image. Raises StartFailure in the API's words."""
    name, policy = container.image, container.image_pull_policy

    def event(type_: str, reason: str, message: str) -> None:
        node.event(pod, type_, reason, message, container.name, init=init)

    present = node.images.find(name) if policy in ("", "IfNotPresent", "Never") else None
    started = time.monotonic()
    try:
        if present is None and policy != "Never":
            event("Normal", "Pulling", f'Pulling image "{name}"')
        credentials = await _credentials(node, pod) if present is None else Credentials()
        image = await node.images.ensure(name, policy=policy, credentials=credentials)
    except ImageError as error:
        raise _failure(error, name, event, retry_after) from error
    except Exception as error:
        log.exception("image %s", name)
        problem = ImagePullError(f'failed to pull and unpack image "{name}": {type(error).__name__}: {error}')
        raise _failure(problem, name, event, retry_after) from error
    if present is not None:
        event("Normal", "Pulled", f'Container image "{name}" already present on machine and can be accessed by the pod')
    elif policy != "Never":
        took = go_seconds(time.monotonic() - started)
        size = f"Image size: {image.size} bytes."
        event("Normal", "Pulled", f'Successfully pulled image "{name}" in {took} ({took} including waiting). {size}')
    return image


def go_seconds(seconds: float) -> str:
    """A duration as Go prints it, to the millisecond: `308ms`, `1.204s`."""
    return f"{round(seconds * 1000)}ms" if seconds < 1 else f"{round(seconds, 3):g}s"


def _failure(error: ImageError, name: str, event: Report, retry_after: float) -> StartFailure:
    text = str(error)
    if error.reason == "InvalidImageName":
        text = f'Failed to apply default image tag "{name}": couldn\'t parse image name "{name}": {text}'
        event("Warning", "InspectFailed", text)
        event("Warning", "Failed", "Error: InvalidImageName")
        return StartFailure(error.reason, text, _RETRY_SECONDS)
    if error.reason == "ErrImageNeverPull":
        text = f'Container image "{name}" is not present with pull policy of Never'
        event("Warning", "ErrImageNeverPull", text)
        event("Warning", "Failed", "Error: ErrImageNeverPull")
        return StartFailure(error.reason, text, _RETRY_SECONDS)
    event("Warning", "Failed", f'Failed to pull image "{name}": {text}')
    event("Warning", "Failed", "Error: ErrImagePull")
    return PullFailure("ErrImagePull", text, retry_after)


async def _credentials(node: Node, pod: Pod) -> Credentials:
    """What the pod's imagePullSecrets say; secrets that do not exist are passed over, as upstream does."""
    names = [one.name for one in pod.spec.image_pull_secrets]
    found = await asyncio.gather(*(_read(node, pod.metadata.namespace, name) for name in names))
    return Credentials.from_secrets([one for one in found if one is not None])


async def _read(node: Node, namespace: str, name: str) -> Object | None:
    try:
        return await node.client.get(SECRETS, name, namespace)
    except (StatusError, OSError):
        return None
