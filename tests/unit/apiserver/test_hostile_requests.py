"""Whatever a client sends, it gets a Status, and the server goes on."""

import asyncio

import pytest

from support.api import API, CONFIG_MAPS, served

BIG = 10**30

BODIES = {
    "nothing": b"",
    "not JSON": b"{",
    "two documents": b'{"metadata":{}}{}',
    "bad UTF-8": b'{"metadata":{"name":"\xff\xfe"}}',
    "a lone surrogate": b'{"metadata":{"name":"\\ud800"}}',
    "NaN": b'{"metadata":{"name":"x"},"data":NaN}',
    "deep arrays": b"[" * 50_000,
    "deep objects": b'{"a":' * 5000 + b"1" + b"}" * 5000,
    "deep in the schema": b'{"metadata":{"name":"x","labels":' + b"[" * 800 + b"]" * 800 + b"}}",
    "a huge number": b'{"metadata":{"name":"x","generation":%d}}' % BIG,
    "many digits": b'{"metadata":{"name":"x","generation":' + b"9" * 5000 + b"}}",
    "metadata is a list": b'{"metadata":[]}',
    "a name that is a number": b'{"metadata":{"name":5}}',
    "labels are a string": b'{"metadata":{"name":"x","labels":"a=b"}}',
    "finalizers are objects": b'{"metadata":{"name":"x","finalizers":[{}]}}',
    "owners are strings": b'{"metadata":{"name":"x","ownerReferences":["a"]}}',
    "generateName is a list": b'{"metadata":{"generateName":["a"]}}',
    "apiVersion is a list": b'{"apiVersion":["v1"],"metadata":{"name":"x"}}',
    "kind is an object": b'{"kind":{},"metadata":{"name":"x"}}',
    "managed fields are nonsense": b'{"metadata":{"name":"UPPER","managedFields":[{"fieldsV1":{"f:":[]}}]}}',
    "a name with a slash": b'{"metadata":{"name":"a/b"}}',
    "a name with a zero byte": b'{"metadata":{"name":"a\\u0000b"}}',
}


@pytest.mark.parametrize("case", BODIES)
@served
async def test_no_body_does_harm(api: API, case: str) -> None:
    for method, path, kind in (
        ("POST", CONFIG_MAPS, "application/json"),
        ("PUT", f"{CONFIG_MAPS}/x", "application/json"),
        ("PATCH", f"{CONFIG_MAPS}/x", "application/merge-patch+json"),
        ("PATCH", f"{CONFIG_MAPS}/x?fieldManager=m", "application/apply-patch+yaml"),
        ("POST", "/apis/authentication.k8s.io/v1/tokenreviews", "application/json"),
    ):
        answer = await api.call(method, path, BODIES[case], content_type=kind)
        if "tokenreviews" in path and answer.status == 201:
            continue
        assert 400 <= answer.status < 500, (method, answer.body)
        assert answer.json["kind"] == "Status"
    assert (await api.get(CONFIG_MAPS)).json["items"] == []


YAML_BODIES = {
    "aliases that multiply": b"a: &a [x,x,x,x,x,x,x,x,x]\n"
    + b"".join(b"%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n" % ((i, i) + (i - 1,) * 7) for i in range(98, 112)),
    "an alias of itself": b"metadata: &m\n  name: *m\n",
    "a Python object": b"!!python/object/apply:os.system ['true']\n",
    "a date as a key": b"2020-01-01: x\n",
    "a number as a key": b"1: x\n",
    "deep": b"[" * 50_000,
    "deep blocks": b"".join(b" " * depth + b"a:\n" for depth in range(2000)),
    "a tab": b"a:\n\t- b\n",
    "binary": b"\x00\x01\x02",
    "several documents": b"a: 1\n---\nb: 2\n",
}


