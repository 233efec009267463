"""The Deployment controller: revisions of a template as ReplicaSets, and the way from one to the next.

`revisions` tells which ReplicaSet is which; `rolling` and `scaling` do the arithmetic; `decision` puts them together
into a plan; `status` says how it goes; `controller` carries the plan out. All but the last are pure.
"""
