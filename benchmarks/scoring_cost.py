"""What scoring costs: each pruner on vgg16-bn and resnet20, as a multiple of a training step on the same examples.

    python -m benchmarks.scoring_cost [--rounds 5] [--threads 2]

A step is forward, backward and Adam, in the way a run of the command line trains; the examples are one batch of 100 of
CIFAR-10's shape, as many as `--prune-dataset-ratio 10` asks for. SynFlow is one of its rounds. Beside our GraSP stands
the published form of two forward passes. All are timed in turn within a process; peak memory is what a process of its
own has resident at most, above what it has before it begins.
"""

import json
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from benchmarks import scaffold
from benchmarks.grasp_scoring import two_forward
from Utils import generator, load
from Utils.machine import memory
from Utils.training.adam import Adam
from Utils.training.loss import CrossEntropy
from Utils.training.train import train_epoch

MODELS = ("resnet20", "vgg16-bn")
EXAMPLES = 100
PUBLISHED = "grasp, published"


def bodies(name: str) -> dict[str, Callable[[], dict[str, float]]]:
    """Return what is timed, by name: the training step, each pruner, the published GraSP."""
    torch.manual_seed(0)
    model = load.model(name, "lottery")((3, 32, 32), 10)
    model.to(memory_format=getattr(model, "memory_format", torch.contiguous_format))
    batch = (torch.randn(EXAMPLES, 3, 32, 32), torch.randint(0, 10, (EXAMPLES,)))
    optimizer = Adam(generator.parameters(model), lr=1e-12)  # so that all are measured at the same weights
    masked = list(generator.masked_parameters(model))

    def score(pruner: str) -> Callable[[], object]:
        made = load.pruner(pruner)(masked)
        return lambda: made.score(model.eval(), CrossEntropy(), [batch], scaffold.CPU)

    parameters = [parameter for _, parameter in masked]
    plain: dict[str, Callable[[], object]] = {
        scaffold.STEP: lambda: train_epoch(model, CrossEntropy(), optimizer, [batch], scaffold.CPU),
        **{pruner: score(pruner) for pruner in load.PRUNERS},
        PUBLISHED: lambda: two_forward(model.eval(), nn.CrossEntropyLoss(), batch, parameters),
    }

    def seconds(body: Callable[[], object]) -> dict[str, float]:
        return {"seconds": scaffold.timed(body)}

    return {name: partial(seconds, body) for name, body in plain.items()}


def main() -> None:
    args = scaffold.Flags(__doc__, rounds=5, threads=2).begin()
    if args.peak:
        model, key = args.peak
        print(json.dumps(scaffold.added_mib(bodies(model)[key])))
        return
    memory.keep_freed()  # for all, as in every run
    figures = {name: scaffold.costs("benchmarks.scoring_cost", args, name, bodies(name)) for name in MODELS}
    scaffold.save("scoring_cost", {"examples": EXAMPLES, "rounds": args.rounds, "threads": args.threads, **figures})


if __name__ == "__main__":
    main()
