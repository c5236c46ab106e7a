"""Ctrl-C in the middle of an import.

A module that is being imported, such as torch, may swallow a KeyboardInterrupt, or turn it into another error. So it
waits for the end of the import.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

EVERY = 0.1  # seconds between two looks whether the import has ended
LOOKS = 100  # after so many the interrupt waits no longer: a module of the user's own may never end


@contextlib.contextmanager
def after_imports() -> Iterator[None]:
    """Raise KeyboardInterrupt at Ctrl-C as usual in the body, but not inside an import.

    Where SIGINT is ignored, as in a background job, or is handled by somebody else, that stays.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    looks, timer = 0, threading.Timer(0, lambda: None)

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal looks, timer
        looks += 1
        if looks > LOOKS or not importing(frame):
            looks = 0
            raise KeyboardInterrupt
        timer = threading.Timer(EVERY, signal.raise_signal, [signal.SIGINT])
        timer.daemon = True
        timer.start()

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, signal.default_int_handler)


def importing(frame: FrameType | None) -> bool:
    """Return whether a frame or one that called it belongs to Python's import."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False
