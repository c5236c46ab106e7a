"""The submissions of a class: a folder or archive as it was downloaded, with a file, folder or zip for each student."""

import ast
import hashlib
import json
import re
import stat
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path, PurePosixPath

from Utils.errors import UserError

SUFFIXES = (".py", ".ipynb")  # what is read; everything else is left where it is
FILES, FILE, TOTAL = 500, 2 << 20, 20 << 20  # most files of a submission, bytes of one, and of all
DEEP, LONG = 20, 100  # folders above a file, and characters of a name, at most
ENTRIES = 20_000  # most entries of an archive, read or not
# Names that platforms give: "lovelaceada_LATE_4711_8822_grasp.py", "Ada Lovelace_4711_assignsubmission_file".
CANVAS = re.compile(r"(?P<student>[^_]+)_(?P<late>LATE_)?(?P<id>\d+)_\d+_(?P<file>.+)")
MOODLE = re.compile(r"(?P<student>.+)_(?P<id>\d+)_assignsubmission_(?:file|onlinetext)_?(?P<file>.*)")


class Refused(Exception):
    """A submission that cannot be read, with the reason for its student."""


@dataclass
class Submission:
    """The files that one student has handed in."""

    student: str
    ident: str = ""  # the platform's number of the student
    late: bool = False  # whether the platform's name says so
    parts: list[tuple[str, Path, str]] = field(default_factory=list)  # (name in it, file or archive, entry of archive)

    def read(self) -> dict[str, bytes]:
        """Return the source files, {path: content}; code cells of notebooks as Python. Raises Refused."""
        found: dict[str, bytes] = {}
        for name, path, entry in self.parts:
            for inner, content in _opened(name, path, entry):
                place, source = _python(inner, content)
                found[place] = source
                if len(found) > FILES or sum(map(len, found.values())) > TOTAL:
                    raise Refused(f"more than {FILES} source files or {TOTAL >> 20} MB")
        for name in found:
            within = PurePosixPath(name)
            if len(within.parts) > DEEP or not all(len(p) <= LONG and p.isprintable() for p in within.parts):
                raise Refused(f"{name[:LONG]!r} is no name for a file")
            if inside := {str(parent) for parent in within.parents} & found.keys():
                raise Refused(f"{min(inside)} is a file and a folder")
        if not found:
            raise Refused(f"no file that ends in {' or '.join(SUFFIXES)}")
        return dict(sorted(found.items()))


def sha256(files: dict[str, bytes]) -> str:
    """Return the hash of a submission's files and their names."""
    total = hashlib.sha256()
    for name, content in sorted(files.items()):
        total.update(f"{len(name)} {name} {len(content)} ".encode() + content)
    return total.hexdigest()


def found(place: Path) -> list[Submission]:
    """Return the submissions in a folder or zip, by student. Raises UserError if there are none."""
    by_student: dict[str, Submission] = {}
    try:
        parts = list(_parts(place))
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"--submissions {place}: {getattr(error, 'strerror', None) or error}") from error
    for name, path, entry in parts:
        first, _, rest = name.partition("/")
        late, ident, inner = False, "", rest
        if match := MOODLE.fullmatch(first) or CANVAS.fullmatch(first):
            student, ident = match["student"], match["id"]
            late = match.groupdict().get("late") is not None
            inner = rest or match["file"]
        else:
            student = first if rest else PurePosixPath(first).stem
            inner = rest or first
        student = re.sub(r"[^\w .,@+-]", "-", student).strip(" .") or "unnamed"
        one = by_student.setdefault(student if not ident else f"{student}_{ident}", Submission(student, ident))
        one.late = one.late or late
        one.parts.append((inner, path, entry))
    names = Counter(one.student for one in by_student.values())
    for key, one in by_student.items():
        if names[one.student] > 1:
            one.student = key  # two of one name are told apart by their numbers
    if not by_student:
        raise UserError(f"--submissions {place} holds no file, folder or zip of a student")
    return sorted(by_student.values(), key=lambda one: one.student)


def _parts(place: Path) -> Iterator[tuple[str, Path, str]]:
    """Yield (name, file, "") of the files in a folder, or (name, archive, entry) of a zip's; links are left out."""
    if place.is_dir():
        for path in sorted(place.rglob("*")):
            name = path.relative_to(place).as_posix()
            if _wanted(name) and path.is_file() and not any(p.is_symlink() for p in (path, *_between(path, place))):
                yield name, path, ""
    else:
        with zipfile.ZipFile(place) as archive:
            for info in archive.infolist()[:ENTRIES]:
                if _wanted(info.filename) and _harmless(info):
                    yield info.filename.replace("\\", "/"), place, info.filename


def _between(path: Path, place: Path) -> list[Path]:
    return [parent for parent in path.parents if parent.is_relative_to(place) and parent != place]


