"""Secrets: `stringData` is a convenience for writers that is never stored; it wins over `data`."""

import base64
from collections.abc import Mapping
from typing import ClassVar

from sampan.apiserver.registry.generic import TableStrategy
from sampan.apiserver.strategy import FieldGetter
from sampan.machinery.objects import Object


class SecretStrategy(TableStrategy):
    """Rules of Secrets beyond their value checks."""

    tracks_generation: ClassVar[bool] = False
    field_labels: ClassVar[Mapping[str, FieldGetter]] = {"type": lambda obj: obj.get("type", "")}

    def defaults(self, obj: Object) -> None:
        super().defaults(obj)
        text = obj.pop("stringData", None)
        if text:
            encoded = {key: base64.b64encode(value.encode()).decode() for key, value in text.items()}
            obj["data"] = {**(obj.get("data") or {}), **encoded}
