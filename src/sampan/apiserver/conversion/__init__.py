"""Group versions that upstream has removed but tutorials still use, served as views of the current objects."""
