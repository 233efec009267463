"""The ingress controller: Ingress objects become the configuration of nginx."""
