"""Cross entropy in blocks: torch's value and derivatives."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from Utils.training import loss
from Utils.training.loss import CrossEntropy


def drawn(rows, classes, dtype=torch.float32, seed=0):
    draw = torch.Generator().manual_seed(seed)
    logits = (5 * torch.randn(rows, classes, generator=draw, dtype=torch.float64)).to(dtype)
    return logits.requires_grad_(), torch.randint(classes, (rows,), generator=draw)


@pytest.fixture(params=[64, 1 << 20])
def block(request, monkeypatch):
    """Blocks of one row and of many, and none at all."""
    monkeypatch.setattr(loss, "BLOCK", request.param)
    return request.param


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize(("rows", "classes"), [(1, 3), (7, 29), (40, 5), (13, 65)])
def test_value_and_gradient_are_torchs(block, rows, classes, smoothing):
    logits, target = drawn(rows, classes, torch.float64)
    ours = CrossEntropy(smoothing)(logits, target)
    theirs = F.cross_entropy(logits, target, label_smoothing=smoothing)
    assert torch.allclose(ours, theirs, rtol=1e-12)
    slope = torch.tensor(3.0, dtype=torch.float64)  # the loss need not be the end of the graph
    mine, its = (torch.autograd.grad(value * slope, logits)[0] for value in (ours, theirs))
    assert torch.allclose(mine, its, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("classes", [3, 70])
def test_it_can_be_differentiated_twice(block, classes, smoothing):
    """As GraSP does: the product of the Hessian with a vector."""
    logits, target = drawn(9, classes, torch.float64)
    vector = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    products = []
    for value in (CrossEntropy(smoothing), nn.CrossEntropyLoss(label_smoothing=smoothing)):
        (gradient,) = torch.autograd.grad(value(logits.tanh() * 4, target), logits, create_graph=True)
        products.append(torch.autograd.grad((gradient * vector).sum(), logits)[0])
    assert torch.allclose(*products, rtol=1e-10, atol=1e-14) and products[0].abs().max() > 1e-3
    assert torch.autograd.gradgradcheck(lambda x: CrossEntropy(smoothing)(x, target), logits)


def test_half_precision_logits_give_a_single_precision_loss(block):
    """Each rounded logit counts for what it is: the sums are float32, the gradient is the logits' type."""
    logits, target = drawn(30, 64, torch.bfloat16)
    value = CrossEntropy()(logits, target)
    exact = F.cross_entropy(logits.double(), target)
    assert value.dtype == torch.float32 and abs(value - exact) < 1e-6 * exact
    (gradient,) = torch.autograd.grad(value, logits)
    (wanted,) = torch.autograd.grad(exact, logits)
    assert gradient.dtype == torch.bfloat16 and torch.allclose(gradient.double(), wanted.double(), rtol=2**-7)


def test_without_gradients_and_with_extreme_logits(block):
    logits, target = drawn(20, 50)
    with torch.no_grad():
        assert torch.allclose(CrossEntropy()(logits, target), F.cross_entropy(logits, target))
        huge = torch.full((20, 50), -1e30)
        huge[:, 0] = 1e30
        assert CrossEntropy()(huge, torch.zeros(20, dtype=torch.int64)) == 0.0
        assert torch.isnan(CrossEntropy()(torch.full((20, 50), torch.nan), target))
