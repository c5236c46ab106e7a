"""The one error that is the user's to mend."""


class UserError(Exception):
    """What, where and how to mend it, in one line. The command line prints it and ends with exit code 2."""
