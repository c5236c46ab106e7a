"""Convolutions that cost what their masks leave: outputs and gradients against float64, and runs that train by them."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from Layers import fast, layers
from Layers.fast import fixed_masks
from Layers.reading import of
from Utils import exported
from Utils.errors import UserError
from Utils.exported import compiling
from Utils.exported.scattered import Scattered
from Utils.training import convolution

pytestmark = pytest.mark.skipif(not exported.available("scattered"), reason="no C compiler")


def masked(inputs: int, outputs: int, size, padding, density: float, bias: bool = True, **more) -> layers.Conv2d:
    torch.manual_seed(inputs + outputs)
    module = layers.Conv2d(inputs, outputs, size, padding=padding, bias=bias, **more)
    module.weight_mask.copy_((torch.rand_like(module.weight) < density).float())
    return module


def wanted(module, data, gradient):
    """Output and gradients of data, weight and bias, by torch in float64."""
    double: list[Any] = [
        None if x is None else x.detach().double().requires_grad_() for x in (data, module.weight, module.bias)
    ]
    of_data, weight, bias = double
    output = F.conv2d(of_data, weight * module.weight_mask.double(), bias, padding=module.padding)
    return output, torch.autograd.grad(output, [x for x in double if x is not None], gradient.double())


@given(
    batch=st.integers(1, 40),
    channels=st.tuples(st.integers(1, 50), st.integers(1, 9)),
    image=st.tuples(st.integers(3, 10), st.integers(3, 10)),
    size=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    density=st.sampled_from([0.02, 0.2, 1.0]),
    bias=st.booleans(),
    layout=st.sampled_from(["batch last", "channels last", "as usual"]),
    threads=st.sampled_from([1, 2, 3]),
)
@settings(max_examples=150, deadline=None)
def test_outputs_and_gradients_are_those_of_float64(
    batch, channels, image, size, padding, density, bias, layout, threads
):
    padding = tuple(min(n, side - 1) for n, side in zip(padding, size, strict=True))
    module = masked(*channels, size, padding, density, bias)
    data = torch.randn(batch, channels[0], *image)
    if layout == "batch last":  # as such a convolution returns it
        data = data.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)
    if layout == "channels last":
        data, module = (each.to(memory_format=torch.channels_last) for each in (data, module))
    data.requires_grad_()
    part, before = convolution.ConvolutionPart(module, module.weight_mask), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        output = part(module, data)
        gradient = torch.randn(output.shape)
        exact, slopes = wanted(module, data, gradient)
        inputs = [x for x in (data, module.weight, module.bias) if x is not None]
        found = torch.autograd.grad(output, inputs, gradient)
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(output.double(), exact, atol=1e-5, rtol=1e-5)
    for one, other in zip(found, slopes, strict=True):
        torch.testing.assert_close(one.double(), other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("flags", [("-mno-avx512f",), ("-O0",)])
def test_another_processor_computes_the_same(flags, monkeypatch):
    module, data = masked(6, 5, 3, 1, 0.3), torch.randn(9, 6, 8, 8)
    gradient = torch.randn(9, 5, 8, 8)
    for where, library in ((convolution, "_library"), (convolution.kernel, "library")):
        other = getattr(where, library).__wrapped__(*flags)
        monkeypatch.setattr(where, library, lambda other=other: other)
    part = convolution.ConvolutionPart(module, module.weight_mask)
    _, (_, of_weight, _) = wanted(module, data, gradient)
    (found,) = torch.autograd.grad(part(module, data), [module.weight], gradient)
    torch.testing.assert_close(found.double(), of_weight, atol=1e-4, rtol=1e-4)


def test_values_change_under_a_mask_and_shapes_from_batch_to_batch():
    module = masked(8, 16, 3, 1, 0.1)
    part = convolution.ConvolutionPart(module, module.weight_mask)
    for batch, side in ((16, 6), (5, 6), (16, 9), (16, 6)):
        data = torch.randn(batch, 8, side, side)
        exact, _ = wanted(module, data, torch.zeros(batch, 16, side, side))
        torch.testing.assert_close(part(module, data).double(), exact, atol=1e-5, rtol=1e-5)
        with torch.no_grad():
            module.weight.add_(1.0)


def test_a_pruned_weight_reads_nothing_and_has_no_gradient():
    module = masked(2, 3, 3, 1, 0.0)
    module.weight_mask[1, 0, 1, 1] = 1.0
    data = torch.randn(4, 2, 5, 5)
    data[:, 1] = math.inf
    output = convolution.ConvolutionPart(module, module.weight_mask)(module, data)
    assert output.isfinite().all()
    (found,) = torch.autograd.grad(output.sum(), [module.weight])
    assert found.nonzero().tolist() == [[1, 0, 1, 1]]
    torch.testing.assert_close(found[1, 0, 1, 1], data[:, 0].sum())


def test_an_output_too_large_for_the_caches_is_the_same():
    weight, data = torch.randn(40, 3, 3, 3), torch.randn(32, 3, 40, 32)
    weight[torch.rand_like(weight) < 0.7] = 0.0
    found = Scattered(weight, None, stride=(1, 1), padding=(1, 1))(data)
    assert found.numel() // 16 > 1 << 16  # kernel.c's LARGE
    torch.testing.assert_close(
        found.double(), F.conv2d(data.double(), weight.double(), padding=1), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("more", [{"stride": 2}, {"dilation": 2}, {"groups": 2}, {"padding": "same"}, {"padding": 3}])
def test_other_convolutions_and_dense_ones_are_left_alone(more):
    fast.use(True, convolution.part)
    try:
        for density, how in ((0.1, {"padding": 1} | more), (0.5, {"padding": 1}), (0.0, {"padding": 1})):
            module = masked(64, 64, 3, density=density, **how)
            with fixed_masks(nn.Sequential(module)):
                assert not isinstance(of(module).part, convolution.ConvolutionPart)
        module = masked(64, 64, 3, 1, 0.1)
        with fixed_masks(nn.Sequential(module)):
            assert isinstance(of(module).part, convolution.ConvolutionPart)
    finally:
        fast.use(True)
    with fixed_masks(nn.Sequential(module)):
        assert of(module).part is None


RUN = "--dataset mnist --source sample --model conv --pruner rand --compression 1 --post-epochs 1 --threads 1"


def test_a_run_that_trains_by_them_is_another_run_with_the_same_figures(cli, monkeypatch):
    monkeypatch.setattr(convolution, "FEW", 100)
    plain, sparse = cli(RUN), cli(f"{RUN} --sparse-convolutions")
    assert plain.path != sparse.path and sparse.config["sparse_convolutions"] is True
    assert sparse.result["final"]["test_loss"] == pytest.approx(plain.result["final"]["test_loss"], rel=1e-3)
    for (name, one), other in zip(
        sorted(load_file(plain.path / "model.safetensors").items()), sorted_of(sparse), strict=True
    ):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-2, msg=name)
    again = cli(f"{RUN} --sparse-convolutions --force")
    assert all(map(torch.equal, sorted_of(again), sorted_of(sparse)))


def sorted_of(outcome) -> list[torch.Tensor]:
    return [tensor for _, tensor in sorted(load_file(outcome.path / "model.safetensors").items())]


@pytest.mark.parametrize("other", ["--plain", "--amp bf16", "--compile"])
def test_what_cannot_go_with_them_is_one_line(cli, other):
    outcome = cli(f"{RUN} --sparse-convolutions {other}")
    assert outcome.code == 2 and f"does not go with {other}" in outcome.err.splitlines()[-1]


def test_without_a_compiler_the_run_is_refused(monkeypatch):
    """The same command gives the same bits, or none."""
    monkeypatch.setattr(compiling, "library", lambda *_, **__: None)
    convolution._library.cache_clear()
    try:
        with pytest.raises(UserError, match="--sparse-convolutions needs a C compiler"):
            convolution.check()
    finally:
        convolution._library.cache_clear()
