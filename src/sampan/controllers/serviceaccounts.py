"""The ServiceAccount controller: every namespace has its ServiceAccount `default`."""

from sampan.api.core_v1 import Namespace, ServiceAccount
from sampan.client.resources import SERVICE_ACCOUNTS
from sampan.controllers.context import Context
from sampan.controllers.controller import QueueController, is_namespace_terminating
from sampan.machinery.errors import AlreadyExists, Forbidden, NotFound

DEFAULT = "default"


def is_missing(namespace: Namespace | None, existing: ServiceAccount | None) -> bool:
    """Whether the namespace lives and lacks its account."""
    return existing is None and is_active(namespace)


def is_active(namespace: Namespace | None) -> bool:
    return namespace is not None and not namespace.metadata.deletion_timestamp


class ServiceAccountController(QueueController):
    name = "serviceaccount"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._namespaces, self._accounts = context.namespaces, context.service_accounts
        self._namespaces.add_handler(self.enqueue)
        self._accounts.add_handler(self._account_changed)

    def _account_changed(self, old: ServiceAccount | None, new: ServiceAccount | None) -> None:
        if old is not None and new is None:
            self.queue.add(old.metadata.namespace)

    async def sync(self, key: str) -> None:
        if not is_missing(self._namespaces.get(None, key), self._accounts.get(key, DEFAULT)):
            return
        try:
            await self.client.create(SERVICE_ACCOUNTS, {"metadata": {"name": DEFAULT, "namespace": key}}, key)
        except (AlreadyExists, NotFound):
            return
        except Forbidden as error:
            if not is_namespace_terminating(error):
                raise
