"""The files that a Corefile's `import` brings in, and what has been read of them.

`FILE` is one file; `DIR/*.override` is every file that matches, in the order of their names, or none. Paths are
relative to the file that says `import`. Whoever reloads compares digests: they cover everything that was read.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path


class CannotImport(Exception):
    """Why nothing was imported; the text says it."""


@dataclass(slots=True)
class Files:
    """One reading of a Corefile and of what it imports."""

    folder: Path = field(default_factory=Path)
    """Where the Corefile is."""
    texts: dict[str, str] = field(default_factory=dict)
    """By the name shown in errors, which is the path from that folder on."""

    def matching(self, pattern: str, importer: str) -> list[tuple[str, str]]:
        """The names and texts of the files that a pattern means. Raises CannotImport."""
        wild = pattern.count("*") + pattern.count("?")
        if wild > 1 or "[" in pattern:
            raise CannotImport(f"{pattern!r} may have one wildcard, a * or a ?, and no more")
        base = (self.folder / importer).parent
        if not wild:
            return [self._read(base / pattern)]
        path = base / pattern
        try:
            matches = [found for parent in _matches(path.parent) for found in parent.glob(path.name) if found.is_file()]
        except OSError as error:
            raise CannotImport(f"{pattern!r}: {error.strerror}") from error
        return [self._read(found) for found in sorted(matches)]

    def _read(self, path: Path) -> tuple[str, str]:
        name = str(path.relative_to(self.folder)) if path.is_relative_to(self.folder) else str(path)
        if name not in self.texts:
            try:
                self.texts[name] = path.read_text(errors="replace")
            except OSError as error:
                raise CannotImport(f"{name}: {(error.strerror or str(error)).lower()}") from error
        return name, self.texts[name]

    def digest(self, text: str) -> str:
        """Of the Corefile's own text and of all that has been imported."""
        found = hashlib.sha512(text.encode())
        for name, imported in sorted(self.texts.items()):
            found.update(f"\0{name}\0{imported}".encode())
        return found.hexdigest()


def _matches(folder: Path) -> list[Path]:
    """The folder, or those that a wildcard in its last name means."""
    if "*" in folder.name or "?" in folder.name:
        return sorted(found for found in folder.parent.glob(folder.name) if found.is_dir())
    return [folder]
