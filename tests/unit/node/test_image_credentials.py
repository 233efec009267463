"""imagePullSecrets of both kinds, also damaged ones."""

import base64
import json
from typing import Any

import pytest

from sampan.node.images.types import Credentials


def secret(key: str, content: Any) -> dict[str, Any]:
    text = content if isinstance(content, str) else json.dumps(content)
    return {"data": {key: base64.b64encode(text.encode()).decode()}}


AUTH = base64.b64encode(b"user:pass:word").decode()


@pytest.mark.parametrize(
    ("name", "given", "found"),
    [
        ("auth", secret(".dockerconfigjson", {"auths": {"r:5000": {"auth": AUTH}}}), {"r:5000": ("user", "pass:word")}),
        (
            "user and password",
            secret(".dockerconfigjson", {"auths": {"r": {"username": "u", "password": "p"}}}),
            {"r": ("u", "p")},
        ),
        (
            "Docker Hub's address",
            secret(".dockercfg", {"https://index.docker.io/v1/": {"auth": AUTH}}),
            {"docker.io": ("user", "pass:word")},
        ),
        ("another kind", secret("password", "x"), {}),
        ("not JSON", secret(".dockerconfigjson", "{"), {}),
        ("not base64", {"data": {".dockerconfigjson": "!"}}, {}),
        ("not an object", secret(".dockerconfigjson", "[1]"), {}),
        ("auths of another type", secret(".dockerconfigjson", {"auths": [1]}), {}),
        ("an entry of another type", secret(".dockerconfigjson", {"auths": {"r": 1}}), {}),
        ("auth that is not base64", secret(".dockerconfigjson", {"auths": {"r": {"auth": "x"}}}), {}),
        ("no data", {}, {}),
    ],
)
def test_secrets_are_read(name: str, given: dict[str, Any], found: dict[str, tuple[str, str]]) -> None:
    assert Credentials.from_secrets([given]).by_host == found, name
