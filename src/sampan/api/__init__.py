"""Narrow, frozen types of the kinds that components read, and pure questions about them."""
