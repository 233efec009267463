"""Service-account tokens: JSON Web Tokens (RFC 7519) signed with ES256 (RFC 7518 section 3.4).

A token names a service account and may be bound to a pod or secret; it is good while all of these still exist under
the same uid. A signature is checked once for each token, the rest at every use. cryptography is imported with the first
token, because clusters start without any.
"""

import asyncio
import base64
import binascii
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec

from sampan.apiserver.strategy import User
from sampan.machinery.objects import Object
from sampan.store.interface import Store

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

_CLAIM = "kubernetes.io"
_PREFIX = "system:serviceaccount:"
_CACHE = 4096
_BOUND = {
    "serviceaccount": "/registry/core/serviceaccounts/{}/",
    "pod": "/registry/core/pods/{}/",
    "secret": "/registry/core/secrets/{}/",
    "node": "/registry/core/nodes/",
}


class _Meta(msgspec.Struct):
    uid: str = ""


class _Holder(msgspec.Struct):
    metadata: _Meta


class ServiceAccountTokens:
    """Issues tokens with the cluster's key and recognises them."""

    def __init__(self, store: Store, private_key: Path, issuer: str) -> None:
        self._store = store
        self._path = private_key
        self.issuer = issuer
        self._private: EllipticCurvePrivateKey | None = None
        self._verified: dict[str, Object] = {}

    # --- recognising

    def user(self, token: str) -> User | None:
        """The service account that holds a token for this server, or None."""
        claims = self.claims(token, (self.issuer,))
        return user_of_claims(claims) if claims else None

    def claims(self, token: str, audiences: Sequence[str]) -> Object | None:
        """A valid token's claims, or None: bad signature, expired, another audience, or its objects are gone."""
        claims = self._verified.get(token)
        if claims is None:
            claims = self._verify(token)
            if claims is None:
                return None
            if len(self._verified) >= _CACHE:
                self._verified.clear()
            self._verified[token] = claims
        now = time.time()
        if not claims.get("nbf", 0) <= now + 10 or now >= claims.get("exp", 0):
            return None
        if audiences and not set(audiences) & set(claims.get("aud") or ()):
            return None
        return claims if self._still_exists(claims.get(_CLAIM) or {}) else None

    def _verify(self, token: str) -> Object | None:
        head, _, signature = token.rpartition(".")
        header, _, payload = head.partition(".")
        try:
            fields: Object = msgspec.json.decode(_decode64(header), type=Object)
            claims: Object = msgspec.json.decode(_decode64(payload), type=Object)
            raw = _decode64(signature)
        except ValueError:
            return None
        if fields.get("alg") != "ES256" or len(raw) != 64 or claims.get("iss") != self.issuer:
            return None
        return claims if self._is_signed(head.encode(), raw) and _well_formed(claims) else None

    def _is_signed(self, data: bytes, raw: bytes) -> bool:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, utils

        der = utils.encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
        try:
            self._public().verify(der, data, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True

    def _still_exists(self, bound: Object) -> bool:
        namespace = str(bound.get("namespace", ""))
        for kind, prefix in _BOUND.items():
            reference = bound.get(kind)
            if not isinstance(reference, dict):
                continue
            entry = self._store.peek(prefix.format(namespace) + str(reference.get("name", "")))
            if entry is None or msgspec.json.decode(entry.value, type=_Holder).metadata.uid != reference.get("uid"):
                return False
        return True

    # --- issuing

    def issue(
        self, namespace: str, account: Object, seconds: int, audiences: Sequence[str], bound: Mapping[str, Object]
    ) -> tuple[str, float]:
        """A new token and when it expires. `bound` may hold `pod`, `secret` and `node` references (name, uid)."""
        now = int(time.time())
        meta = account["metadata"]
        reference = {"name": meta["name"], "uid": meta["uid"]}
        claims = {
            "aud": list(audiences) or [self.issuer],
            "exp": now + seconds,
            "iat": now,
            "iss": self.issuer,
            "jti": str(uuid4()),
            _CLAIM: {"namespace": namespace, "serviceaccount": reference, **bound},
            "nbf": now,
            "sub": f"{_PREFIX}{namespace}:{meta['name']}",
        }
        return self._sign(claims), float(now + seconds)

    def _sign(self, claims: Object) -> str:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, utils

        header = {"alg": "ES256", "kid": self._key_id, "typ": "JWT"}
        data = _encode64(msgspec.json.encode(header)) + "." + _encode64(msgspec.json.encode(claims))
        r, s = utils.decode_dss_signature(self._key().sign(data.encode(), ec.ECDSA(hashes.SHA256())))
        return data + "." + _encode64(r.to_bytes(32, "big") + s.to_bytes(32, "big"))

    # --- keys

    async def load(self) -> None:
        """Have the key and what signs with it: slow the first time, so in a thread. Raises OSError, ValueError."""
        if self._private is None:
            await asyncio.to_thread(self._key)

    def _key(self) -> "EllipticCurvePrivateKey":
        if self._private is None:
            from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
            from cryptography.hazmat.primitives.serialization import load_pem_private_key

            key = load_pem_private_key(self._path.read_bytes(), password=None)
            if not isinstance(key, EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
                raise ValueError(f"{self._path} does not hold a P-256 key")
            self._private = key
        return self._private

    def _public(self) -> "EllipticCurvePublicKey":
        return self._key().public_key()

    @cached_property
    def _key_id(self) -> str:
        import hashlib

        numbers = self._public().public_numbers()
        return _encode64(hashlib.sha256(f"{numbers.x}.{numbers.y}".encode()).digest())

    def jwks(self) -> Object:
        """The public key as a JSON Web Key Set (RFC 7517), for others who check tokens."""
        numbers = self._public().public_numbers()
        key = {
            "use": "sig", "kty": "EC", "kid": self._key_id, "crv": "P-256", "alg": "ES256",
            "x": _encode64(numbers.x.to_bytes(32, "big")), "y": _encode64(numbers.y.to_bytes(32, "big")),
        }  # fmt: skip
        return {"keys": [key]}


def user_of_claims(claims: Object) -> User:
    """The user that a service account is, with what its token is bound to as extra."""
    bound = claims[_CLAIM]
    namespace, account = bound["namespace"], bound["serviceaccount"]
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    extra: dict[str, list[str]] = {"authentication.kubernetes.io/credential-id": [f"JTI={claims.get('jti', '')}"]}
    for kind in ("pod", "node"):
        if isinstance(bound.get(kind), dict):
            extra[f"authentication.kubernetes.io/{kind}-name"] = [str(bound[kind].get("name", ""))]
            extra[f"authentication.kubernetes.io/{kind}-uid"] = [str(bound[kind].get("uid", ""))]
    return User(f"{_PREFIX}{namespace}:{account['name']}", groups, str(account.get("uid", "")), extra)


def _well_formed(claims: Object) -> bool:
    bound = claims.get(_CLAIM)
    times_ok = all(isinstance(claims.get(name, 0), int) for name in ("exp", "nbf"))
    if not isinstance(bound, dict) or not isinstance(claims.get("aud"), list) or not times_ok:
        return False
    account = bound.get("serviceaccount")
    return (
        isinstance(account, dict) and isinstance(account.get("name"), str) and isinstance(bound.get("namespace"), str)
    )


def _decode64(text: str) -> bytes:
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars="-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    if _encode64(data) != text:
        raise ValueError("not the canonical form of its bytes")
    return data


def _encode64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