@pytest.mark.parametrize("case", YAML_BODIES)
@served
async def test_no_yaml_does_harm(api: API, case: str) -> None:
    answer = await api.post(CONFIG_MAPS, YAML_BODIES[case], content_type="application/yaml")
    assert (answer.status // 100, answer.json["kind"]) == (4, "Status")


@served
async def test_yaml_is_read_as_json_would_be(api: API) -> None:
    text = b"metadata: {name: foo}\ndata:\n  when: 2020-01-01\n  text: |\n    a\n    b\n"
    answer = await api.post(CONFIG_MAPS, text, content_type="application/yaml; charset=utf-8")
    assert (answer.status, answer.json["data"]) == (201, {"when": "2020-01-01", "text": "a\nb\n"})


PROTOBUF_BODIES = {
    "no magic": b"{}",
    "magic alone": b"k8s\x00",
    "cut off": b"k8s\x00\x0a\x7f",
    "a kind that is not known": b"k8s\x00\x0a\x0d\x0a\x02v1\x12\x07Wonders",
    "endless number": b"k8s\x00" + b"\xff" * 40,
    "a group": b"k8s\x00\x0b",
    "recursion": b"k8s\x00" + b"\x12\x02\x0a\x00" * 4,
}


@pytest.mark.parametrize("case", PROTOBUF_BODIES)
@served
async def test_no_protobuf_does_harm(api: API, case: str) -> None:
    body = PROTOBUF_BODIES[case]
    answer = await api.post(CONFIG_MAPS, body, content_type="application/vnd.kubernetes.protobuf")
    assert (answer.status, answer.json["kind"]) == (400, "Status")


TARGETS = {
    "/api/v1/namespaces/default/configmaps/%zz": 400,
    "/api/v1/namespaces/default/configmaps/%ff": 400,
    "/api/v1/namespaces/default/configmaps/%00": 404,
    "/api/v1/namespaces/default/configmaps/..%2f..%2fsecrets%2fx": 404,
    "/api/v1/namespaces/default/configmaps/../../secrets": 404,
    "/api/v1//configmaps": 404,
    "/api/v1/namespaces//configmaps/x": 405,
    "/apis": 200,
    "/apis/": 200,
    "/apis/apps/v1/": 200,
    "/apis//v1": 404,
    "/apis/nope": 404,
    "/openapi/v3/apis/apps": 404,
    "/openapi/v9": 404,
    "/nowhere": 404,
    "/api/v1/namespaces/default/configmaps/x/y/z": 404,
    "/api/v1/namespaces/default/configmaps?labelSelector=%ff": 400,
    "/api/v1/namespaces/default/configmaps?limit=" + "9" * 100: 400,
    "/api/v1/namespaces/default/configmaps?resourceVersion=-1": 400,
    "/api/v1/namespaces/default/configmaps?resourceVersion=٣": 400,
    "/api/v1/namespaces/default/configmaps?watch=true&timeoutSeconds=1e9": 400,
}


@pytest.mark.parametrize("target", TARGETS)
@served
async def test_no_target_does_harm(api: API, target: str) -> None:
    answer = await api.get(target)
    assert answer.status == TARGETS[target], answer.body
    if answer.status >= 400:
        assert b"HTTP" not in answer.body


@served
async def test_a_body_over_the_limit_is_too_large(api: API) -> None:
    answer = await api.post(CONFIG_MAPS, b"x" * (3 * 1024 * 1024 + 1))
    assert (answer.status, answer.json["reason"]) == (413, "RequestEntityTooLarge")


@served
async def test_a_body_of_another_type_is_not_supported(api: API) -> None:
    answer = await api.post(CONFIG_MAPS, b"<xml/>", content_type="text/xml")
    assert (answer.status, answer.json["reason"]) == (415, "UnsupportedMediaType")


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "POST", "PATCH"])
@served
async def test_a_method_that_does_not_fit_is_not_allowed(api: API, method: str) -> None:
    path = f"{CONFIG_MAPS}/x" if method == "POST" else CONFIG_MAPS
    assert (await api.call(method, path, {})).status == 405


