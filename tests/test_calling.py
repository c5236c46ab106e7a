"""Models that hold a layer under two names, share weights, or have buffers of their own: called and scored."""

import nets
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from Layers import attach, calling
from Models import guest
from Pruners import dead
from Utils import generator, load
from Utils.training.loss import CrossEntropy


class Net(nn.Module):
    """Three layers; of the middle one and the next `kind` says whether they are one, share a weight, or are apart."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.a, self.b, self.h = nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 3)
        self.c = self.b if kind == "one" else nn.Linear(5, 5)
        if kind == "tied":
            self.c.weight = self.b.weight
        self.register_buffer("fixed", torch.tensor([1.0, -0.5, 2.0, 0.25, -1.0, 0.0]))

    def forward(self, data):
        return self.h(torch.relu(self.c(torch.relu(self.b(torch.relu(self.a(data * self.fixed)))))))


@pytest.mark.parametrize("kind", ["one", "tied", "apart"])
def test_a_call_with_other_tensors_is_that_of_a_model_that_has_them_and_changes_nothing(kind):
    model, data = nets.drawn(0, Net, kind), torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    own = {name: (id(tensor), tensor.clone()) for name, tensor in model.state_dict(keep_vars=True).items()}
    others = {name: torch.randn_like(p).double() for name, p in model.named_parameters()}
    others["fixed"] = torch.ones(6).double()
    a, b, h = ([others[f"{layer}.weight"], others[f"{layer}.bias"]] for layer in "abh")
    c = b if kind == "one" else [others["b.weight" if kind == "tied" else "c.weight"], others["c.bias"]]
    wanted = data.double()
    for weight, bias in (a, b, c):
        wanted = torch.relu(F.linear(wanted, weight, bias))
    torch.testing.assert_close(calling.call(model, others, data.double()), F.linear(wanted, *h))
    after = model.state_dict(keep_vars=True)
    assert {name: id(tensor) for name, tensor in after.items()} == {name: at for name, (at, _) in own.items()}
    assert all(tensor.equal(own[name][1]) and tensor.dtype == torch.float32 for name, tensor in after.items())


@pytest.mark.parametrize("kind", ["one", "tied"])
@pytest.mark.parametrize("pruner", ["snip", "grasp", "synflow", "ntk-sap"])
def test_scores_are_those_of_the_derivative_at_both_places(kind, pruner):
    model = attach(nets.drawn(0, Net, kind))
    assert guest.unmasked(model) == []
    batches = [(torch.randn(8, 6, generator=torch.Generator().manual_seed(2)), torch.arange(8) % 3)]
    made = load.pruner(pruner)(list(generator.masked_parameters(model)), seed=1)
    made.score(model, CrossEntropy(), batches, torch.device("cpu"))
    assert all(p.dtype == torch.float32 for p in model.parameters()) and dead.find(model, (6,)).alive == [0, 1, 2]
    if pruner == "snip":  # the gradient of the shared weight, from both places, times it
        weight = model.b.weight.detach().double()
        parts = {name: value.detach().double() for name, value in model.named_parameters()}
        two = [weight.clone().requires_grad_() for _ in "bc"]
        hidden = torch.relu(F.linear(batches[0][0].double() * model.fixed.double(), parts["a.weight"], parts["a.bias"]))
        for own, bias in zip(two, ("b.bias", "b.bias" if kind == "one" else "c.bias"), strict=True):
            hidden = torch.relu(F.linear(hidden, own, parts[bias]))
        F.cross_entropy(F.linear(hidden, parts["h.weight"], parts["h.bias"]), batches[0][1]).backward()
        score = dict(zip(made.names, made.scores.values(), strict=True))["b.weight"].double()
        exact = (weight * (two[0].grad + two[1].grad)).abs()
        torch.testing.assert_close(score / score.sum(), exact / exact.sum(), atol=1e-6, rtol=1e-4)
