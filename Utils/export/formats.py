"""Formats of exported models. This module needs no torch.

`--format`, `measure`, `report` and the benchmarks read the table `FORMATS`, in its order.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec


@dataclass(frozen=True)
class Format:
    """A format: how matrices may be stored and computed with."""

    help: str
    ways: tuple[str, ...]  # ways to store a matrix, keys of storage.WAYS: the smallest is taken
    forms: tuple[str, ...]  # forms to compute in, keys of exported.LINEAR: the quickest is taken
    smaller: bool = False  # dead units are removed
    empty_rows: bool = False  # of embeddings, rows that are all zero are stored too
    marker: str = ""  # "filled" or "hollow" in the report's figure of speed; "": not in the figure


FORMATS = {
    "sparse": Format(
        "the weights that are left and where they stand, each matrix computing in the form measured to be the quickest",
        ways=("whole", "bits", "gaps"),
        forms=("whole", "csr", "block", "scattered"),
        marker="hollow",
    ),
    "compact": Format(
        "dense, without the units that are dead",
        ways=("whole", "block"),
        forms=("whole", "block"),
        smaller=True,
        marker="filled",
    ),
    "dense": Format("as it is, masks multiplied in", ways=("whole",), forms=("whole",), empty_rows=True),
}
ONNX = {"onnx": "compact", "onnx-dense": "dense"}  # graphs in the Open Neural Network Exchange: whose network they hold
GENERAL = "onnx-dense"  # the format that holds any classifier that torch's exporter follows
GRAPH_ONLY = "graph"  # the kind of a draft that torch's own exporter makes into a graph
INT8 = "int8"  # values of REFERENCE alone, whose matrices are whole
VALUES = ("float32", "float16", INT8)  # types of the stored numbers, the default first
REFERENCE = "dense"  # the format that speed is compared with
MASKED = "masked"  # the model as it was trained, which is measured too; it is no format


def graph_file(format: str, part: str) -> str:
    """Return the file name of a graph: model.onnx of a "network", model.encoder.onnx or model.dense.encoder.onnx."""
    return ".".join(("model", *format.split("-")[1:], *[part] * (part != "network"), "onnx"))


def onnx_missing() -> str:
    """Return what has to be installed to make and run a graph of ONNX; "" if all is there."""
    missing = [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]
    return f"needs {' and '.join(missing)}: python -m pip install -r requirements-extra.txt" if missing else ""
