"""The sweep files that come with the project: what they hold, and that the committed runs are still theirs."""

import json
import re
from types import SimpleNamespace

import pytest

from Experiments.sweeping import plan
from Utils import load
from Utils.commandline import arguments

CELLS = {  # of each file: pruners (or ablations and pruners) x compressions x ... x seeds
    "paper_agnews": 5 * 6 * 5,
    "paper_mnist": 5 * 5 * 2 * 3,
    "paper_multi30k": 5 * 5 * 3,
    "paper_images": 5 * 7 * 3,
    "small_images": 5 * 4 * 3,
    "ablations_agnews": 3 * 3 * 3 * 5,
    "ablations_mnist": 3 * 3 * 3 * 2 * 3,
    "ablations_multi30k": ((2 + 2) * 2 * 2 + 3) * 3,
    "scopes_mnist": 5 * 3 * 3,
}
TABLE = 5 * 6 + 1  # the image table: five pruners, Mag trained first, and untrained at 1
QUEUE = {
    "1_assignment": 5 * (6 * 7 + 5 * 6) + 7,
    "2_multi30k": 3 * 4 * 3,
    "3_images": TABLE,
    "4_matched": 12 * (2 + 3) * (4 * 2 + 3 + 7 * 2) + 12 * 2 * 2 * 2,
    "4_reasons": 5 * (2 + 4 + 4 + 2 + 2 + 4),
    "4_seeds": 2 * 12 * 7 * 4,
    "5_repeats": 2 * (TABLE + 4) + 2 * 2 * 2 * 3 + 5 * 7,
    "6_rest": 5 * 5 * 3 + 3,
    "7_benchmark": 2 * 12 * 2,
    "8_sparse_translation": 3 * (1 + 2 + 2),
    "9_first_steps": 8 * (3 + 1),
}
# The committed runs of earlier settings that each file has, alone and with the flags they were asked for by.
FOUND = {
    "paper_agnews": {"": 130, "--seed-list 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20": 30},
    "paper_mnist": {"": 126},
    "paper_multi30k": {"": 27, "--post-epochs 3": 2, "--post-epochs 3 --amp bf16": 3},
    "paper_images": {"": 24, "--amp off": 1},
    "small_images": {"": 16},
    "ablations_agnews": {"": 90},
    "ablations_mnist": {"": 81},
    "ablations_multi30k": {"": 12, "--post-epochs 3": 6, "--post-epochs 3 --amp bf16": 2},
    "scopes_mnist": {"": 30},
}
FIVE = {"rand", "mag", "snip", "grasp", "synflow"}
ALONE = {"cifar10-resnet20-grasp-c0.5-s1-9dc7695447"}  # made by a command of its own


def cells(root, *names: str, flags: str = "") -> list:
    """The cells of these files."""
    paths = " ".join(str(root / "sweeps" / f"{name}.toml") for name in names)
    return arguments.parse(f"--experiment sweep --sweep-file {paths} {flags}".split()).cells


@pytest.fixture
def study(root, monkeypatch):
    """The committed runs of earlier settings, by name; and plans are made as if their data were here."""
    places = (root / "Results" / "study" / "singleshot").glob("*/config.json")
    configs = {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in places}
    keys = {config["dataset"]: config["data_key"] for config in configs.values()}
    located = {name: SimpleNamespace(source="real", key=key) for name, key in keys.items()}
    monkeypatch.setattr(plan.corpus, "locate", lambda dataset, *_: located[dataset.name])
    return {name: config for name, config in configs.items() if "ties" not in config}


def planned(root, *names: str, flags: str = "") -> list:
    """The runs of these files, and where the committed ones are."""
    return plan.plan(cells(root, *names, flags=flags), root / "Data", str(root / "Results" / "study"))


@pytest.mark.parametrize("name", CELLS)
def test_the_sweeps_of_the_paper_hold_what_they_name(root, name):
    found = cells(root, name)
    assert len({json.dumps(vars(cell.args), sort_keys=True) for cell in found}) == len(found) == CELLS[name]
    assert all(cell.args.prune_epochs == (100 if cell.args.pruner == "synflow" else 1) for cell in found)
    if name.startswith("paper"):
        assert {cell.args.pruner for cell in found} >= FIVE and 0 in {c.args.compression for c in found}


