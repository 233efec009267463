"""The EndpointSlice controller: which pods stand behind a Service, in slices of at most 100.

`desired` turns a Service and its pods into endpoints grouped by ports; `packing` fits those into the existing slices
with the fewest writes; `controller` carries the changes out. The mirroring controller uses `packing` too.
"""
