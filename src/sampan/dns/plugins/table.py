"""Every plugin there is, in the order in which a query passes them, whatever the order in the Corefile.

The order is CoreDNS's, but for one thing: `cache` stands behind all who answer by themselves, not before them. What it
keeps are the answers of other servers, under the names that those were asked for. Before `kubernetes` it would keep
what changes with the cluster: that an address has no name, because nobody else knows one, or where a Service of type
ExternalName leads. Before `autopath` it would keep for everybody what is right for one pod alone.
"""

from sampan.dns.plugins import (
    acl,
    any,
    autopath,
    bind,
    bufsize,
    cache,
    cancel,
    chaos,
    debug,
    errors,
    forward,
    header,
    health,
    hosts,
    kubernetes,
    loadbalance,
    local,
    log,
    loop,
    minimal,
    nsid,
    pprof,
    prometheus,
    ready,
    reload,
    rewrite,
    root,
    template,
    whoami,
)
from sampan.dns.plugins.base import Kind

PLUGINS: tuple[Kind, ...] = (
    root.KIND,
    cancel.KIND,
    reload.KIND,
    nsid.KIND,
    bufsize.KIND,
    bind.KIND,
    debug.KIND,
    ready.KIND,
    health.KIND,
    pprof.KIND,
    prometheus.KIND,
    errors.KIND,
    log.KIND,
    local.KIND,
    acl.KIND,
    any.KIND,
    chaos.KIND,
    loadbalance.KIND,
    autopath.KIND,
    rewrite.KIND,
    header.KIND,
    minimal.KIND,
    template.KIND,
    hosts.KIND,
    kubernetes.KIND,
    cache.KIND,
    loop.KIND,
    forward.KIND,
    whoami.KIND,
)

BY_NAME = {kind.name: kind for kind in PLUGINS}
REPEATABLE = frozenset({"acl", "rewrite", "template", "forward", "log"})
ELSEWHERE = frozenset(
    {
        "auto", "azure", "clouddns", "dns64", "dnssec", "dnstap", "erratic", "etcd", "file", "geoip", "grpc",
        "grpc_server", "https", "https3", "k8s_external", "metadata", "multisocket", "nomad", "on", "quic", "route53",
        "secondary", "sign", "timeouts", "tls", "trace", "transfer", "tsig", "view",
    }
)  # fmt: skip
"""What CoreDNS has besides."""
