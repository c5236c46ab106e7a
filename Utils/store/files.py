"""Files that are whole or not there: written to the side, then renamed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from Utils.errors import UserError


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


@contextlib.contextmanager
def writing(what: Path) -> Iterator[None]:
    """Turn an operating system's refusal to write `what` (read-only, full, no such place) into a UserError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"cannot write {what}: {reason}; free it or choose another directory") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` by `content` in one step; UserError where it cannot be written, and the old file stays."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(part).chmod(0o644)
            Path(part).replace(path)
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise


NUMBERS = re.compile(r"\[\s+(-?\d[^\s,]*(?:,\s+-?\d[^\s,]*)*)\s+\]")  # a list of them, as json.dumps spreads it


def write_json(path: Path, value: object) -> None:
    """Indented, but a list of numbers in one line. White space in strings is escaped, so that none is ever touched."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    text = NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text)
    write_bytes(path, f"{text}\n".encode())


@contextlib.contextmanager
def staged(target: Path, replace: bool = False) -> Iterator[Path]:
    """A directory beside `target` to fill, which takes its place when the body ends well and vanishes when it does not.

    If `target` has come into being meanwhile (another process was faster), it stays unless `replace` is set.
    """
    with writing(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
        part.chmod(0o755)
    try:
        yield part
        with writing(target):
            put(part, target, replace)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def put(part: Path, target: Path, replace: bool) -> None:
    """Rename `part` to `target`. What stands there stays, or goes aside if `replace`, and comes back if that fails."""
    while True:
        try:
            part.rename(target)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR) or not target.exists():
                raise
        if not replace:
            return
        aside = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
        try:
            target.rename(aside / "old")
            part.rename(target)
            return
        except FileNotFoundError:
            continue  # another process has just moved it aside: try again
        finally:  # also after an interrupt: what went aside is never lost
            if (aside / "old").exists() and not target.exists():
                with contextlib.suppress(OSError):
                    (aside / "old").rename(target)
            if target.exists() or not (aside / "old").exists():
                shutil.rmtree(aside, ignore_errors=True)
