"""Selectors are read, matched and refused as upstream does."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.machinery import selectors
from sampan.machinery.selectors import SelectorError

WEB = {"app": "web", "tier": "front", "weight": "5", "in": "x"}

MATCHES = [
    ("", True),
    ("app=web", True),
    ("app==web", True),
    ("app = web , tier=front", True),
    ("app=db", False),
    ("app!=db", True),
    ("none!=db", True),
    ("app!=web", False),
    ("app", True),
    ("none", False),
    ("!none", True),
    ("! app", False),
    ("app in (db,web)", True),
    ("app in (db)", False),
    ("none in (db)", False),
    ("app notin (db)", True),
    ("none notin (db)", True),
    ("app notin (web,db),tier", False),
    ("weight>4", True),
    ("weight<4", False),
    ("app>4", False),
    ("none=", False),
    ("none in (,x)", False),
    ("in=x", True),
    ("in in (x)", True),
    ("app=web,app=db", False),
]


@pytest.mark.parametrize(("text", "expected"), MATCHES)
def test_a_label_selector_matches_what_it_says(text, expected):
    assert selectors.parse_labels(text).matches(WEB) is expected


@pytest.mark.parametrize(("text", "expected"), MATCHES)
def test_a_label_selector_reads_back_what_it_writes(text, expected):
    parsed = selectors.parse_labels(text)
    assert selectors.parse_labels(str(parsed)) == parsed


WRONG = [
    ("app=web,", "found '', expected: identifier after ','"),
    (",app", "found ',', expected: !, identifier, or 'end of string'"),
    ("app in web", "unable to parse requirement: found 'web', expected: '('"),
    ("app web", "unable to parse requirement: found 'web', expected: in, notin, =, ==, !=, gt, lt"),
    ("app=web db", "found 'db', expected: ',' or 'end of string'"),
    ("app in (a b)", "unable to parse requirement: found 'b', expected: ',' or ')'"),
    ("app=(", "unable to parse requirement: found '(', expected: identifier"),
    ("!=a", "found '!=', expected: !, identifier, or 'end of string'"),
    ("!", "unable to parse requirement: found '', expected: identifier"),
    (
        "app in ()",
        "unable to parse requirement: values: Invalid value: []: "
        "for 'in', 'notin' operators, values set can't be empty",
    ),
    (
        "weight>x",
        'unable to parse requirement: values[0]: Invalid value: "x": '
        "for 'Gt', 'Lt' operators, the value must be an integer",
    ),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_a_wrong_label_selector_is_refused_in_upstream_words(text, message):
    with pytest.raises(SelectorError) as caught:
        selectors.parse_labels(text)
    assert caught.value.message == message
    assert caught.value.to_status()["code"] == 400


def test_keys_and_values_are_checked_as_labels():
    with pytest.raises(
        SelectorError, match=r'^unable to parse requirement: <nil>: Invalid value: "-a": name part must'
    ):
        selectors.parse_labels("-a=b")
    with pytest.raises(
        SelectorError, match=r'^unable to parse requirement: values\[0\]\[a\]: Invalid value: "b/": a v'
    ):
        selectors.parse_labels("a=b/")


@given(st.text(max_size=30))
def test_any_text_is_either_a_selector_or_refused(text):
    try:
        selectors.parse_labels(text).matches(WEB)
    except SelectorError:
        pass
    try:
        selectors.parse_fields(text).matches(str)
    except SelectorError:
        pass


class Struct(msgspec.Struct):
    match_labels: dict[str, str] = {}
    match_expressions: list[dict] = []


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        (None, False),
        ({}, True),
        ({"matchLabels": {"app": "web"}}, True),
        ({"matchLabels": {"app": "db"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}, False),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, False),
        ({"matchExpressions": [{"key": "weight", "operator": "Gt", "values": ["4"]}]}, True),
        (Struct(match_labels={"app": "web"}), True),
        (Struct(match_expressions=[{"key": "app", "operator": "In", "values": ["db"]}]), False),
    ],
)
def test_the_selector_of_an_object_matches(selector, expected):
    assert selectors.from_label_selector(selector).matches(WEB) is expected


def test_an_unknown_operator_is_refused():
    with pytest.raises(SelectorError, match='"Like" is not a valid label selector operator'):
        selectors.from_label_selector({"matchExpressions": [{"key": "app", "operator": "Like"}]})


def test_a_map_of_labels_selects_objects_that_have_all_of_them():
    assert selectors.from_labels({"app": "web"}).matches(WEB)
    assert not selectors.from_labels({"app": "web", "x": "y"}).matches(WEB)
    assert selectors.from_labels({}).empty


POD = {"metadata.name": "web", "spec.nodeName": "", "status.phase": "Running", "x": "a,b=c"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("metadata.name=web", True),
        ("metadata.name==web", True),
        ("metadata.name!=web", False),
        ("status.phase!=Failed,status.phase!=Succeeded", True),
        ("spec.nodeName=", True),
        ("spec.nodeName!=", False),
        (r"x=a\,b\=c", True),
    ],
)
def test_a_field_selector_matches_what_it_says(text, expected):
    selector = selectors.parse_fields(text)
    assert selector.matches(lambda path: POD.get(path, "")) is expected
    assert selectors.parse_fields(str(selector)) == selector


@pytest.mark.parametrize("text", ["metadata.name", "a,b=c", "a=b=c", r"a=\b", "a=b\\"])
def test_a_wrong_field_selector_is_refused(text):
    with pytest.raises(SelectorError, match="invalid"):
        selectors.parse_fields(text)


def test_an_exact_term_can_be_asked_for():
    selector = selectors.parse_fields("metadata.name=web,spec.nodeName!=a")
    assert selector.exact("metadata.name") == "web"
    assert selector.exact("spec.nodeName") is None
