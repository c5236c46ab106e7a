"""`--model path/to/file.py:Class` and `--model torchvision:NAME`: networks of others in every experiment."""

import json
import shutil
from argparse import Namespace
from pathlib import Path

import calls
import nets
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import main
from Experiments import networks
from Utils import console, exported, load
from Utils.errors import UserError
from Utils.store import files

FILE = '''
import torch
from torch import nn

class Fc(nn.Sequential):
    """The network `fc` in layers of torch.nn: the same draws in the same order."""

    def __init__(self, input_shape, num_classes):
        sizes = [784, 100, 100, 100, 100, 100, num_classes]
        layers = [nn.Flatten()]
        for before, after in zip(sizes, sizes[1:]):
            layers += [nn.Linear(before, after), nn.ReLU()]
        super().__init__(*layers[:-1])

class Bag(nn.Module):
    def __init__(self, input_shape, num_classes):
        super().__init__()
        self.table, self.fc = nn.EmbeddingBag(input_shape[0], 8), nn.Linear(8, num_classes)

    def forward(self, texts):
        return self.fc(self.table(texts.ids, texts.offsets))

class Attends(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.body = nn.TransformerEncoderLayer(28, 2, 12, batch_first=True)
        self.fc = nn.Linear(28, num_classes)

    def forward(self, images):
        return self.fc(self.body(images.flatten(1, 2)[:, ::7]).mean(1))

class Fails(nn.Module):
    def __init__(self):
        raise RuntimeError("a reason\\nin two lines")

class Seven(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(784, 7))

class Colour(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2, 10))

class Two(nn.Linear):
    def __init__(self):
        super().__init__(784, 10)

    def forward(self, data):
        return super().forward(data.flatten(1)), data

class Needs(Seven):
    def __init__(self, width):
        super().__init__()

class Recurs(nn.Module):
    def __init__(self):
        super().__init__()
        self.cells, self.out = nn.GRU(28, 6, batch_first=True), nn.Linear(6, 10)

    def forward(self, images):
        return self.out(self.cells(images.flatten(1, 2))[1][0])

class Nothing(nn.Module):
    def forward(self, data):
        return data.flatten(1)[:, :10]

class Names(nn.Module):
    """Looks its inputs up, clamped, which the search for dead units takes for the identity."""

    def __init__(self, num_classes):
        super().__init__()
        self.out = nn.Linear(4, num_classes)

    def forward(self, images):
        ids = (images.flatten(1)[:, :9].sum(1).abs().long()).clamp(0, 3)
        return self.out(torch.eye(4)[ids])

class Spectral(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.utils.spectral_norm(nn.Linear(784, 10)))

class Infinite(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(784, 10))
        nn.init.constant_(self[1].weight, float("inf"))

class Normed(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(784, 10), nn.BatchNorm1d(10))

class Empty(nn.Sequential):
    """A network that makes no number of some digits, as a mean of no words would be."""

    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(784, 10))

    def forward(self, data):
        return super().forward(data) * (data.flatten(1)[:, 400:401] < 1).float().log()

class Looks(nn.Module):
    """A model of texts whose table is a parameter of its own."""

    def __init__(self, input_shape, num_classes):
        super().__init__()
        self.table, self.fc = nn.Parameter(torch.randn(*input_shape, 8)), nn.Linear(8, num_classes)

    def forward(self, texts):
        ids, real = texts.padded()
        return self.fc((nn.functional.embedding(ids, self.table) * real.unsqueeze(2)).sum(1))

class Few(Looks):
    def forward(self, texts):
        if len(texts) == 1:
            raise ValueError("one text is no batch")
        return super().forward(texts)

class Plain:
    pass
'''
MNIST = "--dataset mnist --threads 1"


