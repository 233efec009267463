"""Services in iptables, in the chains that documentation shows: KUBE-SERVICES, KUBE-SVC-…, KUBE-SEP-…"""
