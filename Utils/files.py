"""Files that are whole or not there: written to the side, then renamed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
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


def write_json(path: Path, value: object) -> None:
    write_bytes(path, (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


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
            if target.exists() and replace:
                old = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
                target.rename(old / "old")
                part.rename(target)
                shutil.rmtree(old, ignore_errors=True)
            else:
                try:
                    part.rename(target)
                except OSError:
                    if not target.exists():  # else another process has put the same content there
                        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
