"""GraSP on one batch: one graph for both factors, against the two-forward form.

python -m benchmarks.grasp_scoring [--rounds 40]
"""

from __future__ import annotations

import argparse

import torch
from torch import nn

from benchmarks import pairs
from Pruners.pruners import GraSP
from Utils import generator, load
from Utils.machine import memory

BATCH = 100  # what `--prune-dataset-ratio 10` asks for with ten classes


def two_forward(model: nn.Module, loss, batch, parameters: list[torch.Tensor]) -> list[torch.Tensor]:
    """GraSP as the Synaptic Flow code has it: a pass for the stopped gradient, one with a graph for the other, both as
    one flat vector, and the gradient of their product with respect to everything that requires one."""
    data, target = batch
    flat = []
    for with_graph in (False, True):
        value = loss(model(data) / 200, target)
        gradients = torch.autograd.grad(value, parameters, create_graph=with_graph)
        flat.append(torch.cat([gradient.reshape(-1) for gradient in gradients]))
    model.zero_grad()
    (flat[0] * flat[1]).sum().backward()
    return [parameter.detach() * parameter.grad for parameter in parameters]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=40)
    rounds = arguments.parse_args().rounds
    memory.keep_freed()  # for both, as in every run
    loss = nn.CrossEntropyLoss()
    figures = {}
    for name in ("fc", "conv"):
        torch.manual_seed(0)
        model = load.model(name)((1, 28, 28), 10).eval()
        batch = (torch.randn(BATCH, 1, 28, 28), torch.randint(0, 10, (BATCH,)))
        masked = list(generator.masked_parameters(model))
        parameters = [parameter for _, parameter in masked]
        pruner = GraSP(masked)

        def plain(model=model, batch=batch, parameters=parameters):
            return two_forward(model, loss, batch, parameters)

        def ours(model=model, batch=batch, pruner=pruner):
            pruner.score(model, loss, [batch], torch.device("cpu"))
            return list(pruner.scores.values())

        ours()
        worst = max(
            ((a - b).abs().max() / a.abs().max()).item() for a, b in zip(plain(), pruner.scores.values(), strict=True)
        )
        figures[name] = {**pairs.compare(plain, ours, rounds, warm_up=5), "largest_relative_difference": worst}
    pairs.save("grasp_scoring", figures)


if __name__ == "__main__":
    main()
