"""The base of every error that a user can cause and mend."""


class UserError(Exception):
    """A mistake in input, configuration or set-up.

    The message says what was wrong, what was received, where, and what to do; the command line prints it without a
    traceback and exits with 2.
    """