@pytest.fixture
def net(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(FILE, encoding="utf-8")
    return path


@pytest.mark.parametrize("pruner", ["snip", "grasp", "synflow"])
def test_a_stock_copy_makes_the_run_of_the_network_of_this_project(cli, net, pruner):
    """The same masks and counts, and after training the same weights up to rounding."""
    flags = f"{MNIST} --compression 1 --post-epochs 1 --train-size 512 --pruner {pruner}"
    ours, theirs = cli(f"{flags} --model fc"), cli(f"{flags} --model {net}:Fc")
    names = dict(zip(sorted(ours.tensors), sorted(theirs.tensors), strict=True))
    assert all(theirs.tensors[name].shape == ours.tensors[name].shape for name in names)
    for name in names:
        assert np.allclose(ours.tensors[name], theirs.tensors[name], atol=1e-5), name
    for key in ("parameters", "flops", "dead"):
        assert ours.result[key] == theirs.result[key]
    assert ours.result["final"]["test_top1"] == pytest.approx(theirs.result["final"]["test_top1"], abs=0.2)


def test_a_run_is_known_by_the_content_of_the_file(cli, net, tmp_path):
    flags = f"{MNIST} --compression 1 --pruner mag"
    first = cli(f"{flags} --model {net}:Attends")
    assert first.config["model"] == "net.py:Attends" and first.config["model_class"] == "own"
    assert first.config["model_sha256"] == files.sha256(net) and str(tmp_path) not in json.dumps(first.config)
    assert "-net.py-Attends-mag-c1-" in first.path.name
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.move(net, tmp_path / "elsewhere" / "net.py")
    again = cli(f"{flags} --model {moved}:Attends")
    assert "stored result of" in again.err
    moved.write_text(f"{FILE}\n# once more\n", encoding="utf-8")
    assert cli(f"{flags} --model {moved}:Attends").path.name != first.path.name
    assert "model_sha256" not in cli(flags).config


@pytest.mark.parametrize("pruner", ["mag", "grasp", "synflow"])
def test_texts_with_and_without_their_embedding(cli, net, pruner):
    flags = f"--dataset agnews --threads 1 --compression 1 --pruner {pruner} --model {net}:Bag"
    alone, both = cli(flags), cli(f"{flags} --prune-embedding")
    words = alone.result["vocab"]["text"]
    assert alone.result["parameters"]["prunable"] == 8 * 4
    assert both.result["parameters"]["prunable"] == 8 * (words + 4)
    assert both.result["parameters"]["prunable_kept"] == pytest.approx(0.8 * (words + 4), abs=1)


@pytest.mark.parametrize("pruner", ["snip", "synflow"])
def test_texts_without_an_embedding_of_torchs(cli, net, pruner):
    run = cli(f"--dataset agnews --threads 1 --compression 0.5 --pruner {pruner} --model {net}:Looks")
    flops = {row["module"]: row["flops"] for row in run.result["per_tensor"] if row["param"] == "weight"}
    assert run.code == 0 and flops["fc"] == 8 * 4 and "not_searched" not in run.result["dead"]


def test_a_model_whose_multiply_adds_cannot_be_counted_has_a_result(cli, net):
    run = cli(f"--dataset agnews --threads 1 --compression 0.5 --pruner mag --model {net}:Few")
    assert run.code == 0 and run.result["flops"]["total"] == 0
    assert "multiply-adds are not counted, as the model does not run on one example of ones (one text is no" in run.err
    assert run.result["flops"]["not_counted"] == ["table", "fc.weight", "fc.bias"]


@pytest.mark.parametrize(
    "flags", ["--dense-classifier", "--prune-attention all --prune-bias", "--prune-attention none"]
)
def test_settings_say_which_layers_are_pruned(cli, net, flags):
    run = cli(f"{MNIST} --compression 0.3 --pruner rand --model {net}:Attends {flags}")
    pruned = {f"{row['module']}.{row['param']}" for row in run.result["per_tensor"] if row["prunable"]}
    body = {"body.linear1.weight", "body.linear2.weight"}
    attention = {"body.self_attn.in_proj_weight", "body.self_attn.out_proj.weight"}
    biases = {name.replace("weight", "bias") for name in body | attention | {"fc.weight"}}
    assert (
        pruned
        == {
            "--dense-classifier": body | {"body.self_attn.out_proj.weight"},
            "--prune-attention all --prune-bias": body | attention | {"fc.weight"} | biases,
            "--prune-attention none": body | {"fc.weight"},
        }[flags]
    )
    assert all(np.all(run.tensors[name][run.tensors[f"{name}_mask"] == 0] == 0) for name in pruned)


def test_reinitialisation_draws_the_weights_anew(cli, net):
    flags = f"{MNIST} --compression 0.5 --pruner rand --model {net}:Attends"
    before, after = cli(flags).tensors, cli(f"{flags} --reinitialize").tensors
    assert all(np.array_equal(before[name], after[name]) for name in before if name.endswith("_mask"))
    weights = [name for name in before if name.endswith("weight") and "norm" not in name]
    assert len(weights) == 5 and not any(np.array_equal(before[name], after[name]) for name in weights)


def test_a_finished_run_is_exported_measured_and_audited_without_the_file(cli, net, sample_data, tmp_path):
    run = cli(f"{MNIST} --compression 1 --pruner mag --model {net}:Fc").path
    net.unlink()
    for words in ("export --format sparse", "export --format compact", "measure --repeats 1"):
        code, _, err = calls.ask(f"--experiment {words} --run {run}", sample_data)
        assert code == 0 and "error" not in err, words  # what is left out for want of a package is a warning
    code, out, _ = calls.ask(f"--experiment audit --run {run} --report-dir {tmp_path}", sample_data)
    assert code == 0 and "12 masks: none that do not hold" in out
    data = load.corpus("mnist", str(sample_data), "sample")
    batch, _ = next(iter(load.dataloader(data, 64, train=False)))
    from Experiments import finished

    model = finished.model(finished.settings(str(run)), data, run / "model.safetensors")
    with torch.no_grad():
        wanted = model(batch)
        for form in ("sparse", "compact"):
            assert torch.allclose(exported.load(run / f"model.{form}.json", 64)(batch), wanted, atol=1e-4)
    (run / "model.py").write_text(FILE + "#", encoding="utf-8")
    code, _, err = calls.ask(f"--experiment export --format dense --run {run}", sample_data)
    assert code == 2 and err.count("\n") == 1 and "model.py" in err


def test_a_file_may_import_its_neighbours_and_is_then_named_again(cli, tmp_path, sample_data):
    (tmp_path / "part_of_it.py").write_text(FILE, encoding="utf-8")
    (tmp_path / "whole.py").write_text("from part_of_it import Fc\nclass Mine(Fc): pass\n", encoding="utf-8")
    run = cli(f"{MNIST} --compression 1 --pruner mag --model {tmp_path}/whole.py:Mine").path
    command = f"--experiment export --format dense --run {run} --model {tmp_path}/whole.py:Mine"
    assert calls.ask(command, sample_data)[0] == 0
    other = cli(f"{MNIST} --compression 1 --pruner mag").path
    code, _, err = calls.ask(command.replace(str(run), str(other)), sample_data)
    assert code == 2 and "which has no file; leave it out" in err


def test_sweeps_levels_and_the_report(cli, net, sample_data, tmp_path):
    results = tmp_path / "results"
    grid = f"--experiment sweep {MNIST} --model {net}:Attends --pruner-list mag rand --compression-list 0.5 1"
    out = cli(f"{grid} --train-size 64").out
    assert "4 runs: 4 done, 0 failed" in out
    assert cli(f"--experiment multishot {MNIST} --level-list 2 --model {net}:Attends --compression 0.5").code == 0
    command = f"--experiment report --store {results} --report-dir {tmp_path}/report"
    assert calls.ask(command, sample_data)[0] == 0
    assert "net.py:Attends" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")


def test_a_classifier_of_torchvision_is_fitted_to_the_data(cli):
    console.note_once.cache_clear()
    run = cli(f"{MNIST} --compression 1 --pruner mag --train-size 64 --model torchvision:shufflenet_v2_x0_5")
    assert run.config["model_class"] == "torchvision" and "-torchvision-shufflenet_v2_x0_5-mag-" in run.path.name
    assert "its first layer conv1.0 has inputs for 1 of 3 channels, fc has 10 outputs; its weights are drawn" in run.err
    shapes = {f"{row['module']}.{row['param']}": row["shape"] for row in run.result["per_tensor"]}
    assert shapes["conv1.0.weight"] == [24, 1, 3, 3] and shapes["fc.weight"] == [10, 1024]
    counts = run.result["parameters"]
    assert counts["prunable_kept"] == counts["prunable"] - int((1 - 0.1) * counts["prunable"])
    console.note_once.cache_clear()
    fed = cli(f"{MNIST} --pruner mag --train-size 64 --model torchvision:shufflenet_v2_x0_5 --pretrained {run.path}")
    assert "fc has 10 outputs\n" in fed.err and "are drawn" not in fed.err


def test_a_residual_network_of_torchvision_is_exported():
    """ResNet-18's steps, narrow: a padded maximum, sums in place, the mean by a layer, half of the channels dead."""
    from torchvision.models import resnet

    from Layers.attached import attach
    from Utils.export import dead_units, trace

    model = nets.drawn(0, lambda: resnet.ResNet(resnet.Bottleneck, [1, 1, 1, 1], num_classes=5, width_per_group=4))
    nets.mask_at_random(attach(model.eval()), 0.2)
    for layer in (model.conv1, model.layer2[0].conv1, model.layer3[0].conv2):
        layer.weight_mask[::2] = 0
    data = torch.randn(3, 3, 40, 40)
    whole = trace.draft(model)
    for draft in (whole, dead_units.compact(whole, data[:1])):
        with torch.no_grad():
            found, wanted = exported.Network(draft.program, draft.tensors)(data), model(data)
        assert torch.allclose(found, wanted, atol=1e-4 * float(wanted.abs().max()))
    assert sum(t.numel() for t in draft.tensors.values()) < sum(t.numel() for t in whole.tensors.values())


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("mnist --model {}:Fails", "net.py:Fails: RuntimeError as it was built: a reason"),
        ("mnist --model {}:Seven", "its output for two examples is [2, 7], not [2, 10]"),
        ("mnist --model {}:Colour", "RuntimeError on a batch of two examples of shape [1, 28, 28]: "),
        ("mnist --model {}:Two", "it returns a tuple, not one tensor of logits"),
        ("mnist --model {}:Needs", "missing 1 required positional argument: 'width'"),
        (
            "mnist --model {}:Normed --train-size 257 --post-epochs 1",
            "--train-batch-size 256: of 257 examples the last batch would have ",
        ),
        (
            "mnist --model {}:Normed --pruner snip --prune-train-mode true --prune-dataset-size 9 --prune-batch-size 4",
            "--prune-batch-size 4: of 9 examples the last batch would have one, which has no spread for BatchNorm",
        ),
        ("mnist --model {}:Empty", "no finite loss before any training: an example makes it, such as an empty one"),
        ("mnist --model {}:Nothing", "Nothing has no layer that can have a mask"),
        ("mnist --model {}:Plain", "Plain is no torch.nn.Module"),
        ("mnist --model {}:Absent", "has no class Absent; it has: "),
        ("mnist --model net.py", "net.py: write it as path/to/file.py:Class"),
        ("agnews --model {}:Fc", "on two texts: forward gets an object with ids [N] and offsets [B]"),
        ("mnist --model /none/net.py:X", "cannot read /none/net.py: No such file or directory"),
        ("mnist --model {}:Fc --model-class default", "--model-class means nothing to --model "),
        ("mnist --model {}:Fc --width 2", "--width means nothing to the own model net.py:Fc; leave it out"),
        ("multi30k --model {}:Fc", "does not take multi30k: such a network classifies images or texts"),
        ("agnews --model torchvision:resnet18", "does not take agnews: such a network classifies images"),
        ("mnist --model torchvision:resnet19", "did you mean resnet18?"),
        ("mnist --model torchvision:alexnet", "RuntimeError on a batch of two examples of shape [1, 28, 28]: "),
    ],
)
def test_bad_input_is_one_line(cli, net, words, line):
    run = cli(f"--dataset {words.format(net)}")
    lines = [text for text in run.err.splitlines() if not text.startswith("note: ")]
    assert run.code == 2 and len(lines) == 1 and lines[0].startswith("error: ") and line in lines[0]


