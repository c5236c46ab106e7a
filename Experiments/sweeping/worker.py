"""A process that makes one run after the other, as told by JSON lines on standard input.

`python -m Experiments.sweeping.worker N` writes {"ready": true} to file descriptor N. Then, for every list of words on
standard input, it writes the reply of `perform`. Its standard output and error belong to the runs. It ends when its
standard input ends. If that happens in the middle of a run, the parent process is gone, and it stops at once.
"""

import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from Experiments import singleshot
from Utils import console
from Utils.commandline import arguments
from Utils.data import corpus
from Utils.errors import UserError


def perform(words: Sequence[str]) -> dict[str, Any]:
    """Make the singleshot with this command line; return {"seconds": wall time} or {"error": one line}.

    A run seeds all its generators. Only torch's number of threads would affect the next run, so it is restored.
    """
    begun = time.perf_counter()
    threads = torch.get_num_threads()
    try:
        singleshot.run(arguments.parse(list(words)))
    except (UserError, FloatingPointError) as error:
        return {"error": str(error)}
    except Exception as error:  # any error belongs to this run; the next run may succeed
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}".partition("\n")[0]}
    finally:
        torch.set_num_threads(threads)
    return {"seconds": time.perf_counter() - begun}


class Jobs:
    """The lines of standard input. A thread reads ahead, so the end of the input is noticed in the middle of a run."""

    def __init__(self) -> None:
        self.lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.begun = self.ended = 0
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin:
            self.begun += 1
            self.lines.put(line)
        self.lines.put(None)
        if self.begun > self.ended:
            main = threading.main_thread().ident
            assert main is not None  # it has been started
            signal.pthread_kill(main, signal.SIGINT)

    def __iter__(self) -> Iterator[Any]:
        while (line := self.lines.get()) is not None:
            yield json.loads(line)
            self.ended += 1


def main(perform: Callable[[Sequence[str]], dict[str, Any]] = perform) -> int:
    """Read jobs, and reply to each with what `perform` says, until standard input ends; return the exit code."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
    console.print_anything()
    with os.fdopen(int(sys.argv[1]), "w", buffering=1, encoding="utf-8") as replies:

        def reply(value: dict[str, Any]) -> None:
            replies.write(json.dumps(value) + "\n")

        corpus.keep_loaded()
        try:
            reply({"ready": True})
            for words in Jobs():
                reply(perform(words))
        except KeyboardInterrupt:
            return 130
        except BrokenPipeError:  # the parent is gone; the run is in the store
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
