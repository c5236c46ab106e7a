"""`python main.py --help` and a stored result, against starting Python and importing torch; what a run costs beside.

    python -m benchmarks.startup [--rounds 10] [--source auto] [--data-dir Data]

"a_run_beside_import_and_training" are the seconds of a whole command with one epoch, less those of `import torch` in
the same round and those of training as the run records them.
"""

import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks import scaffold
from Utils.store import files

STORED = "main.py --dataset agnews --source sample --post-epochs 0 --data-dir {0} --result-dir {0}"
RUNS = {"agnews": "--dataset agnews", "mnist": "--dataset mnist --model fc"}
PRUNED = "--pruner grasp --compression 1 --post-epochs 1 --threads 1"


def command(*words: str) -> None:
    subprocess.run([sys.executable, *words], check=True, capture_output=True)


def beside(words: str) -> float:
    """Return the seconds of a run that are not training."""
    with tempfile.TemporaryDirectory() as results:
        wall = scaffold.timed(partial(command, "main.py", *words.split(), "--result-dir", results))
        (record,) = Path(results).glob("singleshot/*/result.json")
        return wall - files.read_json(record)["seconds"]["train"]


def main() -> None:
    args = scaffold.Flags(__doc__, rounds=10, source=True).begin()
    torch_alone = partial(command, "-c", "import torch")
    with tempfile.TemporaryDirectory() as folder:
        ways = {
            "help": partial(command, "main.py", "--help"),
            "stored_result": partial(command, *STORED.format(folder).split()),
        }
        ways["stored_result"]()
        compared = {name: scaffold.compare(torch_alone, way, args.rounds, warm_up=1) for name, way in ways.items()}
    sources = {name: scaffold.located(name, args).source for name in RUNS}
    given = {
        name: f"{words} {PRUNED} --source {sources[name]} --data-dir {args.data_dir}" for name, words in RUNS.items()
    }
    bodies = {name: partial(beside, words) for name, words in given.items()}
    bodies["import"] = partial(scaffold.timed, torch_alone)
    found = scaffold.in_turn(bodies, args.rounds)
    imports = found.pop("import")
    rest = {name: [a - b for a, b in zip(taken, imports, strict=True)] for name, taken in found.items()}
    cost = {
        name: {"source": sources[name], "median": statistics.median(taken), "lowest": min(taken), "highest": max(taken)}
        for name, taken in rest.items()
    }
    figures: dict = {f"{name}_against_import_torch": value for name, value in compared.items()}
    scaffold.save("startup", figures | {"a_run_beside_import_and_training": cost})


if __name__ == "__main__":
    main()
