"""JSON patch after RFC 6902, with the appendix's own examples."""

import pytest

from sampan.machinery.errors import RequestEntityTooLarge
from sampan.machinery.patch.errors import BadPatch, PatchDoesNotApply
from sampan.machinery.patch.json_patch import json_patch


def op(name, path, **more):
    return {"op": name, "path": path, **more}


@pytest.mark.parametrize(
    ("document", "patch", "expected"),
    [
        ({"foo": "bar"}, [op("add", "/baz", value="qux")], {"foo": "bar", "baz": "qux"}),
        ({"foo": ["a", "b"]}, [op("add", "/foo/1", value="x")], {"foo": ["a", "x", "b"]}),
        ({"foo": ["a"]}, [op("add", "/foo/-", value="x")], {"foo": ["a", "x"]}),
        ({"foo": ["a"]}, [op("add", "/foo/1", value="x")], {"foo": ["a", "x"]}),
        ({"foo": ["a", "b"]}, [op("add", "/foo/-1", value="x")], {"foo": ["a", "b", "x"]}),
        ({"baz": "qux", "foo": "bar"}, [op("remove", "/baz")], {"foo": "bar"}),
        ({"foo": ["a", "b", "c"]}, [op("remove", "/foo/1")], {"foo": ["a", "c"]}),
        ({"foo": ["a", "b", "c"]}, [op("remove", "/foo/-1")], {"foo": ["a", "b"]}),
        ({"foo": 1}, [op("replace", "/foo", value=None)], {"foo": None}),
        ({"foo": [1, 2]}, [op("replace", "/foo/0", value=3)], {"foo": [3, 2]}),
        ({"a": {"b": 1}}, [{"op": "move", "from": "/a/b", "path": "/c"}], {"a": {}, "c": 1}),
        ({"foo": ["a", "b", "c"]}, [{"op": "move", "from": "/foo/0", "path": "/foo/2"}], {"foo": ["b", "c", "a"]}),
        ({"a": [1]}, [{"op": "copy", "from": "/a", "path": "/b"}, op("add", "/b/0", value=0)], {"a": [1], "b": [0, 1]}),
        ({"a": 1}, [op("test", "/a", value=1), op("test", "/b", value=None)], {"a": 1}),
        ({"a/b": {"m~n": 1}}, [op("replace", "/a~1b/m~0n", value=2)], {"a/b": {"m~n": 2}}),
        ({"~1": 1}, [op("remove", "/~01")], {}),
        ({"": 1}, [op("replace", "/", value=2)], {"": 2}),
        ({"a": 1}, [op("replace", "", value={"b": 2})], {"b": 2}),
        ({"a": 1}, [], {"a": 1}),
    ],
)
def test_operations_apply_in_order(document, patch, expected):
    assert json_patch(document, patch) == expected


@pytest.mark.parametrize(
    ("document", "patch", "why"),
    [
        ({"a": 1}, [op("remove", "/b")], "remove operation does not apply: doc is missing key: /b: missing value"),
        ({"a": 1}, [op("replace", "/b", value=1)], "replace operation does not apply: doc is missing key: /b"),
        ({"a": 1}, [op("add", "/b/c", value=1)], 'add operation does not apply: doc is missing path: "/b/c"'),
        ({"a": 1}, [op("add", "/a/b", value=1)], 'add operation does not apply: doc is missing path: "/a/b"'),
        ({"a": []}, [op("add", "/a/1", value=1)], "Unable to access invalid index: 1"),
        ({"a": [1]}, [op("remove", "/a/-2")], "Unable to access invalid index: -2"),
        ({"a": [1]}, [op("add", "/a/x", value=1)], '"x" is not an index'),
        ({"a": [1]}, [op("remove", "/a/01")], '"01" is not an index'),
        ({"a": 1}, [op("test", "/a", value=2)], "testing value /a failed"),
        ({"a": 1}, [op("test", "/a", value=True)], "testing value /a failed"),
        ({"a": [1, {"b": 1}]}, [op("test", "/a", value=[1, {"b": True}])], "testing value /a failed"),
        ({"a": {}}, [{"op": "move", "from": "/a", "path": "/a/b"}], "move operation does not apply"),
        ({"a": {}}, [{"op": "copy", "from": "/b", "path": "/c"}], "copy operation does not apply"),
        ({"a": 1}, [op("remove", "")], "not an object"),
    ],
)
def test_a_patch_that_does_not_fit_changes_nothing_and_says_why(document, patch, why):
    before = repr(document)
    with pytest.raises(PatchDoesNotApply) as caught:
        json_patch(document, [op("add", "/new", value=1), *patch])
    assert why in caught.value.why
    assert caught.value.status_code == 422
    assert repr(document) == before


@pytest.mark.parametrize(
    "patch",
    [
        {"op": "add"},
        ["add"],
        [{}],
        [{"op": "insert", "path": "/a", "value": 1}],
        [{"op": ["add"], "path": "/a", "value": 1}],
        [{"op": "add", "path": "a", "value": 1}],
        [{"op": "add", "path": "/a"}],
        [{"op": "move", "path": "/a"}],
    ],
)
def test_what_is_not_a_patch_is_refused(patch):
    with pytest.raises(BadPatch):
        json_patch({"a": 1}, patch)


def test_more_than_ten_thousand_operations_are_refused():
    with pytest.raises(RequestEntityTooLarge, match="10000, got 10001"):
        json_patch({"a": 1}, [op("test", "/a", value=1)] * 10001)


def test_copies_that_double_the_document_are_stopped():
    patch = [{"op": "copy", "from": "/a", "path": f"/a/{number}"} for number in range(60)]
    with pytest.raises(PatchDoesNotApply) as caught:
        json_patch({"a": {"text": "x" * 1000}}, patch)
    assert "exceeding the limit 3145728" in caught.value.why
