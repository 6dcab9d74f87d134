"""The exceptions that `utils.system.script.run_script` turns into a line for the user."""


class UserError(Exception):
    """A mistake that the user can mend. Its message is one line: what is wrong, where, and what to do.

    It is printed without a traceback, and the script exits with its status; any other exception is a bug of ours and
    keeps its traceback.
    """

    status = 2


class DivergedError(UserError):
    """A training whose loss is no number any more; whoever trains many tells it from other mistakes by its status."""

    status = 3


class RunStoppedError(Exception):
    """A run that was asked to stop has written its checkpoint.

    Attributes:
        status: 128 and the signal's number, as shells have it.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.status = 128 + number
