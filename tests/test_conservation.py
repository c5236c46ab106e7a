"""Conservation of scores: the law in float64, unit by unit, on which units it holds, and the experiments' files."""

import csv
import json
import math
import shlex
from pathlib import Path
from unittest import mock

import nets
import pytest
import torch
from torch import nn

import main
from Experiments import imp_conservation, schedule_conservation, unit_conservation
from Experiments.theory import units
from Models import vgg
from Pruners.pruners import SNIP, Mag, Saliency, SynFlow
from Utils import generator, load
from Utils.commandline import arguments

ROUNDING = 1e-10
IMAGES = nets.image_batches((3, 16, 16), 5, (6,))
NETWORKS = {  # class, model, shape, classes, batches; a narrow network where there is one
    "conv": ("default", "conv", (3, 16, 16), 5, IMAGES),
    "vgg": ("lottery", "vgg11-bn", (3, 16, 16), 5, IMAGES),
    "resnet": ("lottery", "resnet20", (3, 16, 16), 5, IMAGES),
    "patches": ("matched", "transformer", (3, 16, 16), 5, IMAGES),
    "mlp": ("matched", "mlp", (50,), 4, nets.text_batches(50, 4, (6,))),
    "words": ("matched", "transformer", (50,), 4, nets.text_batches(50, 4, (6,))),
    "bag": ("nlp", "text-classification", (50,), 4, nets.text_batches(50, 4, (6,))),
}


def built(name):
    """A network in float64 whose biases, scales and shifts are of no special value, and batches for it."""
    if name == "seq2seq":
        model, batches = nets.seq2seq(), nets.pair_batches(20, 21, (4,))
        shape = (20,)
    else:
        family, model_name, shape, classes, batches = NETWORKS[name]
        with mock.patch.dict(vgg.PLANS, {11: ([4], [4], [6, 6], [8], [vgg.CHANNELS])}):  # quick in float64
            model = nets.drawn(0, load.model(model_name, family), shape, classes)
    model = model.double().eval()
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw, dtype=torch.float64))
    return model, shape, [(x.double() if isinstance(x, torch.Tensor) else x, y) for x, y in batches]


def scores(kind, model, batches):
    every = [generator.MaskedParameter(torch.ones_like(p), p, name) for name, p in model.named_parameters()]
    pruner = kind(every)
    pruner.score(model.eval(), nn.CrossEntropyLoss(), batches, torch.device("cpu"))
    return pruner.scores


def gaps(model, shape, found):
    """The largest gap of each junction, by its kind and name."""
    junctions = units.junctions(model, shape, found)
    return {(j.kind, j.name): unit_conservation.gap(*j.sums(found)).max().item() for j in junctions}


@pytest.mark.parametrize("name", [*NETWORKS, "seq2seq"])
def test_synflow_is_conserved_by_every_unit_but_queries_and_keys(name):
    """Around residual sums for all that is added and all that reads, in which LayerNorm's scales count."""
    model, shape, batches = built(name)
    found = gaps(model, shape, scores(SynFlow, model, batches))
    assert found and max(gap for (kind, _), gap in found.items() if kind != units.PAIR) < ROUNDING
    assert all(gap > 1e-3 for (kind, _), gap in found.items() if kind == units.PAIR)
    attention = name in ("patches", "words", "seq2seq")
    assert (units.PAIR in {kind for kind, _ in found}) == attention
    assert (units.SUM in {kind for kind, _ in found}) == (attention or name == "resnet")


@pytest.mark.parametrize("name", ["conv", "vgg", "resnet"])
def test_the_loss_is_conserved_by_every_unit_of_networks_for_images(name):
    model, shape, batches = built(name)
    assert max(gaps(model, shape, scores(Saliency, model, batches)).values()) < ROUNDING


@pytest.mark.parametrize("name", ["words", "patches", "seq2seq"])
def test_the_loss_is_conserved_inside_a_transformer_and_not_around_its_normalised_sums(name):
    """A query and its key, which are multiplied, have one sum; values and hidden units hold; LayerNorm is no scale."""
    model, shape, batches = built(name)
    for (kind, what), gap in gaps(model, shape, scores(Saliency, model, batches)).items():
        inside = kind == units.PAIR or what.endswith((".out_proj", ".linear2", " to fc", " to generator"))
        inside = inside and " + " not in what
        assert gap < ROUNDING if inside else gap > 1e-3, what


@pytest.mark.parametrize("kind", [Mag, SNIP])
def test_other_scores_are_not_conserved(kind):
    model, shape, batches = built("conv")
    assert min(gaps(model, shape, scores(kind, model, batches)).values()) > 1e-2


