"""Kinds whose only special rules are switches: which updates may create, which need a version, which selectors work."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, ClassVar

from sampan.apiserver.registry.generic import TableStrategy
from sampan.apiserver.strategy import FieldGetter, RequestInfo
from sampan.machinery.objects import Object, metadata


class CreatedByUpdate(TableStrategy):
    """PUT creates what is not there."""

    allow_create_on_update: ClassVar[bool] = True
    tracks_generation: ClassVar[bool] = False


class Versioned(TableStrategy):
    """PUT must say which version it replaces."""

    allow_unconditional_update: ClassVar[bool] = False


class LeaseStrategy(CreatedByUpdate):
    allow_unconditional_update: ClassVar[bool] = False


class Ungenerated(TableStrategy):
    """Has a specification, but upstream does not count its generations."""

    tracks_generation: ClassVar[bool] = False


class SigningRequestStrategy(Ungenerated):
    """Who asks for a certificate is who has sent the request, whatever it says, and for good."""

    def prepare_create(self, obj: Object, request: RequestInfo) -> None:
        super().prepare_create(obj, request)
        spec, user = obj.setdefault("spec", {}), request.user
        extra = {key: list(values) for key, values in user.extra.items()}
        asking = {"username": user.name, "uid": user.uid, "groups": list(user.groups), "extra": extra}
        for field, value in asking.items():
            spec.pop(field, None)
            if value:
                spec[field] = value

    def prepare_update(self, new: Object, old: Object, request: RequestInfo) -> None:
        super().prepare_update(new, old, request)
        new["spec"] = old["spec"]


class NodeStrategy(Ungenerated):
    field_labels: ClassVar[Mapping[str, FieldGetter]] = {
        "spec.unschedulable": lambda obj: "true" if (obj.get("spec") or {}).get("unschedulable") else "false",
    }

    def prepare_create(self, obj: Object, request: RequestInfo) -> None:
        """Agents register with their status in one request."""
        obj.setdefault("spec", {})


class ReplicaSetStrategy(TableStrategy):
    field_labels: ClassVar[Mapping[str, FieldGetter]] = {
        "status.replicas": lambda obj: str((obj.get("status") or {}).get("replicas") or 0),
    }

    def prepare_create(self, obj: Object, request: RequestInfo) -> None:
        super().prepare_create(obj, request)
        obj["status"] = {"replicas": 0}


class EndpointSliceStrategy(TableStrategy):
    """Slices have no specification, but count generations all the same."""

    def prepare_create(self, obj: Object, request: RequestInfo) -> None:
        metadata(obj)["generation"] = 1


class ClaimStrategy(Ungenerated):
    def prepare_create(self, obj: Object, request: RequestInfo) -> None:
        super().prepare_create(obj, request)
        obj["status"] = {"phase": "Pending"}


class StatusAtFirst(TableStrategy):
    """A status that is there from the first moment, as clients expect."""

    initial_status: ClassVar[Mapping[str, Any]] = {}

    def prepare_create(self, obj: Object, request: RequestInfo) -> None:
        super().prepare_create(obj, request)
        obj["status"] = deepcopy(dict(self.initial_status))


class DeploymentStrategy(StatusAtFirst):
    status_keeps: ClassVar[frozenset[str]] = StatusAtFirst.status_keeps | {"labels"}


class DaemonSetStrategy(StatusAtFirst):
    initial_status: ClassVar[Mapping[str, Any]] = {
        "currentNumberScheduled": 0,
        "numberMisscheduled": 0,
        "desiredNumberScheduled": 0,
        "numberReady": 0,
    }


class StatefulSetStrategy(StatusAtFirst):
    initial_status: ClassVar[Mapping[str, Any]] = {"replicas": 0, "availableReplicas": 0}


class DisruptionBudgetStrategy(StatusAtFirst):
    allow_unconditional_update: ClassVar[bool] = False
    initial_status: ClassVar[Mapping[str, Any]] = {
        "disruptionsAllowed": 0,
        "currentHealthy": 0,
        "desiredHealthy": 0,
        "expectedPods": 0,
    }
