"""Why a container does not start: the waiting reason and message of its status, and when to try again."""

from sampan.node.backoff import INITIAL_SECONDS


class StartFailure(Exception):
    """A container could not be started; `reason` is the API's word for it."""

    def __init__(self, reason: str, message: str, retry_after: float = INITIAL_SECONDS) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_after = retry_after


class PullFailure(StartFailure):
    """The image is not to be had; shown as ErrImagePull first and as ImagePullBackOff until the next attempt."""


class UnexpectedFailure(StartFailure):
    """Something failed that nobody thought of; tried again with a delay that grows."""
