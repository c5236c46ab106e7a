"""Text files read line by line, plain or gzipped, with errors that name the file and the line."""

import codecs
import contextlib
import csv
import gzip
import hashlib
import io
import unicodedata
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from Utils.data.dataset import RawFile
from Utils.errors import UserError
from Utils.store import files

DAMAGE = (gzip.BadGzipFile, EOFError, zlib.error)  # what reading a damaged gzip file raises
MAGIC = b"\x1f\x8b"  # the first bytes of a gzip file
LONGEST = 2**31 - 1  # characters of a CSV field; the module's own limit is 131,072


def opened(path: Path) -> BinaryIO:
    """Open a file to read its bytes, unzipped if its name ends in .gz or its first bytes are gzip's."""
    file = path.open("rb")
    if path.suffix != ".gz" and file.peek(2)[:2] != MAGIC:
        return file
    file.close()
    return cast(BinaryIO, gzip.open(path, "rb"))


def published(file: RawFile, path: Path) -> bool:
    """Tell whether `path` has the content of that file as published: as it is, unzipped, or zipped anew."""
    if files.md5(path) == file.md5:
        return True
    if not file.plain:
        return False
    try:
        with opened(path) as content:
            return hashlib.file_digest(content, "md5").hexdigest() == file.plain  # type: ignore[arg-type]
    except DAMAGE:
        return False


def decoded(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (number, line) of each line of a UTF-8 file, without a byte order mark, with its line feed.

    Lines end at line feeds only.
    Raises UserError for a damaged gzip file, and with the line for bytes that are not UTF-8.
    """
    with _whole(path) as file:
        yield from decoded_lines(path, file)


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    """Open a file as `opened` does. Raises UserError if it is a gzip file that proves to be damaged."""
    try:
        with opened(path) as file:
            yield file
    except DAMAGE as error:
        advice = "put a whole one there, or remove it if it was fetched"
        raise UserError(f"{path}: not a whole gzip file ({error}); {advice}") from error


def sha256(path: Path) -> str:
    """Return the SHA-256 hash of a file's content, unzipped. Raises UserError for a damaged gzip file."""
    with _whole(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def composed(text: str) -> str:
    """Return a text with its letters composed (NFC): one way to write "é", of two that look the same."""
    return unicodedata.normalize("NFC", text)


def decoded_lines(name: object, file: Iterable[bytes]) -> Iterator[tuple[int, str]]:
    """Yield what `decoded` yields, from lines of bytes; `name` is what messages call them."""
    for number, line in enumerate(file, start=1):
        try:
            text = (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).decode("utf-8")
        except UnicodeDecodeError as error:
            wrong = f"{name}:{number}: byte 0x{error.object[error.start]:02x} is not UTF-8"
            for _ in file:  # damage of a gzip file, which comes to light at its end, is the better reason
                pass
            raise UserError(f"{wrong}; save it as UTF-8") from error
        yield number, text


def csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line in which it begins, fields) of each row of a CSV file. Blank lines are no rows.

    Raises UserError with the line for a row that is not whole, and what `decoded` raises.
    """
    csv.field_size_limit(LONGEST)
    of_row: list[str] = []

    def lines() -> Iterator[str]:
        for _, text in decoded(path):
            for line in io.StringIO(text, newline=""):  # ends at a carriage return too
                of_row.append(line)
                yield line

    reader, line = csv.reader(lines(), strict=True), 1
    while True:
        of_row.clear()
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            advice = "is a quote left open, or the file cut off?"
            if '\\"' in "".join(of_row):
                advice = r'a quote inside a field is to be doubled (""), not written \"'
            raise UserError(f"{path}:{line}: not a whole CSV row ({error}); {advice}") from error
        if row:
            yield line, row
        line = reader.line_num + 1
