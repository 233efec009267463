"""Every annotation of the table with good, bad and hostile values."""

from __future__ import annotations

import pytest

from sampan.ingress.annotations.parse import Annotations, parse
from sampan.ingress.annotations.table import ALIASES, ANNOTATIONS, REMOVED, Risk
from sampan.ingress.settings import DEFAULTS
from sampan.ingress.settings import parse as parse_settings
from support.annotationvalues import HOSTILE, SNIPPETS, TRIED
from support.ingresses import PREFIX

OPEN, _ = parse_settings({"allow-snippet-annotations": "true", "annotations-risk-level": "Critical"})


def read(name: str, text: str) -> Annotations:
    return parse({PREFIX + name: text}, OPEN)


def test_every_annotation_was_tried() -> None:
    """A row of the table that has no values here fails, and a value for no row."""
    assert set(TRIED) == set(ANNOTATIONS)


@pytest.mark.parametrize("name", TRIED)
def test_a_good_value_is_taken(name: str) -> None:
    """It becomes a typed value; a refused annotation becomes nothing and says so."""
    good, typed, _ = TRIED[name]
    found = read(name, good)
    if ANNOTATIONS[name].refused:
        assert [each.reason for each in found.findings] == ["RefusedAnnotation"]
        assert ANNOTATIONS[name].refused in found.findings[0].message
        assert not found.values
    else:
        assert found.findings == ()
        assert found.values == {name: typed}
        assert not found.denied


@pytest.mark.parametrize("name", [name for name in TRIED if not ANNOTATIONS[name].refused])
def test_a_bad_value_is_told(name: str) -> None:
    """It becomes nothing; one that guards something closes the paths."""
    found = read(name, TRIED[name][2])
    assert [(each.annotation, each.reason) for each in found.findings] == [(name, "InvalidAnnotation")]
    assert name in found.findings[0].message
    assert not found.values
    assert bool(found.denied) == ANNOTATIONS[name].denies


@pytest.mark.parametrize("name", [name for name in TRIED if name not in SNIPPETS])
def test_a_hostile_value_is_harmless(name: str) -> None:
    """No value with a quote, brace, semicolon, line break, NUL or an unknown variable becomes typed text."""
    for text in HOSTILE:
        found = read(name, text)
        for typed in found.values.values():
            for part in _literals(typed):
                assert not set(part) & set("\"'`;#\n\r\0\x1b"), (text, part)
                assert len(part) <= 2048
                assert "{" not in part or name == "canary-by-header-pattern", (text, part)
        assert found.values or found.findings, text
        assert all(len(each.message) < 1000 for each in found.findings)


def _literals(typed: object) -> list[str]:
    if isinstance(typed, str):
        return [typed]
    return [part for each in typed for part in _literals(each)] if isinstance(typed, tuple) else []


@pytest.mark.parametrize("name", SNIPPETS)
def test_snippets_have_no_nul(name: str) -> None:
    assert not read(name, "x\0y").values
    assert not read(name, "a" * 1024 * 1024).values


@pytest.mark.parametrize("name", ["configuration-snippet", "server-snippet", "stream-snippet", "auth-snippet"])
def test_snippets_reject_their_ingress_by_default(name: str) -> None:
    """They are of risk Critical, and the default level is High. Nothing is served silently without them."""
    found = parse({PREFIX + name: "return 200;", PREFIX + "auth-type": "basic"}, DEFAULTS)
    assert found.rejected
    assert [each.reason for each in found.findings] == ["AnnotationRisk"]
    assert found.values == {}


def test_snippets_need_permission_beside_the_risk_level() -> None:
    settings, _ = parse_settings({"annotations-risk-level": "Critical"})
    found = parse({PREFIX + "server-snippet": "return 200;"}, settings)
    assert (found.values, found.rejected) == ({}, "")
    assert [each.reason for each in found.findings] == ["RefusedAnnotation"]


@pytest.mark.parametrize("level", ["Low", "Medium", "High", "Critical"])
@pytest.mark.parametrize("name", [name for name in ANNOTATIONS if not ANNOTATIONS[name].refused])
def test_risk_levels(name: str, level: str) -> None:
    """An annotation above the level rejects the whole Ingress; one at or below it does not."""
    settings, _ = parse_settings({"annotations-risk-level": level, "allow-snippet-annotations": "true"})
    found = parse({PREFIX + name: TRIED[name][0]}, settings)
    assert bool(found.rejected) == (ANNOTATIONS[name].risk > Risk[level.upper()])


def test_forbidden_words_reject_the_ingress() -> None:
    settings, _ = parse_settings({"annotation-value-word-blocklist": "load_module, proxy_pass"})
    found = parse({PREFIX + "auth-realm": "LOAD_MODULE"}, settings)
    assert found.rejected
    assert [each.reason for each in found.findings] == ["ForbiddenWord"]
    assert not parse({PREFIX + "auth-realm": "fine"}, settings).rejected


def test_a_typo_says_what_was_meant() -> None:
    found = read("whitelist-source-rnage", "10.0.0.0/8")
    assert [each.reason for each in found.findings] == ["UnknownAnnotation"]
    assert f"did you mean {PREFIX}whitelist-source-range?" in found.findings[0].message


@pytest.mark.parametrize("name", REMOVED)
def test_removed_annotations_say_what_to_do(name: str) -> None:
    assert name not in ANNOTATIONS
    found = read(name, "true")
    assert [each.reason for each in found.findings] == ["UnknownAnnotation"]
    assert REMOVED[name] in found.findings[0].message


@pytest.mark.parametrize(("alias", "name"), list(ALIASES.items()))
def test_old_names_hold(alias: str, name: str) -> None:
    """An alias is read under the new name; where both are set, the new one wins and the other is told of."""
    assert read(alias, "10.0.0.0/8").values == {name: ("10.0.0.0/8",)}
    both = parse({PREFIX + alias: "10.0.0.0/8", PREFIX + name: "11.0.0.0/8"}, OPEN)
    assert both.values == {name: ("11.0.0.0/8",)}
    assert [each.reason for each in both.findings] == ["IgnoredAnnotation"]


def test_annotations_of_others_are_left_alone() -> None:
    found = parse({"kubernetes.io/ingress.class": "nginx", "example.com/canary": "{"}, OPEN)
    assert found.values == {}
    assert found.findings == ()


def test_another_prefix() -> None:
    found = parse({"mine.example.com/canary": "true", PREFIX + "canary-weight": "5"}, OPEN, "mine.example.com")
    assert found.values == {"canary": True}


def test_an_empty_value_is_none() -> None:
    assert read("auth-url", "").values == {}
    assert read("auth-url", "").findings == ()


def test_named_groups_are_refused() -> None:
    """nginx makes a variable of each: a path could choose another backend with one."""
    found = read("canary-by-header-pattern", "(?<proxy_upstream_name>.*)")
    assert not found.values
