"""Exports in 16 bits: what is stored, how far outputs move, how many bytes it takes, and what is refused."""

import json
import shutil
import types

import nets
import pytest
import torch
from calls import ask
from safetensors.torch import load, load_file, save_file
from test_export import MODELS, examples, masked

from Layers import layers
from Layers.bags import Bags
from Utils import exported, generator
from Utils.data.examples import Images
from Utils.errors import UserError
from Utils.export import dead_units, form_timing, package, storage, trace, translation
from Utils.export.draft import Draft
from Utils.export.formats import FORMATS, VALUES
from Utils.store import seal

UNIT = 2.0**-11  # half the distance of two float16 numbers, as a share of the smaller one
SMALLEST = 2.0**-14  # below it float16 has fewer bits, and the error is at most UNIT times this


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(form_timing, "SECONDS", 0.0005)


def eleven_bits(tensor):
    """The nearest numbers with 11 significant bits and no bit below 2^-24, ties to even; from frexp alone."""
    quantum = 2.0 ** (torch.frexp(tensor.double())[1] - 11).clamp(min=-24).double()
    return ((tensor.double() / quantum).round() * quantum).float()


def packed(draft, format, data, values):
    """(JSON, tensors) by way of the files' contents."""
    about, tensors = package.package(draft, format, {2: lambda model: model(data)}, values)
    return json.loads(json.dumps(about)), load(package.content(tensors))


def checked(draft, format, data):
    """Pack a draft in 16 bits, compare what is stored with the draft, and return the loaded model."""
    about, tensors = packed(draft, format, data, "float16")
    assert about["values"] == "float16"
    for name, value in tensors.items():
        assert value.dtype == torch.float16 or not value.is_floating_point(), name
    whole = {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}
    for name, value in draft.tensors.items():
        kept = about["matrices"].get(name, {"shape": list(value.shape), "stored": "whole"})
        found = exported.unpack(name, kept, whole)
        assert found.equal(eleven_bits(value) if value.is_floating_point() else value), name
    made = exported.build(about, tensors)
    assert all(value.dtype == torch.float32 for value in made.held if value.is_floating_point())
    return made


def text():
    """The text model with masks on embedding and classifier, and biases."""
    model = nets.text_model(300, 4)
    generator.mask_embeddings(model)
    nets.mask_at_random(model, 0.1)
    return model.eval()


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("which", [*(entry for entry in MODELS if "vgg" not in entry[0]), "text"], ids=str)
@torch.no_grad()
def test_outputs_move_by_no_more_than_the_rounding_of_the_numbers_explains(which, format):
    """L roundings on every way, each by UNIT: |change| <= ((1 + UNIT)^L - 1) * the network of all absolute values."""
    if which == "text":
        model, data = text(), examples((300,))
    else:
        model, data = masked(*which, 0.3), examples(which[2])
    draft = trace.draft(model)
    if FORMATS[format].smaller:
        draft = dead_units.compact(draft, examples(which[2], 1) if which != "text" else data)
    if not FORMATS[format].empty_rows:
        draft = storage.without_empty_rows(draft)
    found, wanted = (
        made(data).double()
        for made in (checked(draft, format, data), exported.build(*packed(draft, format, data, "float32")))
    )
    sizes = {
        name: torch.where(value == 0, 0.0, value.double().abs().clamp(min=SMALLEST))
        if value.is_floating_point()
        else value
        for name, value in draft.tensors.items()
    }
    reach = exported.Network(draft.program, sizes)(data if isinstance(data, Bags) else data.double().abs())
    depth = sum("tensors" in step for step in draft.program)
    summed = 1e-6 * depth  # what float32 rounds in its sums, as a share
    assert not found.equal(wanted)
    assert ((found - wanted).abs() <= ((1 + UNIT) ** depth - 1 + summed) * reach).all()


@pytest.mark.parametrize("format", FORMATS)
@torch.no_grad()
def test_a_translator_in_16_bits_is_the_translator_of_the_rounded_numbers(format):
    model = nets.seq2seq(seed=0).eval()
    generator.mask_embeddings(model)
    nets.mask_at_random(model, 0.3)
    ((data, _),) = nets.pair_batches(30, 29, (6,), seed=6)
    data = types.SimpleNamespace(source=data.source, target=data.target)
    draft = package.reduced(translation.draft(model), format, translation)
    near = {name: eleven_bits(value) if value.is_floating_point() else value for name, value in draft.tensors.items()}
    found, wanted = checked(draft, format, data)(data), exported.Translator(draft.program, near).eval()(data)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    moved = (found - model(data)).abs().max()
    assert 1e-5 < moved < 0.02, "and it is near the model that was trained"


def linear(weight):
    step = {"op": "linear", "inputs": ["data"], "output": "fc", "tensors": {"weight": "fc.weight"}}
    return Draft("network", [step], {"fc.weight": weight}, ["fc.weight"])