def test_weights_that_get_no_masks_are_named(cli, net):
    run = cli(f"--dataset mnist --model {net}:Recurs --pruner mag --compression 0.5")
    assert run.code == 0 and "weights without masks, which are not pruned: cells (GRU, 612)" in run.err


def test_a_model_that_cannot_be_searched_for_dead_units_is_run_reported_and_audited(cli, net, sample_data, tmp_path):
    console.note_once.cache_clear()
    run = cli(f"{MNIST} --compression 0.5 --pruner mag --post-epochs 1 --model {net}:Names")
    assert run.code == 0 and run.err.count("dead units are not searched for, as ") == 1
    assert run.result["dead"].keys() == {"not_searched", "classes"} and run.result["dead"]["classes"] == {"total": 10}
    words = "Dead: not searched for, as the model does not run on ones in float64, without saturation (index 9 is out"
    assert words in (run.path / "report.txt").read_text(encoding="utf-8")
    for command in (f"audit --run {run.path}", f"audit {MNIST} --source sample --model {net}:Names"):
        code, out, _ = calls.ask(f"--experiment {command} --report-dir {tmp_path}/out", sample_data)
        assert code == 0 and words in out
    code, out, _ = calls.ask(
        f"--experiment report --store {run.path.parent.parent} --report-dir {tmp_path}/report", sample_data
    )
    assert code == 0 and "1 run" in out
    code, _, err = calls.ask(
        f"--experiment reach {MNIST} --source sample --seeds 1 --model {net}:Names --report-dir {tmp_path}", sample_data
    )
    assert code == 2 and "in the search for dead units" in err


