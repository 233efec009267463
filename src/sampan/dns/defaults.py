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
.:{port} {{
    errors
    bind {listen}
    health {listen}:8080
    kubernetes {domain} in-addr.arpa ip6.arpa {{
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }}
    prometheus :9253
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
"""For one node. Where upstream's NodeLocal DNSCache keeps copies of answers, this one knows the cluster's names."""


def cluster(domain: str, *, port: int = 53, ttl: int = 30, upstream: str = "/etc/resolv.conf") -> str:
    return CLUSTER.format(domain=domain, port=port, ttl=ttl, upstream=upstream)


def node_local(domain: str, listen: str, *, port: int = 53, upstream: str = "/etc/resolv.conf") -> str:
    return NODE_LOCAL.format(domain=domain, listen=listen, port=port, upstream=upstream)
