"""The content of a report: the runs of the stores, their tasks, the paper's figures, the claims."""

from argparse import Namespace
from dataclasses import dataclass
from functools import cached_property

from Utils.study import benchmark, claims, paper, runs, statements, tasks

SAMPLES = "All runs are on GENERATED SAMPLES. These figures say nothing about the real data sets."


@dataclass(frozen=True)
class Study:
    """Runs of one source: real data, or samples if there is nothing else."""

    runs: list[runs.Run]
    paper: paper.Paper
    left_out: tuple[str, ...] = ()  # directories of other runs, each with the reason

    @property
    def on_samples(self) -> bool:
        """Return whether the runs are on generated samples."""
        return self.runs[0].result["source"] != "real"

    @cached_property
    def tasks(self) -> list[tasks.Task]:
        """Return the tasks of the runs."""
        return tasks.group(self.runs)

    @cached_property
    def benchmark(self) -> benchmark.Benchmark:
        """Return the benchmark, as far as its runs are there."""
        return benchmark.of(self.tasks)

    @cached_property
    def claims(self) -> list[statements.Claim]:
        """Return the paper's claims with their verdicts."""
        return claims.judge(self.tasks, self.paper)


def gather(args: Namespace) -> Study:
    """Read the runs of `args.store`. Raises UserError if there are none."""
    left_out: list[str] = []
    found = runs.of_one_source(runs.read(args.store, left_out))
    return Study(found, paper.read(), tuple(left_out))
