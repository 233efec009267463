"""The root CA publisher: every namespace has the cluster's CA in ConfigMap `kube-root-ca.crt`, for pods to trust."""

from collections.abc import Mapping
from pathlib import Path

from sampan.api.core_v1 import ConfigMap
from sampan.client.resources import CONFIG_MAPS
from sampan.controllers.context import Context
from sampan.controllers.controller import QueueController, is_namespace_terminating
from sampan.controllers.serviceaccounts import is_active
from sampan.machinery.errors import AlreadyExists, Forbidden, NotFound
from sampan.machinery.objects import Object

NAME = "kube-root-ca.crt"
DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes "
    "clusters."
)


def desired(namespace: str, ca: str) -> Object:
    metadata = {"name": NAME, "namespace": namespace, "annotations": {"kubernetes.io/description": DESCRIPTION}}
    return {"metadata": metadata, "data": {"ca.crt": ca}}


def is_right(existing: ConfigMap, data: Mapping[str, str]) -> bool:
    described = existing.metadata.annotations.get("kubernetes.io/description") == DESCRIPTION
    return existing.data == data and described


class RootCAPublisher(QueueController):
    name = "root-ca-certificate-publisher"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        config = context.client.config
        path = context.options.ca_file or config.ca_file
        self._ca = Path(path).read_text() if path else config.ca_data
        self._namespaces, self._config_maps = context.namespaces, context.root_ca_config_maps
        self._namespaces.add_handler(self.enqueue)
        self._config_maps.add_handler(self._config_map_changed)

    def _config_map_changed(self, old: ConfigMap | None, new: ConfigMap | None) -> None:
        changed = new or old
        if changed is not None and old is not None:
            self.queue.add(changed.metadata.namespace)

    async def sync(self, key: str) -> None:
        if not self._ca or not is_active(self._namespaces.get(None, key)):
            return
        wanted = desired(key, self._ca)
        existing = self._config_maps.get(key, NAME)
        if existing is not None and is_right(existing, wanted["data"]):
            return
        try:
            if existing is None:
                await self.client.create(CONFIG_MAPS, wanted, key)
            else:
                await self.client.update(CONFIG_MAPS, wanted)
        except (AlreadyExists, NotFound):
            return
        except Forbidden as error:
            if not is_namespace_terminating(error):
                raise