def test_a_weight_that_a_hook_makes_is_trained_and_refused_by_the_export(cli, net, sample_data):
    run = cli(f"{MNIST} --pruner mag --post-epochs 1 --compression 0.5 --prune-bias --model {net}:Spectral")
    assert run.code == 0 and "weights without masks, which are not pruned: 1 (Linear, 7,840)" in run.err
    assert "FLOPs do not count what uses of these cost: 1.weight_orig\n" in run.out
    code, _, err = calls.ask(f"--experiment export --format dense --run {run.path}", sample_data)
    assert code == 2 and "export does not know the step 1, a Linear of this kind" in err


def test_weights_that_are_not_finite_from_the_start_are_named(cli, net):
    run = cli(f"{MNIST} --pruner mag --post-epochs 1 --model {net}:Infinite")
    assert run.code == 2 and "gives no finite loss before any training: 1.weight is not finite" in run.err


def test_another_file_than_the_runs_is_said_to_be_another(cli, net, tmp_path, capsys):
    run = cli(f"--dataset mnist --model {net}:Fc")
    other = tmp_path / "other.py"
    other.write_bytes(b"# other\n" + Path(net).read_bytes())
    assert main.main(["--experiment", "measure", "--run", str(run.path), "--model", f"{other}:Fc"]) == 2
    assert f"{run.path} was made with another file, net.py:Fc" in capsys.readouterr().err


