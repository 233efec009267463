"""Who may do what. One protocol, so that RBAC is one more class; today every authenticated user may do everything."""

from typing import Protocol

from sampan.apiserver.strategy import RequestInfo


class Authorizer(Protocol):
    """Decides about one request."""

    def allows(self, request: RequestInfo) -> bool: ...


class AllowAuthenticated:
    """Everything for everybody whose credentials were accepted."""

    def allows(self, request: RequestInfo) -> bool:
        return "system:authenticated" in request.user.groups
