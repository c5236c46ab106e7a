"""Functions for all forms of the user's own data: the order of classes, and the examples held out for testing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from Utils.errors import UserError
from Utils.machine import seeds
from Utils.wording import counted

if TYPE_CHECKING:
    import numpy as np

SEED = 1  # of the split, if the user gives none: it is the same in runs of all seeds, so that they share a test set
HELD_OUT = 10  # one example in so many, of each class, is for testing


def in_order(labels: Iterable[str]) -> list[str]:
    """Return each label once: by number if all are whole numbers, else by code point."""
    once = set(labels)
    numbers = all(label.removeprefix("-").isdecimal() and label.isascii() for label in once)
    return sorted(once, key=lambda label: (int(label) if numbers else 0, label))


def divide(targets: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Return the numbers of the training and of the test examples, each ascending, drawn by `seed`.

    A tenth of each class is for testing, rounded, but one at least where there are two.
    targets: the class of each example, [n].
    """
    import numpy as np
    import torch

    draw = torch.Generator().manual_seed(seeds.derive(seed, "split"))
    order = torch.randperm(len(targets), generator=draw).numpy()
    order = order[np.argsort(targets[order], kind="stable")]  # class after class, each in random order
    test = np.zeros(len(targets), dtype=bool)
    for group in np.split(order, np.flatnonzero(np.diff(targets[order])) + 1):
        if len(group) > 1:
            test[group[: max(1, round(len(group) / HELD_OUT))]] = True
    return {"train": np.flatnonzero(~test), "test": np.flatnonzero(test)}


def completed(
    where: object, given: Mapping[str, np.ndarray], targets: np.ndarray, seed: int | None
) -> tuple[dict[str, np.ndarray], str]:
    """Return what `_split` returns; the words also say of how many classes a split has no example.

    `where` begins what a UserError says.
    """
    try:
        splits, words = _split(given, targets, seed)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    for name in ("train", "test"):
        if missing := len(set(targets.tolist()) - set(targets[splits[name]].tolist())):
            words += f"; of {missing} class{'es' * (missing > 1)} there is no {name} example"
    return splits, words


def _split(given: Mapping[str, np.ndarray], targets: np.ndarray, seed: int | None) -> tuple[dict[str, np.ndarray], str]:
    """Return the examples of each split, "train" and "test" among them, and where they come from, in words.

    given: the numbers of the examples by split; "" stands for examples of no split. Where no test split is given, the
    validation split takes its place, or else a part of the training split, drawn by `seed` (None: `SEED`).
    Raises UserError for a seed that nothing is drawn by, and if nothing is left to train on or to test.
    """
    splits = dict(given)
    if "" in splits:
        splits["train"] = splits.pop("")
    if not splits.keys() & {"test", "val"}:
        chosen = SEED if seed is None else seed
        drawn = divide(targets[splits["train"]], chosen)
        if not len(drawn["test"]):
            raise UserError(f"{counted(len(targets), 'example')}: too few to hold some out for testing")
        splits |= {name: splits["train"][numbers] for name, numbers in drawn.items()}
        return splits, f"{100 // HELD_OUT} % held out as test by --split-seed {chosen}"
    if seed is not None:
        raise UserError("--split-seed means nothing to data with a test split of its own; leave it out")
    if "test" in splits:
        return splits, "splits as given"
    splits["test"] = splits.pop("val")
    return splits, "the validation split is the test split"
