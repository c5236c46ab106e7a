"""`--pruner path/to/file.py:Class`: a class of the user's own in any run, and what its result is called."""

import shutil

import numpy as np
import pytest
import torch

from Models.mlp import fc
from Pruners.guest import Guest, build, score_keys, scores
from Utils import generator, load
from Utils.commandline import arguments as commandline
from Utils.errors import UserError
from Utils.store import files
from Utils.training.prune import prune_loop

NAMES = {"rand": "Rand", "mag": "Mag", "snip": "SNIP", "grasp": "GraSP", "synflow": "SynFlow"}
MNIST = "--dataset mnist --threads 1"


@pytest.fixture
def published(root):
    """The file of assignment one's pruners."""
    return root / "tests" / "students" / "assignment_one.py"


@pytest.fixture
def ours(root):
    """The file of ours, as a file like any other."""
    return root / "Pruners" / "pruners.py"


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", ["grasp", "rand"])
def test_ours_from_its_file_makes_the_run_that_ours_by_name_makes(cli, ours, name):
    """To the last bit of masks and weights, rounds and training included."""
    flags = f"{MNIST} --compression 1 --prune-epochs 3 --post-epochs 1"
    by_name, by_file = cli(f"{flags} --pruner {name}"), cli(f"{flags} --pruner {ours}:{NAMES[name]}")
    assert same(by_name.tensors, by_file.tensors) and by_name.path != by_file.path
    assert by_name.result["per_tensor"] == by_file.result["per_tensor"]


@pytest.mark.parametrize("name", ["snip", "grasp", "synflow", "mag"])
@pytest.mark.parametrize("scope", ["global", "local"])
def test_assignment_ones_classes_make_the_masks_of_ours(ran, published, name, scope):
    """On its own interface: scores by id, no seed. Where two scores are as good as equal, either may stay."""
    flags = f"{MNIST} --compression 1 --mask-scope {scope}"
    one, other = ran(f"{flags} --pruner {name}").masks, ran(f"{flags} --pruner {published}:{NAMES[name]}").masks
    kept = sum(int(mask.sum()) for mask in one.values())
    assert sum(int(mask.sum()) for mask in other.values()) == kept
    assert sum(int((one[key] != other[key]).sum()) for key in one) <= 4


def test_the_result_says_which_file_it_was(cli, published):
    run = cli(f"{MNIST} --compression 1 --pruner {published}:Mag")
    assert run.config["pruner_sha256"] == files.sha256(published)
    assert "assignment_one.py-Mag-c1-s1-" in run.path.name
    assert {row["module"]: row["score abs sum"] > 0 for row in run.result["per_tensor"] if row["param"] == "weight"}
    assert "pruner_sha256" not in cli(f"{MNIST} --compression 1 --pruner mag").config


def test_another_content_is_another_run_and_the_same_is_found_again(cli, published, tmp_path):
    path = tmp_path / "student.py"
    shutil.copy(published, path)
    flags = f"{MNIST} --compression 1 --pruner {path}:Mag"
    first = cli(flags).path
    assert "stored result of" in cli(flags).err
    path.write_text(path.read_text() + "\n# once more\n")
    assert cli(flags).path != first


def test_a_guests_draws_follow_the_pruning_seed_and_move_no_others(cli, published):
    """Dense, with either pruner: the same weights after training. Pruned: masks by --prune-seed alone."""
    flags = f"{MNIST} --pruner {published}:Rand"
    dense = cli(f"{flags} --compression 0 --post-epochs 1").tensors
    assert same(dense, cli(f"{MNIST} --pruner rand --compression 0 --post-epochs 1").tensors)
    one, same_, other = (
        cli(f"{flags} --compression 1 {seeds}").masks for seeds in ("", "--prune-seed 1 --lr 1", "--prune-seed 2")
    )
    assert same(one, same_) and not same(one, other)


def test_inverting_and_shuffling_a_guest(published):
    """The order of the scores is reversed, whatever the class's own invert does, or without one."""
    published_module = load.pruner(f"{published}:Mag").args[0]
    masks = {}
    for invert in (False, True):
        torch.manual_seed(0)
        model = fc((4, 4), 3)
        guest = Guest(published_module, generator.masked_parameters(model))
        batches = [(torch.randn(2, 4, 4), torch.tensor([0, 1]))]
        prune_loop(model, None, guest, batches, torch.device("cpu"), 0.5, "linear", "local", 1, invert=invert)
        masks[invert] = [mask.clone() for mask, _ in guest.masked_parameters]
        assert guest.stats() == (sum(int(m.sum()) for m in masks[invert]), sum(m.numel() for m in masks[invert]))
    for one, other in zip(masks[False], masks[True], strict=True):
        assert torch.equal(one, 1 - other)


