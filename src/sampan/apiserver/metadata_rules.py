"""What holds for the metadata of every kind: who owns which field, and what may stand in it.

`engine.py` calls these functions around the strategy's hooks, so that strategies never look at metadata that all kinds
share. Messages are upstream's (apimachinery `ValidateObjectMeta`).
"""

from uuid import uuid4

from sampan.apiserver.served import Served
from sampan.apiserver.strategy import RequestInfo
from sampan.machinery import names, times
from sampan.machinery.errors import BadRequest, FieldError
from sampan.machinery.objects import Object, metadata

_ANNOTATIONS_LIMIT = 256 * 1024
_SYSTEM_FIELDS = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")
_OWN_FINALIZERS = frozenset({"orphan", "foregroundDeletion", "kubernetes"})


def check_type(served: Served, obj: Object) -> None:
    """Fill in apiVersion and kind, or refuse others than this resource's. Raises BadRequest."""
    version, kind = obj.get("apiVersion", ""), obj.get("kind", "")
    if not isinstance(version, str) or not isinstance(kind, str):
        raise BadRequest("couldn't get version/kind; apiVersion and kind must be strings")
    version, kind = version or served.api_version, kind or served.info.kind
    if version != served.api_version:
        raise BadRequest(
            f"the API version in the data ({version}) does not match the expected API version ({served.api_version})"
        )
    if kind != served.info.kind:
        raise BadRequest(f"the kind in the data ({kind}) does not match the expected kind ({served.info.kind})")
    obj["apiVersion"], obj["kind"] = version, kind
    if obj.get("metadata") is None:
        obj["metadata"] = {}


def settle_namespace(served: Served, obj: Object, request: RequestInfo) -> None:
    """The namespace is the request's. Raises BadRequest."""
    meta = metadata(obj)
    if not served.info.namespaced:
        meta.pop("namespace", None)
        return
    if meta.get("namespace") not in (None, "", request.namespace):
        raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")
    meta["namespace"] = request.namespace


def check_address(obj: Object, request: RequestInfo) -> None:
    """A PUT must say which object it is, and mean the one in the path. Raises BadRequest."""
    meta = metadata(obj)
    if not isinstance(meta, dict):
        return  # the schema's to refuse
    name, namespace = meta.get("name"), meta.get("namespace")
    if not name:
        detail = "was undeterminable: name must be provided"
        raise BadRequest(f"the name of the object ({request.name} based on URL) {detail}")
    if name != request.name:
        raise BadRequest(f"the name of the object ({name}) does not match the name on the URL ({request.name})")
    if request.namespace and namespace and namespace != request.namespace:
        detail = f"does not match the namespace on the request ({request.namespace})"
        raise BadRequest(f"the namespace of the object ({namespace}) {detail}")


def settle_name(obj: Object, request: RequestInfo) -> None:
    """An update's name is the request's. Raises BadRequest."""
    meta = metadata(obj)
    if meta.get("name") not in (None, "", request.name):
        raise BadRequest(
            f"the name of the object ({meta.get('name')}) does not match the name on the URL ({request.name})"
        )
    meta["name"] = request.name


def begin_life(obj: Object) -> None:
    """Set the system's fields of a new object and drop what clients may not set."""
    meta = metadata(obj)
    for name in ("selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "resourceVersion"):
        meta.pop(name, None)
    meta["uid"] = str(uuid4())
    meta["creationTimestamp"] = times.now()


def generate_name(obj: Object) -> bool:
    """Fill in a name made from generateName, if there is no name; True if one was made."""
    meta = metadata(obj)
    base = meta.get("generateName")
    if meta.get("name") or not base or not isinstance(base, str):
        return False
    meta["name"] = base[: 63 - 5] + names.generate_suffix()
    return True


def keep_system_fields(new: Object, old: Object) -> None:
    """An update changes none of the system's fields."""
    fresh, kept = metadata(new), metadata(old)
    for name in _SYSTEM_FIELDS:
        if name in kept:
            fresh[name] = kept[name]
        else:
            fresh.pop(name, None)
    fresh.pop("selfLink", None)
    if "managedFields" not in fresh and "managedFields" in kept:
        fresh["managedFields"] = kept["managedFields"]


def validate(served: Served, obj: Object) -> list[FieldError]:
    """The metadata of a new object."""
    meta = metadata(obj)
    name = meta.get("name")
    if not name:
        return [FieldError.required("metadata.name", "name or generateName is required")]
    errors = [FieldError.invalid("metadata.name", name, text) for text in served.strategy.validate_name(name)]
    return errors + _validate_common(meta)


def validate_update(new: Object, old: Object) -> list[FieldError]:
    """The metadata of a changed object; what has not changed is not looked at again."""
    fresh, kept = metadata(new), metadata(old)
    errors = _validate_common({key: value for key, value in fresh.items() if value != kept.get(key)})
    if "deletionTimestamp" in kept:
        added = set(fresh.get("finalizers") or ()) - set(kept.get("finalizers") or ())
        if added:
            listed = " ".join(f'"{name}"' for name in sorted(added))
            detail = (
                "no new finalizers can be added if the object is being deleted, "
                f"found new finalizers []string{{{listed}}}"
            )
            errors.append(FieldError.forbidden("metadata.finalizers", detail))
    return errors


def _validate_common(meta: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    if labels := meta.get("labels"):
        errors += validate_labels("metadata.labels", labels)
    if annotations := meta.get("annotations"):
        errors += _validate_annotations(annotations)
    if owners := meta.get("ownerReferences"):
        errors += _validate_owners(owners)
    for finalizer in meta.get("finalizers") or ():
        errors += _validate_finalizer(finalizer)
    return errors


def validate_labels(path: str, labels: Object) -> list[FieldError]:
    errors = []
    for key, value in labels.items():
        errors += [FieldError.invalid(path, key, text) for text in names.qualified_name(key)]
        errors += [FieldError.invalid(path, value, text) for text in names.label_value(value or "")]
    return errors


def _validate_annotations(annotations: Object) -> list[FieldError]:
    path = "metadata.annotations"
    errors = [FieldError.invalid(path, key, text) for key in annotations for text in names.qualified_name(key.lower())]
    size = sum(len(key.encode()) + len(str(value).encode()) for key, value in annotations.items())
    if size > _ANNOTATIONS_LIMIT:
        errors.append(FieldError.too_long(path, _ANNOTATIONS_LIMIT))
    return errors


def _validate_owners(owners: list[Object]) -> list[FieldError]:
    path = "metadata.ownerReferences"
    errors = []
    controller = ""
    for owner in owners:
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                detail = f"{'version' if field == 'apiVersion' else field} must not be empty"
                errors.append(FieldError.invalid(f"{path}.{field}", owner.get(field) or "", detail))
        if owner.get("controller"):
            if controller:
                detail = (
                    "Only one reference can have Controller set to true. "
                    f'Found "true" in references for {controller} and {owner.get("kind")}/{owner.get("name")}'
                )
                errors.append(FieldError.invalid(path, owners, detail))
            controller = f"{owner.get('kind')}/{owner.get('name')}"
    return errors


def _validate_finalizer(finalizer: str) -> list[FieldError]:
    path = "metadata.finalizers"
    errors = [FieldError.invalid(path, finalizer, text) for text in names.qualified_name(finalizer)]
    if not errors and "/" not in finalizer and finalizer not in _OWN_FINALIZERS:
        detail = "name is neither a standard finalizer name nor is it fully qualified"
        errors.append(FieldError.invalid(path, finalizer, detail))
    return errors
