"""The DaemonSet controller: one pod of a template on every node that wants it.

`placement` tells which nodes want one; `decision` which pods to make and to delete; `controller` does it.
"""
