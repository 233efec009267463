"""The node agent: pods as containers, their network, volumes, probes and status."""
