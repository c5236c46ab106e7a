"""The argument parser, filled from the rows of Utils/settings.py."""

import argparse
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from Utils import load, settings
from Utils.commandline.kinds import KINDS, switch
from Utils.errors import UserError, guess
from Utils.settings import Setting

PROJECT = Path(__file__).resolve().parent.parent.parent / "pyproject.toml"
WIDTH = 110  # of the help
EPILOG = "A default that differs between data sets is followed by theirs."
NOTES = {
    "translation": "for data sets that are translated",
    "pruning": "the printed 'Parameter Sparsity' and 'FLOP Sparsity' are the fractions that REMAIN, as in the Synaptic "
    "Flow code",
    "dynamic masks": "masks that change in training after pruning; in levels, in the training of each level",
}
# Flags of the published assignment that are no setting of a single run.
ORIGINAL = ("pruner_list", "prune_epoch_list", "compression_list", "level_list", "quantization")


def flag(name: str) -> str:
    """Return the flag of a setting: `--train-batch-size` for "train_batch_size"."""
    return f"--{name.replace('_', '-')}"


def originals() -> list[str]:
    """Return the flags of the published assignment's command line."""
    return [flag(name) for name in (*ORIGINAL, *(row.name for row in settings.ROWS if row.original))]


def _folded(line: str) -> str:
    """Return a line of the help, broken behind a comma if a list of names is too long for it."""
    comma = line.rfind(",", 0, WIDTH)
    return line if len(line) <= WIDTH or comma < 0 else f"{line[: comma + 1]}\n{' ' * 8}{line[comma + 1 :]}"


def names(options: Iterable[str]) -> str:
    """Return names in the form of the help: {a,b}."""
    return "{" + ",".join(options) + "}"


class Version(argparse.Action):
    """Print the version, which pyproject.toml states, and exit with code 0."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["version"])
        parser.exit()


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are UserErrors of one line.

    Only flags of the published assignment may be abbreviated, as its handout does (--post-epoch).
    """

    def __init__(self, title: str = "", add_help: bool = True) -> None:
        super().__init__(
            prog="main.py",
            description=title,
            epilog=EPILOG,
            formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=32, width=WIDTH),
            allow_abbrev=False,
            add_help=add_help,
        )
        if add_help:
            words = "show the version and exit"
            self.add_argument("--version", action=Version, nargs=0, default=argparse.SUPPRESS, help=words)
        self.advice = "; --help lists the flags"  # the end of every error
        self.usual: list[tuple[argparse.Action, Setting, Any]] = []  # flags of settings with their usual values

    def error(self, message: str) -> Any:
        """Raise UserError, with the flag that an unknown one may be meant to be."""
        found = re.fullmatch(r"unrecognized arguments: (--[^\s=]+)(.*)", message, re.DOTALL)
        if found and (meant := guess(found[1], self._option_string_actions)):
            message = f"there is no flag {found[1]}{meant}"
        raise UserError(f"{message}{self.advice}")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the words, after completing abbreviated flags."""
        return super().parse_known_args([self._whole(word) for word in args or ()], namespace)

    def format_help(self) -> str:
        """Return the help, with the defaults of all data sets."""
        for action, row, usual in self.usual:
            action.help = row.help + _families(row) + _shown_default(row, usual)
        return "\n".join(map(_folded, super().format_help().split("\n")))

    def _whole(self, word: str) -> str:
        """Return the word, or the full flag that it abbreviates; a part after "=" is kept."""
        beginning, equals, value = word.partition("=")
        if not beginning.startswith("--") or len(beginning) == 2 or beginning in self._option_string_actions:
            return word
        meant = [name for name in originals() if name.startswith(beginning) and name in self._option_string_actions]
        if len(meant) > 1:
            self.error(f"{beginning} may be {' or '.join(meant)}")
        return f"{meant[0]}{equals}{value}" if meant else word

    def add_settings(
        self, *groups: str, without: Sequence[str] = (), defaults: Mapping[str, Any] | None = None
    ) -> None:
        """Add the flags of these groups of settings.

        without: settings for which the experiment has no flag, or a flag of its own.
        defaults: the experiment's own defaults.
        A flag that says what to run is None if it is not given, so that the data set can decide its default.
        """
        for title in groups:
            group = self.add_argument_group(title, NOTES.get(title))
            for row in settings.of(title):
                if row.name not in without:
                    own = (defaults or {}).get(row.name)
                    usual = row.default if own is None else own
                    self.usual.append((_add(group, row, own, usual), row, usual))


def _add(group: Any, row: Setting, own: Any, usual: Any) -> argparse.Action:
    """Add the flag of a row; own: the experiment's default, or None. usual: the default without a data set."""
    default = usual if row.operational and not row.by_data else own
    options: dict[str, Any] = {"type": KINDS[row.kind], "default": default, "metavar": row.metavar}
    if row.choices:
        options["metavar"] = names(getattr(load, row.choices[1]))
    if row.words != 1:
        options["nargs"] = row.words
    if row.kind in ("switch", "run or switch"):
        options |= {"nargs": "?", "const": row.kind == "switch" or "true"}
    action = group.add_argument(flag(row.name), **options)
    if row.alias:
        name, value = row.alias
        group.add_argument(
            flag(name), dest=row.name, nargs="?", const="true", metavar="BOOL", default=argparse.SUPPRESS,
            type=lambda text: value if switch(text) else row.default, help=f"the same as {flag(row.name)} {value}",
        )  # fmt: skip
    return action


def _families(row: Setting) -> str:
    """Return the names that the setting may have, family by family."""
    found = getattr(load, row.families) if row.families else {}
    return ", of " * bool(found) + "; ".join(f"{family}: {', '.join(members)}" for family, members in found.items())


def _shown_default(row: Setting, usual: Any) -> str:
    """Return the default in brackets, followed by different defaults of data sets."""
    if "(default" in row.help or row.kind == "switch":
        return ""
    others: dict[str, list[str]] = {}
    for name in load.DATASETS if row.by_data or row.own else ():
        value = load.dataset(name).defaults.get(row.name, usual)
        if value != usual:
            others.setdefault(_words(value), []).append(name)
    shown = [] if usual in (None, "") else [_words(usual)]
    shown += [f"{', '.join(datasets)}: {value}" for value, datasets in others.items()]
    return f" (default: {'; '.join(shown)})" if shown else ""


def _words(value: Any) -> str:
    values = value if isinstance(value, list) else [value]
    return " ".join(f"{one:g}" if isinstance(one, float) else str(one) for one in values)
