"""The recipes of CONTRIBUTING.md: read from the page, and followed in a copy of the project."""

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "CONTRIBUTING.md"
COPIED = ("main.py", "Experiments", "Layers", "Models", "Pruners", "Utils")  # what a command of the page needs
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass
class Recipe:
    """A section of the page. files: whole new files by path; lines: (file, text of the diff); commands: shell lines."""

    title: str
    files: dict[str, str] = field(default_factory=dict)
    lines: list[tuple[str, str]] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)

    def follow(self, tree: Path) -> None:
        """Write the new files below `tree` and add the lines. Raises ValueError for a file that is there already, and
        for a line that has no one place."""
        for name, content in self.files.items():
            if (tree / name).exists():
                raise ValueError(f"{name} is there already")
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_text(content, encoding="utf-8")
        for name, diff in self.lines:
            path = tree / name
            path.write_text(patched(path.read_text(encoding="utf-8"), diff), encoding="utf-8")


def patched(text: str, diff: str) -> str:
    """The text with the lines of the diff that begin with "+", behind those that begin with a space."""
    rows = diff.splitlines(keepends=True)
    before = "".join(row[1:] for row in rows if row[0] == " ")
    after = "".join(row[1:] for row in rows)
    if {row[0] for row in rows} != {" ", "+"} or f"\n{text}".count(f"\n{before}") != 1:
        raise ValueError(f"no one place for\n{diff}")
    return f"\n{text}".replace(f"\n{before}", f"\n{after}")[1:]


def recipes() -> dict[str, Recipe]:
    """The recipes of the page by their titles, in order."""
    found = {}
    for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        recipe = found[title] = Recipe(title)
        for language, name, content in BLOCK.findall(body):
            if language == "sh":
                recipe.commands += content.splitlines()
            elif language == "diff":
                recipe.lines.append((name, content))
            else:
                recipe.files[name] = content
    return found


def copy(tree: Path) -> Path:
    """What the commands of the page need of the project, below `tree`."""
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tree / name)
    return tree
