"""What scoring costs: each pruner on vgg16-bn and resnet20, as a multiple of a training step on the same examples.

    python -m benchmarks.scoring_cost [--rounds 5] [--threads 2]

The examples are one batch of 100 of CIFAR-10's shape, as many as `--prune-dataset-ratio 10` asks for. SynFlow is one of
its rounds. Beside our GraSP stands the published form of two forward passes.

A step is forward, backward and Adam, in the way a run of the command line trains. Peak memory is what a process of its
own has resident at most, above what it has before it begins.
"""

import json
import statistics
from argparse import Namespace
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks import scaffold
from Utils import generator, load
from Utils.machine import memory
from Utils.training.adam import Adam
from Utils.training.loss import CrossEntropy
from Utils.training.train import train_epoch

MODELS = ("resnet20", "vgg16-bn")
EXAMPLES = 100
PUBLISHED = "grasp, published"
STEP = "training step"
COMPRESSION = 1.0
Bodies = dict[str, Callable[[], dict[str, float]]]  # by name; each returns {"seconds": ..., and those of its parts}


def seconds(body: Callable[[], object]) -> dict[str, float]:
    return {"seconds": scaffold.timed(body)}


def bodies(model: nn.Module, batch: tuple[Tensor, Tensor], masking: bool) -> Bodies:
    """Return what is timed: the training step, and each pruner's `score`.

    masking: and then its `mask`, from masks of all ones.
    """
    optimizer = Adam(generator.parameters(model), lr=1e-12)  # so that all are measured at the same weights
    masked = list(generator.masked_parameters(model))

    def pruning(name: str) -> Callable[[], dict[str, float]]:
        pruner = load.pruner(name)(masked)

        def body() -> dict[str, float]:
            model.eval()
            score = scaffold.timed(lambda: pruner.score(model, CrossEntropy(), [batch], scaffold.CPU))
            if not masking:
                return {"seconds": score}
            mask = scaffold.timed(lambda: pruner.mask(10.0**-COMPRESSION, "global"))
            for ones, _ in masked:
                ones.fill_(1.0)
            return {"score_seconds": score, "mask_seconds": mask, "seconds": score + mask}

        return body

    step = partial(train_epoch, model, CrossEntropy(), optimizer, [batch], scaffold.CPU)
    return {STEP: partial(seconds, step), **{name: pruning(name) for name in load.PRUNERS}}


def measured(module: str, args: Namespace, case: str, bodies: Bodies) -> dict[str, dict[str, float]]:
    """Return what each body costs: the medians of its seconds, by part, multiples of the step's, and its peak memory.

    All are timed in turn; "steps" are ratios within a round. The peak is that of `module --peak case name`.
    """
    rows = scaffold.in_turn(bodies, args.rounds)
    found: dict[str, dict[str, float]] = {}
    for name, each in rows.items():
        found[name] = {part: statistics.median(row[part] for row in each) for part in each[0]}
        found[name] |= scaffold.spread("steps", *([row["seconds"] for row in rows[key]] for key in (name, STEP)))
        found[name]["peak_mib"] = scaffold.peak(module, args, case, name)
        shown = "{seconds:.4f} s, {steps:.2f} steps, {peak_mib:.0f} MiB".format(**found[name])
        print(f"{case}, {name}: {shown}", flush=True)
    return found


def print_peak(body: Callable[[], object]) -> None:
    """Print the MiB that a body needs at its peak, beyond those before it."""
    print(json.dumps(memory.added(body) / 2**20))


def two_forward(model: nn.Module, loss, batch, parameters: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return the scores of GraSP as the Synaptic Flow code has it.

    A pass gives the stopped gradient, one with a graph the other, both as one flat vector, and then comes the gradient
    of their product with respect to everything that requires one.
    """
    model.eval()
    data, target = batch
    flat = []
    for with_graph in (False, True):
        value = loss(model(data) / 200, target)
        gradients = torch.autograd.grad(value, parameters, create_graph=with_graph)
        flat.append(torch.cat([gradient.reshape(-1) for gradient in gradients]))
    model.zero_grad()
    (flat[0] * flat[1]).sum().backward()
    return [parameter.detach() * parameter.grad for parameter in parameters]


def bodies_on(name: str) -> Bodies:
    """Return what is timed, by name: the training step, each pruner, the published GraSP."""
    torch.manual_seed(0)
    model = load.model(name, "lottery")((3, 32, 32), 10)
    model.to(memory_format=getattr(model, "memory_format", torch.contiguous_format))
    batch = (torch.randn(EXAMPLES, 3, 32, 32), torch.randint(0, 10, (EXAMPLES,)))
    parameters = [parameter for _, parameter in generator.masked_parameters(model)]
    published = partial(two_forward, model, nn.CrossEntropyLoss(), batch, parameters)
    return {**bodies(model, batch, masking=False), PUBLISHED: partial(seconds, published)}


def main() -> None:
    args = scaffold.Flags(__doc__, rounds=5, threads=2).begin()
    if args.peak:
        model, key = args.peak
        print_peak(bodies_on(model)[key])
        return
    memory.keep_freed()  # for all, as in every run
    figures = {name: measured("benchmarks.scoring_cost", args, name, bodies_on(name)) for name in MODELS}
    scaffold.save("scoring_cost", {"examples": EXAMPLES, "rounds": args.rounds, "threads": args.threads, **figures})


if __name__ == "__main__":
    main()