def test_a_file_that_changes_in_the_run_is_not_stored_under_its_old_hash(net):
    settings = Namespace(model="net.py:Fc", model_path=f"{net}:Fc", model_sha256="0" * 64)
    with pytest.raises(UserError, match="has changed since the run began"):
        networks.code(settings)
    with pytest.raises(UserError, match="has changed while the run began"):
        networks.stranger(settings, (1, 28, 28), 10)


SHARING = """
from torch import nn
from sizes import WIDTH

class Net(nn.Module):
    def __init__(self, input_shape, num_classes):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(784, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.head, self.again = nn.Linear(WIDTH, num_classes), self.a
        self.c.weight = self.b.weight
    def forward(self, data):
        return self.head(self.c(self.b(self.a(data.flatten(1)).relu()).relu()).relu())
"""


def test_shared_weights_and_layers_are_stored_and_what_a_file_imports_belongs_to_it(cli, tmp_path, capsys):
    (tmp_path / "sharing.py").write_text(SHARING, encoding="utf-8")
    (tmp_path / "sizes.py").write_text("WIDTH = 9\n", encoding="utf-8")
    asked = f"--dataset mnist --model {tmp_path}/sharing.py:Net --pruner snip --compression 0.5"
    run = cli(asked)
    assert run.code == 0 and "without masks" not in run.err
    stored = load_file(run.path / "model.safetensors")
    assert stored["b.weight"].equal(stored["c.weight"]) and stored["a.weight"].equal(stored["again.weight"])
    measured = ["--experiment", "measure", "--run", str(run.path), "--model", f"{tmp_path}/sharing.py:Net"]
    assert main.main([*measured, "--repeats", "1"]) == 0
    figures = json.loads((run.path / "measurement.json").read_text(encoding="utf-8"))["formats"]["masked"]
    assert figures["parameters"] == (784 * 9 + 9) + (9 * 9 + 9) + 9 + (9 * 10 + 10)
    (tmp_path / "sizes.py").write_text("WIDTH = 12\n", encoding="utf-8")
    other = cli(asked)
    assert other.path != run.path and load_file(other.path / "model.safetensors")["a.weight"].shape == (12, 784)
    assert main.main(measured) == 2 and "or with others than it imports now" in capsys.readouterr().err
