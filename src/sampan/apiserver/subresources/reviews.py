"""Reviews: questions that a client POSTs and that are answered, not stored (who am I, may I, is this token good)."""

from dataclasses import replace

from sampan.apiserver import bodies, shape
from sampan.apiserver.authn.tokens import ServiceAccountTokens, user_of_claims
from sampan.apiserver.authz import Authorizer
from sampan.apiserver.handlers.call import Call, json_response
from sampan.apiserver.strategy import RequestInfo, User
from sampan.http.messages import Response
from sampan.machinery.objects import Object


class Reviews:
    """The answers of one server."""

    def __init__(self, tokens: ServiceAccountTokens | None, authorizer: Authorizer) -> None:
        self._tokens = tokens
        self._authorizer = authorizer

    async def answer(self, call: Call) -> Response:
        """Raises BadRequest."""
        kind = call.served.info.kind
        gvk = (call.served.info.group, call.served.info.version, kind)
        review = shape.typed(call.context.schemas, gvk, await bodies.read_object(call.request, kind))
        spec = review.get("spec") or {}
        match kind:
            case "SelfSubjectReview":
                status = {"userInfo": _user_info(call.info.user)}
            case "TokenReview":
                status = self._token_status(spec)
            case "SelfSubjectRulesReview":
                status = _all_rules()
            case "SelfSubjectAccessReview":
                status = self._access_status(spec, call.info.user)
            case _:
                status = self._access_status(spec, _user_of(spec))
        review |= {"kind": kind, "apiVersion": call.served.api_version, "status": status}
        review.setdefault("metadata", {})
        return json_response(review, 201)

    def _token_status(self, spec: Object) -> Object:
        audiences = spec.get("audiences") or []
        wanted = audiences or ([self._tokens.issuer] if self._tokens else [])
        claims = self._tokens.claims(str(spec.get("token", "")), wanted) if self._tokens else None
        if claims is None:
            return {"user": {}, "error": "invalid bearer token"}
        shared = [audience for audience in claims["aud"] if audience in wanted]
        return {"authenticated": True, "user": _user_info(user_of_claims(claims)), "audiences": shared}

    def _access_status(self, spec: Object, user: User) -> Object:
        asked = spec.get("resourceAttributes") or {}
        path = spec.get("nonResourceAttributes") or {}
        request = RequestInfo(
            verb=str(asked.get("verb") or path.get("verb") or ""),
            group=str(asked.get("group") or ""),
            version=str(asked.get("version") or ""),
            resource=str(asked.get("resource") or ""),
            subresource=str(asked.get("subresource") or ""),
            namespace=str(asked.get("namespace") or ""),
            name=str(asked.get("name") or ""),
            path=str(path.get("path") or ""),
            user=user,
        )
        return {"allowed": self._authorizer.allows(request)}


def _user_of(spec: Object) -> User:
    groups = tuple(str(group) for group in spec.get("groups") or ())
    user = User(str(spec.get("user") or ""), groups)
    return user if "system:unauthenticated" in groups else replace(user, groups=(*groups, "system:authenticated"))


def _user_info(user: User) -> Object:
    info: Object = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        info["uid"] = user.uid
    if user.extra:
        info["extra"] = {key: list(values) for key, values in user.extra.items()}
    return info


def _all_rules() -> Object:
    return {
        "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        "incomplete": False,
    }
