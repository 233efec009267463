"""Who owns what: the rule by which a controller claims, adopts and releases objects that its selector is about.

An object with a controller belongs to that controller alone. One without a controller is adopted when the selector
matches and neither side is being deleted. One of ours that the selector no longer matches is released. The decision is
pure; `patches` gives the metadata patches that carry it out.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from sampan.api.meta_v1 import APIObject, ObjectMeta
from sampan.machinery.objects import Object
from sampan.machinery.selectors import LabelSelector

T = TypeVar("T", bound=APIObject)


@dataclass(frozen=True)
class Claims(Generic[T]):
    """`owned` are ours and match; `adopt` are orphans to take; `release` are ours no longer."""

    owned: tuple[T, ...]
    adopt: tuple[T, ...]
    release: tuple[T, ...]


def claim(owner: ObjectMeta, selector: LabelSelector, objects: Iterable[T]) -> Claims[T]:
    """Sort the objects of the owner's namespace by what the owner must do about them."""
    owned: list[T] = []
    adopt: list[T] = []
    release: list[T] = []
    for one in objects:
        controller = one.metadata.controller
        matches = selector.matches(one.metadata.labels)
        if controller is not None and controller.uid == owner.uid:
            (owned if matches else release).append(one)
        elif controller is None and matches and not owner.deletion_timestamp and not one.metadata.deletion_timestamp:
            adopt.append(one)
    return Claims(tuple(owned), tuple(adopt), tuple(() if owner.deletion_timestamp else release))


def controller_reference(api_version: str, kind: str, owner: ObjectMeta) -> Object:
    """The owner reference that makes `owner` the managing controller of an object."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def adoption_patch(reference: Object, obj: ObjectMeta) -> Object:
    """A strategic merge patch that adds the reference, valid only while the object is still the same one."""
    return {"metadata": {"ownerReferences": [reference], "uid": obj.uid}}


def release_patch(owner: ObjectMeta, obj: ObjectMeta) -> Object:
    """A strategic merge patch that removes the owner's reference."""
    return {"metadata": {"ownerReferences": [{"$patch": "delete", "uid": owner.uid}], "uid": obj.uid}}