def test_a_unit_is_what_its_row_writes_and_its_column_reads():
    """Counted by hand, on Linear(2, 3) and Linear(3, 2)."""
    model = nets.mlp(2, 3, 2)
    found = {"0.weight": torch.tensor([[1.0, 2], [3, 4], [5, 6]]), "0.bias": torch.tensor([10.0, 20, 30])}
    found |= {"2.weight": torch.tensor([[1.0, 2, 3], [4, 5, 6]]), "2.bias": torch.tensor([7.0, 8])}
    (junction,) = units.junctions(model, (2,), found)
    into, out = junction.sums(found)
    assert into.tolist() == [13, 27, 41] and out.tolist() == [5, 7, 9] and junction.name == "0 to 2"
    into, _ = junction.sums({"0.weight": found["0.weight"]})  # the bias does not count
    assert into.tolist() == [3, 7, 11]
    first, second = units.matrices(model)
    assert (first.size(found), first.total(found)) == (9, 81) and (second.size(found), second.total(found)) == (8, 36)
    assert unit_conservation.gap(torch.tensor([0.0, 1, -2]), torch.tensor([0.0, 2, 2])).tolist() == [0, 0.5, 2]


def test_a_channel_behind_convolutions_is_read_at_each_position():
    model = nets.conv_net()
    found = {name: torch.ones_like(p) for name, p in model.named_parameters()}
    _, junction = units.junctions(model, (2, 5, 5), found)
    into, out = junction.sums(found)
    assert into.tolist() == [28, 28] and out.tolist() == [27, 27]  # 3 channels * 9 + bias; 9 positions * 3 outputs


def test_what_does_not_count_passes_on():
    """Without BatchNorm and ways past, convolutions that add to one sum are the writers of all that read it."""
    model, shape, _ = built("resnet")
    counted = {pair.name for pair in generator.masked_parameters(model)}
    names = [junction.name for junction in units.junctions(model, shape, counted)]
    assert "blocks.0.conv1 to blocks.0.conv2" in names
    assert "conv + blocks.0.conv2 + blocks.1.conv2 + blocks.2.conv2 to " in " ".join(names)


