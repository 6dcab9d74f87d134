"""The one exception that users are meant to see."""


class UserError(Exception):
    """A mistake that the user can mend. Its message is one line: what is wrong, where, and what to do.

    `utils.runtime.run_script` prints it without a traceback and exits with status 2; any other exception is a bug of
    ours and keeps its traceback.
    """
