"""Which kind of object each subresource takes and which verbs it has: what discovery says about subresources."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sampan.apiserver.resources import ResourceInfo

_OWN_KINDS = {
    "scale": ("autoscaling", "v1", "Scale"),
    "eviction": ("policy", "v1", "Eviction"),
    "binding": ("", "v1", "Binding"),
    "token": ("authentication.k8s.io", "v1", "TokenRequest"),
}
_OPTION_KINDS = {
    ("pods", "attach"): "PodAttachOptions",
    ("pods", "exec"): "PodExecOptions",
    ("pods", "portforward"): "PodPortForwardOptions",
    ("pods", "proxy"): "PodProxyOptions",
    ("services", "proxy"): "ServiceProxyOptions",
    ("nodes", "proxy"): "NodeProxyOptions",
}
_VERBS = {
    "attach": ["create", "get"],
    "binding": ["create"],
    "eviction": ["create"],
    "exec": ["create", "get"],
    "finalize": ["update"],
    "log": ["get"],
    "portforward": ["create", "get"],
    "proxy": ["create", "delete", "get", "patch", "update"],
    "token": ["create"],
}
_VIEW_VERBS = ["get", "patch", "update"]


def subresource_kind(info: "ResourceInfo", name: str) -> tuple[str, str, str]:
    """Group, version and kind of what a subresource takes and gives; by default the resource's own."""
    if name in _OWN_KINDS:
        return _OWN_KINDS[name]
    return info.group, info.version, _OPTION_KINDS.get((info.plural, name), info.kind)


def subresource_verbs(name: str) -> list[str]:
    return _VERBS.get(name, _VIEW_VERBS)
