"""Download of the files of a corpus, each completely and with a checksum, or not at all."""

import hashlib
import http.client
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from Utils.data.dataset import Dataset
from Utils.errors import UserError
from Utils.store import files

RETRY_AFTER = 600.0  # seconds before `auto` tries an unreachable server again
PATIENCE = 5.0  # seconds to wait for a server's answer, and for each piece of a file


class Unreachable(Exception):
    """A failed download: no server answered in time, or the content was not the published one. The text says why."""


def _open(url: str):
    """Return the response of `url`.

    It is opened in a thread, because looking up a host name has no time limit of its own.
    """
    answers: list = []

    def ask() -> None:
        try:
            answers.append(urllib.request.urlopen(url, timeout=PATIENCE))
        except Exception as error:  # the waiting thread raises it
            answers.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if not answers:
        raise Unreachable(f"{url} did not answer within {PATIENCE:g} seconds")
    if isinstance(answers[0], Exception):
        reason = getattr(answers[0], "reason", None) or answers[0]
        raise Unreachable(f"{url}: {reason}") from answers[0]
    return answers[0]


def fetch(url: str, path: Path, md5: str) -> None:
    """Download `url` to `path`, with a progress bar on a terminal.

    Raises Unreachable if no server answers within 5 seconds or the transfer is interrupted. Raises UserError if the
    content does not have the checksum `md5` (32 hex digits) or cannot be written. In both cases `path` is not written.
    """
    content = bytearray()
    with _open(url) as answer:
        size = int(answer.headers.get("Content-Length") or 0) or None
        with tqdm(total=size, unit="B", unit_scale=True, desc=path.name, disable=not sys.stderr.isatty()) as bar:
            try:
                while piece := answer.read(1 << 16):
                    content += piece
                    bar.update(len(piece))
            except (OSError, http.client.HTTPException) as error:
                raise Unreachable(f"{url} broke off after {len(content)} bytes: {error}") from error
    if size is not None and len(content) != size:
        raise Unreachable(f"{url} broke off after {len(content)} of {size} bytes")
    actual = hashlib.md5(content).hexdigest()
    if actual != md5:
        raise UserError(f"{url} has the md5 {actual}, not the published {md5}; put the file at {path} by hand")
    files.write_bytes(path, bytes(content))


def complete(dataset: Dataset, data_dir: Path, missing: list, insist: bool) -> str | None:
    """Download the missing raw files of a corpus; return the reason if that is not possible now.

    insist: try also if the server has just been unreachable.
    """
    mark = data_dir / "prepared" / f".{dataset.name}-unreachable"
    try:
        age = time.time() - mark.stat().st_mtime  # below 0 where a clock was set back
        if not insist and 0.0 <= age < RETRY_AFTER:
            return mark.read_text(encoding="utf-8")
    except OSError:
        pass  # no mark: not tried recently
    try:
        if dataset.fetch:
            dataset.fetch(data_dir)
        else:
            for file in missing:
                if not file.url:
                    return "it is published nowhere"
                fetch(file.url, data_dir / file.path, file.md5)
    except Unreachable as error:
        try:
            files.write_bytes(mark, str(error).encode())
        except UserError:
            pass  # a data directory that cannot be written to: tried again next time
        return str(error)
    return None
