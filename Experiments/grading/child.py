"""The process that runs the checks: `python -m Experiments.grading.child FD`.

It reads a request, as JSON, from standard input. It writes messages, JSON lines [kind, content], to the open file FD:
"plan" with all rows to be made, then "row" for each in order, then "end"; or "refuse" if the user has to correct
something. Rows that the request lists as done are not made again.
"""

import contextlib
import gc
import json
import os
import sys
import traceback
from importlib import import_module
from typing import Any

from Experiments.grading import CHECKS

MEMORY = 4 << 30  # bytes that the class may allocate beyond those in use when it is loaded


def bound_memory() -> None:
    """Limit the memory of this process, so that more raises MemoryError. Systems other than Linux have no limit."""
    with contextlib.suppress(ImportError, OSError, ValueError, IndexError):
        import resource
        from pathlib import Path

        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
        bound = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (bound, bound))


def said(error: BaseException, file: str) -> str:
    """Return the error in one line, with the line of `file` where it was raised."""
    last = traceback.format_exception_only(error)[-1].strip() or type(error).__name__
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"{last[:200]} (line {lines[-1]})" if lines else last[:200]


def outcome(check: Any, bench: Any, file: str) -> dict[str, Any]:
    """Run one check and return the content of its row; the row fails if anything is raised, even SystemExit."""
    try:
        bench.settle()
        verdict = check.body(bench)
        return {"ok": bool(verdict.ok), "found": verdict.found, "figures": verdict.figures}
    except BaseException as error:
        found = said(error, file)
        error.__traceback__ = None  # it refers to the objects that filled the memory
        return {"ok": False, "found": found}


def main() -> None:
    """Answer the request on standard input and end the process."""
    handle = int(sys.argv[1])
    os.set_inheritable(handle, False)  # processes that the class starts must not keep the pipe open
    with os.fdopen(handle, "w", encoding="utf-8") as pipe:

        def say(kind: str, content: Any) -> None:
            pipe.write(json.dumps([kind, content]) + "\n")
            pipe.flush()

        work(json.load(sys.stdin), say)
        say("end", None)
        os._exit(0)  # threads that the class has started would keep the process alive


def work(request: dict[str, Any], say: Any) -> None:
    """Load the class and run its checks. say(kind, content): sends a message to the parent process."""
    import torch

    from Experiments.grading.bench import Bench
    from Utils import plugin
    from Utils.errors import UserError
    from Utils.store import provenance

    torch.set_num_threads(request["threads"] or torch.get_num_threads())
    checks = [
        (group, check)
        for group, module in CHECKS.items()
        if group in request["checks"]
        for check in import_module(module).rows(request["truth"])
    ]
    plan = [{"group": g, "name": c.name, "expected": c.expected, "why": c.why} for g, c in checks]
    say("plan", {"rows": plan, "machine": provenance.machine(torch.device("cpu"))})
    bound_memory()
    bench = Bench(request)
    try:
        found = plugin.read("--pruner-file", f"{request['file']}:{request['class']}")
        if found.sha256 != request["sha256"]:
            raise UserError(f"{found.path} has changed while it was graded; grade it again")
        bench.kind = found.load()
    except UserError as error:
        say("refuse", str(error))
        return
    except BaseException as error:
        say("row", {"ok": False, "found": said(error, request["file"])})
        return
    done = set(request["done"])
    for _, check in checks:
        if check.name not in done:
            say("row", outcome(check, bench, request["file"]))
            gc.collect()


if __name__ == "__main__":
    main()
