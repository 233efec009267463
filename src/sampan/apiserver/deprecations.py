"""What clients of a deprecated form of a kind are told, in a Warning header.

An old form that is converted brings its warning with it (`conversion/versions.py`). Some kinds have one form only and
are deprecated all the same, since some release: servers that present an earlier one say nothing.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sampan.apiserver.resources import ResourceInfo

_ONLY_FORMS: Mapping[tuple[str, str], tuple[int, str]] = {
    ("v1", "ComponentStatus"): (19, ""),
    ("v1", "Endpoints"): (33, "; use discovery.k8s.io/v1 EndpointSlice"),
}
"""By version and kind: the minor release of the deprecation, and what to use instead."""


def warning(info: "ResourceInfo", release: str) -> str:
    """The warning for clients of this row, or the empty string; `release` is the one presented, as `1.36`."""
    if info.conversion:
        return info.conversion.warning
    since, instead = _ONLY_FORMS.get((info.api_version, info.kind), (0, ""))
    if not since or int(release.partition(".")[2]) < since:
        return ""
    return f"{info.api_version} {info.kind} is deprecated in v1.{since}+{instead}"
