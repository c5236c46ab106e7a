"""A process that makes one run after the other, told which on standard input, in JSON lines.

`python -m Experiments.sweeping.worker N` writes {"ready": true} to file descriptor N, then for every list of words on
standard input the reply of `perform`. Its standard output and error are the runs' own. It ends when its standard input
does; if that happens in the middle of a run, then whoever gave the run is gone, and it stops at once.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from Experiments import singleshot
from Utils.commandline import arguments
from Utils.data import corpus
from Utils.errors import UserError


def perform(words: Sequence[str]) -> dict[str, Any]:
    """The singleshot with these words on its command line: {"seconds": wall time} or {"error": one line}.

    A run draws from generators that it seeds itself; the one thing that it would leave to the next is put back: the
    number of torch's threads.
    """
    begun = time.perf_counter()
    threads = torch.get_num_threads()
    try:
        singleshot.run(arguments.parse(list(words)))
    except (UserError, FloatingPointError) as error:
        return {"error": str(error)}
    except Exception as error:  # whatever it is, it is this run's, and the next may do well
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}".partition("\n")[0]}
    finally:
        torch.set_num_threads(threads)
    return {"seconds": time.perf_counter() - begun}


class Jobs:
    """The lines of standard input, read ahead by a thread so that its end is noticed in the middle of a run."""

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


def main() -> int:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
    with os.fdopen(int(sys.argv[1]), "w", buffering=1) as replies:

        def reply(value: dict[str, Any]) -> None:
            replies.write(json.dumps(value) + "\n")

        corpus.keep_loaded()
        try:
            reply({"ready": True})
            for words in Jobs():
                reply(perform(words))
        except KeyboardInterrupt:
            return 130
        except BrokenPipeError:  # no one is left to tell; the run is in the store
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
