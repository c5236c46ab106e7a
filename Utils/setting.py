"""The columns of the rows in Utils/settings.py and Utils/pruning_settings.py."""

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import Any

ALWAYS = object()  # as `since`: every stored run names the setting


@dataclass(frozen=True)
class Setting:
    """A setting of a run."""

    name: str
    group: str  # the title under which --help lists it
    kind: str  # type of the value, a key of Utils.commandline.kinds.KINDS; "" if it has no flag
    help: str = ""
    default: Any = None  # a data set may override it (`by_data`); None if only the data set decides
    metavar: str = "N"
    choices: tuple[str, str] | None = None  # (what an entry is called, the registry in Utils.load that lists them)
    families: str = ""  # the registry in Utils.load, names by family, that the help lists
    words: int | str = 1  # number of words after the flag: an integer, "+" or "*"
    alias: tuple[str, str] | None = None  # (a switch, the value that it is short for)
    original: bool = False  # a flag of the published assignment; it may be abbreviated
    by_data: bool = False  # data sets may have defaults of their own
    own: bool = False  # accepted only by data sets that have a default for it
    optimizer: tuple[str, str] | None = None  # (the optimizers that accept it, with blanks, an argument of the class)
    since: Any = ALWAYS  # if the setting was added later: the value of all runs made before
    operational: bool = False  # says where and how to run, so it is not part of a run's name
    axis: bool = False  # varies within a study (task, pruner, seed), or does not affect the last epoch
    dense: bool = True  # affects a run at compression 0 as well
    late: bool = False  # takes effect only from pruning on, like all settings of pruning
    # Whether it has an effect, by the values of all settings and what model and pruner have (commandline/acting.py)
    acts: Callable[[Mapping[str, Any], Container[str]], bool] | None = None  # None: always
    cost: str = ""  # "run": affects how long a run takes; "scoring": how long scoring takes


def operational(group: str, name: str, kind: str, text: str, default: Any, **more: Any) -> Setting:
    """Return a row that says where and how to run."""
    return Setting(name, group, kind, text, default, operational=True, **more)


def switch(group: str, name: str, text: str, **more: Any) -> Setting:
    """Return a row of a flag that is on or off."""
    return Setting(name, group, "switch", text, False, metavar="BOOL", **more)


def trains(run: Mapping[str, Any], has: Container[str]) -> bool:
    """Return whether a run trains at all (a value of `Setting.acts`)."""
    return bool(run["pre_epochs"] or run["post_epochs"])
