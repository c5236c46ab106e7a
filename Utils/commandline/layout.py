"""Densities of layers from a file, and the compression that a pattern has."""

import json
import math
import tomllib
from argparse import Namespace
from pathlib import Path

from Utils import load
from Utils.errors import UserError

EXPECTED = {".toml": 'lines such as "fc.weight" = 0.1', ".json": 'an object such as {"fc.weight": 0.1}'}
FILE = "file"  # the value of --mask-scope in the record, whatever the file's name


def read(args: Namespace) -> None:
    """Replace a file that --mask-scope names by its content, [[name or pattern, density], ...] in `layer_densities`.

    Raises UserError if it is no scope and no such file.
    """
    scope, args.mask_scope_path = args.mask_scope, getattr(args, "mask_scope_path", None)
    if scope in (None, FILE, *load.MASK_SCOPES):
        args.layer_densities = getattr(args, "layer_densities", None) if scope == FILE else None
        return
    kind = Path(scope).suffix
    if kind not in (".toml", ".json"):
        load.known("mask scope", scope, (*load.MASK_SCOPES, "FILE.toml", "FILE.json"))
    try:
        content = (tomllib if kind == ".toml" else json).loads(Path(scope).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or f"{error}; expected {EXPECTED[kind]}"
        raise UserError(f"--mask-scope {scope}: {reason}") from error
    if not isinstance(content, dict) or not content:
        raise UserError(f"--mask-scope {scope}: holds no densities; expected {EXPECTED[kind]}")
    for name, density in content.items():
        if isinstance(density, bool) or not isinstance(density, int | float) or not 0 < density <= 1:
            quoted = "; a name with dots needs quotes" if isinstance(density, dict) else ""
            wanted = f"expected a density above 0, at most 1{quoted}"
            raise UserError(f"--mask-scope {scope}: {name} is {json.dumps(density, default=str)}; {wanted}")
    args.mask_scope_path = scope
    args.mask_scope, args.layer_densities = FILE, [[name, float(density)] for name, density in content.items()]


def numbers(pattern: str) -> tuple[int, int] | None:
    """Return (N, M) of "N:M", or None for "none"."""
    return None if pattern == "none" else tuple(map(int, pattern.split(":")))  # type: ignore[return-value]


def compression(pattern: str, given: float | None) -> float | None:
    """Return the compression of a pattern; without one, `given`. Raises UserError if both are given and differ."""
    if not (pair := numbers(pattern)):
        return given
    exact = math.log10(pair[1] / pair[0])
    if given is not None and abs(10.0 ** (exact - given) - 1) > 0.005:
        kept = pair[0] / pair[1]
        raise UserError(
            f"--compression {given:g}: --pattern {pattern} keeps {kept:g}, compression {exact:.5g}; leave it out"
        )
    return exact
