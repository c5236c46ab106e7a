"""What is done on a cluster's workers.

Functions inside a function have no name to be found by, so Dask sends them as they are: neither the scheduler nor the
workers need to have imported anything of ours, and a worker that lacks our source can say so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def digester() -> Callable[[str], str | None]:
    """digest(root): a sha256 of all source below it; None if there is none."""

    def digest(root):
        import hashlib
        from pathlib import Path

        found = hashlib.sha256()
        rooms = ("Experiments", "Layers", "Models", "Pruners", "Utils")
        sources = sorted(path for room in rooms for path in Path(root, room).rglob("*.py"))
        for path in sources:
            found.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
        return found.hexdigest() if sources else None

    return digest


def prober() -> Callable[..., dict[str, Any]]:
    """probe(root, token file, {data file: bytes}): what a worker sees of these, and how many runs it makes at once."""
    digest = digester()

    def probe(root, token, sizes, dask_worker):
        from pathlib import Path

        def same(path, size):
            return Path(path).is_file() and Path(path).stat().st_size == size

        return {
            "code": digest(root),
            "token": Path(token).read_text() if Path(token).is_file() else None,
            "data": [path for path, size in sizes.items() if not same(path, size)],
            "slots": dask_worker.state.nthreads,
        }

    return probe


def maker() -> Callable[[str, str, list[str]], dict[str, Any]]:
    """make(root, directory, words): `perform` in the worker's process, with what it printed, {"output": ...}.

    directory: where the paths among the words begin.
    """

    def make(root, directory, words):
        import contextlib
        import io
        import sys

        if root not in sys.path:
            sys.path.insert(0, root)
        from Experiments.sweeping.worker import perform
        from Utils.data import corpus

        corpus.keep_loaded()
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown), contextlib.chdir(directory):
            reply = perform(words)
        return {**reply, "output": shown.getvalue()[-(1 << 16) :]}

    return make
