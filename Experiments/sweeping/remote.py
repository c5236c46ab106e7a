"""Functions that run on a cluster's workers.

Each is defined inside another function. So Dask sends its code, not its name, and neither the scheduler nor the workers
need to have imported the project. A worker that lacks the source can report that.
"""

from collections.abc import Callable
from typing import Any


def digester() -> Callable[[str], str | None]:
    """Return the function digest(root), which gives a sha256 of all source below `root`, or None if there is none."""

    def digest(root):
        import hashlib
        from pathlib import Path

        content_hash = hashlib.sha256()
        folders = ("Experiments", "Layers", "Models", "Pruners", "Utils")
        below = (path for folder in folders for path in Path(root, folder).rglob("*"))
        sources = sorted(path for path in below if path.suffix in (".py", ".toml"))
        for path in sources:
            content_hash.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
        return content_hash.hexdigest() if sources else None

    return digest


def prober() -> Callable[..., dict[str, Any]]:
    """Return the function probe(root, token, sizes), which gives what a worker sees and how many runs it makes at once.

    token: a file; the result has its content.
    sizes: {data file: bytes}; the result has those that are missing or have another size.
    """
    digest = digester()

    def probe(root, token, sizes, dask_worker):
        from pathlib import Path

        def same(path, size):
            return Path(path).is_file() and Path(path).stat().st_size == size

        return {
            "code": digest(root),
            "token": Path(token).read_text(encoding="utf-8") if Path(token).is_file() else None,
            "data": [path for path, size in sizes.items() if not same(path, size)],
            "slots": dask_worker.state.nthreads,
        }

    return probe


def maker() -> Callable[[str, str, list[str]], dict[str, Any]]:
    """Return the function make(root, directory, words), which calls `perform` and adds what it printed as "output".

    directory: the working directory, to which paths among the words are relative.
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
