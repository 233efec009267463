"""Acting as somebody else (`kubectl --as`): the headers by which a user asks for it, and who results.

`app.py` asks after authentication. Source: upstream's documentation of user impersonation; whoever may do everything
may do this as well, so that there is nothing to authorise as long as `authz.py` tells no users apart.
"""

from urllib.parse import unquote

from sampan.apiserver.strategy import ANONYMOUS, User
from sampan.http.messages import Headers
from sampan.machinery.errors import BadRequest

_PREFIX = "impersonate-"
_EXTRA = "impersonate-extra-"
_ACCOUNT = "system:serviceaccount:"


def impersonated(user: User, headers: Headers) -> User:
    """Whom the headers name, or the user itself. Raises BadRequest."""
    asked = {key: value for key, value in headers.items() if key.startswith(_PREFIX)}
    if not asked:
        return user
    name = asked.get("impersonate-user", "")
    groups = tuple(filter(None, headers.getall("impersonate-group")))
    if not name:
        raise BadRequest(f"requested {sorted(asked)} without impersonating a user")
    extra = {unquote(key.removeprefix(_EXTRA)): list(headers.getall(key)) for key in asked if key.startswith(_EXTRA)}
    return User(name, _completed(name, groups), asked.get("impersonate-uid", ""), extra)


def _completed(name: str, groups: tuple[str, ...]) -> tuple[str, ...]:
    """With the groups that go without saying."""
    if name == ANONYMOUS.name:
        return tuple(dict.fromkeys((*groups, *ANONYMOUS.groups)))
    if not groups and name.startswith(_ACCOUNT):
        namespace = name.removeprefix(_ACCOUNT).partition(":")[0]
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
    return tuple(dict.fromkeys((*groups, "system:authenticated")))
