"""The service account token controller: Secrets of type kubernetes.io/service-account-token get a token that lasts as
long as the Secret does, as older programs and scripts expect; without its service account such a Secret goes.

Pods have no need of it: they mount tokens that are renewed (`apiserver/registry/pod_admission.py`).
"""

import base64
from pathlib import Path

from sampan.api.core_v1 import Secret
from sampan.api.meta_v1 import APIObject, PartialObject
from sampan.client.resources import SECRETS, SERVICE_ACCOUNTS
from sampan.controllers.context import Context
from sampan.controllers.controller import QueueController, split
from sampan.machinery.errors import NotFound
from sampan.machinery.objects import Object

TYPE = "kubernetes.io/service-account-token"
ACCOUNT_NAME, ACCOUNT_UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
LIFETIME_SECONDS = 1 << 32
"""The longest that can be asked for; the token ends with the Secret that it is bound to."""


def wanted_data(secret: Secret, ca: str, token: str) -> Object:
    """What the Secret lacks, in base64. What it has is kept: a token in use must not change."""
    wanted = {"ca.crt": ca, "namespace": secret.metadata.namespace, "token": token}
    missing = {key: value for key, value in wanted.items() if value and key not in secret.data}
    return {key: base64.b64encode(value.encode()).decode() for key, value in missing.items()}


class TokenSecretController(QueueController):
    name = "serviceaccount-token"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        path = context.options.ca_file or context.client.config.ca_file
        self._ca = Path(path).read_text() if path else context.client.config.ca_data
        self._secrets = context.informers.of(SECRETS, Secret, field_selector=f"type={TYPE}")
        self._accounts = context.informers.of(SERVICE_ACCOUNTS, PartialObject, metadata_only=True)
        self._secrets.add_handler(self.enqueue)
        self._accounts.add_handler(self._account_changed)

    def _account_changed(self, old: APIObject | None, new: APIObject | None) -> None:
        """Secrets go with their account, also with one that was replaced under its name."""
        if old is not None and new is None:
            for secret in self._secrets.items():
                if _account(secret) == (old.metadata.namespace, old.metadata.name):
                    self.queue.add(secret.metadata.key)

    async def sync(self, key: str) -> None:
        secret = self._secrets.get(*split(key))
        if secret is None or secret.metadata.deletion_timestamp:
            return
        try:
            account = await self.client.get(SERVICE_ACCOUNTS, _account(secret)[1], key.partition("/")[0], PartialObject)
        except NotFound:
            account = None
        if (
            account is None
            or secret.metadata.annotations.get(ACCOUNT_UID, account.metadata.uid) != account.metadata.uid
        ):
            await self._remove(secret)
            return
        await self._fill(secret, account.metadata.uid)

    async def _fill(self, secret: Secret, account_uid: str) -> None:
        token = "" if "token" in secret.data else await self._token(secret)
        data = wanted_data(secret, self._ca, token)
        meta = secret.metadata
        if not data and ACCOUNT_UID in meta.annotations:
            return
        patch: Object = {
            "metadata": {
                "uid": meta.uid,
                "resourceVersion": meta.resource_version,
                "annotations": {ACCOUNT_UID: account_uid},
            },
            "data": data,
        }
        try:
            await self.client.patch(SECRETS, meta.name, patch, meta.namespace)
        except NotFound:
            return

    async def _token(self, secret: Secret) -> str:
        meta = secret.metadata
        bound = {"apiVersion": "v1", "kind": "Secret", "name": meta.name, "uid": meta.uid}
        request: Object = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": LIFETIME_SECONDS, "boundObjectRef": bound},
        }
        namespace, account = _account(secret)
        answer = await self.client.create(SERVICE_ACCOUNTS, request, namespace, name=account, subresource="token")
        return str(answer["status"]["token"])

    async def _remove(self, secret: Secret) -> None:
        meta = secret.metadata
        try:
            await self.client.delete(SECRETS, meta.name, meta.namespace, uid=meta.uid)
        except NotFound:
            return


def _account(secret: Secret) -> tuple[str, str]:
    return secret.metadata.namespace, secret.metadata.annotations.get(ACCOUNT_NAME, "")
