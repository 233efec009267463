"""Which code answers which subresource and which review: the one table of them."""

from collections.abc import Awaitable, Callable, Mapping

from sampan.apiserver.authn.tokens import ServiceAccountTokens
from sampan.apiserver.handlers.call import Call
from sampan.apiserver.handlers.get import get
from sampan.apiserver.handlers.patch import patch
from sampan.apiserver.handlers.update import update
from sampan.apiserver.proxying import pods
from sampan.apiserver.proxying.agents import Agents
from sampan.apiserver.proxying.targets import proxy
from sampan.apiserver.subresources.binding import bind
from sampan.apiserver.subresources.eviction import evict
from sampan.apiserver.subresources.reviews import Reviews
from sampan.apiserver.subresources.scale import get_scale, patch_scale, update_scale
from sampan.apiserver.subresources.token import request_token
from sampan.http.messages import Response
from sampan.machinery.errors import NotFound

Handler = Callable[[Call], Awaitable[Response | None]]
_VIEWS: Mapping[str, Handler] = {"get": get, "update": update, "patch": patch}
_STREAMING = ("get", "create")


class Subresources:
    """The handlers of one server, by subresource and verb."""

    def __init__(self, tokens: ServiceAccountTokens, reviews: Reviews, agents: Agents) -> None:
        self._reviews = reviews
        everything: Handler = lambda call: proxy(call, agents)  # noqa: E731
        forward: Handler = lambda call: pods.port_forward(call, agents)  # noqa: E731
        execute: Handler = lambda call: pods.execute(call, agents)  # noqa: E731
        self._table: Mapping[str, Mapping[str, Handler]] = {
            **dict.fromkeys(("status", "finalize", "approval", "ephemeralcontainers", "resize"), _VIEWS),
            "scale": {"get": get_scale, "update": update_scale, "patch": patch_scale},
            "binding": {"create": bind},
            "eviction": {"create": evict},
            "token": {"create": lambda call: request_token(call, tokens)},
            "log": {"get": lambda call: pods.log(call, agents)},
            "exec": dict.fromkeys(_STREAMING, execute),
            "attach": dict.fromkeys(_STREAMING, execute),
            "portforward": dict.fromkeys(_STREAMING, forward),
            "proxy": dict.fromkeys(("get", "create", "update", "patch", "delete", "options"), everything),
        }

    def handler(self, call: Call) -> Handler | None:
        """None where the verb is not allowed. Raises NotFound."""
        name = call.info.subresource
        if name not in call.served.info.subresources:
            raise NotFound("the server could not find the requested resource")
        return self._table.get(name, {}).get(call.info.verb)

    def create_only(self, call: Call) -> Handler | None:
        """The handler of a kind that is POSTed and not stored."""
        if call.info.verb != "create":
            return None
        return bind if call.served.info.kind == "Binding" else self._reviews.answer
