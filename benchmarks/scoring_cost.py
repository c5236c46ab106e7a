"""What scoring costs: each pruner on vgg16-bn and resnet20, as a multiple of a training step on the same examples.

    python -m benchmarks.scoring_cost [--rounds 5] [--threads 2]

The examples are one batch of 100 of CIFAR-10's shape, as many as `--prune-dataset-ratio 10` asks for. SynFlow is one of
its rounds. Beside our GraSP stands the published form of two forward passes. See benchmarks/costs.py.
"""

from functools import partial

import torch
from torch import nn

from benchmarks import costs, scaffold
from Utils import generator, load
from Utils.machine import memory

MODELS = ("resnet20", "vgg16-bn")
EXAMPLES = 100
PUBLISHED = "grasp, published"


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


def bodies(name: str) -> costs.Bodies:
    """Return what is timed, by name: the training step, each pruner, the published GraSP."""
    torch.manual_seed(0)
    model = load.model(name, "lottery")((3, 32, 32), 10)
    model.to(memory_format=getattr(model, "memory_format", torch.contiguous_format))
    batch = (torch.randn(EXAMPLES, 3, 32, 32), torch.randint(0, 10, (EXAMPLES,)))
    parameters = [parameter for _, parameter in generator.masked_parameters(model)]
    published = partial(two_forward, model, nn.CrossEntropyLoss(), batch, parameters)
    return {**costs.bodies(model, batch, masking=False), PUBLISHED: partial(costs.seconds, published)}


def main() -> None:
    args = scaffold.Flags(__doc__, rounds=5, threads=2).begin()
    if args.peak:
        model, key = args.peak
        costs.print_peak(bodies(model)[key])
        return
    memory.keep_freed()  # for all, as in every run
    figures = {name: costs.measured("benchmarks.scoring_cost", args, name, bodies(name)) for name in MODELS}
    scaffold.save("scoring_cost", {"examples": EXAMPLES, "rounds": args.rounds, "threads": args.threads, **figures})


if __name__ == "__main__":
    main()
