"""The candidate's process, which the judge starts and talks to: `python -m Experiments.candidate SOCKET THREADS`.

It imports torch once. For each group of rows it then forks a process that loads the class and answers until it is told
to close, so that groups share nothing. When the judge is gone, all of it ends, and its working directory is removed.
"""

import contextlib
import os
import select
import shutil
import signal
import socket
import sys
from pathlib import Path

import torch

from Experiments.candidate import wire
from Experiments.candidate.service import TENSORS, Service

MEMORY = 4 << 30  # bytes that the class may allocate beyond those in use before it is loaded
BOXED = {"NPROC": 64, "FSIZE": 4 << 20, "NOFILE": 128, "CORE": 0}  # limits of a boxed process, by name of the resource


def bound(boxed: bool) -> None:
    """Limit what the class may take, so that more raises an error. Systems other than Linux have no limit of memory."""
    with contextlib.suppress(ImportError, OSError, ValueError, IndexError):
        import resource

        if boxed:
            for name, most in BOXED.items():
                resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
        most = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def ended(pid: int, sock: socket.socket) -> str:
    """Wait for the end of a group's process and return it in words. If the judge is gone, end everything."""
    watch = select.poll()
    watch.register(sock, 0)
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            name = {one.value: one.name for one in signal.Signals}.get(-code, f"signal {-code}")
            return f"was ended by {name}" if code < 0 else f"ended itself with exit code {code}"
        if any(event & (select.POLLHUP | select.POLLERR) for _, event in watch.poll(10)):
            end()


def end() -> None:
    """Remove the working directory and end this process together with all of its session."""
    here = Path.cwd()
    os.chdir("/")
    shutil.rmtree(here, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Open one group after the other, for as long as the judge is there."""
    sock, threads, boxed = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]), len(sys.argv) > 3
    os.closerange(3, sock.fileno())  # what the box was made of
    os.closerange(sock.fileno() + 1, 1024)
    sock.set_inheritable(False)  # processes that the class starts must not keep the connection open
    torch.set_num_threads(threads or torch.get_num_threads())
    bound(boxed)
    wire.send(sock, {"ready": True}, {}, None)
    while True:
        try:
            message, _ = wire.receive(sock, TENSORS, None)
        except wire.Broken:
            end()
        if (pid := os.fork()) == 0:
            with contextlib.suppress(wire.Broken):
                Service().serve(sock, message)
            os._exit(0)  # threads that the class has started would keep the process alive
        words = ended(pid, sock)
        with contextlib.suppress(wire.Broken):  # the judge may be gone, which is noticed above
            wire.send(sock, {"ended": words}, {}, None)


if __name__ == "__main__":
    main()
