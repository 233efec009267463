"""The namespace controller: empties a namespace that is being deleted, then lets it go.

Whatever resources the server has, their objects in the namespace are deleted; pods end gracefully, finalizers are
waited for. The namespace's conditions say what is still in the way.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sampan.api.core_v1 import Namespace, Pod
from sampan.api.meta_v1 import Condition, PartialObject
from sampan.client.resources import NAMESPACES, Resource
from sampan.controllers import conditions
from sampan.controllers.context import Context
from sampan.controllers.controller import QueueController
from sampan.controllers.discovery import discover
from sampan.machinery import times
from sampan.machinery.errors import MethodNotAllowed, NotFound, StatusError
from sampan.machinery.objects import Object

KUBERNETES = "kubernetes"
PARALLEL_REQUESTS = 8
FIRST_WAIT_SECONDS, LAST_WAIT_SECONDS = 0.05, 5.0


@dataclass(frozen=True)
class Emptying:
    """What one pass over the namespace's content left."""

    undiscovered: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    remaining: Mapping[str, int] = field(default_factory=dict)
    finalizers: Mapping[str, int] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        return not (self.undiscovered or self.errors or self.remaining)


@dataclass(frozen=True)
class _Question:
    """One condition: the reason and message while all is well, and the reason while it is not."""

    kind: str
    good: str
    good_message: str
    bad: str


_QUESTIONS = (
    _Question(
        "NamespaceDeletionDiscoveryFailure",
        "ResourcesDiscovered",
        "All resources successfully discovered",
        "DiscoveryFailed",
    ),
    _Question(
        "NamespaceDeletionGroupVersionParsingFailure",
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
        "GroupVersionParsingFailed",
    ),
    _Question(
        "NamespaceDeletionContentFailure",
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
        "ContentDeletionFailed",
    ),
    _Question("NamespaceContentRemaining", "ContentRemoved", "All content successfully removed", "SomeResourcesRemain"),
    _Question(
        "NamespaceFinalizersRemaining",
        "ContentHasNoFinalizers",
        "All content-preserving finalizers finished",
        "SomeFinalizersRemain",
    ),
)


def decide_conditions(current: Iterable[Condition], left: Emptying, now: str) -> tuple[Condition, ...]:
    """The namespace's conditions after a pass: pure."""
    found, problems = tuple(current), _problems(left)
    for question in _QUESTIONS:
        problem = problems.get(question.kind)
        new = Condition(
            type=question.kind,
            status="True" if problem else "False",
            reason=question.bad if problem else question.good,
            message=problem or question.good_message,
            last_transition_time=now,
        )
        old = conditions.find(found, question.kind)
        if old is None or (old.status, old.reason, old.message) != (new.status, new.reason, new.message):
            found = (*conditions.without(found, question.kind), new)
    return found


def _problems(left: Emptying) -> dict[str, str]:
    """What is in the way, in words, by the condition that says it."""
    problems: dict[str, str] = {}
    if left.undiscovered:
        start = f"Discovery failed for some groups, {len(left.undiscovered)} failing"
        why = "unable to retrieve the complete list of server APIs"
        problems["NamespaceDeletionDiscoveryFailure"] = f"{start}: {why}: {', '.join(left.undiscovered)}"
    if left.errors:
        start = f"Failed to delete all resource types, {len(left.errors)} remaining"
        problems["NamespaceDeletionContentFailure"] = f"{start}: {', '.join(left.errors)}"
    if left.remaining:
        listed = ", ".join(f"{name} has {count} resource instances" for name, count in sorted(left.remaining.items()))
        problems["NamespaceContentRemaining"] = f"Some resources are remaining: {listed}"
    if left.finalizers:
        listed = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(left.finalizers.items()))
        start = "Some content in the namespace has finalizers remaining"
        problems["NamespaceFinalizersRemaining"] = f"{start}: {listed}"
    return problems


