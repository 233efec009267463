"""The scheduler: which node a pod runs on.

`snapshot` is what the scheduler knows of nodes and their pods; `filters` say where a pod cannot run and why, `scores`
where it best runs; `decision` puts them together; `queue` says whose turn it is; `main` watches and binds.
"""
