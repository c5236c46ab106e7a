"""What a sweep costs beside its runs, and what a second worker gains, on AG News.

    python -m benchmarks.sweep_overhead [--epochs 10] [--runs 4] [--rounds 3] [--source auto] [--data-dir Data]

A round is the same grid, of two pruners and as many seeds as it takes, with one worker (to whom all threads belong) and
with two (who share them); which goes first alternates. Overhead is the wall time of the sweep with one worker, from the
command to its end, against the sum of its runs' own times as they record them in result.json (preparing, pruning,
training, evaluating). The corpus is prepared before.
"""

import statistics
import tempfile
from functools import partial

from benchmarks import scaffold

PRUNERS = ("rand", "snip")


def swept(grid: list[str], workers: str, runs: int) -> tuple[float, float]:
    """Return the wall seconds of the sweep, and the sum of those that its runs record."""
    with tempfile.TemporaryDirectory() as results:
        words = ("main.py", *grid, f"--workers={workers}", f"--result-dir={results}")
        wall, seconds = scaffold.timed(partial(scaffold.command, *words)), scaffold.recorded(results)
    assert len(seconds) == runs
    return wall, sum(sum(each.values()) for each in seconds)


def main() -> None:
    flags = scaffold.Flags(__doc__, rounds=3, source=True)
    flags.add_argument("--epochs", type=int, default=10)
    flags.add_argument("--runs", type=int, default=4, help="an even number")
    args = flags.begin()
    source = scaffold.located("agnews", args).source
    seeds = [str(seed) for seed in range(1, args.runs // len(PRUNERS) + 1)]
    grid = [f"--source={source}", f"--data-dir={args.data_dir}", "--dataset=agnews", f"--post-epochs={args.epochs}"]
    grid += ["--compression=1", "--experiment=sweep", "--pruner-list", *PRUNERS, "--seed-list", *seeds]

    ways = {workers: partial(swept, grid, workers, args.runs) for workers in ("1", "2")}
    seconds = scaffold.in_turn(ways, args.rounds, warm_up=0, report=lambda latest: print(latest, flush=True))
    walls = {workers: [wall for wall, _ in found] for workers, found in seconds.items()}
    overhead = [100.0 * (wall / runs - 1.0) for wall, runs in seconds["1"]]
    recorded = {workers: [runs for _, runs in found] for workers, found in seconds.items()}
    figures = {"source": source, "epochs": args.epochs, "runs": args.runs}
    figures |= {"overhead_percent": statistics.median(overhead), "wall_seconds": walls, "recorded_seconds": recorded}
    figures["one_worker_against_two"] = scaffold.summary(walls["1"], walls["2"])
    scaffold.save("sweep", figures, source)


if __name__ == "__main__":
    main()
