"""How workloads make and remove their pods: from the template, in the owner's name, with an event for each.

Many pods are created in slow-start batches (1, 2, 4, …), so that a template the server refuses costs one request, not
hundreds.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from sampan.api.core_v1 import Pod
from sampan.api.meta_v1 import ObjectMeta
from sampan.client.events import EventRecorder
from sampan.client.resources import PODS, Resource
from sampan.client.rest import Client
from sampan.controllers.adoption import controller_reference
from sampan.controllers.freshness import OwnWrites
from sampan.controllers.references import reference
from sampan.machinery.errors import NotFound, StatusError
from sampan.machinery.names import dns1123_subdomain
from sampan.machinery.objects import Object, name


def pod_from_template(template: Object, owner_reference: Object, parent: ObjectMeta) -> Object:
    """The pod to create: the template's metadata and spec, named after its parent, controlled by the owner."""
    source = template.get("metadata") or {}
    metadata: Object = {
        "generateName": name_prefix(parent.name),
        "namespace": parent.namespace,
        "labels": dict(source.get("labels") or {}),
        "annotations": dict(source.get("annotations") or {}),
        "ownerReferences": [owner_reference],
    }
    if source.get("finalizers"):
        metadata["finalizers"] = list(source["finalizers"])
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template.get("spec") or {}}


def name_prefix(parent: str) -> str:
    """`parent-`, or the bare name where the dash would make it invalid."""
    prefix = f"{parent}-"
    return parent if dns1123_subdomain(prefix + "a") else prefix


MAX_PARALLEL = 16
"""Requests under way at once: more would open more connections than one server works on."""


async def slow_start(count: int, act: Callable[[int], Awaitable[None]]) -> tuple[int, StatusError | None]:
    """Call `act` for 0…count-1 in batches that double while all goes well; the number done and the first error."""
    done, batch = 0, 1
    while done < count:
        size = min(batch, count - done)
        results = await asyncio.gather(*(act(done + i) for i in range(size)), return_exceptions=True)
        failed = [result for result in results if isinstance(result, BaseException)]
        done += size - len(failed)
        for error in failed:
            if not isinstance(error, StatusError):
                raise error
        if failed:
            return done, failed[0] if isinstance(failed[0], StatusError) else None
        batch = min(batch * 2, MAX_PARALLEL)
    return done, None


class PodControl:
    """Creates and deletes the pods of one kind of owner, with events, and remembers what it did until it is seen."""

    def __init__(self, client: Client, recorder: EventRecorder, owner: Resource, writes: OwnWrites[str]) -> None:
        self._client = client
        self._recorder = recorder
        self._owner = owner
        self.writes = writes

    def pod(self, owner: ObjectMeta, template: Object) -> Object:
        return pod_from_template(
            template, controller_reference(self._owner.api_version, self._owner.kind, owner), owner
        )

    async def create(self, owner: ObjectMeta, pod: Object) -> Object:
        """Create one pod. Raises StatusError, after a FailedCreate event."""
        about = reference(self._owner, owner)
        try:
            created = await self._client.create(PODS, pod, owner.namespace)
        except StatusError as error:
            self._recorder.event(about, "Warning", "FailedCreate", f"Error creating: {error.message}")
            raise
        self.writes.wrote(owner.key, created)
        self._recorder.event(about, "Normal", "SuccessfulCreate", f"Created pod: {name(created)}")
        return created

    async def delete(self, owner: ObjectMeta, pod: Pod) -> None:
        """Delete one pod; that it is gone already is as good. Raises StatusError, after a FailedDelete event."""
        about = reference(self._owner, owner)
        self.writes.doom(pod.metadata.uid)
        try:
            await self._client.delete(PODS, pod.metadata.name, pod.metadata.namespace, uid=pod.metadata.uid)
        except NotFound:
            return
        except (StatusError, OSError) as error:
            self.writes.spare(pod.metadata.uid)
            self._recorder.event(about, "Warning", "FailedDelete", f"Error deleting: {error}")
            raise
        self._recorder.event(about, "Normal", "SuccessfulDelete", f"Deleted pod: {pod.metadata.name}")

    async def delete_all(self, owner: ObjectMeta, pods: Sequence[Pod]) -> StatusError | None:
        """Delete pods side by side; the first error after all were tried."""
        first: StatusError | None = None
        for start in range(0, len(pods), MAX_PARALLEL):
            batch = (self.delete(owner, pod) for pod in pods[start : start + MAX_PARALLEL])
            for result in await asyncio.gather(*batch, return_exceptions=True):
                if isinstance(result, StatusError):
                    first = first or result
                elif result is not None:
                    raise result
        return first