@pytest.mark.parametrize("its_own", [True, False])
def test_a_guests_draws_go_on_from_a_stored_state(published, ours, its_own):
    """As after a kill: a new one goes on from its state."""
    kind = load.pruner(f"{ours if its_own else published}:Rand").args[0]

    def new() -> Guest:
        return Guest(kind, [(torch.ones(50), torch.zeros(50))], seed=3)

    def draw(guest: Guest) -> torch.Tensor:
        guest.score(torch.nn.Identity(), torch.nn.CrossEntropyLoss(), [], torch.device("cpu"))
        return guest.scores["tensor 0"].clone()

    one, other = new(), new()
    assert one.scores == {}
    first = draw(one)
    other.restore(one.state())
    assert torch.equal(other.scores["tensor 0"], first)
    second = draw(one)
    assert torch.equal(draw(other), second) and not torch.equal(first, second)


def test_where_scores_may_be():
    class Pair(tuple):
        name = "fc.weight"

    pair = Pair((torch.ones(2), torch.zeros(2)))
    value = torch.tensor([1.0, 2.0])
    for kept in ({id(pair[1]): value}, {"fc.weight": value}, {pair[1]: value}, {id(pair[0]): value}, [value]):
        assert kept[score_keys(kept, [pair])[0]] is value
    for missing in ({}, {"other": value}, [], [value, value], None):
        with pytest.raises(LookupError):
            score_keys(missing, [pair])
    with pytest.raises(LookupError, match=r"no entry of tensor 0"):
        scores(type("P", (), {"scores": {}}), [tuple(pair)])


def test_a_class_is_given_the_options_that_it_takes():
    options = {"seed": 7, "ties": "position"}
    assert build(lambda pairs, seed=3: (pairs, seed), "pairs", **options) == ("pairs", 7)
    assert build(lambda pairs, ties="x", seed=3: (pairs, ties, seed), "pairs", **options) == ("pairs", "position", 7)
    assert build(lambda pairs: pairs, "pairs", **options) == "pairs"


@pytest.mark.parametrize("its_own", [True, False])
def test_a_guest_counts_its_ties_where_its_class_does(published, ours, its_own):
    """Of three high and ten equal magnitudes five stay: ours counts two, a class of assignment one nothing."""
    weights = torch.tensor([1.0] * 10 + [2.0] * 3)
    pairs = [(torch.ones(13), weights)]
    guest = Guest(load.pruner(f"{ours if its_own else published}:Mag").args[0], pairs, seed=3, ties="position")
    guest.score(torch.nn.Identity(), None, [], None)
    guest.mask(5 / 13)
    assert guest.by_tie == (2 if its_own else 0)
    if its_own:
        assert pairs[0][0].tolist() == [1.0] * 2 + [0.0] * 8 + [1.0] * 3


def test_refusals_are_one_line_and_nothing_is_left(cli, tmp_path):
    (tmp_path / "wrong.py").write_text("class GraSP:\n  def\n")
    (tmp_path / "raises.py").write_text("class GraSP: ...\n1 / 0\n")
    (tmp_path / "empty.py").write_text("")
    for spec, words in (
        (f"{tmp_path}/none.py:GraSP", ["No such file"]),
        (f"{tmp_path}/wrong.py:GraSP", ["wrong.py:2", "invalid syntax"]),
        (f"{tmp_path}/raises.py:GraSP", ["ZeroDivisionError"]),
        (f"{tmp_path}/empty.py:GraSP", ["no class GraSP", "none at all"]),
        (f"{tmp_path}/empty.py:", ["path/to/file.py:Class"]),
    ):
        outcome = cli(f"{MNIST} --pruner {spec}")
        assert outcome.code == 2 and outcome.err.count("\n") == 1 and all(word in outcome.err for word in words)
        assert not [path for path in outcome.results.rglob("*") if path.is_file()]


def test_a_file_that_changes_while_the_run_begins_is_refused(tmp_path):
    """Or a result would stand under the name of what did not make it."""
    path = tmp_path / "student.py"
    path.write_text("class Mag: ...\n")
    args = commandline.parse(["--pruner", f"{path}:Mag"])
    path.write_text("class Mag: ...\nclass Other: ...\n")
    with pytest.raises(UserError, match="has changed"):
        load.pruner(args.pruner, args.pruner_sha256)
