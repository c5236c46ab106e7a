"""A candidate's process without a box: it has the rights of the user, on any system that can fork.

Crashes, endless loops, exits, and too much output or memory make a row fail. There is no protection against malice.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
ISOLATION = "none"  # as it stands on the sheet
PRINTED = 20_000  # bytes of the output that are kept


class Plain:
    """The process, in a session and a temporary directory of its own: both end with it."""

    fault = ""

    def __init__(self, threads: int) -> None:
        self.sock, theirs = socket.socketpair()
        self.directory = tempfile.mkdtemp(prefix="grade-")
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "Experiments.candidate", str(theirs.fileno()), str(threads)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # a process group, ended together with all processes that the class has started
                cwd=self.directory,
                env={**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "PYTHONDONTWRITEBYTECODE": "1"},
            )
        finally:
            theirs.close()
        self.drain = Drain(self.process)

    def gone(self) -> str | None:
        return ended(self.process)

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.sock.close()
        self.drain.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def output(self) -> str:
        return self.drain.text()


class Drain(threading.Thread):
    """A thread that reads what a process prints, so that it never waits, and keeps the beginning."""

    def __init__(self, process: subprocess.Popen) -> None:
        super().__init__(daemon=True)
        assert process.stdout is not None  # a pipe
        self.pipe, self.kept = process.stdout, bytearray()
        self.start()

    def run(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while part := os.read(self.pipe.fileno(), 1 << 16):
                self.kept += part[: PRINTED - len(self.kept)]

    def stop(self) -> None:
        """Stop reading, also where a process that is left holds the other end."""
        self.join(1.0)
        if not self.is_alive():
            self.pipe.close()

    def text(self) -> str:
        """Return the beginning of the output, without characters that move a terminal's cursor."""
        words = bytes(self.kept).decode(errors="replace")
        return "".join(c for c in words if c.isprintable() or c in "\n\t")


def ended(process: subprocess.Popen) -> str | None:
    """Return how a process has ended, in words; None if it runs."""
    if (code := process.poll()) is None:
        return None
    if code < 0:
        return f"its process was ended by {signal.Signals(-code).name}"
    return f"its process ended with exit code {code}"
