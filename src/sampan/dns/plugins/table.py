"""Every plugin there is, in the order in which a query passes them, whatever the order in the Corefile.

The order is CoreDNS's, but for one thing: `autopath` stands before `cache`, so that the cache keeps the names it tries,
which are everybody's, and not what it makes of them, which is right for one pod alone.
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
    cache.KIND,
    rewrite.KIND,
    template.KIND,
    hosts.KIND,
    kubernetes.KIND,
    loop.KIND,
    forward.KIND,
)

BY_NAME = {kind.name: kind for kind in PLUGINS}
REPEATABLE = frozenset({"rewrite", "template", "forward", "log"})
