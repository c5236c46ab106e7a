"""Files that are written completely or not at all: written under a temporary name, then renamed."""

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
from typing import Any

from Utils.errors import UserError


def sha256(path: Path) -> str:
    """Return the SHA-256 hash of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def md5(path: Path) -> str:
    """Return the MD5 hash of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


@contextlib.contextmanager
def writing(what: Path) -> Iterator[None]:
    """Turn an OSError in the body (read-only, disk full, no such directory) into a UserError that names `what`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"cannot write {what}: {reason}; free it or choose another directory") from error


def try_out(path: Path) -> None:
    """Make the directory of `path` and a file in it, which is removed. Raises UserError if that cannot be."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()


def write_bytes(path: Path, content: bytes) -> Path:
    """Replace `path` by `content` in one step and return it. Raises UserError, and keeps the old file, if it cannot."""
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
    return path


def save_text(path: Path, text: str) -> Path:
    """Write text as UTF-8, as `write_bytes` does."""
    return write_bytes(path, text.encode())


NUMBERS = re.compile(r"\[\s+(-?\d[^\s,]*(?:,\s+-?\d[^\s,]*)*)\s+\]")  # a list of numbers as json.dumps indents it


def read_json(path: Path) -> Any:
    """Return the content of a JSON file. Raises OSError if it cannot be read, ValueError if it is not JSON."""
    return json.loads(path.read_text(encoding="utf-8"))


def read_table(path: Path, *keys: str) -> dict[str, Any] | None:
    """Return the table in a JSON file that has these keys; None if it has not, or cannot be read."""
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and content.keys() >= set(keys) else None


def write_json(path: Path, value: object) -> Path:
    """Write indented JSON, with each list of numbers on one line. Strings are not changed."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    text = NUMBERS.sub(lambda match: f"[{' '.join(match[1].split())}]", text)
    return save_text(path, f"{text}\n")


@contextlib.contextmanager
def staged(target: Path, replace: bool = False) -> Iterator[Path]:
    """Yield a new directory that becomes `target` if the body succeeds and is deleted if it fails.

    If another process has made `target` meanwhile, that one stays unless `replace` is set.
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
    """Rename `part` to `target`. An existing `target` stays, unless `replace` is set.

    A replaced target is first moved aside, and moved back if renaming fails.
    """
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
            continue  # another process has just moved it: try again
        finally:  # also after an interrupt, so that the old target is never lost
            if (aside / "old").exists() and not target.exists():
                with contextlib.suppress(OSError):
                    (aside / "old").rename(target)
            if target.exists() or not (aside / "old").exists():
                shutil.rmtree(aside, ignore_errors=True)
