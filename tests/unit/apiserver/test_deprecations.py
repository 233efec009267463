"""Clients of a deprecated kind are warned, since the release that deprecated it, with every verb."""

import pytest

from sampan.apiserver import deprecations
from sampan.apiserver.resources import RESOURCES
from support.api import API, Object, served

ENDPOINTS = "/api/v1/namespaces/default/endpoints"
WARNING = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"


@pytest.mark.parametrize(
    ("group", "version", "kind", "release", "warning"),
    [
        ("", "v1", "Endpoints", "1.32", ""),
        ("", "v1", "Endpoints", "1.33", WARNING),
        ("", "v1", "ComponentStatus", "1.25", "v1 ComponentStatus is deprecated in v1.19+"),
        ("", "v1", "Service", "1.37", ""),
        ("discovery.k8s.io", "v1", "EndpointSlice", "1.37", ""),
        (
            "batch",
            "v1beta1",
            "CronJob",
            "1.25",
            "batch/v1beta1 CronJob is deprecated in v1.21+, unavailable in v1.25+; use batch/v1 CronJob",
        ),
    ],
)
def test_a_release_warns_of_what_it_has_deprecated(
    group: str, version: str, kind: str, release: str, warning: str
) -> None:
    [row] = [row for row in RESOURCES if (row.group, row.version, row.kind) == (group, version, kind)]
    assert deprecations.warning(row, release) == warning


@served
async def test_the_warning_comes_with_every_verb(api: API) -> None:
    obj: Object = {"metadata": {"name": "web"}, "subsets": []}
    answers = [
        await api.post(ENDPOINTS, obj),
        await api.get(ENDPOINTS),
        await api.get(f"{ENDPOINTS}/web"),
        await api.put(f"{ENDPOINTS}/web", obj),
        await api.patch(f"{ENDPOINTS}/web", {"metadata": {"labels": {"a": "b"}}}),
        await api.delete(f"{ENDPOINTS}/web"),
    ]
    assert {answer.headers.get("warning") for answer in answers} == {f'299 - "{WARNING}"'}


@served
async def test_what_is_not_deprecated_comes_without(api: API) -> None:
    assert "warning" not in (await api.get("/api/v1/namespaces/default/services")).headers
