"""Tables of volumes, claims, storage classes and their drivers."""

from collections.abc import Iterable

from sampan.apiserver.registry.tables.table import UNSET, Cells, Table, age, boolean, columns, name
from sampan.machinery.objects import Object

_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_OLD_CLASS = "volume.beta.kubernetes.io/storage-class"


def _modes(modes: Iterable[str] | None) -> str:
    present = set(modes or ())
    return ",".join(short for mode, short in _MODES.items() if mode in present)


def _class(obj: Object) -> str:
    annotations = obj["metadata"].get("annotations") or {}
    return str(annotations.get(_OLD_CLASS) or (obj.get("spec") or {}).get("storageClassName") or "")


def _phase(obj: Object) -> str:
    return "Terminating" if obj["metadata"].get("deletionTimestamp") else (obj.get("status") or {}).get("phase", "")


def _volume(obj: Object, now: float) -> Cells:
    spec, claim = obj.get("spec") or {}, (obj.get("spec") or {}).get("claimRef")
    return [
        name(obj),
        str((spec.get("capacity") or {}).get("storage", "0")),
        _modes(spec.get("accessModes")),
        spec.get("persistentVolumeReclaimPolicy", ""),
        _phase(obj),
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
        _class(obj),
        spec.get("volumeAttributesClassName") or UNSET,
        (obj.get("status") or {}).get("reason", ""),
        age(obj, now),
        spec.get("volumeMode") or UNSET,
    ]


def _claim(obj: Object, now: float) -> Cells:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    bound = bool(spec.get("volumeName"))
    return [
        name(obj),
        _phase(obj),
        spec.get("volumeName", ""),
        str((status.get("capacity") or {}).get("storage", "0")) if bound else "",
        _modes(status.get("accessModes")) if bound else "",
        _class(obj),
        spec.get("volumeAttributesClassName") or UNSET,
        age(obj, now),
        spec.get("volumeMode") or UNSET,
    ]


def _storage_class(obj: Object, now: float) -> Cells:
    is_default = (obj["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true"
    return [
        f"{name(obj)} (default)" if is_default else name(obj),
        obj.get("provisioner", ""),
        obj.get("reclaimPolicy") or "Delete",
        obj.get("volumeBindingMode") or "Immediate",
        boolean(bool(obj.get("allowVolumeExpansion"))),
        age(obj, now),
    ]


def _attachment(obj: Object, now: float) -> Cells:
    spec = obj.get("spec") or {}
    return [
        name(obj),
        spec.get("attacher", ""),
        (spec.get("source") or {}).get("persistentVolumeName", ""),
        spec.get("nodeName", ""),
        boolean(bool((obj.get("status") or {}).get("attached"))),
        age(obj, now),
    ]


def _csi_node(obj: Object, now: float) -> Cells:
    return [name(obj), len((obj.get("spec") or {}).get("drivers") or ()), age(obj, now)]


def _csi_driver(obj: Object, now: float) -> Cells:
    spec = obj.get("spec") or {}
    audiences = ",".join(str(request.get("audience", "")) for request in spec.get("tokenRequests") or ())
    return [
        name(obj),
        boolean(spec.get("attachRequired", True)),
        boolean(spec.get("podInfoOnMount", False)),
        boolean(spec.get("storageCapacity", False)),
        audiences or UNSET,
        boolean(spec.get("requiresRepublish", False)),
        ",".join(spec.get("volumeLifecycleModes") or ()) or "<none>",
        age(obj, now),
    ]


PERSISTENT_VOLUMES = Table(
    columns(
        (
            "Name",
            "Capacity",
            "Access Modes",
            "Reclaim Policy",
            "Status",
            "Claim",
            "StorageClass",
            "VolumeAttributesClass",
            "Reason",
            "Age",
        ),
        wide=("VolumeMode",),
    ),
    _volume,
)
CLAIMS = Table(
    columns(
        ("Name", "Status", "Volume", "Capacity", "Access Modes", "StorageClass", "VolumeAttributesClass", "Age"),
        wide=("VolumeMode",),
    ),
    _claim,
)
STORAGE_CLASSES = Table(
    columns(("Name", "Provisioner", "ReclaimPolicy", "VolumeBindingMode", "AllowVolumeExpansion", "Age")),
    _storage_class,
)
VOLUME_ATTACHMENTS = Table(columns(("Name", "Attacher", "PV", "Node", "Attached", "Age")), _attachment)
CSI_NODES = Table(columns(("Name", "#Drivers", "Age")), _csi_node)
CSI_DRIVERS = Table(
    columns(
        (
            "Name",
            "AttachRequired",
            "PodInfoOnMount",
            "StorageCapacity",
            "TokenRequests",
            "RequiresRepublish",
            "Modes",
            "Age",
        )
    ),
    _csi_driver,
)
