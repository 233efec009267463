"""The garbage collector: what has no owner left goes, and owners may wait for what they own.

`graph` is the picture of who owns whom, kept by watching the metadata of every resource; it says which objects need a
look. `controller` looks, asks the server where the picture has a gap, and deletes, orphans or lets go.
"""
