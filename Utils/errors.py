"""Errors that end in a line on standard error."""


class UserError(Exception):
    """What, where and how to mend it, in one line. The command line prints it and ends with exit code 2."""


class Incomplete(Exception):
    """Part of what was asked for has failed and is recorded, the rest is done: one line, and exit code 1."""
