"""From a request's credentials to its user: a bearer token if there is one, else the client certificate."""

from sampan.apiserver.authn.certificates import MalformedCertificate, user_of_certificate
from sampan.apiserver.authn.tokens import ServiceAccountTokens
from sampan.apiserver.strategy import User
from sampan.http.server import Request
from sampan.machinery.errors import Unauthorized


class Authenticator:
    """Every way in that this server knows."""

    def __init__(self, tokens: ServiceAccountTokens | None) -> None:
        self._tokens = tokens

    def authenticate(self, request: Request) -> User:
        """Raises Unauthorized."""
        header = request.headers.get("authorization")
        if header:
            scheme, _, token = header.partition(" ")
            user = self._tokens.user(token.strip()) if self._tokens and scheme.lower() == "bearer" else None
            if user is None:
                raise Unauthorized
            return user
        der = request.peer_cert
        if der:
            try:
                user = user_of_certificate(der)
            except MalformedCertificate:
                raise Unauthorized from None
            if user is not None:
                return user
        raise Unauthorized
