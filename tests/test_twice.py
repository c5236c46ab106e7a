"""Convolution, normalisation and ReLU in their twice differentiable form: torch's values, to second derivatives."""

import nets
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from Layers import layers
from Layers.fast.twice import SMALL, TwiceDifferentiable

DRAW = torch.Generator()


@pytest.fixture(autouse=True)
def seeded():
    DRAW.manual_seed(0)


def normal(*shape, grad=True):
    return torch.randn(*shape, generator=DRAW, dtype=torch.float64, requires_grad=grad)


def batch_norm(x, weight, bias):
    mean, var = torch.linspace(-1, 1, x.shape[1]).double(), torch.linspace(0.5, 2, x.shape[1]).double()
    return F.batch_norm(x, mean, var, weight, bias, False, 0.1, 1e-5)


# name -> (function, inputs). Images are larger than SMALL, or torch's own convolution would be taken.
FORMS = {
    "plain": (lambda x, w: F.conv2d(x, w), lambda: (normal(2, 2, 9, 9), normal(3, 2, 3, 3))),
    "bias": (lambda x, w, b: F.conv2d(x, w, b, 1, 1), lambda: (normal(1, 2, 9, 9), normal(2, 2, 3, 3), normal(2))),
    "strided": (lambda x, w: F.conv2d(x, w, None, 2, 1), lambda: (normal(2, 2, 9, 10), normal(3, 2, 3, 3))),
    "uneven": (
        lambda x, w, b: F.conv2d(x, w, b, (1, 2), (2, 1), (2, 1)),
        lambda: (normal(1, 2, 9, 10), normal(3, 2, 2, 3), normal(3)),
    ),
    "grouped": (
        lambda x, w: F.conv2d(x, w, padding=1, groups=2),
        lambda: (normal(1, 4, 9, 9), normal(4, 2, 3, 3)),
    ),
    "same": (lambda x, w: F.conv2d(x, w, padding="same"), lambda: (normal(1, 2, 9, 9), normal(2, 2, 3, 3))),
    "small": (lambda x, w: F.conv2d(x, w), lambda: (normal(1, 2, 5, 5), normal(2, 2, 3, 3))),
    "norm": (batch_norm, lambda: (normal(3, 4, 2, 3), normal(4), normal(4))),
    "norm of rows": (batch_norm, lambda: (normal(5, 4), normal(4), normal(4))),
    "bare norm": (lambda x: batch_norm(x, None, None), lambda: (normal(3, 4, 2, 2),)),
    "norm by the batch": (
        lambda x, w: F.batch_norm(x, None, None, w, None, True),
        lambda: (normal(4, 2, 2, 2), normal(2)),
    ),
    "relu": (F.relu, lambda: (normal(4, 6),)),
    "torch.relu": (torch.relu, lambda: (normal(4, 6),)),
}


TWO_ORDERS = ("norm by the batch",)  # which is left to torch, and newer torch has no third derivative of it


def all_derivatives(function, inputs, orders):
    """Value and derivatives along fixed random directions, up to this order."""
    DRAW.manual_seed(7)
    value = function(*inputs)
    found, current = [value], (value,)
    for _ in range(orders):
        parts = [(v * normal(*v.shape, grad=False)).sum() for v in current if v is not None]
        dot = sum(parts, torch.zeros(()))
        if not dot.requires_grad:
            break
        current = torch.autograd.grad(dot, inputs, create_graph=True, allow_unused=True)
        found += [torch.zeros_like(i) if g is None else g for g, i in zip(current, inputs, strict=True)]
    return found


@pytest.mark.parametrize("name", FORMS)
def test_values_and_derivatives_are_torchs(name):
    function, make = FORMS[name]
    inputs = make()

    def ours(*arguments):
        with TwiceDifferentiable():
            return function(*arguments)

    orders = 2 if name in TWO_ORDERS else 3
    expected, found = all_derivatives(function, inputs, orders), all_derivatives(ours, inputs, orders)
    found += [torch.zeros_like(tensor) for tensor in expected[len(found) :]]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", [name for name in FORMS if "relu" not in name])
def test_derivatives_are_those_of_finite_differences(name):
    """Of the first derivatives too; no ReLU, whose kink finite differences may straddle."""
    function, make = FORMS[name]

    def ours(*arguments):
        with TwiceDifferentiable():
            return function(*arguments)

    inputs = make()
    assert torch.autograd.gradcheck(ours, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(ours, inputs, fast_mode=True)


def nodes(value):
    """The names of all steps that `value` was computed in."""
    seen, waiting = {}, [value.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen[node] = node.name()
            waiting += [before for before, _ in node.next_functions]
    return set(seen.values())


@pytest.mark.parametrize("plain", [False, True])
def test_every_model_is_read_in_this_form_however_it_calls_the_functions(plain):
    """Masked layers and torch's; nothing of torch's own form is left in the graph. Afterwards all is torch's again."""
    conv, norm = (nn.Conv2d, nn.BatchNorm2d) if plain else (layers.Conv2d, layers.BatchNorm2d)
    model = nn.Sequential(conv(3, 4, 3), norm(4), nn.ReLU(), conv(4, 2, 3)).eval()
    data = torch.randn(2, 3, 12, 12, generator=DRAW)
    assert data[0, 0].numel() > SMALL
    before = nodes(model(data))
    with TwiceDifferentiable():
        value = model(data)
    found = nodes(value)
    assert {"_OutputBackward", "_AffineBackward", "_ReLUBackward"} <= found
    theirs = {"ConvolutionBackward0", "NativeBatchNormBackward0", "ReluBackward0"}
    assert theirs <= before and not theirs & found
    assert nodes(model(data)) == before
    torch.testing.assert_close(value, model(data))


def test_in_train_mode_statistics_are_those_of_the_batch():
    model = nets.mixed(dropout=0.0).train()
    (data, _), *_ = nets.image_batches((1, 6, 6), 3, (5,))
    expected = model(data)
    with TwiceDifferentiable():
        torch.testing.assert_close(model(data), expected)
