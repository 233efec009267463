"""What can go wrong with a volume; the texts are those that events show."""


class VolumeError(Exception):
    """A volume cannot be set up now; the agent tries again."""