def _wanted(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not name.lower().endswith((*SUFFIXES, ".zip")):
        return False
    return not any((part.startswith(".") and part != "..") or part in ("__MACOSX", "__pycache__") for part in parts)


def _harmless(info: zipfile.ZipInfo) -> bool:
    """Return whether an entry is a file with a path inside its archive."""
    path = PurePosixPath(info.filename.replace("\\", "/"))
    link = stat.S_ISLNK(info.external_attr >> 16)
    return not (info.is_dir() or link or path.is_absolute() or ".." in path.parts or ":" in info.filename)


def _opened(name: str, path: Path, entry: str) -> Iterator[tuple[str, bytes]]:
    """Yield (path, content) of a part: itself, or the source files of the zip that it is. Raises Refused."""
    try:
        if entry:
            with zipfile.ZipFile(path) as archive:
                content = _limited(archive, archive.getinfo(entry), TOTAL)
        else:
            if path.stat().st_size > TOTAL:
                raise Refused(f"{name} is larger than {TOTAL >> 20} MB")
            content = path.read_bytes()
        if not name.lower().endswith(".zip"):
            if len(content) > FILE:
                raise Refused(f"{name} is larger than {FILE >> 20} MB")
            yield name, content
            return
        total = 0
        with zipfile.ZipFile(BytesIO(content)) as archive:
            infos = archive.infolist()
            if len(infos) > ENTRIES:
                raise Refused(f"{name} has more than {ENTRIES} entries")
            for info in infos:
                if _wanted(info.filename) and not info.filename.lower().endswith(".zip"):
                    if not _harmless(info):
                        raise Refused(f"{name}: the path {info.filename!r} leads out of it or is a link")
                    total += len(inner := _limited(archive, info, FILE))
                    if total > TOTAL:
                        raise Refused(f"{name} unpacks to more than {TOTAL >> 20} MB")
                    yield info.filename.replace("\\", "/"), inner
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, KeyError, ValueError, EOFError) as error:
        raise Refused(f"{name} cannot be read: {error}") from None


def _limited(archive: zipfile.ZipFile, info: zipfile.ZipInfo, most: int) -> bytes:
    """Return the content of an entry. Raises Refused beyond `most` bytes; no more is unpacked than the entry claims."""
    if info.file_size > most:
        raise Refused(f"{info.filename} is larger than {most >> 20} MB")
    return archive.read(info)


def _python(name: str, content: bytes) -> tuple[str, bytes]:
    """Return the name and source of a file; a notebook becomes a module. Raises Refused if it is no notebook."""
    if not name.lower().endswith(".ipynb"):
        return name, content
    try:
        cells = json.loads(content)["cells"]
        sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Refused(f"{name} is no notebook") from None
    return f"{name[:-6].replace(' ', '_')}_ipynb.py", "\n\n".join(map(_definitions, sources)).encode()


def _definitions(cell: str) -> str:
    """Return what a cell defines: its imports, functions, classes and constants. What it runs is left out.

    A cell that is no Python, after its magics are taken out, stays as it is, so that its error is reported.
    """
    if cell.lstrip().startswith("%%"):
        return ""
    lines = ["" if line.lstrip().startswith(("%", "!", "?")) else line for line in cell.splitlines()]
    try:
        body = ast.parse("\n".join(lines)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "\n".join(lines)
    definitions = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    kept = [
        node
        for node in body
        if isinstance(node, definitions)
        or (
            isinstance(node, ast.Assign | ast.AnnAssign)
            and not any(isinstance(inner, ast.Call) for inner in ast.walk(node))
        )
    ]
    return "\n".join(line for node in kept for line in _lines(lines, node))


def _lines(lines: list[str], node: ast.stmt) -> list[str]:
    decorators = [one.lineno for one in getattr(node, "decorator_list", [])]
    return lines[min([node.lineno, *decorators]) - 1 : node.end_lineno]


def defining(files: dict[str, bytes], name: str) -> str:
    """Return the file that defines a class of this name. Raises Refused, with the first error of a file, if none does.

    Of several, the one called pruners.py is taken, or the one nearest to the top.
    """
    broken, holders = "", []
    for file, content in files.items():
        try:
            tree = ast.parse(content)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            where = f":{error.lineno}" if isinstance(error, SyntaxError) else ""
            broken = broken or f"{file}{where}: {getattr(error, 'msg', None) or error or type(error).__name__}"
            continue
        if any(isinstance(node, ast.ClassDef) and node.name == name for node in tree.body):
            holders.append(file)
    if holders:
        return min(holders, key=lambda file: (PurePosixPath(file).name != "pruners.py", file.count("/"), file))
    if broken:
        raise Refused(f"no class {name} can be read; {broken}")
    if len(files) == 1:
        return next(iter(files))  # it may be defined otherwise than by a class statement
    raise Refused(f"no file defines a class {name}; there are {', '.join(files)}"[:500])
