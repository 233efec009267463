"""Requests that are really for somebody else: node agents (logs, exec, port-forward), pods, Services and nodes."""
