"""What chance sends does no harm: every answer is a success or a Status of the 400s, and refused means unchanged.

The requests are the same in every run: each sequence comes from a number. A failure names the number and the request.
"""

from typing import NamedTuple

import pytest
import yaml

from support.api import API, CONFIG_MAPS, served
from support.mutations import ACCEPTS, SEEDS, Mutator, encoded, seed

REQUESTS = 250
PATCHES = ("json-patch+json", "merge-patch+json", "strategic-merge-patch+json", "apply-patch+yaml")
SUBRESOURCES = ("", "", "", "", "/status", "/scale", "/eviction", "/binding", "/token", "/nope", "/finalize", "/resize")
REVIEWS = {
    "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews": {"spec": {"resourceAttributes": {"verb": "get"}}},
    "/apis/authorization.k8s.io/v1/subjectaccessreviews": {"spec": {"user": "x", "nonResourceAttributes": {}}},
    "/apis/authentication.k8s.io/v1/tokenreviews": {"spec": {"token": "x", "audiences": ["a"]}},
    "/api/v1/namespaces/default/pods/x/eviction": {"metadata": {"name": "x"}, "deleteOptions": {"preconditions": {}}},
    "/api/v1/namespaces/default/pods/x/binding": {"metadata": {"name": "x"}, "target": {"kind": "Node", "name": "n"}},
    "/api/v1/namespaces/default/serviceaccounts/default/token": {"spec": {"audiences": ["a"]}},
    "/apis/apps/v1/namespaces/default/deployments/x/scale": {"metadata": {"name": "x"}, "spec": {"replicas": 1}},
}


class Sent(NamedTuple):
    method: str
    path: str
    body: bytes | None
    content_type: str
    accept: str


def request(mutator: Mutator) -> Sent:
    """One request that is valid but for a few things."""
    random = mutator.random
    collection = random.choice(list(SEEDS))
    accept = random.choice(ACCEPTS) if random.random() < 0.2 else "application/json"
    method = random.choice(("POST", "POST", "PUT", "PATCH", "PATCH", "PATCH", "GET", "DELETE", "REVIEW"))
    if method == "REVIEW":
        path = random.choice(list(REVIEWS))
        obj = mutator.changed(yaml.safe_load(yaml.safe_dump(REVIEWS[path])), random.randint(0, 2))
        return Sent("PUT" if "scale" in path else "POST", path, encoded(obj), "application/json", accept)
    obj = mutator.changed(seed(collection), random.randint(0, 3))
    if method == "POST":
        obj["metadata"] = {"name": f"x{random.randrange(1000)}"} if random.random() < 0.5 else obj.get("metadata")
    path = collection if method == "POST" or random.random() < 0.1 else f"{collection}/x{random.choice(SUBRESOURCES)}"
    body, content_type = content(mutator, method, obj)
    return Sent(method, path + mutator.query(), body, content_type, accept)


def content(mutator: Mutator, method: str, obj: object) -> tuple[bytes | None, str]:
    random = mutator.random
    if method == "GET":
        return None, "application/json"
    if method == "DELETE":
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": "x"}, "propagationPolicy": "Orphan"}
        return encoded(mutator.changed(options, random.randint(0, 3))), "application/json"
    kind = "application/json" if random.random() < 0.7 else random.choice(["application/yaml", "text/plain"])
    if method == "PATCH":
        form = random.choice(PATCHES)
        kind, obj = f"application/{form}", mutator.json_patch(obj) if form.startswith("json") else obj
    body = yaml.safe_dump(obj).encode() if kind.endswith("yaml") and random.random() < 0.5 else encoded(obj)
    return (mutator.damaged(body) if random.random() < 0.3 else body), kind


async def plant(api: API) -> None:
    """See to it that there is something to change."""
    for collection in SEEDS:
        made = await api.post(collection, seed(collection))
        assert made.status in (201, 409), (collection, made.body)


async def revision(api: API) -> str:
    return str((await api.get(f"{CONFIG_MAPS}?limit=1")).json["metadata"]["resourceVersion"])


@pytest.mark.parametrize("number", range(8))
@served
async def test_random_requests_are_answered_or_refused(api: API, number: int) -> None:
    mutator = Mutator(number)
    await api.post("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    for turn in range(REQUESTS):
        if turn % 50 == 0:
            await plant(api)
            before = await revision(api)
        sent = request(mutator)
        answer = await api.call(sent.method, sent.path, sent.body, content_type=sent.content_type, accept=sent.accept)
        after = await revision(api)
        assert answer.status < 500, (sent, answer.body)
        if answer.status >= 400:
            assert answer.json["kind"] == "Status", (sent, answer.body)
            assert after == before, (sent, answer.body)
        before = after
