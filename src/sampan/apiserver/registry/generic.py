"""The strategy that most kinds use: defaults, validation, table columns and field selectors all come from tables.

Kinds with rules that tables cannot say derive from it (`services.py`, `pods.py`…); `strategies.py` lists them.
"""

from typing import TYPE_CHECKING, Any

from sampan.apiserver.registry.defaults import DEFAULTS
from sampan.apiserver.registry.tables import TABLES
from sampan.apiserver.registry.validation import NAME_RULES, RULES
from sampan.apiserver.strategy import Services, Strategy
from sampan.machinery.errors import FieldError
from sampan.machinery.objects import Object

if TYPE_CHECKING:
    from sampan.apiserver.resources import ResourceInfo


class TableStrategy(Strategy):
    """Looks its kind up in the tables once, when the server is put together."""

    def __init__(self, info: "ResourceInfo", ctx: Services) -> None:
        super().__init__(info, ctx)
        kind = (info.group, info.kind)
        self._defaults = DEFAULTS.get(kind)
        self._rules = RULES.get(kind)
        self._name_rule = NAME_RULES.get(kind)
        self._table = TABLES.get(kind)
        if self._table:
            self.columns = self._table.columns

    def defaults(self, obj: Object) -> None:
        if self._defaults:
            self._defaults(obj)

    def validate_name(self, name: str) -> list[str]:
        return list(self._name_rule(name) if self._name_rule else super().validate_name(name))

    def validate(self, obj: Object) -> list[FieldError]:
        return self._rules.create(obj) if self._rules else []

    def validate_update(self, new: Object, old: Object) -> list[FieldError]:
        return self._rules.update(new, old) if self._rules else []

    def row(self, obj: Object, now: float) -> list[Any]:
        return self._table.cells(obj, now) if self._table else super().row(obj, now)
