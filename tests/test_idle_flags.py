"""Flags without effect: a note, and the name of the run without them. The bits are indeed the same."""

import json

import pytest
import torch

from Layers import layers
from Layers.attention import MultiheadAttention
from Utils import generator, load, settings
from Utils.commandline import acting, arguments

FC = "--dataset mnist --model fc --compression 1"
TEXT = "--dataset agnews --compression 0.5"
IDLE = [  # a run, and what changes nothing of it
    (FC, "--prune-attention all"),
    (FC, "--ignore-masks attention"),
    (FC, "--prune-batchnorm"),
    (FC, "--prune-residual"),
    (FC, "--prune-embedding"),
    (f"{FC} --post-epochs 1", "--lr-drop-rate 0.5"),
    (f"{FC} --pruner snip", "--compression-schedule linear"),
    (f"{FC} --pruner snip --ties position", "--prune-seed 7"),
    (f"{FC} --pruner mag", "--prune-train-mode"),
    (f"{FC} --pruner mag", "--prune-dataset-size 30"),
    (f"{FC} --pruner synflow", "--prune-dataset-ratio 3 --prune-train-mode"),
    (f"{FC} --pruner snip --prune-dataset-size 40", "--prune-dataset-ratio 3"),
    (f"{TEXT} --pruner snip", "--mask-scope local"),
]
ACTING = [  # the same flags where they do change something
    (f"{FC} --pruner snip --post-epochs 1", "--ignore-masks all"),
    (f"{FC} --pruner snip --prune-epochs 2", "--compression-schedule linear"),
    (FC, "--prune-seed 7"),
    (f"{FC} --pruner mag --ties position --shuffle", "--prune-seed 7"),
    (f"{FC} --post-epochs 2 --lr-drops 1", "--lr-drop-rate 0.5"),
    (f"{FC} --pruner snip", "--prune-dataset-ratio 3"),
    (f"{FC} --pruner snip", "--mask-scope local"),
    (f"{TEXT} --pruner snip --prune-bias", "--mask-scope local"),
    (f"{TEXT} --pruner snip", "--prune-embedding"),
    ("--dataset mnist --model transformer --pruner mag --compression 0.5", "--prune-attention all"),
]
MODELS = [
    (cls, name)
    for cls, names in load.MODELS.items()
    for name in names
    if not name.endswith(("44", "56", "110", "1202", "101", "152"))
]
SHAPES = {"image": (3, 32, 32), "text": (20,), "translation": (20,)}


@pytest.mark.parametrize(("run", "flags"), IDLE)
def test_a_flag_without_effect_is_noted_and_makes_no_other_run(cli, monkeypatch, run, flags):
    """And where it were taken into the name, the run would have the same bits."""
    plain = cli(run)
    again = cli(f"{run} {flags}")
    assert plain.code == again.code == 0 and f"note: stored result of {plain.path}" in again.err
    (note,) = (line for line in again.err.splitlines() if "without effect" in line)
    assert all(word in note for word in flags.split() if word.startswith("--"))
    monkeypatch.setattr(acting, "idle", lambda *_: [])
    other = cli(f"{run} {flags}")
    assert other.path != plain.path and "without effect" not in other.err
    assert all((other.tensors[name] == value).all() for name, value in plain.tensors.items())
    assert other.result["final"] == plain.result["final"]


@pytest.mark.parametrize(("run", "flags"), ACTING)
def test_where_a_flag_has_an_effect_it_makes_another_run(cli, run, flags):
    plain, other = cli(run), cli(f"{run} {flags}")
    assert other.path != plain.path and "without effect" not in other.err
    same = plain.tensors.keys() == other.tensors.keys()
    assert not (same and all((other.tensors[name] == value).all() for name, value in plain.tensors.items()))


