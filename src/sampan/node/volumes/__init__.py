"""Volumes of pods: one module per source, `manager.py` to set them up, keep them fresh and take them down."""
