"""What runs cost on a GPU: alone, compiled, in full precision, and several side by side on one card.

    python -m benchmarks.gpu [--epochs 2] [--side-by-side 8] [--data-dir Data] [--case NAME ...]

Every measurement is a whole command, as users give it. "ten_epochs" is what a run of ten epochs takes alone, from the
seconds that the run itself records: preparing, pruning and saving once, training and evaluating for each epoch. Side by
side, "runs_an_hour" counts commands of ten epochs, at the rate of the epochs measured. The data are prepared before.
"""

import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch

from benchmarks import scaffold
from Utils.store import files

IMAGES = "--dataset cifar10 --model-class lottery --model vgg16 --pruner rand --compression 1"
CASES = {
    "vgg16-bf16": f"{IMAGES} --amp bf16",
    "vgg16-fp32": IMAGES,
    "vgg16-bf16-compiled": f"{IMAGES} --amp bf16 --compile",
    "multi30k-bf16": "--dataset multi30k --pruner rand --compression 1 --train-batch-size 256 --amp bf16",
}
TEN = 10  # epochs of the study's runs


def together(words: str, count: int, epochs: int) -> tuple[float, list[dict[str, float]]]:
    """Make `count` runs at a time, with seeds of their own; return (wall seconds, the seconds that each records)."""
    with tempfile.TemporaryDirectory() as results:
        command = [sys.executable, "main.py", *words.split(), f"--post-epochs={epochs}", f"--result-dir={results}"]
        begun = time.perf_counter()
        started = [
            subprocess.Popen([*command, f"--seed={seed}"], stdout=subprocess.DEVNULL) for seed in range(1, count + 1)
        ]
        codes = [process.wait() for process in started]
        wall = time.perf_counter() - begun
        if any(codes):
            raise RuntimeError(f"{words}: exit codes {codes}")
        return wall, [files.read_json(path)["seconds"] for path in Path(results).glob("singleshot/*/result.json")]


def case(words: str, given: Namespace) -> dict[str, Any]:
    """Return the figures of one kind of run."""
    words += f" --source={given.source} --data-dir={given.data_dir}"
    bare, (base,) = together(words, 1, 0)
    wall, (seconds,) = together(words, 1, given.epochs)
    each = {part: (seconds[part] - base[part]) / given.epochs for part in ("train", "evaluate")}
    found: dict[str, Any] = {"command": words, "wall_seconds": wall, "an_epoch": each, "without_epochs": base}
    found["ten_epochs"] = sum(base.values()) + TEN * sum(each.values())
    for count in given.side_by_side:
        trained, _ = together(words, count, given.epochs)
        one = bare + TEN * (trained - bare) / given.epochs  # seconds of ten epochs of all of them
        found[f"side_by_side_{count}"] = {"wall_seconds": trained, "runs_an_hour": 3600 * count / one}
    return found


def main() -> None:
    flags = scaffold.Flags(__doc__, source=True)
    flags.add_argument("--epochs", type=int, default=2)
    flags.add_argument("--side-by-side", type=int, nargs="*", default=[8])
    flags.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    args = flags.begin()
    source = {scaffold.located(name, args).source for name in ("cifar10", "multi30k")}
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    figures = {"card": card, **{name: case(CASES[name], args) for name in args.case}}
    scaffold.save("gpu", figures, "real" if source == {"real"} else "sample")


if __name__ == "__main__":
    main()
