"""The time limit of a sweep, which decides which runs may still begin."""

import heapq
import time
from collections.abc import Sequence

clock = time.monotonic


class TimeLimit:
    """A limit of so many seconds, counted from now."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.begun = seconds, clock()

    def allows(self, length: float | None, at: float | None = None) -> bool:
        """Return whether a run may begin `at` seconds after the sweep's start; None means now.

        length: the seconds that the run will take. If it is None, the run may begin as long as any time is left.
        """
        at = clock() - self.begun if at is None else at
        return at < self.seconds and at + (length or 0.0) <= self.seconds

    def foresee(self, lengths: Sequence[float | None], workers: int) -> list[bool]:
        """Return for each run whether it will begin, if `workers` at a time are made in this order with these lengths.

        A run of unknown length counts as taking no time.
        """
        begins = [False] * len(lengths)
        waiting = list(range(len(lengths)))
        free = [0.0] * workers  # when each worker becomes free; a heap
        while waiting:
            at = heapq.heappop(free)
            number = next((number for number in waiting if self.allows(lengths[number], at)), None)
            if number is None:  # the others become free even later
                break
            waiting.remove(number)
            begins[number] = True
            heapq.heappush(free, at + (lengths[number] or 0.0))
        return begins
