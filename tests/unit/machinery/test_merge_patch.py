"""JSON merge patch, with the examples of RFC 7386."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.machinery.patch.merge_patch import merge_diff, merge_patch


@pytest.mark.parametrize(
    ("target", "patch", "expected"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_the_examples_of_the_rfc_hold(target, patch, expected):
    assert merge_patch(target, patch) == expected


SCALARS = st.booleans() | st.integers(0, 1) | st.text(max_size=2)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)


def strict(value):
    """Equality that tells true from 1."""
    return repr(value)


@given(OBJECTS, OBJECTS)
def test_the_difference_of_two_objects_applied_to_the_one_gives_the_other(old, new):
    shape = repr(old)
    assert merge_patch(old, merge_diff(old, new)) == new
    assert repr(old) == shape


@given(OBJECTS)
def test_equal_objects_have_no_difference(value):
    assert merge_diff(value, value) == {}


@given(OBJECTS, OBJECTS)
def test_applying_a_patch_twice_changes_nothing_more(target, patch):
    once = merge_patch(target, patch)
    assert merge_patch(once, patch) == once
