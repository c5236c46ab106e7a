"""Exports in 8 bits: products in whole numbers against float64, translations with and without a compiler, the files."""

import json
import shutil

import nets
import pytest
import torch
from calls import ask
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from test_compiled_decoding import sentences, talker

from Utils import exported
from Utils.export import form_timing, package, trace, translation
from Utils.export.formats import FORMATS, INT8, ONNX
from Utils.exported import kernel
from Utils.exported.rounded import Rounded, joined
from Utils.training import decode

compiled = pytest.mark.skipif(not exported.available("scattered"), reason="no C compiler")
PROCESSORS = [(), ("-mno-avx512vnni",), ("-mno-avx512f",), ("-march=x86-64",)]  # those that are not x86 have the last


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(form_timing, "SECONDS", 0.0005)


def drawn(sizes, seed):
    return torch.randn(sizes, generator=torch.Generator().manual_seed(seed))


def by_hand(input, weight, bias):
    """The product of whole numbers, in float64, with both roundings written out."""
    scale = [max(map(abs, row)) / 127 or 1.0 for row in weight.double().tolist()]
    numbers = torch.tensor(
        [[round(w / s) for w in row] for row, s in zip(weight.double().tolist(), scale, strict=True)]
    )
    most = input.abs().amax(1, keepdim=True)  # of float32, in which the inputs are rounded
    whole = torch.where(most > 0, input * (127 / most), 0.0).round().double()
    return (whole @ numbers.double().t()) * torch.tensor(scale).double() * (most.double() / 127) + bias.double()


def test_numbers_of_8_bits_are_the_nearest_and_stay_what_they_are():
    weight = drawn((6, 40), 1) * torch.tensor([1e-6, 1.0, 30.0, 0.0, 1.0, 1.0]).unsqueeze(1)
    numbers, scale = exported.split(weight)
    assert numbers.dtype == torch.int8 and numbers.abs().amax(1).tolist() == [127, 127, 127, 0, 127, 127]
    assert ((joined(numbers, scale) - weight).abs() <= 0.5001 * scale.unsqueeze(1)).all()
    assert exported.split(joined(numbers, scale))[0].equal(numbers)


@compiled
@pytest.mark.parametrize("flags", PROCESSORS)
@given(
    count=st.integers(1, 70), sizes=st.tuples(st.integers(1, 150), st.integers(1, 20)), seed=st.integers(0, 99),
    bias=st.booleans(),
)  # fmt: skip
@settings(max_examples=15, deadline=None, derandomize=True)
def test_products_are_those_of_whole_numbers(flags, count, sizes, seed, bias):
    inputs, outputs = sizes
    weight, data = drawn((outputs, inputs), seed), drawn((count, inputs), seed + 1)
    weight[seed % outputs], data[seed % count] = 0.0, 0.0
    own = drawn((outputs,), seed + 2) if bias else None
    with pytest.MonkeyPatch.context() as patch:
        if flags:
            library = kernel.library(*flags)
            if library is None:
                pytest.skip("not of this processor")
            patch.setattr(kernel, "library", lambda: library)
        found = Rounded(weight, own)(data)
    wanted = by_hand(data, weight, torch.zeros(outputs) if own is None else own)
    torch.testing.assert_close(found.double(), wanted, atol=2e-5, rtol=1e-5)


def test_the_largest_numbers_do_not_overflow():
    """All products of a sum have their largest size and one sign; 16 bits would not hold two of them."""
    weight, data = torch.full((7, 5000), -3.0), torch.full((20, 5000), 2.0)
    assert Rounded(weight, None)(data).equal(torch.full((20, 7), -30000.0))


def test_without_a_compiler_products_are_the_same(monkeypatch):
    weight, bias, data = drawn((9, 33), 1), drawn((9,), 2), drawn((4, 5, 33), 3)
    made = Rounded(weight, bias)
    with_one = made(data)
    monkeypatch.setattr(kernel, "library", lambda: None)
    torch.testing.assert_close(made(data), with_one, atol=1e-5, rtol=1e-5)


def translator(model):
    about, tensors = package.package(translation.draft(model), "dense", {}, INT8)
    return exported.build(json.loads(json.dumps(about)), tensors)


@compiled
@pytest.mark.parametrize("flags", PROCESSORS[:3])
def test_a_translator_says_the_same_compiled_or_not(flags, monkeypatch):
    """From one sentence to two groups, with a beam too."""
    library = kernel.library(*flags)
    monkeypatch.setattr(kernel, "library", lambda: library)
    found = translator(talker(1.0))
    sources, batches = sentences(70), (1, 9, 70)
    said = [decode.translate(found, sources[:count], nets.CPU, beam) for count in batches for beam in (1, 2)]
    assert found.compiled
    found.compiled = None
    monkeypatch.setattr(kernel, "library", lambda: None)
    assert said == [decode.translate(found, sources[:count], nets.CPU, beam) for count in batches for beam in (1, 2)]


def test_convolutions_and_other_tensors_compute_in_float32():
    """Their kernels are rounded, so that logits are those of the rounded network."""
    model = nets.conv_net()
    draft, data = trace.draft(model), drawn((4, 2, 5, 5), 1)
    about, tensors = package.package(draft, "dense", {}, INT8)
    assert {name for name, value in tensors.items() if value.dtype == torch.int8} == set(draft.matrices)
    made = exported.build(about, tensors)
    kept = {name: joined(*exported.split(draft.tensors[name])) for name in draft.matrices}
    forms = {name: Rounded for name, value in kept.items() if value.dim() == 2}
    assert 0 < len(forms) < len(kept)
    wanted = exported.Network(draft.program, {**draft.tensors, **kept}, forms)(data)
    torch.testing.assert_close(made(data), wanted, atol=1e-6, rtol=1e-6)


def test_an_export_in_8_bits_from_the_command_line(ran, sample_data, tmp_path):
    path = shutil.copytree(ran("--dataset agnews --pruner rand --compression 0.5").path, tmp_path / "run")
    export = f"--experiment export --run {path} --threads 1 --format"
    for format in (*FORMATS, *ONNX):
        if format != "dense":
            code, out, err = ask(f"{export} {format} --values int8", sample_data)
            assert (code, out, err) == (2, "", "error: --values int8 is for --format dense, whose matrices are whole\n")
    assert ask(f"{export} dense", sample_data)[0] == 0
    before = (path / "model.dense.safetensors").stat().st_size
    code, out, err = ask(f"{export} dense --values int8", sample_data)
    assert (code, err) == (0, "") and (path / "model.dense.safetensors").stat().st_size < 0.3 * before
    assert json.loads((path / "model.dense.json").read_text())["values"] == "int8"
    stored = load_file(path / "model.dense.safetensors")
    assert sum(value.dtype == torch.int8 and f"{name}.scale" in stored for name, value in stored.items()) == 2
