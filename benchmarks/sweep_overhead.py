"""What a sweep costs beside its runs, and what a second worker gains, on AG News.

    python -m benchmarks.sweep_overhead [--epochs 10] [--runs 4] [--rounds 3] [--source auto] [--data-dir Data]

A round is the same grid, of two pruners and as many seeds as it takes, with one worker (to whom all threads belong) and
with two (who share them); which goes first alternates. Overhead is the wall time of the sweep with one worker, from the
command to its end, against the sum of its runs' own times as they record them in result.json (preparing, pruning,
training, evaluating). The corpus is prepared before.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import pairs
from Utils import load
from Utils.data import corpus
from Utils.store import files

PRUNERS = ("rand", "snip")


def command(*words: str) -> None:
    subprocess.run([sys.executable, "main.py", *words], check=True, capture_output=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--runs", type=int, default=4, help="an even number")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--source", default="auto", choices=corpus.SOURCES)
    parser.add_argument("--data-dir", default="Data")
    args = parser.parse_args()
    located = corpus.locate(load.dataset("agnews"), Path(args.data_dir), args.source)
    corpus.load(located)
    common = [f"--source={located.source}", f"--data-dir={args.data_dir}", "--dataset=agnews"]
    common += [f"--post-epochs={args.epochs}", "--compression=1"]
    seeds = [str(seed) for seed in range(1, args.runs // len(PRUNERS) + 1)]
    grid = [*common, "--experiment=sweep", "--pruner-list", *PRUNERS, "--seed-list", *seeds]

    walls: dict[str, list[float]] = {"1": [], "2": []}
    own: dict[str, list[float]] = {"1": [], "2": []}
    for k in range(args.rounds):
        for workers in ("1", "2")[:: 1 if k % 2 == 0 else -1]:
            with tempfile.TemporaryDirectory() as results:
                line = [*grid, f"--workers={workers}", f"--result-dir={results}"]
                walls[workers].append(pairs.timed(functools.partial(command, *line)))
                records = [files.read_json(path) for path in Path(results).glob("singleshot/*/result.json")]
                own[workers].append(sum(sum(record["seconds"].values()) for record in records))
                assert len(records) == args.runs
        print(f"round {k + 1}: " + ", ".join(f"{name} {found[-1]:.1f} s" for name, found in walls.items()), flush=True)

    overhead = [100.0 * (wall / runs - 1.0) for wall, runs in zip(walls["1"], own["1"], strict=True)]
    pairs.save(
        "sweep" if located.source == "real" else f"sweep_{located.source}",
        {
            "source": located.source,
            "epochs": args.epochs,
            "runs": args.runs,
            "overhead_percent": statistics.median(overhead),
            "one_worker_against_two": pairs.summary(walls["1"], walls["2"]),
            "wall_seconds": walls,
            "recorded_seconds": own,
        },
    )


if __name__ == "__main__":
    main()
