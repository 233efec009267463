"""What must happen to an object, given the state of its owners: pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from sampan.api.meta_v1 import ObjectMeta, OwnerReference
from sampan.controllers.garbagecollector.graph import FOREGROUND, ORPHAN

Propagation = Literal["Background", "Foreground", "Orphan"]


class Owner(Enum):
    """The state of one owner."""

    SOLID = "exists"
    DANGLING = "is gone"
    WAITING = "exists, and waits in its deletion for its dependents"


@dataclass(frozen=True)
class Keep:
    """The object stays; these references to owners that will not, go."""

    drop: tuple[OwnerReference, ...] = ()


@dataclass(frozen=True)
class Remove:
    """The object goes; `unblock` says that it must first stop holding up its owners, to break a circle."""

    propagation: Propagation
    unblock: bool = False


def judge(
    meta: ObjectMeta,
    owners: Mapping[str, Owner],
    *,
    has_dependents: bool,
    dependents_waiting: Sequence[bool] = (),
) -> Keep | Remove:
    """`owners` gives the state of each owner by uid; `dependents_waiting` tells of each dependent whether it too is
    being deleted in the foreground."""
    references = meta.owner_references
    if not references:
        return Keep()
    states = [owners[one.uid] for one in references]
    if Owner.SOLID in states:
        return Keep(tuple(one for one, state in zip(references, states, strict=True) if state is not Owner.SOLID))
    if Owner.WAITING in states and has_dependents:
        return Remove("Foreground", unblock=any(dependents_waiting))
    if ORPHAN in meta.finalizers:
        return Remove("Orphan")
    return Remove("Foreground" if FOREGROUND in meta.finalizers else "Background")
