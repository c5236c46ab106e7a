"""A grid of runs, from a sweep file and from flags: each cell is the command line of one singleshot."""

from __future__ import annotations

import itertools
import tomllib
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from Experiments.singleshot import GROUPS
from Utils import settings
from Utils.commandline import arguments
from Utils.commandline.parser import Parser, flag
from Utils.errors import UserError
from Utils.settings import Setting

Table = dict[str, list[Any]]  # setting -> the values that are crossed with those of the others
LISTS = ("seed", "compression", "pruner")  # settings with a flag --<setting>-list too; the first varies slowest


@dataclass(frozen=True)
class Cell:
    """One run as it is asked for: the words of its command line, and what they mean, checked and complete."""

    words: tuple[str, ...]
    args: Namespace


def of_runs() -> dict[str, Setting]:
    """Return the settings of a singleshot that have a flag and say what to run, by name."""
    return {row.name: row for group in GROUPS for row in settings.of(group) if not row.place}


def cells(files: Sequence[str], given: Mapping[str, list[Any]]) -> list[Cell]:
    """All cells of these sweep files, in their order, or of flags alone where there is no file.

    given: what the command line says, see `override`. The first setting of a table varies slowest. Raises UserError
    that names file and setting.
    """
    parser = arguments.parser()
    tables: list[tuple[str | None, Table]] = [(file, table) for file in files for table in read(file, parser)]
    found = []
    for file, table in override(tables if files else [(None, {})], given):
        for values in itertools.product(*table.values()):
            chosen = dict(zip(table, values, strict=True))
            words = tuple(word for key, value in chosen.items() for word in spelled(key, value))
            try:
                found.append(Cell(words, arguments.resolve(parser.parse_args(words))))
            except UserError as error:
                varied = {key: value for key, value in chosen.items() if file is not None or len(table[key]) > 1}
                where = ", ".join(f"{key} {_shown(value)}" for key, value in varied.items())
                raise UserError(": ".join(filter(None, (file, where, str(error))))) from error
    return found


def spelled(key: str, value: Any) -> list[str]:
    """The words of a command line that give a setting this value: `--lr-drops 2 4`, `--seed=1`, `--shuffle=true`."""
    return [flag(key), *map(_shown, value)] if isinstance(value, list) else [f"{flag(key)}={_shown(value)}"]


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_shown, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def read(file: str, parser: Parser) -> list[Table]:
    """The tables of a sweep file: each [[grid]] with the [settings] before it, or the [settings] alone."""
    try:
        content = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--sweep-file {file}: {getattr(error, 'strerror', None) or error}") from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{file}: not TOML: {error}") from error
    for key in sorted(content.keys() - {"settings", "grid"}):
        raise UserError(f"{file}: {key} stands outside [settings] and [[grid]]; these are all that a sweep file has")
    common, grids = content.get("settings", {}), content.get("grid", [{}])
    if not isinstance(common, dict) or not isinstance(grids, list) or not all(isinstance(grid, dict) for grid in grids):
        raise UserError(f"{file}: settings is one table, [settings]; grid one or more, [[grid]]")
    shared = _table(file, "settings", common, parser)
    return [shared | _table(file, f"grid {k}", grid, parser) for k, grid in enumerate(grids, start=1)]


def _table(file: str, title: str, content: Mapping[str, Any], parser: Parser) -> Table:
    known, rows = of_runs(), settings.by_name()
    table: Table = {}
    for name, value in content.items():
        key, where = name.replace("-", "_"), f"{file}: {title}: {name}"
        if key not in known:
            own = "; it is said on the command line" if key in rows and rows[key].place else "; --help lists the flags"
            raise UserError(f"{where} is no setting of a run{own}")
        if key in table:
            raise UserError(f"{where} is there twice")
        table[key] = _values(where, value, known[key], parser)
    return table


def _values(where: str, value: Any, row: Setting, parser: Parser) -> list[Any]:
    """The values to cross: those of a list; of a flag that takes several words, those of a list of lists."""
    several = row.words != 1
    crossed = isinstance(value, list) and (not several or any(isinstance(part, list) for part in value))
    values = value if crossed else [value]
    if not values:
        raise UserError(f"{where} is an empty list, which leaves no run")
    for one in values:
        words = one if several and isinstance(one, list) else [one]
        if not all(isinstance(word, str | int | float) for word in words):
            raise UserError(f"{where}: {one!r} is neither text, nor a number, nor true or false")
        try:
            parser.parse_args(spelled(row.name, one))
        except UserError as error:
            raise UserError(f"{where} = {_shown(one)}: {error}") from error
    return values


def override(tables: list[tuple[str | None, Table]], given: Mapping[str, list[Any]]) -> list[tuple[str | None, Table]]:
    """The tables, each with its file, with what the command line says, setting by setting, in place of what they say.

    But where tables differ in a setting of `LISTS` (SynFlow in one, with its own number of rounds, the others in
    another), each keeps those of its values that are asked for, and is left out if none is; what no table has goes
    to all.
    """
    for key, values in given.items():
        named = [value for _, table in tables for value in table.get(key, [])] if key in LISTS else []
        new = [value for value in values if value not in named]
        changed = []
        for file, table in tables:
            kept = [value for value in values if value in table.get(key, values)] if key in LISTS else []
            if found := [value for value in values if value in kept or value in new]:
                changed.append((file, {**table, key: found}))
        tables = changed
    return tables
