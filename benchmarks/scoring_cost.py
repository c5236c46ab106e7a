"""What scoring costs: each pruner on vgg16-bn and resnet20, as a multiple of a training step on the same examples.

    python -m benchmarks.scoring_cost [--rounds 5] [--threads 2]

A step is forward, backward and Adam, in the way a run of the command line trains; the examples are one batch of 100 of
CIFAR-10's shape, as many as `--prune-dataset-ratio 10` asks for. SynFlow is one of its rounds. Beside our GraSP stands
the published form of two forward passes. All are timed in turn within a process; peak memory is what a process of its
own has resident at most, above what it has before it begins.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from benchmarks import costs, pairs
from benchmarks.grasp_scoring import two_forward
from Utils import generator, load
from Utils.machine import memory
from Utils.training.adam import Adam
from Utils.training.loss import CrossEntropy
from Utils.training.train import train_epoch

MODELS = ("resnet20", "vgg16-bn")
EXAMPLES = 100
PUBLISHED = "grasp, published"
CPU = torch.device("cpu")


def bodies(name: str) -> dict[str, Callable[[], object]]:
    """What is timed, by name: the training step, each pruner, the published GraSP."""
    torch.manual_seed(0)
    model = load.model(name, "lottery")((3, 32, 32), 10)
    model.to(memory_format=getattr(model, "memory_format", torch.contiguous_format))
    batch = (torch.randn(EXAMPLES, 3, 32, 32), torch.randint(0, 10, (EXAMPLES,)))
    optimizer = Adam(generator.parameters(model), lr=1e-12)  # so that all are measured at the same weights
    masked = list(generator.masked_parameters(model))
    parameters = [parameter for _, parameter in masked]

    def score(pruner: str) -> Callable[[], object]:
        made = load.pruner(pruner)(masked)
        return lambda: made.score(model.eval(), CrossEntropy(), [batch], CPU)

    return {
        costs.STEP: lambda: train_epoch(model, CrossEntropy(), optimizer, [batch], CPU),
        **{pruner: score(pruner) for pruner in load.PRUNERS},
        PUBLISHED: lambda: two_forward(model.eval(), nn.CrossEntropyLoss(), batch, parameters),
    }


def measured(name: str, rounds: int, threads: int) -> dict[str, dict[str, float]]:
    seconds = pairs.in_turn({key: partial(pairs.timed, body) for key, body in bodies(name).items()}, rounds)
    figures = {}
    for key, times in seconds.items():
        peak = costs.peak("benchmarks.scoring_cost", threads, name, key)
        figures[key] = {**costs.in_steps(times, seconds[costs.STEP]), "peak_mib": peak}
        print(f"{name}, {key}: {figures[key]['steps']:.2f} steps, {figures[key]['peak_mib']:.0f} MiB", flush=True)
    return figures


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    args = arguments.parse_args()
    torch.set_num_threads(args.threads)
    if args.peak:
        model, key = args.peak
        print(json.dumps(costs.added_mib(bodies(model)[key])))
        return
    memory.keep_freed()  # for all, as in every run
    figures = {name: measured(name, args.rounds, args.threads) for name in MODELS}
    pairs.save("scoring_cost", {"examples": EXAMPLES, "rounds": args.rounds, "threads": args.threads, **figures})


if __name__ == "__main__":
    main()
