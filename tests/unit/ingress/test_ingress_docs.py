"""docs/ingress.md has the tables of the code. `SAMPAN_UPDATE_GOLDEN=1 pytest tests/unit/ingress` writes them anew."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from sampan.ingress import flags
from sampan.ingress.annotations.table import ANNOTATIONS, REMOVED, Annotation
from sampan.ingress.flags import Flags
from sampan.ingress.settings import SETTINGS

PAGE = Path(__file__).parents[3] / "docs" / "ingress.md"


def annotations() -> Iterator[str]:
    groups: dict[str, list[Annotation]] = {}
    for each in ANNOTATIONS.values():
        groups.setdefault(each.group, []).append(each)
    for group, rows in groups.items():
        yield f"### {group}"
        yield ""
        yield "| annotation | default | holds for | risk | what it does |"
        yield "|---|---|---|---|---|"
        for each in rows:
            names = " or ".join(f"`{name}`" for name in (each.name, *each.aliases))
            default = f"`{each.default}`" if each.default else ""
            meaning = f"**refused**: {each.refused} ({each.meaning})" if each.refused else each.meaning
            yield f"| {names} | {default} | {each.scope} | {each.risk.name.capitalize()} | {cell(meaning)} |"
        yield ""


def removed() -> Iterator[str]:
    yield "| annotation | instead |"
    yield "|---|---|"
    for name, text in REMOVED.items():
        yield f"| `{name}` | {cell(text)} |"


def settings() -> Iterator[str]:
    yield "| key | type | default | what it does |"
    yield "|---|---|---|---|"
    for each in SETTINGS.values():
        default = f"`{cell(each.default)}`" if each.default and len(each.default) < 60 else "…" if each.default else ""
        meaning = f"**refused**: {each.refused} ({each.meaning})" if each.refused else each.meaning
        yield f"| `{each.key}` | {each.kind} | {default} | {cell(meaning)} |"


def flag_rows() -> Iterator[str]:
    yield "| flag | default |"
    yield "|---|---|"
    for each in fields(Flags):
        given = each.default
        default = (
            str(given).lower() if isinstance(given, bool) else f"{given:g}s" if isinstance(given, float) else given
        )
        yield f"| `--{each.name.replace('_', '-')}` | {f'`{default}`' if default else ''} |"
    for name, (_, why) in sorted(flags._NO_EFFECT.items()):
        yield f"| `--{name}` | no effect: {cell(why)} |"


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


TABLES = {"annotations": annotations, "removed": removed, "settings": settings, "flags": flag_rows}


@pytest.mark.parametrize("name", TABLES)
def test_the_page_has_the_table_of_the_code(name: str) -> None:
    page = PAGE.read_text()
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- end -->", page, re.DOTALL)
    assert found is not None
    wanted = "\n" + "\n".join(TABLES[name]()).strip() + "\n\n"
    if os.environ.get("SAMPAN_UPDATE_GOLDEN"):
        PAGE.write_text(page[: found.start(1)] + wanted + page[found.end(1) :])
    else:
        assert found[1] == wanted


@pytest.mark.parametrize("name", [each.name for each in ANNOTATIONS.values() if each.refused])
def test_every_refusal_is_on_the_page_with_its_reason(name: str) -> None:
    row = next(line for line in PAGE.read_text().splitlines() if line.startswith(f"| `{name}`"))
    assert f"refused**: {ANNOTATIONS[name].refused}" in row
