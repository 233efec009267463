"""Leases (coordination.k8s.io/v1): node heartbeats and leader election."""

from sampan.api.meta_v1 import APIObject, Struct


class LeaseSpec(Struct, frozen=True):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(APIObject, frozen=True):
    spec: LeaseSpec = LeaseSpec()
