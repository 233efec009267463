"""Bodies are decoded as upstream's Go types decode them, and refused in the same words."""

import msgspec
import pytest

from sampan.machinery.decoding import DecodingError, cannot_handle, decode, strict_message
from sampan.machinery.duplicates import duplicate_fields

DEPLOYMENT = ("apps", "v1", "Deployment")
POD = ("", "v1", "Pod")
SECRET = ("", "v1", "Secret")
SERVICE = ("", "v1", "Service")


def container(**fields):
    return {"spec": {"containers": [{"name": "c", **fields}]}}


def decoded_container(**fields):
    return container(**fields)["spec"]


@pytest.mark.parametrize(
    ("gvk", "given", "expected"),
    [
        (DEPLOYMENT, {"spec": {"replicas": None, "paused": True}}, {"spec": {"paused": True}}),
        (DEPLOYMENT, {"metadata": {"creationTimestamp": None}}, {"metadata": {}}),
        (DEPLOYMENT, {"metadata": {"labels": {"a": None}}}, {"metadata": {"labels": {"a": ""}}}),
        (DEPLOYMENT, {"metadata": {"finalizers": [None]}}, {"metadata": {"finalizers": [""]}}),
        (POD, {"spec": {"containers": [None]}}, {"spec": {"containers": [{}]}}),
        (POD, container(resources={"limits": {"cpu": 1}}), container(resources={"limits": {"cpu": "1"}})),
        (POD, container(resources={"limits": {"cpu": "0.5"}}), container(resources={"limits": {"cpu": "500m"}})),
        (POD, container(resources={"limits": {"cpu": None}}), container(resources={"limits": {"cpu": "0"}})),
        (SERVICE, {"spec": {"ports": [{"targetPort": "http"}]}}, {"spec": {"ports": [{"targetPort": "http"}]}}),
        (SERVICE, {"spec": {"ports": [{"targetPort": 80}]}}, {"spec": {"ports": [{"targetPort": 80}]}}),
        (SECRET, {"data": {"a": "Zm9v\nYmFy\n"}}, {"data": {"a": "Zm9vYmFy"}}),
        (SECRET, {"data": {"a": None}}, {"data": {"a": ""}}),
        (
            POD,
            {"metadata": {"creationTimestamp": "2026-01-02T04:04:05+01:00"}},
            {"metadata": {"creationTimestamp": "2026-01-02T03:04:05Z"}},
        ),
        (
            ("coordination.k8s.io", "v1", "Lease"),
            {"spec": {"renewTime": "2026-01-02T03:04:05.5Z"}},
            {"spec": {"renewTime": "2026-01-02T03:04:05.500000Z"}},
        ),
        (
            POD,
            {"metadata": {"managedFields": [{"fieldsV1": {"f:spec": {"f:x": {}}, "y": None}}]}},
            {"metadata": {"managedFields": [{"fieldsV1": {"f:spec": {"f:x": {}}, "y": None}}]}},
        ),
    ],
)
def test_a_body_takes_its_canonical_form(schemas, gvk, given, expected):
    assert decode(given, schemas.definition(gvk)) == []
    assert given == expected


@pytest.mark.parametrize(
    ("gvk", "body", "message"),
    [
        (
            DEPLOYMENT,
            {"spec": {"replicas": "3"}},
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            DEPLOYMENT,
            {"spec": {"replicas": 2.5}},
            "json: cannot unmarshal number 2.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            DEPLOYMENT,
            {"spec": {"replicas": 2**31}},
            "json: cannot unmarshal number 2147483648 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            DEPLOYMENT,
            {"spec": {"template": container(env=[{"name": "A", "value": 1}])}},
            "json: cannot unmarshal number into Go struct field "
            "EnvVar.spec.template.spec.containers.env.value of type string",
        ),
        (
            DEPLOYMENT,
            {"metadata": {"labels": {"a": True}}},
            "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            POD,
            {"spec": {"containers": {"name": "c"}}},
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (POD, {"spec": []}, "json: cannot unmarshal array into Go struct field Pod.spec of type v1.PodSpec"),
        (POD, container(image=["x"]), "json: cannot unmarshal array into Go struct field "
         "Container.spec.containers.image of type string"),
        (
            POD,
            container(resources={"limits": {"cpu": "lots"}}),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            POD,
            {"metadata": {"creationTimestamp": "today"}},
            'parsing time "today" as "2006-01-02T15:04:05Z07:00": cannot parse "today" as "2006"',
        ),
        (SECRET, {"data": {"a": "Zm9vA"}}, "illegal base64 data at input byte 4"),
        (SERVICE, {"spec": {"ports": [{"targetPort": True}]}},
         "json: cannot unmarshal bool into Go value of type int32"),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_type_is_refused_in_upstream_words(schemas, gvk, body, message):
    with pytest.raises(DecodingError) as caught:
        decode(body, schemas.definition(gvk))
    assert caught.value.message == message


def test_unknown_fields_are_dropped_and_told(schemas):
    body = {"spec": {"foo": 1, "template": container(ports=[{"containerport": 80}]), "replicas": 1}, "bar": {}}
    unknown = decode(body, schemas.definition(DEPLOYMENT))
    assert unknown == ["spec.foo", "spec.template.spec.containers[0].ports[0].containerport", "bar"]
    assert body == {"spec": {"template": container(ports=[{}]), "replicas": 1}}
    assert strict_message(["spec.foo"], ["spec.bar"]) == (
        'strict decoding error: unknown field "spec.foo", duplicate field "spec.bar"'
    )


def test_the_error_of_a_request_names_the_kind():
    assert cannot_handle("Deployment", "v1", "why").message == (
        'Deployment in version "v1" cannot be handled as a Deployment: why'
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a":1,"b":{"c":[{"d":1}]}}', []),
        ('{"a":1,"a":2}', ["a"]),
        ('{"a" : 1, "a" : 2}', ["a"]),
        ('{"a":{"b":[{"c":1,"c":2},{"c":1}]}}', ["a.b[0].c"]),
        (r'{"a":"say \":hello\":","b":1}', []),
        ('{"a":1,"a":2,"a":3}', ["a"]),
        ('{"a":{"x":1},"a":{"y":2,"y":3}}', ["a", "a.y"]),
        ('{\n  "a": 1,\n  "b": 2\n}', []),
    ],
)
def test_repeated_fields_are_found_in_the_text(text, expected):
    raw = text.encode()
    assert duplicate_fields(raw, msgspec.json.decode(raw)) == expected
