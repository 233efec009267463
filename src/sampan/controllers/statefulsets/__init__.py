"""The StatefulSet controller: pods with names of their own, made, replaced and removed in order.

`identity` is what makes each pod the one with its number; `decision` says which to make or delete next; `controller`
does it.
"""
