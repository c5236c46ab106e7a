"""The formats of exported models: what each is called, holds and computes with. Imports nothing heavy.

`FORMATS` is the one table of them: `--format`, `measure`, `report` and the benchmarks read it, in its order.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    help: str
    ways: tuple[str, ...]  # of storing a matrix, keys of storage.WAYS: the smallest is taken
    forms: tuple[str, ...]  # of computing with it, keys of exported.LINEAR: the quickest is taken
    smaller: bool = False  # without the units that are dead
    marker: str = ""  # "filled" or "hollow" in the report's figure of speed; without it the format is not drawn


FORMATS = {
    "sparse": Format(
        "the weights that are left and where they stand, each matrix computing in the form measured to be the quickest",
        ways=("whole", "bits", "columns"),
        forms=("whole", "csr", "block"),
        marker="hollow",
    ),
    "compact": Format(
        "dense, without the units that are dead",
        ways=("whole", "block"),
        forms=("whole", "block"),
        smaller=True,
        marker="filled",
    ),
    "dense": Format("as it is, masks multiplied in", ways=("whole",), forms=("whole",)),
}
REFERENCE = "dense"  # the format that speed is compared with
MASKED = "masked"  # no format: the model as it was trained, which is measured beside them
