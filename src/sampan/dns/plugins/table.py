"""Every plugin there is, in the order in which a query passes them, whatever the order in the Corefile.

The order is CoreDNS's, but for one thing: `cache` stands behind all who answer by themselves, not before them. What it
keeps are the answers of other servers, under the names that those were asked for. Before `kubernetes` it would keep
what changes with the cluster: that an address has no name, because nobody else knows one, or where a Service of type
ExternalName leads. Before `autopath` it would keep for everybody what is right for one pod alone.
"""

import importlib

from sampan.dns.plugins.base import Kind

PLUGINS: tuple[str, ...] = (
    "root", "cancel", "reload", "nsid", "bufsize", "bind", "debug", "ready",
    "health", "pprof", "prometheus", "errors", "log", "local", "acl", "any",
    "chaos", "loadbalance", "autopath", "rewrite", "header", "minimal", "template", "hosts",
    "kubernetes", "cache", "loop", "forward", "whoami",
)  # fmt: skip
"""Each is the `KIND` of the module of that name, which is imported for the first Corefile that has it."""


def kind_of(name: str) -> Kind:
    """A plugin of the table."""
    kind: Kind = importlib.import_module(f"sampan.dns.plugins.{name}").KIND
    return kind


REPEATABLE = frozenset({"acl", "rewrite", "template", "forward", "log"})
ELSEWHERE = frozenset(
    {
        "auto", "azure", "clouddns", "dns64", "dnssec", "dnstap", "erratic", "etcd", "file", "geoip", "grpc",
        "grpc_server", "https", "https3", "k8s_external", "metadata", "multisocket", "nomad", "on", "quic", "route53",
        "secondary", "sign", "timeouts", "tls", "trace", "transfer", "tsig", "view",
    }
)  # fmt: skip
"""What CoreDNS has besides."""
