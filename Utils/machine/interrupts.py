"""Ctrl-C in the middle of an import.

A module that is being imported, such as torch, may swallow a KeyboardInterrupt, or turn it into another error. So it
waits for the end of the import. A second Ctrl-C ends the process at once.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

EVERY = 0.1  # seconds between two looks whether the import has ended
LOOKS = 100  # after so many the interrupt waits no longer: a module of the user's own may never end
CODE = 130  # exit code after Ctrl-C, as shells have it


@contextlib.contextmanager
def after_imports() -> Iterator[None]:
    """Raise KeyboardInterrupt at Ctrl-C as usual in the body, but not inside an import.

    Where SIGINT is ignored, as in a background job, or is handled by somebody else, that stays. So it does on Windows.
    """
    able = threading.current_thread() is threading.main_thread() and hasattr(signal, "pthread_kill")
    if not able or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    waiting = Waiting()
    signal.signal(signal.SIGINT, waiting.handle)
    try:
        yield
    finally:
        waiting.timer.cancel()
        signal.signal(signal.SIGINT, signal.default_int_handler)


class Waiting:
    """The handler of SIGINT, which sends itself the signal again while an import lasts."""

    def __init__(self) -> None:
        self.looks = 0  # at the import since Ctrl-C
        self.looking = False  # the signal comes from the timer
        self.timer = threading.Timer(EVERY, self.look)

    def look(self) -> None:
        main = threading.main_thread().ident
        assert main is not None  # it has been started
        self.looking = True
        signal.pthread_kill(main, signal.SIGINT)  # raise_signal would not wake a main thread that sleeps

    def handle(self, number: int, frame: FrameType | None) -> None:
        if self.looks and not self.looking:
            print("stopped", file=sys.stderr, flush=True)
            os._exit(CODE)
        self.looking = False
        if self.looks == LOOKS or not importing(frame):
            self.looks = 0
            raise KeyboardInterrupt
        self.looks += 1
        self.timer = threading.Timer(EVERY, self.look)
        self.timer.daemon = True
        self.timer.start()


def importing(frame: FrameType | None) -> bool:
    """Return whether a frame or one that called it belongs to Python's import."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False
