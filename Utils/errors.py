"""The error type for mistakes that the user can correct, what other errors say, and what may have been meant."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A line that says what is wrong, where, and how to correct it. The program prints it and exits with code 2."""


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says; the name of its class if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def guess(name: str, names: Iterable[str]) -> str:
    """Return " (did you mean X?)" with the one of `names` nearest to `name`, case apart; "" if none is near."""
    folded = {known.casefold(): known for known in names}
    near = difflib.get_close_matches(name.casefold(), folded, n=1)
    return f" (did you mean {folded[near[0]]}?)" if near else ""
