"""Every plugin there is, in the order in which a query passes them, whatever the order in the Corefile.

The order is CoreDNS's, but for one thing: `cache` stands behind all who answer by themselves, not before them. What it
keeps are the answers of other servers, under the names that those were asked for. Before `kubernetes` it would keep
what changes with the cluster: that an address has no name, because nobody else knows one, or where a Service of type
ExternalName leads. Before `autopath` it would keep for everybody what is right for one pod alone.
"""

from sampan.dns.plugins import (
    autopath,
    bind,
    bufsize,
    cache,
    errors,
    forward,
    health,
    hosts,
    kubernetes,
    loadbalance,
    log,
    loop,
    prometheus,
    ready,
    reload,
    rewrite,
    template,
)  # fmt: skip
from sampan.dns.plugins.base import Kind

PLUGINS: tuple[Kind, ...] = (
    reload.KIND,
    bufsize.KIND,
    bind.KIND,
    ready.KIND,
    health.KIND,
    prometheus.KIND,
    errors.KIND,
    log.KIND,
    loadbalance.KIND,
    autopath.KIND,
    rewrite.KIND,
    template.KIND,
    hosts.KIND,
    kubernetes.KIND,
    cache.KIND,
    loop.KIND,
    forward.KIND,
)

BY_NAME = {kind.name: kind for kind in PLUGINS}
REPEATABLE = frozenset({"rewrite", "template", "forward", "log"})