@pytest.mark.parametrize(("model_class", "model"), MODELS)
def test_what_a_model_is_said_to_lack_it_lacks(model_class, model):
    kinds = load.MODELS[model_class][model][0].split()
    with torch.device("meta"):
        network = load.model(model, model_class)(SHAPES[kinds[0]], 4)
    modules = list(network.modules())
    here = {
        "attention": any(isinstance(module, MultiheadAttention) for module in modules),
        "batchnorm": any(isinstance(module, layers.BatchNorm1d | layers.BatchNorm2d) for module in modules),
        "residual": any(isinstance(module, layers.IDENTITIES) for module in modules),
        "embedding": any(isinstance(module, generator.EMBEDDINGS) for module in modules),
        "convolutions": any(isinstance(module, layers.Conv2d) for module in modules),
        "layers": len(list(generator.masked_parameters(network))) > 1,
    }
    assert acting.traits(model_class, model, ()) == {name for name, there in here.items() if there}


@pytest.mark.parametrize("pruner", load.PRUNERS)
def test_what_a_pruner_is_said_to_lack_it_lacks(pruner):
    """Its scores on other examples and from another seed."""

    def scores(seed: int, batch: int) -> torch.Tensor:
        torch.manual_seed(0)
        model = torch.nn.Sequential(layers.Linear(6, 5), torch.nn.ReLU(), layers.Linear(5, 3))
        draw = torch.Generator().manual_seed(batch)
        data = [(torch.randn(4, 6, generator=draw), torch.tensor([0, 1, 2, 0]))]
        made = load.pruner(pruner)(generator.masked_parameters(model), seed=seed)
        made.score(model, torch.nn.CrossEntropyLoss(), data, torch.device("cpu"))
        return torch.cat([score.flatten() for score in made.scores.values()])

    first = scores(1, 1)
    other = {"draws": scores(2, 1), "examples": scores(1, 2)}
    found = {name for name, second in other.items() if not first.equal(second)}
    assert acting.traits("default", "fc", [pruner]) & acting.OF_PRUNERS == found


def test_what_nobody_has_listed_counts_as_having_everything(monkeypatch):
    monkeypatch.setitem(load.MODELS["default"], "mine", ("image", "Models.mine:Mine"))
    assert acting.traits("default", "mine", ["mine.py:Mine"]) == acting.OF_MODELS | acting.OF_PRUNERS
    assert acting.traits("default", "fc", ["mag", "snip"]) == {"layers", "examples"}


def test_no_committed_run_has_a_setting_without_effect(root):
    """So that each is still found under its name."""
    configs = [json.loads(path.read_text(encoding="utf-8")) for path in root.glob("Results/study/*/*/config.json")]
    assert len(configs) > 1000
    for config in configs:
        of_data = load.dataset(config["dataset"]).defaults
        usual = {**settings.defaults(of_data), "prune_seed": config["seed"]}
        assert acting.idle(settings.complete(config), usual) == [], config


def test_a_sweep_says_it_once(cli):
    outcome = cli("--experiment sweep --dataset mnist --model fc --seed-list 1 2 3 --prune-batchnorm --dry-run")
    assert outcome.code == 0 and outcome.err.count("without effect") == 1 and "3 to do" in outcome.out


def test_a_flag_of_the_assignment_is_never_refused(capsys):
    words = ["--dataset", "multi30k"]
    assert arguments.parse([*words, "--prune-dataset-ratio", "9"]) == arguments.parse(words)
    assert capsys.readouterr().err == "note: --prune-dataset-ratio means nothing to Multi30k and is left out\n"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_noted(cli):
    outcome = cli(f"{FC} --gpu 7")
    assert outcome.code == 0 and "note: --gpu 7: there is no GPU here, so the CPU is used\n" in outcome.err
    assert f"stored result of {outcome.path}" in cli(FC).err


def test_reach_resets_what_none_of_its_pruners_uses():
    words = ["--experiment", "reach", "--dataset", "mnist", "--prune-train-mode"]
    assert arguments.parse([*words, "--pruner-list", "rand", "snip"]).prune_train_mode
    assert not arguments.parse([*words, "--pruner-list", "rand", "mag"]).prune_train_mode
