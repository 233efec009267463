"""Strategic merge patch: lists merge by the keys of the published schemas, directives do what upstream says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.machinery.patch.errors import BadPatch, PatchDoesNotApply
from sampan.machinery.patch.strategic import strategic_merge

POD = ("", "v1", "Pod")
DEPLOYMENT = ("apps", "v1", "Deployment")
SERVICE = ("", "v1", "Service")


def spec(**fields):
    return {"spec": fields}


def named(*names, **more):
    return [{"name": name, **more} for name in names]


A_B = named("a", "b", image="x")

CASES = {
    "scalars replace, nulls delete": (
        DEPLOYMENT,
        spec(replicas=1, paused=True),
        spec(replicas=2, paused=None),
        spec(replicas=2),
    ),
    "a null for what is not there leaves nothing": (DEPLOYMENT, spec(), spec(paused=None), spec()),
    "nulls in new objects are dropped": (
        DEPLOYMENT,
        {},
        spec(strategy={"type": "Recreate", "rollingUpdate": None}),
        spec(strategy={"type": "Recreate"}),
    ),
    "a list with a merge key merges by it": (
        POD,
        spec(containers=A_B),
        spec(containers=[{"name": "b", "image": "y"}, {"name": "c"}]),
        spec(containers=[{"name": "a", "image": "x"}, {"name": "b", "image": "y"}, {"name": "c"}]),
    ),
    "a list without one is replaced": (
        POD,
        spec(tolerations=[{"key": "a"}]),
        spec(tolerations=[{"key": "b"}]),
        spec(tolerations=[{"key": "b"}]),
    ),
    "a list of scalars that merges becomes a union": (
        POD,
        {"metadata": {"finalizers": ["a", "b"]}},
        {"metadata": {"finalizers": ["b", "c"]}},
        {"metadata": {"finalizers": ["a", "b", "c"]}},
    ),
    "$patch: delete removes the item": (
        POD,
        spec(containers=A_B),
        spec(containers=[{"name": "a", "$patch": "delete"}]),
        spec(containers=[{"name": "b", "image": "x"}]),
    ),
    "$patch: replace replaces the list": (
        POD,
        spec(containers=A_B),
        spec(containers=[{"$patch": "replace"}, {"name": "c"}]),
        spec(containers=[{"name": "c"}]),
    ),
    "$patch: replace replaces an object": (
        DEPLOYMENT,
        spec(strategy={"type": "RollingUpdate", "rollingUpdate": {}}),
        spec(strategy={"$patch": "replace", "type": "Recreate"}),
        spec(strategy={"type": "Recreate"}),
    ),
    "$patch: delete empties an object": (
        DEPLOYMENT,
        spec(strategy={"type": "RollingUpdate"}),
        spec(strategy={"$patch": "delete"}),
        spec(strategy={}),
    ),
    "$patch: merge is what happens anyway": (
        DEPLOYMENT,
        spec(strategy={"type": "a"}),
        spec(strategy={"$patch": "merge", "rollingUpdate": {}}),
        spec(strategy={"type": "a", "rollingUpdate": {}}),
    ),
    "$retainKeys drops the other fields of a union": (
        DEPLOYMENT,
        spec(strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}),
        spec(strategy={"$retainKeys": ["type"], "type": "Recreate"}),
        spec(strategy={"type": "Recreate"}),
    ),
    "$retainKeys works inside list items": (
        POD,
        spec(volumes=[{"name": "v", "emptyDir": {}}]),
        spec(volumes=[{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]),
        spec(volumes=[{"name": "v", "hostPath": {"path": "/x"}}]),
    ),
    "$deleteFromPrimitiveList removes scalars": (
        POD,
        {"metadata": {"finalizers": ["a", "b"]}},
        {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a", "x"]}},
        {"metadata": {"finalizers": ["b"]}},
    ),
    "$deleteFromPrimitiveList of nothing leaves nothing": (
        POD,
        {"metadata": {}},
        {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}},
        {"metadata": {}},
    ),
    "$setElementOrder orders merged items": (
        POD,
        spec(containers=named("a", "b", "c")),
        spec(**{"$setElementOrder/containers": named("c", "d", "a", "b"), "containers": named("d", image="y")}),
        spec(containers=[{"name": "c"}, {"name": "d", "image": "y"}, {"name": "a"}, {"name": "b"}]),
    ),
    "$setElementOrder keeps the server's own items where they were": (
        POD,
        spec(containers=named("server", "a", "b")),
        spec(**{"$setElementOrder/containers": named("b", "a")}),
        spec(containers=named("server", "b", "a")),
    ),
    "$setElementOrder orders scalars": (
        POD,
        {"metadata": {"finalizers": ["a", "x", "b"]}},
        {"metadata": {"$setElementOrder/finalizers": ["b", "c", "a"], "finalizers": ["c"]}},
        {"metadata": {"finalizers": ["x", "b", "c", "a"]}},
    ),
    "the second port of a Service is added": (
        SERVICE,
        spec(ports=[{"port": 80, "name": "http"}]),
        spec(ports=[{"port": 443, "name": "https"}]),
        spec(ports=[{"port": 80, "name": "http"}, {"port": 443, "name": "https"}]),
    ),
    "a patch strategy of replace replaces an object": (
        ("policy", "v1", "PodDisruptionBudget"),
        spec(selector={"matchLabels": {"a": "b"}}),
        spec(selector={"matchLabels": {"c": "d"}}),
        spec(selector={"matchLabels": {"c": "d"}}),
    ),
    "subsets of Endpoints are replaced": (
        ("", "v1", "Endpoints"),
        {"subsets": [{"ports": [{"port": 1}]}]},
        {"subsets": [{"ports": [{"port": 2}]}]},
        {"subsets": [{"ports": [{"port": 2}]}]},
    ),
    "unknown fields merge as JSON does": (POD, {"x": {"a": 1}}, {"x": {"b": 2}}, {"x": {"a": 1, "b": 2}}),
    "a map merges by key": (
        POD,
        {"metadata": {"labels": {"a": "1", "b": "2"}}},
        {"metadata": {"labels": {"a": None, "c": "3"}}},
        {"metadata": {"labels": {"b": "2", "c": "3"}}},
    ),
    "directives do not survive in new values": (
        POD,
        {},
        spec(containers=[{"name": "a", "$setElementOrder/env": [], "env": [{"name": "x", "$patch": "delete"}]}]),
        spec(containers=[{"name": "a", "env": []}]),
    ),
}


@pytest.mark.parametrize(("gvk", "original", "patch", "expected"), CASES.values(), ids=CASES)
def test_a_patch_merges(schemas, gvk, original, patch, expected):
    before = repr((original, patch))
    assert strategic_merge(original, patch, schemas.definition(gvk)) == expected
    assert repr((original, patch)) == before


@pytest.mark.parametrize(
    ("original", "patch", "error"),
    [
        ({}, {"$patch": "explode"}, "unknown patch type: explode in map"),
        (spec(containers=A_B), spec(containers=[{"name": "a", "$patch": "x"}]), "unknown patch type: x in map"),
        (spec(containers=A_B), spec(containers=["a"]), "item of another type"),
        ({}, {"$retainKeys": "a"}, "invalid patch format of retainKeys"),
        ({}, {"$retainKeys": ["a"], "b": 1}, "invalid patch format of retainKeys"),
        ({}, {"$deleteFromPrimitiveList/a": {}}, "invalid patch format of primitive list"),
        ({}, {"$setElementOrder/a": {}}, "invalid patch format of setElementOrder list"),
    ],
)
def test_a_malformed_patch_is_refused(schemas, original, patch, error):
    with pytest.raises(BadPatch, match=error):
        strategic_merge(original, patch, schemas.definition(POD))


def test_an_item_without_its_merge_key_is_refused(schemas):
    with pytest.raises(PatchDoesNotApply) as caught:
        strategic_merge(spec(containers=A_B), spec(containers=[{"image": "y"}]), schemas.definition(POD))
    assert caught.value.why == "map: {'image': 'y'} does not contain declared merge key: name"


KEYED_LISTS = {
    "containers": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
}


@st.composite
def keyed_lists(draw):
    """A field of a pod that merges by key, a list for it, and a list to patch it with."""
    field, key = draw(st.sampled_from(sorted(KEYED_LISTS.items())))
    values = st.dictionaries(st.sampled_from(["p", "q"]), st.integers(0, 3), max_size=2)
    items = st.dictionaries(st.sampled_from("abcd"), values, max_size=4)

    def as_list(chosen):
        return [{key: name, **value} for name, value in chosen.items()]

    return field, key, as_list(draw(items)), as_list(draw(items))


@given(keyed_lists())
def test_a_merged_list_has_every_key_once_and_the_patch_wins(schemas, case):
    field, key, original, patch = case
    merged = strategic_merge(spec(**{field: original}), spec(**{field: patch}), schemas.definition(POD))["spec"][field]
    keys = [item[key] for item in merged]
    assert len(keys) == len(set(keys))
    assert set(keys) == {item[key] for item in (*original, *patch)}
    by_key = {item[key]: item for item in merged}
    assert all(by_key[item[key]].items() >= item.items() for item in patch)
    assert [one for one in keys if one in {item[key] for item in original}] == [item[key] for item in original]


@given(keyed_lists())
def test_applying_a_patch_twice_changes_nothing_more(schemas, case):
    field, key, original, patch = case
    body = spec(**{field: patch, f"$setElementOrder/{field}": [{key: item[key]} for item in reversed(patch)]})
    once = strategic_merge(spec(**{field: original}), body, schemas.definition(POD))
    assert strategic_merge(once, body, schemas.definition(POD)) == once


@given(keyed_lists())
def test_the_patch_sets_the_order_of_its_own_items(schemas, case):
    field, key, original, patch = case
    order = [{key: item[key]} for item in reversed(patch)]
    body = spec(**{field: patch, f"$setElementOrder/{field}": order})
    merged = strategic_merge(spec(**{field: original}), body, schemas.definition(POD))["spec"][field]
    wanted = [item[key] for item in order]
    assert [item[key] for item in merged if item[key] in wanted] == wanted
