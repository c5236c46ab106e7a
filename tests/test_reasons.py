"""The paper's explanations on stores made by hand: each number against arithmetic, each verdict on either side."""

import json

import pytest
import stores

from Utils.study import claims, paper, reasons, runs, tasks

NEWS = stores.TODAY["agnews"]


def _probed(path, *, plain=90.0, shuffled=80.0, dropped=2.0, common=92.0, rare=88.0, correlation=1.0):
    changes = {
        "unchanged": {"test_top1": plain, "changed": 0.0},
        "shuffled": {"test_top1": shuffled, "changed": 12.0},
        "dropped": {"test_top1": plain - 1, "changed": dropped},
    }
    content = {
        "changes": changes,
        "by_rarity": [common, 90.0, 90.0, rare],
        "correlation": {"a": correlation, "b": None},
    }
    (path / "probes.json").write_text(json.dumps(content))


def _judged(place):
    judged = claims.judge(tasks.group(runs.read([str(place)])), paper.read())
    return {claim.name: claim for claim in judged if claim.name in {r["name"] for r in reasons.REASONS.values()}}


def _one(place, reason):
    return _judged(place)[reasons.REASONS[reason]["name"]]


def _fill(place, dense=(), pruned=(), pruner="grasp"):
    """Three seeds of dense and pruned runs with these probes."""
    for seed in (1, 2, 3):
        for name, compression, probes in (("rand", 0.0, dense), (pruner, 1.0, pruned)):
            path = stores.add(place, "agnews", name, compression, seed, 90.0, **NEWS)
            _probed(path, **dict(probes))


def test_without_runs_every_explanation_is_open_and_has_a_price(tmp_path):
    stores.fill(tmp_path, "mnist", {"rand": {1.0: [90.0]}}, **stores.TODAY["mnist"])
    judged = _judged(tmp_path)
    assert len(judged) == len(reasons.REASONS)
    for claim in judged.values():
        assert claim.verdict == "undecided" and not claim.statements and claim.price


@pytest.mark.parametrize(
    "reason, dense, pruned, mean",
    [
        ("context", {"plain": 90, "shuffled": 70}, {"plain": 85, "shuffled": 80}, 15.0),  # 20 less 5
        ("subtle", {"dropped": 2.0}, {"dropped": 7.5}, 5.5),
        ("rare", {"common": 92, "rare": 90}, {"common": 91, "rare": 84}, 5.0),  # 6 lost less 1 lost
    ],
)
def test_probes_of_dense_and_pruned_networks(tmp_path, reason, dense, pruned, mean):
    _fill(tmp_path / "a", dense.items(), pruned.items())
    claim = _one(tmp_path / "a", reason)
    (statement,) = claim.statements
    assert statement.found.mean == pytest.approx(mean) and claim.verdict == "holds"
    assert statement.label == "GraSP at 1" and len(statement.runs) == 6
    _fill(tmp_path / "b", pruned.items(), dense.items())
    assert _one(tmp_path / "b", reason).verdict == "does not hold"


def test_correlation_is_grasp_against_rand(tmp_path):
    for seed in (1, 2, 3):
        for pruner, value in (("grasp", 1.4), ("rand", 1.1)):
            path = stores.add(tmp_path, "agnews", pruner, 1.0, seed, 90.0, **NEWS)
            _probed(path, correlation=value)
    (statement,) = _one(tmp_path, "correlated").statements
    assert statement.found.mean == pytest.approx(0.3) and statement.verdict == "holds"


def test_overfitting_is_the_gap_between_training_and_test(tmp_path):
    for seed in (1, 2, 3):
        stores.add(tmp_path, "agnews", "rand", 0.0, seed, 90.0, train=99.0, **NEWS)
        stores.add(tmp_path, "agnews", "rand", 1.0, seed, 91.0, train=92.0, **NEWS)
    (statement,) = _one(tmp_path, "overfits").statements
    assert statement.found.mean == pytest.approx(8.0)  # 9 less 1


def _with(place, pruner, compression, value, **settings):
    for seed in (1, 2, 3):
        stores.add(place, "agnews", pruner, compression, seed, value + 0.1 * seed, **{**NEWS, **settings})


def test_widths_embeddings_budgets_training_and_batches(tmp_path):
    for pruner, compression, value, settings in (
        ("rand", 0.0, 90.0, {}), ("rand", 1.0, 88.0, {}), ("grasp", 1.0, 87.0, {}),
        ("rand", 1.0, 80.0, {"prune_embedding": True}), ("grasp", 1.0, 85.0, {"prune_embedding": True}),
        ("rand", 0.0, 90.0, {"width": 0.25}), ("rand", 1.0, 80.0, {"width": 0.25}),
        ("rand", 0.0, 91.0, {"width": 4.0}), ("rand", 1.0, 90.0, {"width": 4.0}),
        ("rand", 0.0, 90.5, {"post_epochs": 30}), ("rand", 1.0, 90.0, {"post_epochs": 30}),
        ("rand", 1.0, 89.0, {"pre_epochs": 10}), ("grasp", 1.0, 86.0, {"pre_epochs": 10}),
        ("rand", 0.0, 90.2, {"train_batch_size": 64}), ("rand", 1.0, 84.0, {"train_batch_size": 64}),
    ):  # fmt: skip
        _with(tmp_path, pruner, compression, value, **settings)
    found = {
        reason: {
            statement.label: pytest.approx(statement.found.mean) for statement in _one(tmp_path, reason).statements
        }
        for reason in ("dimension", "redundant", "budget", "transfer", "trained_grasp", "batch")
    }
    assert found == {
        "dimension": {"GraSP at 1": 2.0, "Rand at 1": 8.0},
        "redundant": {"Rand at 1": 9.0},  # 10 less 1
        "budget": {"Rand at 1": 1.5},  # 2 less 0.5
        "transfer": {"GraSP at 1": -1.0, "Rand at 1": 1.0},
        "trained_grasp": {"at 1": -3.0},
        "batch": {"dense": 0.2, "Rand at 1": -4.0},
    }
    assert _one(tmp_path, "transfer").verdict == "does not hold" and _one(tmp_path, "redundant").verdict == "holds"


def test_translations(tmp_path):
    today = stores.TODAY["multi30k"]
    for seed in (1, 2, 3):
        path = stores.add(tmp_path, "multi30k", "rand", 0.0, seed, 23.0, **today)
        result = json.loads((path / "result.json").read_text())
        result["translation"]["final"] |= {"bleu_3": 30.0, "bleu_4": 23.0}
        (path / "result.json").write_text(json.dumps(result))
        stores.add(tmp_path, "multi30k", "rand", 2.0, seed, 14.0, **today)
        stores.add(tmp_path, "multi30k", "rand", 2.0, seed, 22.5, ignore_masks="all", **today)
    printed = 22.96
    assert _one(tmp_path, "ngrams").statements[0].found.mean == pytest.approx((30 - printed) - (23 - printed))
    (statement,) = _one(tmp_path, "ignored").statements
    assert statement.found.mean == pytest.approx(-0.5) and statement.verdict == "holds"


def test_damaged_probes_are_left_out_with_a_warning(tmp_path, capsys):
    path = stores.add(tmp_path, "agnews", "rand", 0.0, 1, 90.0, **NEWS)
    (path / "probes.json").write_text('{"changes": []}')
    (run,) = runs.read([str(tmp_path)])
    assert run.probes == {} and "probes.json is left out" in capsys.readouterr().err
