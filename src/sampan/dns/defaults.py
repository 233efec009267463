"""Corefiles for those who write none."""

CLUSTER = """\
.:{port} {{
    errors
    health {{
       lameduck 5s
    }}
    ready
    kubernetes {domain} in-addr.arpa ip6.arpa {{
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl {ttl}
    }}
    prometheus :9153
    forward . {upstream} {{
       max_concurrent 1000
       failfast_all_unhealthy_upstreams
    }}
    cache 30
    loop
    reload
    loadbalance
}}
"""
"""As kubeadm writes it, but that names outside fail at once while no upstream can be reached."""

NODE_LOCAL = """\
{domain}:{port} in-addr.arpa:{port} ip6.arpa:{port} {{
    errors
    bind {listen}
    cache {{
       success 9984 30
       denial 9984 5
    }}
    forward . {cluster_dns} {{
       force_tcp
    }}
    loop
    reload
}}
.:{port} {{
    errors
    bind {listen}
    health :8080
    prometheus :9253
    cache 30
    forward . {upstream}
    loop
    reload
}}
"""
"""As upstream's NodeLocal DNSCache: a cache on each node, that asks the cluster's DNS over TCP."""


def cluster(domain: str, *, port: int = 53, ttl: int = 30, upstream: str = "/etc/resolv.conf") -> str:
    return CLUSTER.format(domain=domain, port=port, ttl=ttl, upstream=upstream)


def node_local(
    domain: str, cluster_dns: str, listen: str, *, port: int = 53, upstream: str = "/etc/resolv.conf"
) -> str:
    return NODE_LOCAL.format(domain=domain, cluster_dns=cluster_dns, listen=listen, port=port, upstream=upstream)
