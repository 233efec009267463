"""Service-account tokens for projected volumes: bound to the pod, asked for with TokenRequest, renewed in time."""

from dataclasses import dataclass

from sampan.api.core_v1 import Pod, ServiceAccountTokenSource
from sampan.client.resources import SERVICE_ACCOUNTS
from sampan.client.rest import Client
from sampan.machinery import times
from sampan.machinery.objects import Object

RENEW_AT = 0.8
"""The share of a token's life after which a new one is asked for."""
TOKEN_MODE = 0o644


@dataclass(frozen=True, slots=True)
class Token:
    """A token and when to replace it, in epoch seconds."""

    value: str
    renew_at: float


async def request(client: Client, pod: Pod, source: ServiceAccountTokenSource, now: float) -> Token:
    """Ask the API server for a token of the pod's service account. Raises StatusError, OSError."""
    spec: Object = {
        "audiences": [source.audience] if source.audience else [],
        "expirationSeconds": source.expiration_seconds,
        "boundObjectRef": {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": pod.metadata.name,
            "uid": pod.metadata.uid,
        },
    }
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    account = pod.spec.service_account_name or "default"
    answer = await client.create(SERVICE_ACCOUNTS, body, pod.metadata.namespace, name=account, subresource="token")
    status = answer["status"]
    life = times.epoch(status["expirationTimestamp"]) - now
    return Token(status["token"], now + RENEW_AT * life)