def test_no_sweep_is_left_out_above(root):
    assert {path.stem for path in (root / "sweeps").glob("*.toml")} - {"benchmark"} == CELLS.keys() == FOUND.keys()
    assert {path.stem for path in (root / "sweeps" / "queue").glob("*.toml")} == QUEUE.keys()


def test_every_committed_run_of_earlier_settings_is_found_by_its_file(root, study):
    """Its file keeps the settings that it was made with, whatever the defaults are by now."""
    found = {
        name: {flags: {r.name for r in planned(root, name, flags=flags) if r.directory.stored()} for flags in counts}
        for name, counts in FOUND.items()
    }
    assert {
        name: {flags: len(names & study.keys()) for flags, names in by.items()} for name, by in found.items()
    } == FOUND
    together = {run for by in found.values() for names in by.values() for run in names}
    assert study.keys() - together == ALONE and len(study) == 565


@pytest.mark.parametrize("name", QUEUE)
def test_the_stages_of_the_queue_hold_what_they_name(root, name):
    found = cells(root, f"queue/{name}")
    assert len({json.dumps(vars(cell.args), sort_keys=True) for cell in found}) == len(found) == QUEUE[name]
    for args in (cell.args for cell in found):
        small = args.model_class == "matched" or name == "8_sparse_translation"
        batches = {128} if small else {256, 64} if name == "4_reasons" else {256}
        assert args.train_batch_size in batches
        few = name == "9_first_steps"
        assert args.post_epochs == (1 if few else 10) or (args.post_epochs, args.model) == (30, "mlp")
        assert (args.ties, args.prune_epochs) == ("seeded", load.ROUNDS.get(args.pruner, 1))
        assert args.prune_augment == (True if args.dataset == "cifar10" else None)
        assert args.dataset != "cifar10" or args.init == (None if args.model_class == "matched" else "assignment")
        assert args.dataset != "multi30k" or args.bleu_every == 1


def test_the_queue_is_one_sweep_that_no_earlier_pruned_run_is_part_of(root, study):
    """All stages together: a run that two name is made once, at the earlier; every cell of the image table is there."""
    runs = planned(root, *(f"queue/{name}" for name in sorted(QUEUE)))
    names = [run.name for run in runs]
    assert len(set(names)) == len(names)
    assert all(study[name]["compression"] == 0 for name in study.keys() & set(names))
    single = {name: {run.name for run in planned(root, f"queue/{name}")} for name in QUEUE}
    assert set(names) == set().union(*single.values())
    first = [min(stage for stage in QUEUE if name in single[stage]) for name in names]
    assert first == sorted(first)
    vgg16 = [run.args for run in runs if run.args.model == "vgg16" and run.args.post_epochs == 10]
    table = {
        (a.seed, a.pruner, a.compression) for a in vgg16 if a.amp == "bf16" and (a.pruner, a.pre_epochs) != ("mag", 0)
    }
    wanted = {(seed, pruner, c) for seed in (1, 2, 3) for pruner in FIVE for c in (0.05, 0.1, 0.2, 0.5, 1, 2)}
    assert wanted <= table and all(a.pre_epochs == 10 for a in vgg16 if a.pruner == "mag" and a.compression != 1)
    assert {(a.seed, a.compression) for a in vgg16 if (a.pruner, a.pre_epochs) == ("mag", 0)} == {
        (s, 1) for s in (1, 2, 3)
    }
    assert sorted((a.pruner, a.compression) for a in vgg16 if a.amp == "off") == [
        ("grasp", 0.1),
        ("rand", 0),
        ("snip", 1),
    ]


def test_the_readme_of_the_queue_lists_its_stages(root):
    text = (root / "sweeps" / "queue" / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)\.toml`", text, re.MULTILINE) == sorted(QUEUE)
