"""Archives of several files: fetched or found, checked, unpacked elsewhere, then renamed into place."""

import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from Utils import console
from Utils.data import download
from Utils.errors import UserError
from Utils.store import files

Extract = Callable[[Path, Path], None]  # (folder with the archive, data directory): unpacks it and renames the files


def fetch(data_dir: Path, title: str, url: str, name: str, md5: str, size: str, extract: Extract) -> None:
    """Download an archive of this name and unpack it below `data_dir`; size: in words, for the note.

    Raises download.Unreachable if the archive cannot be downloaded or is not the published one, and UserError if it
    cannot be written. Existing files stay until a complete new file replaces them.
    """
    console.note(f"{title}: fetching {url} ({size})")
    side = _side(data_dir, name)  # created only when there is something to put into it
    try:
        try:
            download.fetch(url, side / name, md5)
        except UserError as error:
            if isinstance(error.__cause__, OSError):  # the disk failed, not the server
                raise
            raise download.Unreachable(f"{url} gave another file than the published one") from error
        extract(side, data_dir)
    finally:
        shutil.rmtree(side, ignore_errors=True)


def unpack(data_dir: Path, title: str, name: str, folder: str, md5: str, extract: Extract) -> None:
    """Unpack the archive if it lies in `data_dir` or in its folder there, and is the published one.

    Raises UserError if the files cannot be written.
    """
    place = next((path for path in (data_dir / name, data_dir / folder / name) if path.is_file()), None)
    if place is None or files.md5(place) != md5:
        return
    console.note(f"{title}: unpacking {place}")
    side = _side(data_dir, folder)
    try:
        with files.writing(side):
            side.mkdir()
            shutil.copyfile(place, side / name)
        extract(side, data_dir)
    finally:
        shutil.rmtree(side, ignore_errors=True)


def _side(data_dir: Path, name: str) -> Path:
    return data_dir / f".{name}.{uuid.uuid4().hex}"
