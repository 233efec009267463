"""The objects every cluster begins with besides those the API server makes itself: one file for each add-on.

`TABLE` lists them; `bootstrap.py` creates what `objects` says. Names and labels are those that documentation and
tutorials expect.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from sampan.client import resources
from sampan.client.resources import Resource
from sampan.cluster.addons import coredns, ingress, nodelocaldns
from sampan.cluster.addons.objects import Created
from sampan.cluster.config import ClusterConfig
from sampan.machinery.objects import Object


class Addon(NamedTuple):
    objects: Callable[[ClusterConfig], list[Created]]
    """What to create, in this order."""
    is_wanted: Callable[[ClusterConfig], bool] = lambda _: True


TABLE: tuple[Addon, ...] = (
    Addon(coredns.objects),
    Addon(nodelocaldns.objects, lambda config: config.dns.node_local),
    Addon(ingress.objects, lambda config: config.ingress),
)


def objects(config: ClusterConfig) -> list[tuple[Resource, Object]]:
    """What to create, in this order. Deployments are last: they wait for nodes."""
    wanted = [created for addon in TABLE if addon.is_wanted(config) for created in addon.objects(config)]
    return sorted(wanted, key=lambda created: created[0] == resources.DEPLOYMENTS)
