"""TokenRequest: a service-account token, bound to the pod or secret that will use it."""

from sampan.apiserver import bodies, shape
from sampan.apiserver.authn.tokens import ServiceAccountTokens
from sampan.apiserver.handlers.call import Call, json_response, read_write_options
from sampan.http.messages import Response
from sampan.machinery import times
from sampan.machinery.errors import FieldError, Invalid
from sampan.machinery.objects import Object

_KIND = ("authentication.k8s.io", "v1", "TokenRequest")
_SHORTEST, _LONGEST, _DEFAULT = 600, 1 << 32, 3600
_BOUND = {("v1", "Pod"): ("pod", "pods"), ("v1", "Secret"): ("secret", "secrets"), ("v1", "Node"): ("node", "nodes")}


async def request_token(call: Call, tokens: ServiceAccountTokens) -> Response:
    """Raises NotFound, Conflict (another uid), Invalid."""
    read_write_options(call)
    body = shape.typed(call.context.schemas, _KIND, await bodies.read_object(call.request, "TokenRequest"))
    spec = body.get("spec") or {}
    seconds, audiences = _checked(call, spec)
    account = await call.context.get("serviceaccounts", call.info.namespace, call.info.name)
    if account is None:
        raise call.home.not_found(call.info.name)
    bound = await _bound(call, spec.get("boundObjectRef"))
    await tokens.load()
    token, expires = tokens.issue(call.info.namespace, account, seconds, audiences, bound)
    answer = {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {
            "name": call.info.name,
            "namespace": call.info.namespace,
            "creationTimestamp": times.now(),
        },
        "spec": {
            "audiences": list(audiences) or [tokens.issuer],
            "expirationSeconds": seconds,
            "boundObjectRef": spec.get("boundObjectRef"),
        },
        "status": {"token": token, "expirationTimestamp": times.from_epoch(expires)},
    }
    return json_response(answer, 201)


def _checked(call: Call, spec: Object) -> tuple[int, list[str]]:
    seconds = spec.get("expirationSeconds") or _DEFAULT
    audiences = spec.get("audiences") or []
    error = None
    if seconds < _SHORTEST:
        error = FieldError.invalid("spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
    elif seconds > _LONGEST:
        error = FieldError.invalid(
            "spec.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds"
        )
    if error is not None:
        raise Invalid.of("authentication.k8s.io", "TokenRequest", call.info.name, [error])
    return seconds, audiences


async def _bound(call: Call, reference: Object | None) -> dict[str, Object]:
    """The claims about the object that a token is bound to; a pod's node is noted too."""
    if not reference:
        return {}
    kind, resource = _BOUND.get((reference.get("apiVersion", ""), reference.get("kind", "")), ("", ""))
    if not kind:
        listed = f"cannot bind token to object of type {reference.get('apiVersion')}, Kind={reference.get('kind')}"
        raise Invalid.of(
            "authentication.k8s.io", "TokenRequest", call.info.name,
            [FieldError.invalid("spec.boundObjectRef", reference, listed)],
        )  # fmt: skip
    served = call.context.catalog.named(resource)
    name = str(reference.get("name", ""))
    obj = await call.context.get(resource, call.info.namespace, name)
    if obj is None:
        raise served.not_found(name)
    uid = obj["metadata"]["uid"]
    if reference.get("uid") not in (None, "", uid):
        why = f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record. "
        raise served.conflict(name, why + "The object might have been deleted and then recreated")
    bound = {kind: {"name": name, "uid": uid}}
    node_name = (obj.get("spec") or {}).get("nodeName") if kind == "pod" else ""
    if node_name and (node := await call.context.get("nodes", "", node_name)):
        bound["node"] = {"name": node_name, "uid": node["metadata"]["uid"]}
    return bound
