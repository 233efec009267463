"""Container images: registry, archives, the host's own root, one content-addressed store."""
