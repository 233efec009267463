"""What a command raises to end with a message and an exit status."""


class CommandError(Exception):
    """The message is for the user and says what to do; each line is printed on its own."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status
