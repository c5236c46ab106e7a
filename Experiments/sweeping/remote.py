"""What is done on a cluster's workers. It goes there as source, by value, so it needs nothing of ours to be there yet.

The functions therefore import inside and use nothing of this module but each other.
"""

from __future__ import annotations

from typing import Any


def digest(root: str) -> str | None:
    """A sha256 of all source below `root`; None if there is none."""
    import hashlib
    from pathlib import Path

    found = hashlib.sha256()
    sources = sorted(path for room in ("Experiments", "Layers", "Models", "Pruners", "Utils")
                     for path in Path(root, room).rglob("*.py"))  # fmt: skip
    for path in sources:
        found.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return found.hexdigest() if sources else None


def probe(root: str, token: str, sizes: dict[str, int], dask_worker: Any) -> dict[str, Any]:
    """What this worker sees: the source's digest, the token file's text, data files that are missing or other."""
    from pathlib import Path

    def size(path: str) -> int | None:
        return Path(path).stat().st_size if Path(path).is_file() else None

    return {
        "code": digest(root),
        "token": Path(token).read_text() if Path(token).is_file() else None,
        "data": [path for path, wanted in sizes.items() if size(path) != wanted],
        "slots": dask_worker.state.nthreads,
    }


def make(root: str, words: list[str]) -> dict[str, Any]:
    """`perform` with what it printed, {"output": ...}, in this process."""
    import contextlib
    import io
    import sys

    if root not in sys.path:
        sys.path.insert(0, root)
    from Experiments.sweeping.worker import perform
    from Utils import corpus

    corpus.keep_loaded()
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
        reply = perform(words)
    return {**reply, "output": shown.getvalue()[-(1 << 16) :]}
