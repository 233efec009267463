"""Everything that a translation reads, asked for once: for looking into Ingresses without a controller.

`migrate.py` finds the controllers that run, and with them the flags by which Ingresses are understood.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

from sampan.api.core_v1 import ConfigMap, Secret, Service
from sampan.api.discovery_v1 import EndpointSlice
from sampan.api.meta_v1 import APIObject
from sampan.api.networking_v1 import Ingress, IngressClass
from sampan.client.resources import (
    CONFIG_MAPS,
    DAEMON_SETS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    INGRESS_CLASSES,
    INGRESSES,
    SECRETS,
    SERVICES,
    Resource,
)
from sampan.client.rest import Client
from sampan.ingress import flags, settings
from sampan.ingress.controller import options_of
from sampan.ingress.feed import key_of
from sampan.ingress.flags import Flags
from sampan.ingress.migrate import Controller, controllers
from sampan.ingress.model import Settings
from sampan.ingress.translate import translate
from sampan.ingress.translate.types import Key, Objects, Options, Translation
from sampan.machinery.errors import NotFound

T = TypeVar("T", bound=APIObject)


@dataclass(frozen=True, slots=True)
class Gathered:
    """A cluster's Ingresses as a controller understands them. `idle` are sentences about flags without effect."""

    objects: Objects
    data: dict[str, str]
    """Of the controller's ConfigMap."""
    settings: Settings
    options: Options
    translation: Translation
    idle: tuple[str, ...] = ()


async def running(client: Client) -> list[Controller]:
    """The controllers that Deployments and DaemonSets run. Raises StatusError, OSError."""
    found = []
    for resource in (DEPLOYMENTS, DAEMON_SETS):
        found += [(resource.kind, obj) for obj in (await client.list(resource)).items]
    return controllers(found)


def flags_of(controller: Controller | None) -> tuple[Flags, list[str]]:
    """Those that it runs with, or the defaults. Raises FlagError."""
    given, idle = flags.parse(controller.arguments if controller else ())
    if controller is not None and (0, 0) < controller.version < (1, 0):
        given = replace(given, watch_ingress_without_class=True)
    return given, idle


async def gather(client: Client, controller: Controller | None) -> Gathered:
    """Raises StatusError, OSError, FlagError."""
    given, idle = flags_of(controller)
    place = given.watch_namespace or None
    secrets: dict[Key, Secret | None] = {}
    maps: dict[Key, ConfigMap | None] = {}
    objects = Objects(
        ingresses=await _all(client, INGRESSES, Ingress, place),
        classes=await _all(client, INGRESS_CLASSES, IngressClass, None),
        services=await _all(client, SERVICES, Service, place),
        slices=await _all(client, ENDPOINT_SLICES, EndpointSlice, place),
        secrets=secrets,
        config_maps=maps,
    )
    own = await _one(client, CONFIG_MAPS, ConfigMap, key_of(given.configmap)) if given.configmap else None
    data = dict(own.data) if own else {}
    parsed, _ = settings.parse(data)
    options = options_of(given)
    while True:
        translation = translate(objects, parsed, options)
        wanted_secrets, wanted_maps = translation.secrets - secrets.keys(), translation.config_maps - maps.keys()
        if not wanted_secrets and not wanted_maps:
            return Gathered(objects, data, parsed, options, translation, tuple(idle))
        for key in wanted_secrets:
            secrets[key] = await _one(client, SECRETS, Secret, key)
        for key in wanted_maps:
            maps[key] = await _one(client, CONFIG_MAPS, ConfigMap, key)


async def _all(client: Client, resource: Resource, kind: type[T], namespace: str | None) -> dict[Key, T]:
    listed = await client.list(resource, namespace, type=kind)
    return {(one.metadata.namespace, one.metadata.name): one for one in listed.items}


async def _one(client: Client, resource: Resource, kind: type[T], key: Key) -> T | None:
    try:
        return await client.get(resource, key[1], key[0], kind)
    except NotFound:
        return None
