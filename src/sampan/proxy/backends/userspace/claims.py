"""What the table is to hold, by who wants it: two Services that claim one address end in one entry, not none.

The first name in order wins. `replace` says what must change in the kernel when one claimant changes its mind.
"""

from collections.abc import Mapping

from sampan.proxy.backends.userspace.rules import Slot
from sampan.proxy.state import ServicePortName


class Claims:
    """Entries of all service ports, and what of them is effective."""

    def __init__(self) -> None:
        self._wanted: dict[Slot, dict[ServicePortName, str]] = {}
        self._by_name: dict[ServicePortName, Mapping[Slot, str]] = {}

    def effective(self) -> dict[Slot, str]:
        """The whole content of the table."""
        return {slot: _winner(claimants) for slot, claimants in self._wanted.items()}

    def replace(self, name: ServicePortName, entries: Mapping[Slot, str]) -> dict[Slot, tuple[str | None, str | None]]:
        """Let a claimant want these entries alone; the slots whose content changes, before and after (None: absent)."""
        before = self._by_name.pop(name, {})
        touched = {slot: self._content(slot) for slot in {**before, **entries}}
        for slot in before:
            claimants = self._wanted[slot]
            del claimants[name]
            if not claimants:
                del self._wanted[slot]
        for slot, data in entries.items():
            self._wanted.setdefault(slot, {})[name] = data
        if entries:
            self._by_name[name] = entries
        changed = {slot: (old, self._content(slot)) for slot, old in touched.items()}
        return {slot: (old, new) for slot, (old, new) in changed.items() if old != new}

    def _content(self, slot: Slot) -> str | None:
        claimants = self._wanted.get(slot)
        return _winner(claimants) if claimants else None


def _winner(claimants: Mapping[ServicePortName, str]) -> str:
    return claimants[min(claimants)]
