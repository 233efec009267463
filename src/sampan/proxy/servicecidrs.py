"""From which networks cluster IPs come (KEP-1880): what goes to an address there that no Service has, goes nowhere.

An API server older than ServiceCIDR objects, or one that does not show them, is no obstacle: then nothing is dropped.
"""

import logging

from sampan.api.meta_v1 import APIObject, Struct
from sampan.client.informer import Informer
from sampan.client.resources import Resource
from sampan.client.rest import Client
from sampan.machinery.errors import Forbidden, NotFound
from sampan.proxy.syncer import Syncer
from sampan.proxy.tracker import Tracker

log = logging.getLogger(__name__)

SERVICE_CIDRS = Resource("networking.k8s.io", "v1", "servicecidrs", "ServiceCIDR", namespaced=False)


class ServiceCIDRSpec(Struct, frozen=True):
    cidrs: tuple[str, ...] = ()


class ServiceCIDR(APIObject, frozen=True):
    spec: ServiceCIDRSpec = ServiceCIDRSpec()


async def service_cidrs(client: Client) -> list[str]:
    """The networks there are now; none if the server has no such objects. Raises OSError."""
    try:
        found = await client.list(SERVICE_CIDRS, type=ServiceCIDR)
    except (NotFound, Forbidden) as error:
        log.info("%s are not followed: %s", SERVICE_CIDRS.plural, error)
        return []
    return [cidr for each in found.items for cidr in each.spec.cidrs]


async def follow_service_cidrs(client: Client, tracker: Tracker, syncer: Syncer) -> None:
    """Let the tracker know the networks, until cancelled; return at once if the server has no such objects."""
    try:
        await client.list(SERVICE_CIDRS, type=ServiceCIDR)
    except (NotFound, Forbidden) as error:
        log.info("%s are not followed: %s", SERVICE_CIDRS.plural, error)
        return
    except OSError as error:
        log.debug("%s: %s", SERVICE_CIDRS.plural, error)
    informer = Informer(client, SERVICE_CIDRS, ServiceCIDR)

    def changed(old: ServiceCIDR | None, new: ServiceCIDR | None) -> None:
        tracker.set_service_cidrs(cidr for each in informer.items() for cidr in each.spec.cidrs)
        if tracker.dirty:
            syncer.wake()

    informer.add_handler(changed)
    await informer.run()