def test_the_model_is_left_as_it_was():
    model, shape, _ = built("words")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    units.junctions(model.train(), shape, {name for name, _ in model.named_parameters()})
    assert model.training and all(not module._forward_hooks for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all("reading" not in module.__dict__ for module in model.modules())


# The experiments


@pytest.fixture
def call(tmp_path, sample_data, capsys):
    """call("unit-conservation --seed 2"): (exit code, standard output, standard error); results in tmp_path."""

    def run(command):
        base = ["--source", "sample", "--data-dir", str(sample_data), "--result-dir", str(tmp_path)]
        capsys.readouterr()
        code = main.main([*base, "--experiment", *shlex.split(command)])
        return (code, *capsys.readouterr())

    return run


def read(folder: Path):
    """The directory and the records of the one result."""
    (file,) = folder.glob("*-conservation/*/numbers.csv")
    names = {path.name for path in file.parent.iterdir()}
    assert {"numbers.csv", "table.md", "settings.json"} < names
    assert {Path(name).suffix for name in names} == {".csv", ".md", ".json", ".svg", ".png"}
    with file.open(encoding="utf-8", newline="") as stream:
        return file.parent, list(csv.DictReader(stream))


def test_unit_conservation(call, tmp_path):
    command = "unit-conservation --dataset mnist --model fc --pruner-list mag synflow"
    code, out, _ = call(command)
    folder, records = read(tmp_path)
    assert code == 0
    assert [record["pruner"] for record in records[::10]] == ["saliency", "mag", "synflow"]
    largest = {(r["pruner"], r["counted"]): float(r["largest_gap"]) for r in records if r["junction"] == "1 to 3"}
    assert largest["synflow", "every parameter"] < ROUNDING < largest["synflow", "what is prunable alone"]
    assert largest["saliency", "every parameter"] < ROUNDING and largest["mag", "every parameter"] > 0.1
    assert folder.name.startswith("mnist-sample-fc-mag+synflow-c0-s1-") and "| 1 to 3 |" in out
    again = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert call(command)[0] == 0 and again == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_units_of_a_pruned_network_conserve_too(call, tmp_path):
    assert call("unit-conservation --dataset mnist --model fc --pruner-list synflow --compression 1")[0] == 0
    _, records = read(tmp_path)
    assert max(float(r["largest_gap"]) for r in records if r["counted"] == "every parameter") < ROUNDING


def test_layer_conservation(call, tmp_path):
    assert call("layer-conservation --dataset mnist --model conv --pruner-list mag synflow --prune-bias")[0] == 0
    _, records = read(tmp_path)
    shares = {(r["pruner"], r["layer"]): float(r["share_of_largest"]) for r in records}
    assert len(records) == 9 and {r["size"] for r in records} == {"320", "9248", "250890"}
    # Behind each layer biases add to the flow: by as much as the shares differ, and no more.
    assert all(0.9 < shares["synflow", layer] <= 1 for layer in ("0", "2", "5")) and shares["mag", "0"] < 0.1
    assert all(math.isclose(float(r["mean"]) * int(r["size"]), float(r["sum"]), rel_tol=1e-9) for r in records)


def test_layers_without_biases_have_one_sum():
    model = nets.conv_net(bias=False).double()
    data = [(x.double(), y) for x, y in nets.image_batches((2, 5, 5), 3, (4,))]
    for kind in (SynFlow, Saliency):
        found = scores(kind, model, data)
        totals = [part.total(found) for part in units.matrices(model)]
        assert len(totals) == 3 and max(totals) - min(totals) < ROUNDING * abs(max(totals))


def test_imp_conservation(call, cli, tmp_path):
    asked = "--dataset mnist --model fc --post-epochs 3 --train-size 500"
    assert call(f"imp-conservation {asked} --every 2")[0] == 0
    folder, records = read(tmp_path)
    assert [record["epoch"] for record in records[::6]] == ["0", "2", "3"] and "-fc-mag-" in folder.name
    first, last = ([r for r in records if r["epoch"] == epoch] for epoch in ("0", "3"))
    run = cli(asked).tensors  # the same training
    for record in last:
        weight, bias = (run[f"{record['layer']}.{what}"].astype("float64") for what in ("weight", "bias"))
        assert float(record["sum"]) == pytest.approx((weight**2).sum() + (bias**2).sum(), rel=1e-9)
    assert first != last and imp_conservation.spread({"a": (1, 1.0), "b": (1, 100.0), "c": (1, 0.0)}) == 1.0


def test_schedule_conservation(call, tmp_path):
    lists = "--compression-list 1 --prune-epoch-list 1 4"
    assert call(f"schedule-conservation --dataset mnist --model fc --pruner synflow {lists}")[0] == 0
    _, records = read(tmp_path)
    shares = {(r["schedule"], r["rounds"]): float(r["largest_share"]) for r in records}
    assert shares["linear", "1"] == shares["exponential", "1"] > shares["linear", "4"] > shares["exponential", "4"]


def test_a_round_is_measured_against_the_tensor_that_holds_least():
    """By hand: scores 1 to 4 and 5 to 8; half of all are removed at once, the first tensor: 10 of the least, 10."""

    class Fixed(Mag):
        def compute(self, *_):
            return [torch.arange(1.0, 5).view(2, 2), torch.arange(5.0, 9).view(2, 2)]

    def share(density, rounds):
        model = nets.mlp(2, 2, 2, bias=False)
        args = arguments.parse(["--experiment", "schedule-conservation"])
        pruner = Fixed(generator.masked_parameters(model))
        return schedule_conservation.largest(model, pruner, [], torch.device("cpu"), density, "linear", args, rounds)

    assert share(0.75, 1) == 0.3 and share(0.5, 1) == 1.0
    assert share(0.5, 2) == 1.0  # of 7, which are left after the first round, the second removes all
    assert share(0.25, 3) == 1.0  # what follows the end of a tensor does not count


def test_a_result_of_other_settings_is_kept(call, tmp_path):
    command = "layer-conservation --dataset mnist --model fc --pruner-list mag --expid mine"
    assert call(command)[0] == 0
    folder, _ = read(tmp_path)
    held = (folder / "settings.json").read_bytes()
    assert json.loads(held)["pruner_list"] == ["mag"]
    code, _, error = call(f"{command} --seed 2")
    assert code == 2 and error.count("\n") == 1 and "--expid" in error
    assert (folder / "settings.json").read_bytes() == held
    assert call(f"{command} --seed 2 --force")[0] == 0 and (folder / "settings.json").read_bytes() != held


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("unit-conservation --pruner-list snipp", ["snipp"]),
        ("layer-conservation --model torchvision:resnet18", ["this project's networks"]),
        ("schedule-conservation --prune-epoch-list 0", ["--prune-epoch-list"]),
        ("schedule-conservation --compression-list 40", ["no weight"]),
        ("imp-conservation --every 0", ["--every"]),
    ],
)
def test_what_is_refused_is_one_line(call, command, words):
    code, _, error = call(command)
    assert code == 2 and error.count("\n") == 1 and all(word in error for word in words)