class NamespaceController(QueueController):
    name = "namespace"
    workers = 10

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._namespaces = context.namespaces
        self._passes: Counter[str] = Counter()
        self._requests = asyncio.Semaphore(PARALLEL_REQUESTS)
        self._namespaces.add_handler(self._namespace_changed)
        context.pods.add_handler(self._pod_changed)

    def _namespace_changed(self, old: Namespace | None, new: Namespace | None) -> None:
        if new is not None and new.metadata.deletion_timestamp:
            self.queue.add(new.metadata.name)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        """The last pod gone is what a terminating namespace most often waits for."""
        if old is None or new is not None:
            return
        namespace = self._namespaces.get(None, old.metadata.namespace)
        last = not self.context.pods.by_index("namespace", old.metadata.namespace)
        if last and namespace is not None and namespace.metadata.deletion_timestamp:
            self.queue.add(old.metadata.namespace)

    async def sync(self, key: str) -> None:
        namespace = self._namespaces.get(None, key)
        if namespace is None or not namespace.metadata.deletion_timestamp:
            return
        if KUBERNETES not in namespace.spec.finalizers:
            return
        left = await self._empty(key)
        await self._write_conditions(namespace, left)
        if left.done:
            self._passes.pop(key, None)
            await self._finalize(namespace)
        else:
            self._passes[key] += 1
            self.queue.add_after(key, min(FIRST_WAIT_SECONDS * 2.0 ** self._passes[key], LAST_WAIT_SECONDS))

    async def _empty(self, namespace: str) -> Emptying:
        discovery = await discover(self.client)
        resources = [one for one in discovery.able("list", "delete") if one.namespaced]
        results = await asyncio.gather(*(self._empty_resource(one, namespace) for one in resources))
        remaining: Counter[str] = Counter()
        finalizers: Counter[str] = Counter()
        errors = []
        for resource, result in zip(resources, results, strict=True):
            if isinstance(result, StatusError):
                errors.append(str(result))
                continue
            if result:
                remaining[f"{resource.plural}.{resource.group}"] = len(result)
            for one in result:
                finalizers.update(one.metadata.finalizers)
        return Emptying(discovery.failed, tuple(errors), remaining, finalizers)

    async def _empty_resource(self, resource: Resource, namespace: str) -> list[PartialObject] | StatusError:
        """Delete all objects of one resource; those that are still there."""
        async with self._requests:
            try:
                found = await self.client.list(resource, namespace, type=PartialObject)
                if not found.items:
                    return []
                await self._delete_all(resource, namespace, found.items)
                return (await self.client.list(resource, namespace, type=PartialObject)).items
            except (NotFound, MethodNotAllowed):
                return []
            except StatusError as error:
                return error

    async def _delete_all(self, resource: Resource, namespace: str, items: list[PartialObject]) -> None:
        if all(one.metadata.deletion_timestamp for one in items):
            return
        try:
            await self.client.delete_collection(resource, namespace)
        except MethodNotAllowed:
            for one in items:
                await self._delete_one(resource, one)

    async def _delete_one(self, resource: Resource, one: PartialObject) -> None:
        try:
            await self.client.delete(resource, one.metadata.name, one.metadata.namespace)
        except NotFound:
            return

    async def _write_conditions(self, namespace: Namespace, left: Emptying) -> None:
        wanted = decide_conditions(namespace.status.conditions, left, times.now())
        if left.done and not namespace.status.conditions:
            return
        if wanted == namespace.status.conditions:
            return
        status = {"conditions": [conditions.to_object(one) for one in wanted]}
        try:
            await self.client.patch(NAMESPACES, namespace.metadata.name, {"status": status}, subresource="status")
        except NotFound:
            return

    async def _finalize(self, namespace: Namespace) -> None:
        name = namespace.metadata.name
        try:
            live: Object = await self.client.get(NAMESPACES, name)
            held = live.get("spec", {}).get("finalizers") or []
            live["spec"] = {**live.get("spec", {}), "finalizers": [one for one in held if one != KUBERNETES]}
            await self.client.update(NAMESPACES, live, subresource="finalize")
        except NotFound:
            return
