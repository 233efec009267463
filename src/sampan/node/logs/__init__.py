"""Container logs: the CRI format that conmon writes, read for `kubectl logs` and rotated when they grow."""
