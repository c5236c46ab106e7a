"""The error type for mistakes that the user can correct."""


class UserError(Exception):
    """A line that says what is wrong, where, and how to correct it. The program prints it and exits with code 2."""
