"""The documents lead to files that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "src" / "sampan"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *SOURCES.rglob("*.md")])


def named_paths(document: Path) -> set[str]:
    """What stands in backquotes and looks like a source file or a package of ours."""
    return set(re.findall(r"`([a-z_]+(?:/[a-z_0-9]+)*/?(?:\.py|/))`", document.read_text()))


def exists(path: str, document: Path) -> bool:
    """Relative to the document, to the sources, or to any package of theirs."""
    places = [document.parent, SOURCES, ROOT, *(one for one in SOURCES.iterdir() if one.is_dir())]
    return any((place / path).exists() for place in places) or bool(list(SOURCES.rglob(path)))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_that_a_document_names_exists(document: Path):
    assert [path for path in sorted(named_paths(document)) if not exists(path, document)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_to_a_file_leads_somewhere(document: Path):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_the_page_for_tutorials_names_every_image_that_a_program_stands_in_for():
    from sampan.node.images.aliases import TABLE

    named = set(re.findall(r"`([a-z0-9./-]+)`", (ROOT / "docs" / "articles.md").read_text()))
    assert {name for alias in TABLE for name in alias.names} <= named
