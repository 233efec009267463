"""Who owns whom. Pure: events in, work out.

A node is *virtual* while it is known only from an owner reference. Work is the uid of an object to look at, either to
see whether it must be deleted or to set its dependents free.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from sampan.api.meta_v1 import ObjectMeta, OwnerReference
from sampan.client.resources import Resource

ORPHAN = "orphan"
FOREGROUND = "foregroundDeletion"
REMEMBERED_ABSENT = 500


class Task(Enum):
    """What to do with an object."""

    DELETE = "attempt to delete"
    ORPHAN = "orphan its dependents"


Work = tuple[Task, str]


@dataclass
class Node:
    """One object: where it is, who owns it, whom it owns."""

    uid: str
    resource: Resource | None
    namespace: str
    name: str
    owners: tuple[OwnerReference, ...] = ()
    dependents: set[str] = field(default_factory=set)
    virtual: bool = False
    deleting: bool = False
    foreground: bool = False
    orphaning: bool = False

    def blocks(self, owner: str) -> bool:
        """Whether the owner must wait for this object's end."""
        return any(one.uid == owner and one.block_owner_deletion for one in self.owners)


class Graph:
    """All objects by uid."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self._absent: OrderedDict[str, None] = OrderedDict()

    def observe(self, resource: Resource, meta: ObjectMeta, kinds: dict[tuple[str, str], Resource]) -> list[Work]:
        """An object was added or changed. `kinds` finds the resource of an owner by its apiVersion and kind."""
        node = self.nodes.get(meta.uid)
        if node is None:
            node = self.nodes[meta.uid] = Node(meta.uid, resource, meta.namespace, meta.name)
        node.resource, node.namespace, node.name, node.virtual = resource, meta.namespace, meta.name, False
        work = self._set_owners(node, meta.owner_references, kinds)
        return work + self._set_deletion(node, meta)

    def forget(self, uid: str) -> list[Work]:
        """An object is gone: its dependents and the owners that waited for it need a look."""
        self._remember_absent(uid)
        node = self.nodes.pop(uid, None)
        if node is None:
            return []
        for owner in self._owner_nodes(node.owners):
            self._disown(owner, uid)
        work = [(Task.DELETE, dependent) for dependent in node.dependents]
        return work + self._waiting_owners(node.owners)

    def is_absent(self, uid: str) -> bool:
        """Whether the object is known to be gone for good."""
        return uid in self._absent

    def blocking_dependents(self, uid: str) -> list[Node]:
        """The dependents that an owner, deleted in the foreground, must wait for."""
        found = (self.nodes.get(one) for one in self.nodes[uid].dependents)
        return [one for one in found if one is not None and one.blocks(uid)]

    def dependents(self, uid: str) -> list[Node]:
        return [self.nodes[one] for one in self.nodes[uid].dependents if one in self.nodes]

    def _set_owners(
        self, node: Node, owners: tuple[OwnerReference, ...], kinds: dict[tuple[str, str], Resource]
    ) -> list[Work]:
        if owners == node.owners:
            return []
        before, node.owners = node.owners, owners
        now = {one.uid for one in owners}
        for lost in self._owner_nodes(one for one in before if one.uid not in now):
            self._disown(lost, node.uid)
        work = self._waiting_owners(before)
        for reference in owners:
            owner = self.nodes.get(reference.uid)
            if owner is None:
                owner = self._add_virtual(node, reference, kinds)
                work.append((Task.DELETE, node.uid if self.is_absent(owner.uid) else owner.uid))
            elif owner.foreground:
                work.append((Task.DELETE, node.uid))
            owner.dependents.add(node.uid)
        return work

    def _add_virtual(self, dependent: Node, reference: OwnerReference, kinds: dict[tuple[str, str], Resource]) -> Node:
        resource = kinds.get((reference.api_version, reference.kind))
        namespace = dependent.namespace if resource is None or resource.namespaced else ""
        node = Node(reference.uid, resource, namespace, reference.name, virtual=True)
        self.nodes[reference.uid] = node
        return node

    def _set_deletion(self, node: Node, meta: ObjectMeta) -> list[Work]:
        node.deleting = meta.deletion_timestamp is not None
        was = node.foreground, node.orphaning
        node.foreground = node.deleting and FOREGROUND in meta.finalizers
        node.orphaning = node.deleting and ORPHAN in meta.finalizers
        if node.orphaning:
            return [] if was[1] else [(Task.ORPHAN, node.uid)]
        if node.foreground and not was[0]:
            return [(Task.DELETE, one) for one in node.dependents] + [(Task.DELETE, node.uid)]
        return []

    def _disown(self, owner: Node, dependent: str) -> None:
        owner.dependents.discard(dependent)
        if owner.virtual and not owner.dependents:
            self.nodes.pop(owner.uid, None)

    def _owner_nodes(self, references: Iterable[OwnerReference]) -> list[Node]:
        return [self.nodes[one.uid] for one in references if one.uid in self.nodes]

    def _waiting_owners(self, references: Iterable[OwnerReference]) -> list[Work]:
        return [(Task.DELETE, one.uid) for one in self._owner_nodes(references) if one.foreground]

    def _remember_absent(self, uid: str) -> None:
        self._absent[uid] = None
        if len(self._absent) > REMEMBERED_ABSENT:
            self._absent.popitem(last=False)
