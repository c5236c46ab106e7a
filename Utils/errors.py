"""The error type for mistakes that the user can correct, and what may have been meant."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A line that says what is wrong, where, and how to correct it. The program prints it and exits with code 2."""


def guess(name: str, names: Iterable[str]) -> str:
    """Return " (did you mean X?)" with the one of `names` that is nearest to `name`; "" if none is near."""
    near = difflib.get_close_matches(name, list(names), n=1)
    return f" (did you mean {near[0]}?)" if near else ""
