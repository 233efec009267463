"""Files from the pod's own fields. Pure."""

from sampan.api.core_v1 import DownwardFile, DownwardSource, Pod, ResourceFieldSelector
from sampan.node import fields
from sampan.node.fields import PodFacts
from sampan.node.volumes.atomic import File
from sampan.node.volumes.errors import VolumeError


def files(source: DownwardSource, pod: Pod, facts: PodFacts, default_mode: int) -> dict[str, File]:
    """One file per item. Raises VolumeError for a field that the downward API does not offer."""
    mode = default_mode if source.default_mode is None else source.default_mode
    try:
        return {
            item.path: File(_value(item, pod, facts).encode(), mode if item.mode is None else item.mode)
            for item in source.items
        }
    except fields.UnsupportedField as error:
        raise VolumeError(str(error)) from error


def _value(item: DownwardFile, pod: Pod, facts: PodFacts) -> str:
    if item.field_ref:
        return fields.pod_field(pod, facts, item.field_ref.field_path)
    if item.resource_field_ref:
        return _resource(item.resource_field_ref, pod, facts)
    return ""


def _resource(ref: ResourceFieldSelector, pod: Pod, facts: PodFacts) -> str:
    for container in (*pod.spec.containers, *pod.spec.init_containers):
        if container.name == ref.container_name:
            return fields.container_resource(pod, container, facts, ref)
    raise VolumeError(f"container {ref.container_name} not found")
