"""GraSP on one batch: one graph for both factors, against the two-forward form.

python -m benchmarks.grasp_scoring [--rounds 40]
"""

from functools import partial

import torch
from torch import nn

from benchmarks import scaffold
from Pruners.pruners import GraSP
from Utils import generator, load
from Utils.machine import memory

BATCH = 100  # what `--prune-dataset-ratio 10` asks for with ten classes


def two_forward(model: nn.Module, loss, batch, parameters: list[torch.Tensor]) -> list[torch.Tensor]:
    """GraSP as the Synaptic Flow code has it: a pass for the stopped gradient, one with a graph for the other, both as
    one flat vector, and the gradient of their product with respect to everything that requires one."""
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


def main() -> None:
    args = scaffold.Flags(__doc__, rounds=40).begin()
    memory.keep_freed()  # for both, as in every run
    loss, figures = nn.CrossEntropyLoss(), {}
    for name in ("fc", "conv"):
        torch.manual_seed(0)
        model = load.model(name)((1, 28, 28), 10).eval()
        batch = (torch.randn(BATCH, 1, 28, 28), torch.randint(0, 10, (BATCH,)))
        pruner = GraSP(generator.masked_parameters(model))
        plain = partial(two_forward, model, loss, batch, pruner.parameters)
        ours = partial(pruner.score, model, loss, [batch], scaffold.CPU)
        ours()
        pairs = zip(plain(), pruner.scores.values(), strict=True)
        worst = max(((a - b).abs().max() / a.abs().max()).item() for a, b in pairs)
        figures[name] = {**scaffold.compare(plain, ours, args.rounds, 5), "largest_relative_difference": worst}
    scaffold.save("grasp_scoring", figures)


if __name__ == "__main__":
    main()
