"""Sampan: the Kubernetes Service system, whole, in Python. Start reading at docs/architecture.md."""

__version__ = "0.1.0"
