"""Jobs: their selector and the labels of their pods are made from the job's uid, so that no two jobs share pods."""

from collections.abc import Mapping
from typing import ClassVar

from sampan.apiserver.registry.generic import TableStrategy
from sampan.apiserver.strategy import FieldGetter, RequestInfo
from sampan.machinery.objects import Object, metadata

_PREFIX = "batch.kubernetes.io/"


class JobStrategy(TableStrategy):
    """Rules of Jobs beyond their defaults and value checks."""

    field_labels: ClassVar[Mapping[str, FieldGetter]] = {
        "status.successful": lambda obj: str((obj.get("status") or {}).get("succeeded") or 0),
    }

    def prepare_create(self, obj: Object, request: RequestInfo) -> None:
        super().prepare_create(obj, request)
        if not obj["spec"].get("manualSelector"):
            _generate_selector(obj)

    def prepare_update(self, new: Object, old: Object, request: RequestInfo) -> None:
        """A client that sends only what it knows does not take the generated selector away."""
        super().prepare_update(new, old, request)
        spec, before = new["spec"], old["spec"]
        if not spec.get("selector") and before.get("selector"):
            spec["selector"] = before["selector"]
            labels = metadata(spec["template"]).setdefault("labels", {})
            for key, value in (metadata(before["template"]).get("labels") or {}).items():
                if key.removeprefix(_PREFIX) in ("controller-uid", "job-name"):
                    labels.setdefault(key, value)


def _generate_selector(job: Object) -> None:
    meta, spec = metadata(job), job["spec"]
    labels = metadata(spec["template"]).setdefault("labels", {})
    for prefix in (_PREFIX, ""):
        labels[f"{prefix}controller-uid"] = meta.get("uid", "")
        labels[f"{prefix}job-name"] = meta.get("name", "")
    spec.setdefault("selector", {}).setdefault("matchLabels", {})[f"{_PREFIX}controller-uid"] = meta.get("uid", "")
    if not meta.get("labels"):
        meta["labels"] = dict(labels)
