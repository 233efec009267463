"""How controllers name objects: in events, by the resource and metadata they have at hand."""

from sampan.api.meta_v1 import ObjectMeta
from sampan.client.resources import Resource
from sampan.machinery.objects import Object


def reference(resource: Resource, metadata: ObjectMeta) -> Object:
    """The object an event is about; objects from a list do not carry their own kind."""
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"namespace": metadata.namespace, "name": metadata.name, "uid": metadata.uid},
    }
