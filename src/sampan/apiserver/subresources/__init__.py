"""Subresources that do something of their own: scale, eviction, binding, tokens; and the reviews."""