@served
async def test_a_client_that_breaks_off_leaves_the_server_well(api: API) -> None:
    host, port = api.config.server.removeprefix("https://").split(":")
    for text in (b"GET /api/v1/pods", b"POST / HTTP/1.1\r\nContent-Length: 99\r\n\r\nabc", b"\x16\x03\x01", b""):
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(text)
        writer.close()
    assert (await api.get("/livez")).body == b"ok"


LONG = "m" * 129
OPTIONS = {
    ("POST", "", "fieldManager=" + LONG): 'CreateOptions.meta.k8s.io "" is invalid: '
    "fieldManager: Too long: may not be more than 128 bytes",
    ("POST", "", "fieldManager=a%0A"): 'CreateOptions.meta.k8s.io "" is invalid: '
    'fieldManager: Invalid value: "a\\n": should only contain printable characters',
    ("PUT", "/x", "dryRun=Some"): 'UpdateOptions.meta.k8s.io "" is invalid: '
    'dryRun: Unsupported value: ["Some"]: supported values: "All"',
    ("POST", "", "fieldValidation=Loud"): 'CreateOptions.meta.k8s.io "" is invalid: '
    'fieldValidation: Unsupported value: "Loud": supported values: "", "Ignore", "Strict", "Warn"',
    ("PATCH", "/x", "force=true"): 'PatchOptions.meta.k8s.io "" is invalid: '
    "force: Forbidden: may not be specified for non-apply patch",
    ("DELETE", "/x", "propagationPolicy=Orphan&orphanDependents=true"): 'DeleteOptions.meta.k8s.io "" is invalid: '
    'propagationPolicy: Invalid value: "Orphan": orphanDependents and deletionPropagation cannot be both set',
    ("GET", "", "watch=1&resourceVersionMatch=NotOlderThan"): 'ListOptions.meta.k8s.io "" is invalid: '
    "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
    ("GET", "", "limit=x"): 'strconv.ParseInt: parsing "x": invalid syntax',
    ("GET", "", "limit=9999999999999999999"): 'strconv.ParseInt: parsing "9999999999999999999": value out of range',
    ("GET", "", "resourceVersion=x"): 'resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": '
    "invalid syntax",
}


@pytest.mark.parametrize("case", OPTIONS)
@served
async def test_options_are_checked_before_anything_is_done(api: API, case: tuple[str, str, str]) -> None:
    method, name, query = case
    await api.post(CONFIG_MAPS, {"metadata": {"name": "x"}})
    before = (await api.get(f"{CONFIG_MAPS}/x")).json
    body = {"metadata": {"name": "x" if name else "y"}, "data": {"a": "b"}} if method != "DELETE" else None
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    answer = await api.call(method, f"{CONFIG_MAPS}{name}?{query}", body, content_type=kind)
    assert answer.json["message"] == OPTIONS[case]
    assert (await api.get(CONFIG_MAPS)).json["items"] == [before]


ADDRESSES = {
    "the name of the object (x based on URL) was undeterminable: name must be provided": {},
    "the name of the object (y) does not match the name on the URL (x)": {"name": "y"},
    "the namespace of the object (other) does not match the namespace on the request (default)": {
        "name": "x",
        "namespace": "other",
    },
}


@pytest.mark.parametrize("message", ADDRESSES)
@served
async def test_a_put_that_does_not_say_what_it_means_changes_nothing(api: API, message: str) -> None:
    await api.post(CONFIG_MAPS, {"metadata": {"name": "x"}, "data": {"a": "b"}})
    answer = await api.put(f"{CONFIG_MAPS}/x", {"metadata": ADDRESSES[message]})
    assert (answer.status, answer.json["message"]) == (400, message)
    assert (await api.get(f"{CONFIG_MAPS}/x")).json["data"] == {"a": "b"}


@served
async def test_what_is_in_no_namespace_is_not_found_in_one(api: API) -> None:
    assert (await api.get("/api/v1/namespaces/default/nodes")).status == 404
    assert (await api.get("/api/v1/namespaces/default/status")).status == 200
    assert b"[+]ping ok\n" in (await api.get("/readyz?verbose")).body
