"""A grid of runs, from sweep files and flags. Each cell is the command line of one singleshot."""

import itertools
import math
import re
import tomllib
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from Experiments.singleshot import GROUPS
from Utils import console, settings
from Utils.commandline import arguments
from Utils.commandline.parser import Parser, flag
from Utils.errors import UserError, guess
from Utils.settings import Setting

Table = dict[str, list[Any]]  # setting -> values, which are crossed with those of the others
LARGE = 10_000  # runs of a grid that take seconds to check
LISTS = ("seed", "compression", "pruner")  # settings that also have a flag --<setting>-list; the first varies slowest


@dataclass(frozen=True)
class Cell:
    """A run of the grid."""

    words: tuple[str, ...]  # its command line
    args: Namespace  # their values, checked and complete


def of_runs() -> dict[str, Setting]:
    """Return the settings of a singleshot that have a flag and say what to run, by name."""
    return {row.name: row for group in GROUPS for row in settings.of(group) if not row.operational}


def cells(files: Sequence[str], given: Mapping[str, list[Any]]) -> list[Cell]:
    """Return all cells of these sweep files, in their order, or of the flags alone if there is no file.

    given: the values of the command line, see `override`.
    The first setting of a table varies slowest. Before it come the settings of the file's `order`, over all its tables.
    Raises UserError that names the file and the setting.
    """
    parser = arguments.parser()
    parser.advice = ""
    tables: list[tuple[str | None, Table]] = []
    orders: dict[str | None, list[str]] = {}
    for path in files:
        found, orders[path] = read(path, parser)
        tables += [(path, table) for table in found]
    result = []
    remarks: dict[str, None] = {}  # each once, not for every run
    crossed = override(tables if files else [(None, {})], given)
    if (total := sum(math.prod(map(len, table.values())) for _, table in crossed)) > LARGE:
        console.note(f"this grid has {total:,} runs; checking them takes a while (Ctrl-C ends it)")
    for file, table in crossed:
        for values in itertools.product(*table.values()):
            chosen = dict(zip(table, values, strict=True))
            words = tuple(word for key, value in chosen.items() for word in spelled(key, value))
            try:
                cell = Cell(words, arguments.resolve(parser.parse_args(words), remarks.setdefault))
            except UserError as error:
                varied = {key: value for key, value in chosen.items() if file is not None or len(table[key]) > 1}
                where = ", ".join(f"{key} {_shown(value)}" for key, value in varied.items())
                raise UserError(": ".join(filter(None, (file, where, str(error))))) from error
            places = [table[key].index(chosen[key]) if key in table else 0 for key in orders.get(file, ())]
            result.append(([*orders].index(file) if file else 0, places, cell))
    for remark in remarks:
        console.note(remark)
    return [cell for *_, cell in sorted(result, key=lambda one: one[:2])]


def spelled(key: str, value: Any) -> list[str]:
    """Return the words that set a setting on a command line: `--lr-drops 2 4`, `--seed=1`, `--shuffle=true`."""
    return [flag(key), *map(_shown, value)] if isinstance(value, list) else [f"{flag(key)}={_shown(value)}"]


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_shown, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def read(file: str, parser: Parser) -> tuple[list[Table], list[str]]:
    """Return the tables of a sweep file and its order, the settings that vary slowest over all tables.

    A table is a [[grid]] combined with the [settings], or the [settings] alone.
    """
    try:
        content = tomllib.loads(_text(file))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--sweep-file {file}: {getattr(error, 'strerror', None) or error}") from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{file}: not TOML: {error}") from error
    for key in sorted(content.keys() - {"settings", "grid", "order"}):
        raise UserError(f"{file}: {key} is outside [settings] and [[grid]]; a sweep file has only these and an order")
    common, grids, order = content.get("settings", {}), content.get("grid", [{}]), content.get("order", [])
    if not isinstance(order, list) or not all(isinstance(key, str) and key in of_runs() for key in order):
        raise UserError(f"{_line(file, 'order')}: order is a list of settings, the slowest first")
    if not isinstance(common, dict) or not isinstance(grids, list) or not all(isinstance(grid, dict) for grid in grids):
        raise UserError(f"{file}: settings is one table, [settings]; grid one or more, [[grid]]")
    if not common and not any(grids):
        raise UserError(f"{file} says nothing: [settings] of all runs, or [[grid]]s of lists to cross")
    shared = _table(file, "settings", common, parser)
    return [shared | _table(file, f"grid {k}", grid, parser) for k, grid in enumerate(grids, start=1)], order


def _text(file: str) -> str:
    return Path(file).read_text(encoding="utf-8-sig")  # without a byte order mark


def _table(file: str, title: str, content: Mapping[str, Any], parser: Parser) -> Table:
    known, rows = of_runs(), settings.by_name()
    table: Table = {}
    for name, value in content.items():
        key, where = name.replace("-", "_"), f"{_line(file, name)}: {title}: {name}"
        if key in rows and rows[key].operational:
            raise UserError(f"{where} is no setting of a run; it is said on the command line")
        if key not in known:
            raise UserError(f"{where} is no setting of a run{guess(key, known)}")
        if key in table:
            raise UserError(f"{where} is there twice")
        table[key] = _values(where, value, known[key], parser)
    return table


def _line(file: str, name: str) -> str:
    """Return the file, with the number of the line that sets `name` if there is one such line alone."""
    setting = re.compile(rf"""\s*["']?{re.escape(name)}["']?\s*=""")
    lines = _text(file).splitlines()
    numbers = [number for number, line in enumerate(lines, start=1) if setting.match(line)]
    return f"{file}, line {numbers[0]}" if len(numbers) == 1 else file


def _values(where: str, value: Any, row: Setting, parser: Parser) -> list[Any]:
    """Return the values to cross: those of a list, or, for a flag of several words, those of a list of lists."""
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
    """Replace settings of the tables, each given with its file, by those of the command line.

    A setting of `LISTS` may have different values in different tables (for example SynFlow in one of them, with its own
    number of rounds). Then each table keeps those of its values that are asked for, and is left out if there are none.
    A value that no table has is added to all.
    """
    for key, values in given.items():
        named = [value for _, table in tables for value in table.get(key, [])] if key in LISTS else []
        new = [value for value in values if value not in named]
        changed = []
        for file, table in tables:
            kept = [value for value in values if value in table.get(key, values)] if key in LISTS else []
            if chosen := [value for value in values if value in kept or value in new]:
                changed.append((file, {**table, key: chosen}))
        tables = changed
    return tables
