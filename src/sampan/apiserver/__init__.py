"""The API server: HTTP in, objects in the store, watches out."""
