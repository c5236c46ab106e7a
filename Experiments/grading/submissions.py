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

from Experiments.grading import structure
from Utils import plugin
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
        folders = [name for name, folder in _top(place).items() if folder or _platform(name)]
    except (OSError, zipfile.BadZipFile) as error:
        words = getattr(error, "strerror", None) or "it is no folder and no zip"
        raise UserError(f"--submissions {place}: {words}") from error
    for name in folders:
        _of(by_student, name, True)  # who has handed in nothing that is read has a sheet, too
    for name, path, entry in parts:
        first, _, rest = name.partition("/")
        one, file = _of(by_student, first, bool(rest))
        one.parts.append((rest or file, path, entry))
    names = Counter(one.student for one in by_student.values())
    for key, one in by_student.items():
        if names[one.student] > 1:
            one.student = key  # two of one name are told apart by their numbers
    if not by_student:
        raise UserError(f"--submissions {place} holds no file, folder or zip of a student")
    return sorted(by_student.values(), key=lambda one: one.student)


def left_out(place: Path) -> list[str]:
    """Return the names at the top of a folder or zip that stand for no student: other files, and links."""
    read = {name: folder or _wanted(name) or _platform(name) for name, folder in _top(place).items()}
    return [name for name in read if not read[name] or (place / name).is_symlink()]


def _platform(name: str) -> re.Match[str] | None:
    return MOODLE.fullmatch(name) or CANVAS.fullmatch(name)


def _of(by_student: dict[str, Submission], first: str, folder: bool) -> tuple[Submission, str]:
    """Return the submission that a name at the top belongs to, added if it is new, and the file's name in it."""
    late, ident, student, file = False, "", first if folder else PurePosixPath(first).stem, first
    if match := _platform(first):
        student, ident, file = match["student"], match["id"], match["file"]
        late = match.groupdict().get("late") is not None
    student = re.sub(r"[^\w .,@+'’-]", "-", student).strip(" .") or "unnamed"
    one = by_student.setdefault(student if not ident else f"{student}_{ident}", Submission(student, ident))
    one.late = one.late or late
    return one, file


def _top(place: Path) -> dict[str, bool]:
    """Return {name: whether it is a folder} of what stands at the top of a folder or zip, in order."""
    if place.is_dir():
        found = {path.name: path.is_dir() and not path.is_symlink() for path in sorted(place.iterdir())}
    else:
        with zipfile.ZipFile(place) as archive:
            names = [info.filename.replace("\\", "/") for info in archive.infolist()[:ENTRIES]]
        found = {name.partition("/")[0]: "/" in name for name in sorted(names) if ".." not in PurePosixPath(name).parts}
    return {name: folder for name, folder in found.items() if name and _shown(name)}


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
    return name.lower().endswith((*SUFFIXES, ".zip")) and all(map(_shown, parts))


def _shown(name: str) -> bool:
    """Return whether a file or folder of this name is of its owner, and not of a system."""
    return (not name.startswith(".") or name == "..") and name not in ("__MACOSX", "__pycache__")


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
    return f"{name[:-6].replace(' ', '_')}_ipynb.py", notebook(name, content)


def notebook(name: str, content: bytes) -> bytes:
    """Return what the code cells of a notebook define, as Python. Raises Refused if it is no notebook."""
    try:
        cells = json.loads(content)["cells"]
        sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Refused(f"{name} is no notebook") from None
    return "\n\n".join(map(_definitions, sources)).encode()


def _definitions(cell: str) -> str:
    """Return what a cell defines: its imports, functions, classes and constants. What it runs is left out.

    A cell that is no Python, after its magics are taken out, stays as it is, so that its error is reported. What cannot
    be imported here, such as google.colab, is missed only by code that uses it.
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
    found = lines[min([node.lineno, *decorators]) - 1 : node.end_lineno]
    if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and node.module != "__future__"):
        return ["try:", *(f"    {line}" for line in found), "except ImportError:", "    pass"]
    return found


def defining(files: dict[str, bytes], name: str) -> list[str]:
    """Return the files that define a class of this name, the one to be graded first.

    That is the one called pruners.py, or the one nearest to the top.
    Raises Refused, with the first error of a file, if there is none.
    """
    broken, holders = "", []
    for file, content in files.items():
        try:
            tree = ast.parse(plugin.decoded(content))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            line = getattr(error, "lineno", None)
            words = getattr(error, "msg", None) or str(error) or type(error).__name__
            broken = broken or f"{file}{f', line {line}' if line else ''}: {words}"
            continue
        if any(isinstance(node, ast.ClassDef) and node.name == name for node in tree.body):
            holders.append(file)
    if holders:
        return sorted(holders, key=lambda file: (PurePosixPath(file).name != "pruners.py", file.count("/"), file))
    if broken:
        raise Refused(f"{broken}; so no class {name} can be read")
    if not any(content.strip() for content in files.values()):
        raise Refused(f"{', '.join(files)}: there is nothing in it"[:500])
    if len(files) == 1:
        return list(files)  # it may be defined otherwise than by a class statement
    raise Refused(f"no file defines a class {name}; there are {', '.join(files)}"[:500])


def named(files: dict[str, bytes]) -> set[str]:
    """Return the names that the files define at their top, as far as they can be read."""
    names: set[str] = set()
    for content in files.values():
        body = structure.parsed(content).body
        names |= {node.name for node in body if isinstance(node, ast.ClassDef)}
        targets = [target for node in body if isinstance(node, ast.Assign) for target in node.targets]
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
        imported = [alias for node in body if isinstance(node, ast.ImportFrom) for alias in node.names]
        names |= {alias.asname or alias.name for alias in imported}
    return names
