"""Loading of a class from a user's own file, named on the command line as `path/to/file.py:Class`."""

import ast
import codecs
import contextlib
import hashlib
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from Utils.errors import UserError


@dataclass(frozen=True)
class Plugin:
    """The content of a file and the name of a class in it. The code has not been run yet."""

    path: Path
    attribute: str
    content: bytes

    @property
    def sha256(self) -> str:
        """Return the SHA-256 hash of the file's content, in hexadecimal; with that of the files beside it, if any."""
        digest = hashlib.sha256(self.content)
        for name, content in sorted(self.beside().items()):
            digest.update(f"\0{name}\0{len(content)}\0".encode() + content)
        return digest.hexdigest()

    def beside(self) -> dict[str, bytes]:
        """Return the files from its own directory that it imports, or that these import: {path from there: content}."""
        found: dict[str, bytes] = {}
        contents = [self.content]
        while contents:
            for name in _imported(contents.pop()):
                parts = name.split(".")
                heads = ["/".join(parts[: k + 1]) for k in range(len(parts))]
                for each in (f"{head}{end}" for head in heads for end in (".py", "/__init__.py")):
                    file = self.path.resolve().parent / each
                    if each not in found and file.is_file() and file != self.path.resolve():
                        with contextlib.suppress(OSError, SyntaxError, ValueError):  # its import will say what is wrong
                            found[each] = file.read_bytes()
                            contents.append(found[each])
        return found

    def load(self) -> Any:
        """Run the file and return the class. Errors of the file pass through; UserError if it has no such class.

        The file can import modules from its own directory; those that Python finds elsewhere come first.
        """
        place = self.path.resolve().parent
        if str(place) not in sys.path:
            sys.path.append(str(place))
        own = {str(place / name) for name in self.beside()}
        for name, module in list(sys.modules.items()):
            if getattr(module, "__file__", None) in own:  # it may have changed since it was imported
                del sys.modules[name]
        module = types.ModuleType(f"plugin_{self.sha256[:16]}")
        module.__file__ = str(self.path)
        sys.modules[module.__name__] = module  # dataclasses look for it there
        exec(compile(self.content, str(self.path), "exec", dont_inherit=True), module.__dict__)
        found = getattr(module, self.attribute, None)
        if not isinstance(found, type):
            classes = [name for name, value in vars(module).items() if isinstance(value, type)]
            raise UserError(
                f"{self.path.name} has no class {self.attribute}; it has: {', '.join(sorted(classes)) or 'none at all'}"
            )
        return found


def _imported(content: bytes) -> set[str]:
    """Return the modules that a file may import, as far as it names them: of `from a import b` a and a.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            before = f"{node.module}." if node.module else ""
            names |= {f"{before}{alias.name}" for alias in node.names}
    return names


def decoded(content: bytes) -> bytes:
    """Return the content of a Python file. Raises ValueError if it is saved as UTF-16, which Python does not read."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError("it is saved as UTF-16; save it as UTF-8")
    return content


def read(flag: str, text: str) -> Plugin:
    """Read the file that `text` names. Raises UserError, naming `flag`, unless it is a readable Python file."""
    name, _, attribute = text.rpartition(":")
    if not name or not attribute.isidentifier():
        raise UserError(f"{flag} {text}: write it as path/to/file.py:Class")
    path = Path(name).expanduser()
    try:
        content = path.read_bytes()
        compile(decoded(content), str(path), "exec", dont_inherit=True)
    except OSError as error:
        raise UserError(f"{flag} {text}: cannot read {path}: {error.strerror}") from error
    except SyntaxError as error:
        raise UserError(f"{flag} {text}: {path}:{error.lineno or 1}: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:  # a null byte, brackets without end
        raise UserError(f"{flag} {text}: {path} is no Python: {error}") from error
    return Plugin(path, attribute, content)
