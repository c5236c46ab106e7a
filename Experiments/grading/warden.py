"""Running of the checks in processes of their own, so that no mistake of the class can end the grading.

Crashes, endless loops, exits, and too much output or memory make a row fail. There is no protection against malice: the
class runs with the rights of the user who grades it.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from Experiments.grading.sheet import one_line
from Utils.errors import UserError

ROOT = Path(__file__).resolve().parent.parent.parent
START_UP = 300.0  # seconds in which a process has to import the project's modules
LONGEST = 1 << 20  # bytes of one message
GIVE_UP = 3  # number of rows that end their process, after which the remaining rows fail without being run


def messages(request: dict[str, Any], limit: float, directory: str) -> Iterator[tuple[str, Any]]:
    """Start a process; yield (kind, content) of each of its messages. The last is ("end", the error or None).

    request: see child.py. limit: seconds for each row. directory: the working directory of the process.
    """
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "Experiments.grading.child", str(write)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(write,),
        start_new_session=True,  # a process group, ended together with all processes that the class has started
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    os.close(write)
    try:
        assert process.stdin is not None  # it is a pipe
        with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
            pipe.write(json.dumps(request).encode())
        yield from _read(process, read, limit)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(read)


def _read(process: subprocess.Popen, read: int, limit: float) -> Iterator[tuple[str, Any]]:
    """Yield the messages that the process writes to the pipe `read`, like `messages`."""
    buffer, allowed = b"", START_UP
    until = time.monotonic() + allowed
    while True:
        if (left := until - time.monotonic()) <= 0:
            yield "end", f"did not end within {allowed:g} s"
            return
        ended = process.poll() is not None  # asked before reading, so that everything it has written is read
        if not select.select([read], [], [], 0 if ended else min(left, 0.2))[0]:
            if not ended:
                continue
            part = b""
        else:
            part = os.read(read, 1 << 16)
        if not part:
            yield "end", _ended(process)
            return
        *lines, buffer = (buffer + part).split(b"\n")
        if len(buffer) > LONGEST:
            yield "end", "wrote into the sheet's own pipe"
            return
        for line in lines:
            try:
                kind, content = json.loads(line)
            except (ValueError, TypeError):
                yield "end", "wrote into the sheet's own pipe"
                return
            if kind == "end":
                yield kind, content
                return
            yield kind, content
            allowed = limit
            until = time.monotonic() + allowed


def _ended(process: subprocess.Popen) -> str:
    try:
        code = process.wait(5)
    except subprocess.TimeoutExpired:
        return "closed the sheet's own pipe"
    if code < 0:
        return f"the process was ended by {signal.Signals(-code).name}"
    return f"the process ended itself with exit code {code}"


def rows(request: dict[str, Any], limit: float, directory: str, facts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every row of the sheet, in order; `facts` gets the machine and the seconds.

    If a process ends in the middle of a row, that row fails and a new process continues with the next one. The other
    arguments are those of `messages`. Raises UserError if the file has no such class.
    """
    begun = time.monotonic()
    plan: list[dict[str, Any]] | None = None
    done: list[str] = []
    absent, lost = False, 0
    while plan is None or len(done) < len(plan):
        ended = None
        for kind, content in messages({**request, "done": done}, limit, directory):
            if kind == "plan":
                plan = plan or content["rows"]
                facts["machine"] = content["machine"]
            elif kind == "refuse":
                raise UserError(one_line(content))
            elif kind == "row" and plan is not None and len(done) < len(plan):
                row = _row(plan[len(done)], content)
                done.append(row["name"])
                absent = absent or (len(done) == 1 and not row["ok"])
                yield row
            elif kind == "end":
                ended = content
        if plan is None:
            raise UserError(f"the checks could not start: {ended}")
        if len(done) < len(plan) and not absent:
            absent, lost = not done, lost + 1
            yield _failed(plan[len(done)], ended or "the class could not be loaded again")
            done.append(plan[len(done)]["name"])
        if absent or lost >= GIVE_UP:
            reason = "there is no class to check" if absent else f"{lost} rows before it did not come to an end"
            yield from (_failed(planned, f"not run: {reason}") for planned in plan[len(done) :])
            break
    facts["seconds"] = round(time.monotonic() - begun, 1)


def _failed(planned: dict[str, Any], found: str) -> dict[str, Any]:
    return _row(planned, {"ok": False, "found": found})


def _row(planned: dict[str, Any], content: dict[str, Any]) -> dict[str, Any]:
    return {
        **{key: planned[key] for key in ("group", "name", "expected")},
        "found": one_line(str(content["found"])),
        "ok": content["ok"] is True,
        "why": "" if content["ok"] is True else planned["why"],
        "figures": content.get("figures", {}),
    }
