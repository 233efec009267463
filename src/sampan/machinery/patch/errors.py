"""Why a patch is refused."""

from sampan.machinery.errors import BadRequest, Invalid


class BadPatch(BadRequest):
    """The patch itself is malformed."""


class PatchDoesNotApply(Invalid):
    """A well-formed patch that does not fit the object (422).

    Upstream hides the cause behind a general sentence; here kubectl shows it.
    """

    def __init__(self, why: str) -> None:
        super().__init__(
            "the server rejected our request due to an error in our request",
            details={"causes": [{"reason": "UnexpectedServerResponse", "field": "patch", "message": why}]},
        )
        self.why = why
