"""Times of any year are stored as they were meant, and no time takes a list or a table down."""

import pytest

from support.api import API, served

EVENTS = "/api/v1/namespaces/default/events"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"

TIMES = {
    "0001-01-01T00:00:00Z": None,
    "0001-01-01T01:00:00+01:00": None,
    "0001-01-01T00:00:02Z": "0001-01-01T00:00:02Z",
    "0099-12-31T23:59:59Z": "0099-12-31T23:59:59Z",
    "0999-06-01T12:00:00+02:00": "0999-06-01T10:00:00Z",
    "9999-12-31T23:59:59Z": "9999-12-31T23:59:59Z",
    "2026-01-02T03:04:05.678Z": "2026-01-02T03:04:05Z",
}
REFUSED = ("0001-01-01T00:00:00+23:00", "9999-12-31T23:59:59-23:00", "0000-01-01T00:00:00Z", "1-01-01T00:00:00Z")


def event(moment: str) -> dict[str, object]:
    return {
        "metadata": {"name": "early"},
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "x"},
        "firstTimestamp": moment,
        "lastTimestamp": moment,
    }


@pytest.mark.parametrize("moment", TIMES)
@served
async def test_a_time_is_given_back_as_it_was_meant(api: API, moment: str) -> None:
    """Go's zero time is null, as upstream shows it; every other time keeps four digits of year."""
    made = await api.post(EVENTS, event(moment))
    assert (made.status, made.json.get("firstTimestamp")) == (201, TIMES[moment])
    table = await api.get(EVENTS, accept=TABLE)
    assert table.status == 200
    assert "<error>" not in table.json["rows"][0]["cells"]


@pytest.mark.parametrize("moment", REFUSED)
@served
async def test_a_time_that_is_none_is_a_bad_request(api: API, moment: str) -> None:
    answer = await api.post(EVENTS, event(moment))
    assert answer.status == 400
    assert f'parsing time "{moment}" as "2006-01-02T15:04:05Z07:00"' in answer.json["message"]


@served
async def test_a_micro_time_of_the_first_year_stays(api: API) -> None:
    spec = {"renewTime": "0001-01-01T00:00:02.000000Z", "acquireTime": "0001-01-01T00:00:00.000000Z"}
    made = await api.post(LEASES, {"metadata": {"name": "x"}, "spec": spec})
    assert made.json["spec"] == {"renewTime": "0001-01-01T00:00:02.000000Z"}


@served
async def test_status_writes_leave_owners_and_the_labels_of_deployments(api: API) -> None:
    """Who may only write a status cannot have the object collected with another."""
    labels = {"app": "web"}
    container = {"name": "c", "image": "host"}
    pods, deployments = "/api/v1/namespaces/default/pods", "/apis/apps/v1/namespaces/default/deployments"
    await api.post("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    await api.post(pods, {"metadata": {"name": "p", "labels": labels}, "spec": {"containers": [container]}})
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    await api.post(deployments, {"metadata": {"name": "d", "labels": labels}, "spec": spec})
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "5"}
    change = {"metadata": {"ownerReferences": [owner], "labels": {"app": "other"}, "annotations": {"a": "b"}}}
    for path, shown in ((f"{pods}/p/status", {"app": "other"}), (f"{deployments}/d/status", labels)):
        answer = await api.patch(path, change)
        assert answer.status == 200, answer.body
        meta = answer.json["metadata"]
        assert "ownerReferences" not in meta
        assert (meta["labels"], meta["annotations"]["a"]) == (shown, "b")