@pytest.mark.parametrize(
    ("kept", "values", "stored", "size"),
    [
        (100, "float32", "gaps", 100 * (4 + 1)),
        (100, "float16", "gaps", 100 * (2 + 1)),
        (5_000, "float32", "bits", 5_000 * 4 + 10_000 // 8),
        (5_000, "float16", "bits", 5_000 * 2 + 10_000 // 8),
        (9_500, "float32", "bits", 9_500 * 4 + 10_000 // 8),
        (9_500, "float16", "whole", 10_000 * 2),  # bits cost 1,250 bytes, and zeros in 16 bits only 1,000
    ],
)
def test_bytes_counted_by_hand(kept, values, stored, size):
    weight = torch.zeros(10_000)
    weight[(torch.arange(kept) * 10_000) // kept] = 1.5
    draft = linear(weight.view(100, 100))
    about, tensors = package.package(draft, "sparse", {1: lambda model: model(torch.ones(1, 100))}, values)
    content = package.content(tensors)
    header = 8 + int.from_bytes(content[:8], "little")
    assert about["matrices"]["fc.weight"]["stored"] == stored and len(content) - header == size


def test_a_number_that_rounds_to_zero_takes_no_room_and_is_zero_again():
    weight = torch.tensor([[1.0, 2.0**-26, 0.0, 2.0**-24]])
    about, tensors = package.package(linear(weight), "sparse", {1: lambda model: model(torch.ones(1, 4))}, "float16")
    assert about["matrices"]["fc.weight"]["values"] == 2
    assert exported.build(about, tensors)(torch.eye(4)).flatten().tolist() == [1.0, 0.0, 0.0, 2.0**-24]


def test_a_number_too_large_for_16_bits_is_refused_and_the_largest_is_not():
    use = {1: lambda model: model(torch.ones(1, 2))}
    about, tensors = package.package(linear(torch.tensor([[65_519.0, -1.0]])), "dense", use, "float16")
    assert exported.build(about, tensors)(torch.eye(2)).flatten().tolist() == [65_504.0, -1.0]
    with pytest.raises(UserError, match=r"fc\.weight holds 65,520, and float16 ends at 65,504; take float32"):
        package.package(linear(torch.tensor([[1.0, -65_520.0]])), "dense", use, "float16")


def test_an_export_that_16_bits_spoil_is_refused():
    """Two large weights that nearly cancel: their difference is all that is left of the logit."""
    model = torch.nn.Sequential(torch.nn.Flatten(), layers.Linear(784, 10)).eval()
    batch = torch.full((2, 1, 28, 28), 1.0)
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].weight[:, 0], model[1].weight[:, 1] = 2048.8, -2048.0
    data = types.SimpleNamespace(test=Images(batch, torch.zeros(2), torch.zeros(1), torch.ones(1)))
    for values in ("float32", "float16"):
        about, tensors = package.package(trace.draft(model), "dense", {2: lambda made: made(batch)}, values)
        if values == "float32":
            assert package.difference(model, exported.build(about, tensors, 64), data, values) < 1e-3
        else:
            with pytest.raises(FloatingPointError, match="logits are"):
                package.difference(model, exported.build(about, tensors, 64), data, values)


# --- from the command line -----------------------------------------------------------------------------------------

RUNS = ("--dataset mnist --model fc --pruner synflow --compression 1 --post-epochs 1", "--dataset agnews --pruner rand")


@pytest.fixture(params=RUNS)
def run(request, ran, tmp_path):
    return shutil.copytree(ran(request.param).path, tmp_path / "run")


@pytest.mark.parametrize("format", FORMATS)
def test_a_run_is_exported_in_16_bits_when_asked(run, format, sample_data, tmp_path):
    asked = f"--experiment export --run {run} --format {format} --export-dir {tmp_path}"
    for where, values in (("as_ever", ""), ("wide", "--values float32"), ("narrow", "--values float16")):
        assert ask(f"{asked}/{where} {values}", sample_data)[::2] == (0, "")
    paths = [tmp_path / where / f"model.{format}.safetensors" for where in ("as_ever", "wide", "narrow")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    wide, narrow = (json.loads(path.with_suffix(".json").read_text()) for path in paths[1:])
    assert "values" not in wide and narrow["values"] == "float16"
    assert wide["largest_difference"] < narrow["largest_difference"] < 0.02
    before, after = (storage.size(load_file(path)) for path in paths[1:])
    assert 0.5 * before <= after < 0.75 * before


def test_what_16_bits_cannot_hold_is_said_in_one_line_and_nothing_is_written(run, sample_data, tmp_path):
    tensors = load_file(run / "model.safetensors")
    name = next(name for name in tensors if name.endswith("bias"))
    tensors[name][0] = 1e5
    save_file(tensors, run / "model.safetensors")
    seal.put(run, ["model.safetensors"])  # these are the weights that the run ended with
    asked = f"--experiment export --run {run} --format dense --export-dir {tmp_path}/away --values"
    code, out, err = ask(f"{asked} float16", sample_data)
    assert (code, out) == (2, "") and not (tmp_path / "away").exists()
    assert err == f"error: --values float16: {name} holds 100,000, and float16 ends at 65,504; take float32\n"
    code, out, err = ask(f"{asked} float61", sample_data)
    assert (code, out) == (2, "") and err.count("\n") == 1 and "did you mean float16?" in err


def test_the_loader_reads_the_versions_it_knows(tmp_path):
    about, tensors = package.package(linear(torch.ones(1, 2)), "dense", {1: lambda model: model(torch.ones(1, 2))})
    (path, _) = package.write(tmp_path, about, tensors, {})
    for version in (2, 3, exported.VERSION):
        path.write_text(json.dumps({**about, "version": version}))
        assert exported.load(path)(torch.ones(1, 2)).item() == 2.0
    for version in (1, 6, None):
        path.write_text(json.dumps({**about, "version": version}))
        with pytest.raises(ValueError, match=f"is version {version} of an export; this loader reads 2 to 5"):
            exported.load(path)


def test_every_type_of_values_has_a_tolerance():
    assert list(VALUES) == list(package.TOLERANCE)
