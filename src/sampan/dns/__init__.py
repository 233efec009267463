"""Cluster DNS: records compiled from the watch, answered from a table."""
