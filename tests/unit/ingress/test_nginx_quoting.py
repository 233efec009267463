"""No text of an Ingress becomes a directive, a variable or an argument of its own."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.ingress.model import Listeners, Settings, Variable
from sampan.ingress.nginx.context import Globals, Paths
from sampan.ingress.nginx.directives import (
    Comment,
    Directive,
    Expression,
    Unrenderable,
    Verbatim,
    condition,
    d,
    expression,
    parse,
    render,
    snippet,
)
from sampan.ingress.nginx.servers import host_text
from sampan.ingress.nginx.values import Values, template
from support.hostile import MARK, NASTY, poisoned
from support.hostile import template as full_host

TEXT = st.one_of(st.text(max_size=200), st.sampled_from([text for text in NASTY if len(text) < 3000]))
GLOBALS = Globals(Listeners(), Values(Settings()), Paths(Path("/p")), False, "")


def literal(argument: str) -> str:
    """What nginx makes of an argument that holds no variable but our dollar sign."""
    return argument.replace("${literal_dollar}", "$")


@given(st.lists(TEXT, max_size=4))
def test_arguments_come_back_as_they_were(texts: list[str]) -> None:
    """What is rendered reads as one directive with exactly these arguments, or is refused."""
    try:
        text = render([d("name", *texts), d("after", Verbatim("x"))])
    except Unrenderable:
        return
    first, second = parse(text)
    assert [literal(argument) for argument in first.arguments] == texts
    assert (first.name, first.block, second) == ("name", None, Directive("after", ("x",)))


@given(TEXT)
def test_values_of_conditions_come_back_as_they_were(text: str) -> None:
    try:
        rendered = render([condition("uri", "=", text, [d("return", "403")])])
    except Unrenderable:
        return
    (found,) = parse(rendered)
    assert [literal(argument) for argument in found.arguments] == ["($uri", "=", text, ")"]
    assert found.block == (Directive("return", ("403",)),)


@given(TEXT)
def test_a_comment_is_one_line(text: str) -> None:
    assert parse(render([Comment(text), d("after")])) == (Directive("after"),)


@given(TEXT)
def test_no_variable_comes_from_literal_text(text: str) -> None:
    """Every dollar sign of a literal is one that nginx shows, whatever is around it."""
    found = expression((text, Variable("host"), text))
    rest = found.replace("${literal_dollar}", "").replace("${host}", "", 1) if "${host}" not in text else ""
    assert "$" not in rest


@pytest.mark.parametrize("name", ["", "a b", "a;", "a}", "$a", "a\n", "ä", "a" * 200, 'a"'])
def test_odd_names_of_variables_are_refused(name: str) -> None:
    with pytest.raises(Unrenderable):
        expression((Variable(name),))


@pytest.mark.parametrize("text", ["\0", "a\0", "x" * 5000, "\ud800"])
def test_what_nginx_cannot_hold_is_refused(text: str) -> None:
    with pytest.raises(Unrenderable):
        render([d("name", text)])


def test_templates_know_variables_and_groups() -> None:
    assert template("a $b ${c}d $ $1 $$e") == Expression(
        "a ${b} ${c}d ${literal_dollar} ${literal_dollar}1 ${literal_dollar}${e}"
    )
    assert template("/$1/${2}/$x", numbered=True) == Expression("/$1/$2/${literal_dollar}x")


@pytest.mark.parametrize("text", ["} server {", "a", "a {", "a }", '"', "a; }", "if (x) { } }", "{", ";"])
def test_a_snippet_cannot_leave_its_block(text: str) -> None:
    with pytest.raises(Unrenderable):
        snippet(text)


def names(nodes: tuple[Directive, ...]) -> list[object]:
    """The shape of a configuration: names, and what is inside blocks; not how many values a list had."""
    shape: list[object] = []
    for node in nodes:
        inside = (
            names(tuple(one for one in node.block if isinstance(one, Directive))) if node.block is not None else None
        )
        shape.append((node.name, inside))
    return shape


def all_names(nodes: tuple[Directive, ...]) -> set[str]:
    found = set()
    for node in nodes:
        found.add(node.name)
        found |= all_names(tuple(one for one in node.block or () if isinstance(one, Directive)))
    return found


def test_hostile_hosts_render_to_the_directives_of_harmless_ones() -> None:
    """2,000 hosts with nasty text in every field: refused, or of directives that a harmless host has, and no other."""
    allowed = all_names(parse(host_text(GLOBALS, full_host()).text))
    shared = all_names(parse("".join(host_text(GLOBALS, full_host()).shared.directives.values())))
    # Keys of maps and geos are data at the place of a name: they must be the text that was asked for, not directives.
    full, refused = full_host(), 0
    for seed in range(2000):
        rng = random.Random(seed)
        host = replace(full, routes=(full.routes[seed % 6], full.routes[6]))
        host = poisoned(host, rng, rng.choice((0.005, 0.02, 0.1, 1.0)))
        try:
            made = host_text(GLOBALS, host)
        except Unrenderable:
            refused += 1
            continue
        assert all_names(parse(made.text)) <= allowed, seed
        for node in parse("".join(made.shared.directives.values())):
            assert node.name in shared, seed
            assert node.name in ("map", "geo") or MARK not in all_names((node,)), seed
            assert all(one.block is None for one in node.block or () if node.name in ("map", "geo")), seed
    assert 200 < refused < 1900
