"""One file from the network, whole and checked, or nothing."""

from __future__ import annotations

import hashlib
import http.client
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from Utils.errors import UserError
from Utils.store import files

PATIENCE = 5.0  # seconds until a server has to have answered, and between two pieces of a file


class Unreachable(Exception):
    """No server answered in time; the text says why."""


def _open(url: str):
    """The answer of `url`. A thread, because looking up a host's name obeys no time limit of its own."""
    found: list = []

    def ask() -> None:
        try:
            found.append(urllib.request.urlopen(url, timeout=PATIENCE))
        except Exception as error:  # handed to the thread that waits, which raises it
            found.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if not found:
        raise Unreachable(f"{url} did not answer within {PATIENCE:g} seconds")
    if isinstance(found[0], Exception):
        reason = getattr(found[0], "reason", None) or found[0]
        raise Unreachable(f"{url}: {reason}") from found[0]
    return found[0]


def fetch(url: str, path: Path, md5: str) -> None:
    """Write the content of `url` to `path`, with a progress bar on a terminal.

    Raises Unreachable if no server answers within 5 seconds or the transfer breaks off, UserError if what came does not
    have the checksum `md5` (32 hex digits) or cannot be written. In neither case is `path` written.
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
    found = hashlib.md5(content).hexdigest()
    if found != md5:
        raise UserError(f"{url} has the md5 {found}, not the published {md5}; put the file at {path} by hand")
    files.write_bytes(path, bytes(content))
