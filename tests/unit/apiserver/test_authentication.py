"""Only those with good credentials get in, except for health and version."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sampan.apiserver.authn.certificates import MalformedCertificate, user_of_certificate
from sampan.apiserver.authn.impersonation import impersonated
from sampan.apiserver.authn.tokens import ServiceAccountTokens
from sampan.apiserver.strategy import User
from sampan.http.messages import Headers
from sampan.machinery.errors import BadRequest
from sampan.store.memory import MemoryStore
from support.api import API, served
from support.apiserver import anonymous, make_pki

ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
REVIEWS = "/apis/authentication.k8s.io/v1"


def der(name: str) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    return x509.load_pem_x509_certificate((make_pki() / f"{name}.crt").read_bytes()).public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    ("file", "user", "group"),
    [
        ("admin", "kubernetes-admin", "system:masters"),
        ("scheduler", "system:kube-scheduler", "system:authenticated"),
        ("node-node-1-client", "system:node:node-1", "system:nodes"),
    ],
)
def test_a_certificates_subject_is_user_and_groups(file: str, user: str, group: str) -> None:
    found = user_of_certificate(der(file))
    assert found is not None
    assert found.name == user
    assert group in found.groups
    assert "system:authenticated" in found.groups


def test_no_damaged_certificate_does_more_than_be_refused() -> None:
    good = der("admin")
    for cut in range(0, len(good), 7):
        try:
            user_of_certificate(good[:cut])
        except MalformedCertificate:
            continue
    for position in range(120):
        damaged = bytearray(good)
        damaged[position] ^= 0xFF
        try:
            user_of_certificate(bytes(damaged))
        except MalformedCertificate:
            continue


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/readyz/ping", "/version"])
@served
async def test_health_and_version_are_for_everybody(api: API, path: str) -> None:
    assert (await API(anonymous(api.config)).get(path)).status == 200


@pytest.mark.parametrize("path", ["/", "/api", "/apis/apps/v1", "/openapi/v2", "/metrics", "/api/v1/pods", "/healthzz"])
@served
async def test_everything_else_is_for_those_who_are_known(api: API, path: str) -> None:
    answer = await API(anonymous(api.config)).get(path)
    assert (answer.status, answer.json["reason"]) == (401, "Unauthorized")


BAD_HEADERS = ["Bearer", "Bearer x", "Bearer a.b.c", "Bearer " + "." * 50, "Basic YTpi", "é", "Bearer e30.e30.e30"]


@pytest.mark.parametrize("header", BAD_HEADERS)
@served
async def test_a_token_that_is_none_is_refused_even_with_a_certificate(api: API, header: str) -> None:
    assert (await api.get("/api", authorization=header)).status == 401


async def account_token(api: API, **spec: Any) -> tuple[int, Any]:
    await api.post(ACCOUNTS, {"metadata": {"name": "robot"}})
    answer = await api.post(f"{ACCOUNTS}/robot/token", {"spec": spec})
    return answer.status, answer.json


@served
async def test_a_requested_token_is_the_service_account(api: API) -> None:
    status, made = await account_token(api, expirationSeconds=600)
    assert (status, made["kind"]) == (201, "TokenRequest")
    robot = API(replace(anonymous(api.config), token=made["status"]["token"]))
    authorization = {"authorization": f"Bearer {made['status']['token']}"}
    me = (await robot.post(f"{REVIEWS}/selfsubjectreviews", {}, **authorization)).json["status"]["userInfo"]
    assert me["username"] == "system:serviceaccount:default:robot"
    assert "system:serviceaccounts:default" in me["groups"]
    review = (await api.post(f"{REVIEWS}/tokenreviews", {"spec": {"token": made["status"]["token"]}})).json
    assert review["status"]["authenticated"] is True
    assert review["status"]["user"]["username"] == me["username"]
    await api.delete(f"{ACCOUNTS}/robot")
    assert (await robot.get("/api", **authorization)).status == 401


@served
async def test_a_token_for_another_audience_does_not_open_this_server(api: API) -> None:
    _, made = await account_token(api, audiences=["vault"])
    token = made["status"]["token"]
    assert (await api.get("/api", authorization=f"Bearer {token}")).status == 401
    review = await api.post(f"{REVIEWS}/tokenreviews", {"spec": {"token": token, "audiences": ["vault", "x"]}})
    assert review.json["status"]["audiences"] == ["vault"]


BAD_TOKEN_REQUESTS: dict[str, tuple[dict[str, Any], int]] = {
    "too short": ({"expirationSeconds": 5}, 422),
    "no number": ({"expirationSeconds": "x"}, 400),
    "bound to what is not there": ({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "x"}}, 404),
    "bound to another kind": ({"boundObjectRef": {"apiVersion": "v1", "kind": "ConfigMap", "name": "x"}}, 422),
    "audiences": ({"audiences": [1]}, 400),
}


@pytest.mark.parametrize("case", BAD_TOKEN_REQUESTS)
@served
async def test_a_token_request_that_cannot_be_granted_says_why(api: API, case: str) -> None:
    spec, status = BAD_TOKEN_REQUESTS[case]
    assert (await account_token(api, **spec))[0] == status


def make_tokens(tmp_path: Path) -> tuple[ServiceAccountTokens, str]:
    store = MemoryStore()
    tokens = ServiceAccountTokens(store, make_pki() / "sa.key", "https://issuer")
    account = {"metadata": {"name": "robot", "uid": "u-1"}}

    import asyncio

    asyncio.run(store_account(store, account))
    return tokens, tokens.issue("default", account, 600, (), {})[0]


async def store_account(store: MemoryStore, account: dict[str, Any]) -> None:
    await store.create("/registry/core/serviceaccounts/default/robot", msgspec.json.encode(account))


def test_an_expired_token_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, token = make_tokens(tmp_path)
    assert tokens.user(token) is not None
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 601)
    assert tokens.user(token) is None


def test_no_changed_token_is_accepted(tmp_path: Path) -> None:
    tokens, token = make_tokens(tmp_path)
    for position in [*range(0, len(token), 5), len(token) - 1]:
        changed = token[:position] + ("A" if token[position] != "A" else "B") + token[position + 1 :]
        assert tokens.user(changed) is None, position


def test_the_published_key_verifies_what_the_server_signs(tmp_path: Path) -> None:
    tokens, _ = make_tokens(tmp_path)
    (key,) = tokens.jwks()["keys"]
    assert (key["kty"], key["crv"], key["alg"]) == ("EC", "P-256", "ES256")


IMPERSONATED = {
    "a user": ({"user": "bob"}, "bob", {"system:authenticated"}),
    "with groups": ({"user": "bob", "group": "a, b"}, "bob", {"a", "b", "system:authenticated"}),
    "an account": (
        {"user": "system:serviceaccount:x:y"},
        "system:serviceaccount:x:y",
        {"system:serviceaccounts", "system:serviceaccounts:x", "system:authenticated"},
    ),
    "a stranger": ({"user": "system:anonymous"}, "system:anonymous", {"system:unauthenticated"}),
}


@pytest.mark.parametrize("case", IMPERSONATED)
def test_a_user_may_act_as_another(case: str) -> None:
    asked, name, groups = IMPERSONATED[case]
    headers = Headers()
    for key, value in asked.items():
        for line in value.split(", "):
            headers.add(f"impersonate-{key}", line)
    found = impersonated(User("me"), headers)
    assert (found.name, set(found.groups)) == (name, groups)


def test_without_headers_a_user_stays_who_it_is() -> None:
    me = User("me", ("g",))
    assert impersonated(me, Headers({"user-agent": "x"})) is me


def test_a_group_with_a_comma_is_one_group() -> None:
    """Names of directories hold commas; a second group needs a header of its own."""
    headers = Headers({"impersonate-user": "joe"})
    headers.add("impersonate-group", "cn=a,dc=b")
    headers.add("impersonate-group", "x,system:masters")
    assert impersonated(User("me"), headers).groups == ("cn=a,dc=b", "x,system:masters", "system:authenticated")


@served
async def test_nobody_asks_for_a_certificate_in_anothers_name(api: API) -> None:
    with pytest.raises(BadRequest):
        impersonated(User("me"), Headers({"impersonate-group": "a"}))
    spec = {"request": "", "signerName": "example.com/x", "usages": ["client auth"], "username": "root", "uid": "1"}
    body = {"metadata": {"name": "joe"}, "spec": spec}
    path = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    made = (await api.post(path, body, impersonate_user="bob", impersonate_extra_scopes="a")).json
    assert made["spec"]["username"] == "bob"
    assert made["spec"]["groups"] == ["system:authenticated"]
    assert made["spec"]["extra"] == {"scopes": ["a"]}
    assert "uid" not in made["spec"]
    made["spec"]["username"] = "root"
    assert (await api.put(f"{path}/joe", made)).json["spec"]["username"] == "bob"
