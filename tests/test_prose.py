"""The form of docstrings: what is public has one, and it begins with a verb or a noun."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("Experiments", "Layers", "Models", "Pruners", "Utils")
SOURCES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for path in (ROOT / "main.py", *sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")))
}

# Words that begin a sentence without a head: no reader knows what "That of ..." is about.
HEADLESS = set(
    "Afterwards All Also As At Because Below Beside By Each Either Every For From Further Here How If In Inside Into "
    "It Its Like Many Most No None Nothing Of On One Only Otherwise Over So Some Something Such That Their Them These "
    "They This Those To Two Under What When Where Whether Which While Who Whoever Whose Why With Within Without".split()
)


def described(tree: ast.Module):
    """Yield (name, node, whether it must have a docstring) of the module, its classes and its functions."""
    yield "the module", tree, True
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node, node in tree.body and not node.name.startswith("_")


def faults(tree: ast.Module) -> list[str]:
    """List what breaks the rule in one file."""
    found = []
    for name, node, required in described(tree):
        docstring = ast.get_docstring(node)
        if docstring is None:
            found += [f"{name} has no docstring"] * required
        elif (first := docstring.split()[0].rstrip(",:;.")) in HEADLESS or not first[:1].isupper():
            found.append(f"{name} begins with {first!r}")
    return found


@pytest.mark.parametrize("file", SOURCES)
def test_docstrings_begin_with_a_verb_or_a_noun(file):
    assert faults(SOURCES[file]) == []


def test_the_rule_covers_the_code():
    assert len(SOURCES) > 100


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('"""A module."""\n\n\ndef add():\n    """Return a sum."""\n', []),
        ('"""A module."""\n\n\ndef add():\n    pass\n', ["add has no docstring"]),
        ('"""A module."""\n\n\ndef _add():\n    pass\n', []),
        ('"""A module."""\n\n\nclass Sum:\n    """That of two."""\n', ["Sum begins with 'That'"]),
        ('"""A module."""\n\n\ndef add():\n    """(a, b) -> a + b."""\n', ["add begins with '(a'"]),
        ("x = 1\n", ["the module has no docstring"]),
    ],
)
def test_faults_are_found(source, expected):
    assert faults(ast.parse(source)) == expected
