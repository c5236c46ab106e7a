"""The kernel that multiplies with the weights that are left, against float64 products of torch's."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from Utils import exported
from Utils.exported import kernel, scattered
from Utils.exported.scattered import Scattered

pytestmark = pytest.mark.skipif(not exported.available("scattered"), reason="no C compiler")

SIZES = st.tuples(st.integers(1, 3), st.integers(1, 3))


def drawn(shape, density, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator) * (torch.rand(shape, generator=generator) < density)


@given(
    batch=st.integers(1, 40),
    channels=st.tuples(st.integers(1, 40), st.integers(1, 9)),
    image=st.tuples(st.integers(3, 12), st.integers(3, 12)),
    size=SIZES,
    stride=SIZES,
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    density=st.sampled_from([0.0, 0.1, 1.0]),
    bias=st.booleans(),
    threads=st.sampled_from([1, 2, 3]),
)
@settings(max_examples=200, deadline=None)
def test_a_convolution_is_that_of_float64(batch, channels, image, size, stride, padding, density, bias, threads):
    inputs, outputs = channels
    weight, data = drawn((outputs, inputs, *size), density, 1), drawn((batch, inputs, *image), 1.0, 2)
    start = drawn((outputs,), 1.0, 3) if bias else None
    wanted = F.conv2d(data.double(), weight.double(), None if start is None else start.double(), stride, padding)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        form = Scattered(weight, start, stride=stride, padding=padding)
        for given in (data, data.contiguous(memory_format=torch.channels_last), data[:1]):
            found = form(given)
            torch.testing.assert_close(found.double(), wanted[: len(given)], atol=1e-5, rtol=1e-5)
    finally:
        torch.set_num_threads(before)


@given(rows=st.lists(st.integers(0, 20), max_size=2), sizes=st.tuples(st.integers(1, 300), st.integers(1, 20)))
@settings(max_examples=60, deadline=None)
def test_a_matrix_is_that_of_float64(rows, sizes):
    weight, bias = drawn(sizes[::-1], 0.2, 1), drawn(sizes[1:], 1.0, 2)
    data = drawn((*rows, sizes[0]), 1.0, 3)
    wanted = F.linear(data.double(), weight.double(), bias.double())
    torch.testing.assert_close(exported.LINEAR["scattered"](weight, bias)(data).double(), wanted, atol=1e-5, rtol=1e-5)


def test_a_batch_too_large_for_places_of_32_bits_is_computed_in_parts(monkeypatch):
    weight, bias, data = drawn((3, 2, 3, 3), 0.5, 1), drawn((3,), 1.0, 2), drawn((7, 2, 5, 5), 1.0, 3)
    wanted = F.conv2d(data, weight, bias)
    for places in (1, 400):
        monkeypatch.setattr(scattered, "PLACES", places)
        torch.testing.assert_close(Scattered(weight, bias, stride=(1, 1), padding=(0, 0))(data), wanted)


def test_what_a_pruned_weight_would_read_is_not_read():
    """Zero times infinity is no number; a weight that is not there multiplies with nothing."""
    data = torch.tensor([[1.0, torch.inf, torch.nan]])
    assert exported.LINEAR["scattered"](torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([1.0]))(data).tolist() == [[3.0]]


def test_examples_stay_side_by_side_through_a_network():
    """What one form returns the next need not turn around; pooling keeps the layout and gives the same numbers."""
    weight = drawn((4, 4, 3, 3), 0.3, 1)
    conv = {"op": "conv", "tensors": {"weight": "w"}, "stride": [1, 1], "padding": [1, 1]}
    program = [
        {**conv, "inputs": ["data"], "output": "a"},
        {"op": "relu", "inputs": ["a"], "output": "b"},
        {"op": "max_pool", "size": 2, "inputs": ["b"], "output": "c"},
        {**conv, "inputs": ["c"], "output": "d"},
        {"op": "flatten", "inputs": ["d"], "output": "e"},
    ]
    data = drawn((5, 4, 7, 6), 1.0, 2)
    found = exported.Network(program, {"w": weight}, {"w": "scattered"}).values(data)
    wanted = exported.Network(program, {"w": weight}).values(data)
    assert all(found[name].stride(0) == 1 for name in "abcd")
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("flags", [("-mno-avx512f",), ("-O0",)])
def test_another_processor_computes_the_same(flags, monkeypatch):
    other = kernel.library(*flags)
    assert other is not None
    weight, data = drawn((5, 6, 3, 3), 0.3, 1), drawn((9, 6, 8, 8), 1.0, 2)
    monkeypatch.setattr(kernel, "library", lambda: other)
    found = Scattered(weight, None, stride=(1, 1), padding=(1, 1))(data)
    assert other.lanes() == (8 if "-mno-avx512f" in flags else kernel.lanes())
    torch.testing.assert_close(
        found.double(), F.conv2d(data.double(), weight.double(), padding=1), atol=1e-5, rtol=1e-5
    )


def test_without_a_compiler_the_sparse_product_takes_its_place(monkeypatch):
    monkeypatch.setenv("PATH", "")
    kernel.library.cache_clear()
    try:
        with pytest.warns(UserWarning, match="no C compiler"):
            assert not exported.available("scattered")
        made = exported.LINEAR["scattered"](torch.eye(3), None)
        assert type(made) is type(exported.LINEAR["csr"](torch.eye(3), None))
    finally:
        kernel.library.cache_clear()


def test_a_compiler_that_fails_and_a_cache_that_cannot_be_written_are_no_errors(monkeypatch, tmp_path):
    (tmp_path / "cc").write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    (tmp_path / "cc").chmod(0o755)
    try:
        for name, value in (("CC", str(tmp_path / "cc")), ("XDG_CACHE_HOME", str(tmp_path / "cc"))):
            kernel.library.cache_clear()
            monkeypatch.setenv(name, value)
            with pytest.warns(UserWarning, match="torch's products are used instead"):
                assert kernel.library() is None
            monkeypatch.delenv(name)
    finally:
        kernel.library.cache_clear()


def test_processes_that_compile_at_once_all_have_the_library(monkeypatch, tmp_path, root):
    code = "from Utils.exported import kernel; print(kernel.library() is not None)"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    words = [sys.executable, "-c", code]
    running = [subprocess.Popen(words, cwd=root, stdout=subprocess.PIPE, encoding="utf-8") for _ in range(3)]
    assert [process.communicate()[0] for process in running] == ["True\n"] * 3
    (kept,) = (tmp_path / "pruned-networks").iterdir()
    assert kept.suffix == ".so"


@pytest.mark.parametrize("count", [1, 16, 37])
def test_a_network_computes_any_batch_as_its_values_say(count):
    """In parts, with values dropped when nothing reads them again, and in memory that other batches have used."""
    weight, kernel_of_rows = drawn((6, 6, 3, 3), 0.3, 1), drawn((3, 6 * 5 * 4), 0.4, 2)
    conv = {"op": "conv", "tensors": {"weight": "w"}, "stride": [1, 1], "padding": [1, 1]}
    program = [
        {**conv, "inputs": ["data"], "output": "a"},
        {"op": "relu", "inputs": ["a"], "output": "b"},
        {**conv, "inputs": ["b"], "output": "c"},
        {"op": "add", "inputs": ["c", "a"], "output": "d"},
        {"op": "flatten", "inputs": ["d"], "output": "e"},
        {"op": "linear", "tensors": {"weight": "l"}, "inputs": ["e"], "output": "f"},
    ]
    tensors = {"w": weight, "l": kernel_of_rows}
    network = exported.Network(program, tensors, dict.fromkeys(tensors, "scattered"))
    plain = exported.Network(program, {name: value.double() for name, value in tensors.items()})
    for seed in (3, 4):
        data = drawn((count, 6, 5, 4), 1.0, seed)
        wanted = plain.values(data.double())
        torch.testing.assert_close(network(data).double(), wanted["f"], atol=1e-4, rtol=1e-4)
        assert torch.equal(plain(data.double()), wanted["f"])
        network(drawn((count, 6, 5, 4), 1.0, 5) * torch.inf)  # nothing of it is left for the next
