"""Flags for a human, by the structure of the source: copies of ours, near-copies in a class, unusual imports.

They are never scored: whoever implements a short formula may write it like somebody else.
"""

import ast
import itertools
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

OURS = Path(__file__).resolve().parent.parent.parent / "Pruners" / "pruners.py"
RUN = 8  # nodes of the syntax tree that make one piece
COPY = 0.8  # of all pieces of two classes, the share that both have, from which on one is called a copy of the other
LEAST = 20  # pieces: shorter classes are alike by chance
COMMON = 0.3  # a piece that more than this share of a class has was handed out, or is how one writes it
UNUSUAL = frozenset(
    "builtins ctypes gc importlib inspect multiprocessing os pickle requests signal socket subprocess sys threading "
    "Experiments tests urllib".split()
)


def pieces(tree: ast.AST) -> set[int]:
    """Return the pieces of a syntax tree: runs of nodes, whatever its variables are called and its comments say."""
    words: list[str] = []

    def walk(node: ast.AST) -> None:
        word = type(node).__name__
        if isinstance(node, ast.Attribute):
            word += f".{node.attr}"
        elif isinstance(node, ast.Constant):
            word += f":{node.value!r}" if isinstance(node.value, int | float) else ""
        words.append(word)
        for child in ast.iter_child_nodes(node):
            documentation = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
            if not documentation and not isinstance(child, ast.expr_context | ast.alias):
                walk(child)

    walk(tree)
    return {hash(tuple(words[k : k + RUN])) for k in range(len(words) - RUN + 1)}


def parsed(source: bytes) -> ast.Module:
    """Return the syntax tree of a file; an empty one if it is no Python."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Module([], [])


def of_class(source: bytes, name: str) -> set[int]:
    """Return the pieces of a class; none if the source has no such class or is no Python."""
    try:
        classes = (node for node in parsed(source).body if isinstance(node, ast.ClassDef) and node.name == name)
        return next(map(pieces, classes), set())
    except RecursionError:  # a tree so deep that it cannot be walked
        return set()


def alike(one: set[int], other: set[int]) -> float:
    """Return which share of the pieces of two classes both have; 0 if one of them is short."""
    return len(one & other) / len(one | other) if min(len(one), len(other)) >= LEAST else 0.0


def alone(files: Mapping[str, bytes], name: str, source: bytes) -> list[str]:
    """Return the flags of one submission, whose class `name` stands in `source`."""
    flags = []
    ours = [node for node in ast.parse(OURS.read_bytes()).body if isinstance(node, ast.ClassDef)]
    mine, names = of_class(source, name), {one.name for one in ours}
    for one in ours:
        if (share := alike(mine, pieces(one))) >= COPY:
            flags.append(f"{name}: {share:.0%} of its structure is that of our {one.name}")
    used: set[str] = set()
    for content in files.values():
        for node in ast.walk(parsed(content)):
            if isinstance(node, ast.ImportFrom) and node.module:
                used.add(node.module.partition(".")[0])
                taken = {alias.name for alias in node.names} & names
                if node.module == "Pruners.pruners" and taken:
                    flags.append(f"imports our {', '.join(sorted(taken))}")
            elif isinstance(node, ast.Import):
                used |= {alias.name.partition(".")[0] for alias in node.names}
    if strange := sorted(used & UNUSUAL):
        flags.append(f"imports {', '.join(strange)}")
    return list(dict.fromkeys(flags))


def pairs(sources: Mapping[str, tuple[str, bytes]]) -> dict[str, list[str]]:
    """Return {student: flags} of near-copies in a class. sources: {student: (name of the class, its source)}."""
    found = {student: of_class(source, name) for student, (name, source) in sources.items()}
    counts = Counter(itertools.chain.from_iterable(found.values()))
    common = {piece for piece, count in counts.items() if count > max(3, COMMON * len(found))}
    own = {student: every - common for student, every in found.items()}
    flags: dict[str, list[str]] = {}
    for one, other in itertools.combinations(sorted(own), 2):
        if (share := alike(own[one], own[other])) >= COPY:
            name = sources[one][0]
            flags.setdefault(one, []).append(f"{name}: {share:.0%} alike {other}")
            flags.setdefault(other, []).append(f"{name}: {share:.0%} alike {one}")
    return flags
