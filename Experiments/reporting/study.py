"""What a report is made from: the runs of the stores, their tasks, the paper's figures, the claims."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from functools import cached_property

from Utils.study import claims, paper, runs, tasks

SAMPLES = "All runs are on GENERATED SAMPLES. These figures say nothing about the real data sets."


@dataclass(frozen=True)
class Study:
    """All of one source: real data, or samples where there is nothing else."""

    runs: list[runs.Run]
    paper: paper.Paper

    @property
    def on_samples(self) -> bool:
        return self.runs[0].result["source"] != "real"

    @cached_property
    def tasks(self) -> list[tasks.Task]:
        return tasks.group(self.runs)

    @cached_property
    def claims(self) -> list[claims.Claim]:
        return claims.judge(self.tasks, self.paper)


def gather(args: Namespace) -> Study:
    """The study of `args.store`. Raises UserError where there is no run."""
    return Study(runs.of_one_source(runs.read(args.store)), paper.read())
