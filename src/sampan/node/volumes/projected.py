"""Volumes that are made of files: configMap, secret, downwardAPI, and projections of several sources into one.

All four are the same here, a list of sources: `sources_of` says which, `objects_of` what has to be looked up,
`render` gives the files. Pure; `manager.py` looks up and writes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sampan.api.core_v1 import Pod, ProjectedItem, ServiceAccountTokenSource, Volume
from sampan.node.env import Reference, Sources
from sampan.node.fields import PodFacts
from sampan.node.volumes import config_map, downward_api, secret
from sampan.node.volumes.atomic import DEFAULT_MODE, File, is_safe
from sampan.node.volumes.errors import VolumeError


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the files are made from: the pod, the objects it refers to, and its tokens by their source."""

    pod: Pod
    facts: PodFacts
    sources: Sources
    tokens: Mapping[ServiceAccountTokenSource, str] = field(default_factory=dict)


def sources_of(volume: Volume) -> tuple[ProjectedItem, ...] | None:
    """The sources of a volume made of files; None for other volumes."""
    if volume.config_map:
        return (ProjectedItem(config_map=volume.config_map),)
    if volume.secret:
        return (ProjectedItem(secret=volume.secret),)
    if volume.downward_api:
        return (ProjectedItem(downward_api=volume.downward_api),)
    return volume.projected.sources if volume.projected else None


def objects_of(items: Iterable[ProjectedItem]) -> set[Reference]:
    """Every ConfigMap and Secret that the sources name."""
    found: set[Reference] = set()
    for item in items:
        if item.config_map:
            found.add(("ConfigMap", item.config_map.name))
        if item.secret:
            found.add(("Secret", secret.secret_name(item.secret)))
    return found


def tokens_of(items: Iterable[ProjectedItem]) -> list[ServiceAccountTokenSource]:
    return [item.service_account_token for item in items if item.service_account_token]


def render(volume: Volume, inputs: Inputs) -> dict[str, File]:
    """All files of a volume; later sources win. Raises VolumeError."""
    projected = volume.projected
    mode = DEFAULT_MODE if projected is None or projected.default_mode is None else projected.default_mode
    files: dict[str, File] = {}
    for item in sources_of(volume) or ():
        files |= _render_item(item, inputs, mode)
    for path in files:
        if not is_safe(path):
            raise VolumeError(f"invalid path: {path}")
    return files


def _render_item(item: ProjectedItem, inputs: Inputs, mode: int) -> dict[str, File]:
    if item.config_map:
        found = inputs.sources.config_maps.get(item.config_map.name)
        return config_map.files(item.config_map, found, mode)
    if item.secret:
        return secret.files(item.secret, inputs.sources.secrets.get(secret.secret_name(item.secret)), mode)
    if item.downward_api:
        return downward_api.files(item.downward_api, inputs.pod, inputs.facts, mode)
    if item.service_account_token:
        token = inputs.tokens[item.service_account_token]
        return {item.service_account_token.path: File(token.encode(), mode)}
    return {}
