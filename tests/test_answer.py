"""The study's questions: contrasts by hand, Holm's adjustment by its definition, verdicts and sentences."""

import json
import random

import pytest
import stores
from matplotlib.figure import Figure

from Experiments.reporting import figures, style
from Experiments.reporting.comparison_tables import answer_table
from Utils.study import answer, runs, tasks
from Utils.study.statistics import flip_interval, holm, sign_flip

MATCHED = {"model_class": "matched", "model": "mlp", "train_batch_size": 128}


def _tasks(place):
    return tasks.group(runs.read([str(place)]))


def _rejected(values, level):
    """Holm's procedure as he wrote it: from the smallest on, until one is not below level / (tests that are left)."""
    order = sorted(range(len(values)), key=values.__getitem__)
    rejected = set()
    for done, k in enumerate(order):
        if values[k] > level / (len(values) - done):
            break
        rejected.add(k)
    return rejected


def test_an_adjusted_p_is_the_level_from_which_on_holm_rejects():
    draw = random.Random(0)
    for count in (1, 2, 5, 9):
        for _ in range(50):
            values = [draw.choice([0.001, 0.01, 0.02, draw.random()]) for _ in range(count)]
            adjusted = holm(values)
            for level in [*(draw.random() for _ in range(20)), 0.01, 0.05]:
                expected = _rejected(values, level)
                assert {k for k, p in enumerate(adjusted) if p <= level} == expected
    assert holm([]) == [] and holm([0.03]) == [0.03] and holm([0.6, 0.7]) == [1.0, 1.0]


def _fill(place, seeds=12, **settings):
    """GraSP two points below Rand on AG News, one above on MNIST; Rand keeps half of what is above chance on either."""
    below, above = [[centre + 0.1 * k for k in range(seeds)] for centre in (55.5, 58.5)]
    rand = [57.5 + 0.1 * k for k in range(seeds)]
    for dataset, grasp in (("agnews", below), ("mnist", above)):
        curves = {"rand": {0.0: [90.0] * seeds, 1.0: rand}, "grasp": {1.0: grasp}}
        stores.fill(place, dataset, curves, **settings)


def test_pruners_by_hand(tmp_path):
    _fill(tmp_path, **stores.TODAY["mnist"])
    first, second = answer.primaries(_tasks(tmp_path))
    assert (first.where, second.where) == ("MNIST, fc", "AG News, text-classification")
    assert first.question == second.question == answer.PRUNER and not first.text and second.text
    assert first.mean == pytest.approx(1.0) and second.mean == pytest.approx(-2.0)
    family = len(answer.named())
    assert first.p == second.p == 2 / 2**12 and first.adjusted == second.adjusted == pytest.approx(2 * family / 2**12)
    assert (first.verdict, second.verdict) == ("above 0", "below 0")


def test_too_few_seeds_have_an_interval_and_no_verdict(tmp_path):
    _fill(tmp_path, 11, **stores.TODAY["mnist"])
    for one in answer.primaries(_tasks(tmp_path)):
        assert (
            one.adjusted is None
            and one.verdict == "no verdict, 11 of 12 seeds"
            and (one.interval.low, one.interval.high) == pytest.approx((one.mean, one.mean))
        )
    assert (
        "12 seeds and are missing for MNIST, fc, AG News, text-classification;" in answer.sentences(_tasks(tmp_path))[4]
    )


def test_what_differs_by_chance_is_not_shown(tmp_path):
    noise = [0.3, -0.2, 0.1, -0.4, 0.2, 0.1, -0.1, -0.2, 0.3, -0.3, 0.2, -0.1]
    curves = {"rand": {0.0: [90.0] * 12, 1.0: [80.0] * 12}, "grasp": {1.0: [80.0 + x for x in noise]}}
    stores.fill(tmp_path, "agnews", curves, **stores.TODAY["agnews"])
    (one,) = answer.primaries(_tasks(tmp_path))
    assert one.verdict == "no difference shown" and one.adjusted == 1.0 and one.p > 0.5


def test_kinds_are_compared_on_one_network_by_what_they_retain(tmp_path):
    """Text goes from 90 to 57.5 above a chance of 25: 50 %. Images retain 75 % above 11.35, the share of 1."""
    for dataset, value in (("agnews", 57.5), ("mnist", 11.35 + 0.75 * (90.0 - 11.35))):
        curves = {"rand": {0.0: [90.0] * 12, 1.0: [value] * 12}}
        stores.fill(tmp_path, dataset, curves, **MATCHED)
    (one,) = answer.primaries(_tasks(tmp_path))
    assert one.question == answer.SENSITIVITY and one.where == "MNIST less AG News, mlp"
    assert one.mean == pytest.approx(25.0) and one.verdict == "above 0"


def test_a_dense_run_counts_for_its_own_seed(tmp_path):
    """Seed by seed: (57.5 - 25) / (90 - 25) and (55 - 25) / (85 - 25) are both a half."""
    stores.fill(tmp_path, "agnews", {"rand": {0.0: [90.0, 85.0], 1.0: [57.5, 55.0]}}, **MATCHED)
    stores.fill(tmp_path, "mnist", {"rand": {0.0: [91.35, 51.35], 1.0: [51.35, 31.35]}}, **MATCHED)
    (one,) = answer.primaries(_tasks(tmp_path))
    assert [*one.by_seed.values()] == [pytest.approx(0.0), pytest.approx(0.0)]


def test_other_tasks_are_not_asked(tmp_path):
    curves = {"rand": {0.0: [90.0], 1.0: [80.0]}, "grasp": {1.0: [70.0]}}
    stores.fill(tmp_path, "cifar10", curves, **stores.TODAY["cifar10"])
    assert answer.primaries(_tasks(tmp_path)) == []
    assert len(answer.sentences(_tasks(tmp_path))) == 5


def test_sentences_and_table_have_the_figures(tmp_path):
    _fill(tmp_path, **stores.TODAY["mnist"])
    stores.fill(tmp_path, "agnews", {"grasp-abs": {1.0: [58.5] * 12}}, **stores.TODAY["agnews"])
    pruners, kinds, mended, _, limits = answer.sentences(_tasks(tmp_path))
    text, images = pruners.split("; and, on images, ")
    assert (
        "worse than Rand on AG News, text-classification (-2.00 points, -2.00 to -2.00, median -2.00, 12 seeds)" in text
    )
    assert "better than Rand on MNIST, fc (+1.00 points" in images and "not known (no runs yet)" in kinds
    assert (
        "GraSPAbs less Rand: AG News, text-classification (+0.45 points" in mended and "are missing for" not in limits
    )
    assert "GraSPLog less Rand: no runs yet" in mended
    table = answer_table(_tasks(tmp_path))
    assert [row[-1] for row in table.rows] == ["above 0", "below 0"]
    assert [record["mean"] for record in table.records] == [pytest.approx(1.0), pytest.approx(-2.0)]


def test_the_table_says_how_many_seeds_there_were_before_a_contrast_was_named(tmp_path):
    _fill(tmp_path, **stores.TODAY["mnist"])
    table = answer_table(_tasks(tmp_path))
    assert [(record["where"], record["known_before"]) for record in table.records] == [
        ("MNIST, fc", 5), ("AG News, text-classification", 8),
    ]  # fmt: skip
    assert [row[6] for row in table.rows] == ["5 of 12", "8 of 12"]
    assert "named on 2026-11-27 11:12 UTC" in table.note and "from 10 to 11.35 %" in table.note


def test_the_family_is_what_is_named_whatever_the_store_has(tmp_path):
    """A contrast's adjusted p is the same beside others and alone; those without runs are in the note."""
    _fill(tmp_path / "both", **stores.TODAY["mnist"])
    curves = {"rand": {1.0: [57.5] * 12}, "grasp": {1.0: [58.5 + 0.1 * k for k in range(12)]}}
    stores.fill(tmp_path / "alone", "mnist", curves, **stores.TODAY["mnist"])
    (alone,), both = (answer.primaries(_tasks(tmp_path / name)) for name in ("alone", "both"))
    assert alone.adjusted == both[0].adjusted == pytest.approx(len(answer.named()) * 2 / 2**12)
    named = answer.named()
    assert len(named) == len(set(named)) == 14
    note = answer_table(_tasks(tmp_path / "alone")).note
    assert "for all 14 contrasts" in note and "p = 1" in note
    listed = note.partition("Without runs yet: ")[2].partition(". ")[0].split("; ")
    assert listed == [where for _, where in named if where != "MNIST, fc"]
    assert {where for question, where in named if question == answer.SENSITIVITY} == {
        f"{image} less AG News, {model}" for image in ("MNIST", "CIFAR-10") for model in ("mlp", "transformer")
    }


def test_what_masks_leave_stands_where_grasp_loses(tmp_path):
    """Seed 2 cannot tell two classes apart, seed 1 lacks one, which the network can still answer by its bias."""
    for seed, (grasp, alive) in enumerate([(79.5, [0, 1, 2]), (60.0, [0, 1]), (79.0, [0, 1, 2, 3])], start=1):
        for pruner, value, left in (("grasp", grasp, alive), ("rand", 80.0, [0, 1, 2, 3])):
            path = stores.add(tmp_path, "agnews", pruner, 1.0, seed, value, **stores.TODAY["agnews"])
            result = json.loads((path / "result.json").read_text())
            result["dead"]["classes"] = {"total": 4, "alive": left}
            (path / "result.json").write_text(json.dumps(result))
    why = answer.sentences(_tasks(tmp_path))[3]
    assert "on 1 of 3 seeds of AG News, text-classification (Rand's on 0; the other 2 differ by -0.75 points" in why
    stores.fill(tmp_path / "whole", "mnist", {"rand": {1.0: [80.0]}, "grasp": {1.0: [70.0]}}, **MATCHED)
    for path in (tmp_path / "whole").rglob("result.json"):
        result = json.loads(path.read_text())
        result["dead"]["classes"] = {"total": 10, "alive": [*range(10)]}
        path.write_text(json.dumps(result))
    why = answer.sentences(_tasks(tmp_path / "whole"))[3]
    assert "on MNIST, mlp they cut off none, or one at most, and GraSP loses all the same: why is not known yet" in why


def test_the_median_and_both_sides_stand_beside_the_mean(tmp_path):
    """One of three seeds makes the mean: -1, -1, -22 have the mean -8 and the median -1."""
    curves = {"rand": {1.0: [80.0] * 3}, "grasp": {1.0: [79.0, 79.0, 58.0]}}
    stores.fill(tmp_path / "one", "agnews", curves, **stores.TODAY["agnews"])
    (one,) = answer.primaries(_tasks(tmp_path / "one"))
    assert (one.mean, one.median) == (-8.0, -1.0) and "median -1.00, 3 seeds" in one.words()
    for dataset, value in (("agnews", 57.5), ("mnist", 11.35 + 0.75 * (90.0 - 11.35))):
        stores.fill(tmp_path / "two", dataset, {"rand": {0.0: [90.0] * 2, 1.0: [value] * 2}}, **MATCHED)
    (one,) = answer.primaries(_tasks(tmp_path / "two"))
    sides = [f"{title} retains {share} % with 1,000 of 10,000 prunable weights" for title, share in (
        ("MNIST", "75.0"), ("AG News", "50.0"))]  # fmt: skip
    assert all(side in one.sides for side in sides), one.sides


def test_the_picture_is_not_stretched_by_what_guesses_and_cuts_no_bar(tmp_path):
    """SynFlow at chance lies hollow at the lower edge; of the others all intervals lie within the panel."""
    curves = {"rand": {0.0: [90.0] * 3, 1.0: [80.0, 84.0, 88.0]}, "synflow": {1.0: [25.0] * 3}}
    stores.fill(tmp_path, "agnews", curves, **stores.TODAY["agnews"])
    (task,) = _tasks(tmp_path)
    axes = Figure().add_subplot()
    figures._answer(task, [task], axes)
    low, high = axes.get_ylim()
    mean, half = 59.0 / 65.0, 4.302652729749 * 4.0 / 65.0 / 3.0**0.5
    assert 0.5 < low < mean - half < mean + half < high and low < 1.0 < high
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == style.BACK and len(line.get_xdata())]
    assert [[*line.get_ydata()] for line in hollow] == [[low]] and hollow[0].get_color() == style.look("synflow").colour
    assert axes.get_title() == task.title and any(text.get_text() == "seeds of a mark: 3" for text in axes.texts)


def test_the_best_epoch_is_chosen_on_validation(tmp_path):
    path = stores.add(tmp_path, "agnews", "rand", 0.0, 1, 90.0)
    result = json.loads((path / "result.json").read_text())
    records = [
        {"phase": "pre", "epoch": 1, "validation_top1": 99.0, "test_top1": 1.0},
        {"phase": "post", "epoch": 1, "validation_top1": 80.0, "test_top1": 95.0},
        {"phase": "post", "epoch": 2, "validation_top1": 85.0, "test_top1": 91.0},
        {"phase": "post", "epoch": 3, "validation_top1": 85.0, "test_top1": 92.0},
    ]
    (path / "result.json").write_text(json.dumps({**result, "epochs": records}))
    (run,) = runs.read([str(tmp_path)])
    assert run.figures["best_metric"] == 91.0 and run.figures["metric"] == 90.0
    del records[2]["validation_top1"]
    (path / "result.json").write_text(json.dumps({**result, "epochs": records}))
    (run,) = runs.read([str(tmp_path)])
    assert "best_metric" not in run.figures


def test_the_interval_holds_what_the_test_does_not_reject():
    """Just inside each end the test does not reject, just outside it does; on skewed values too, where t's has 0."""
    draw = random.Random(1)
    for values in ([draw.gauss(1, 2) for _ in range(9)], [-0.1 - 0.01 * k for k in range(11)] + [-25.0]):
        ends = flip_interval(values)
        assert ends is not None and min(values) <= ends[0] <= sum(values) / len(values) <= ends[1] <= max(values)
        for end, away in zip(ends, (-1e-6, 1e-6), strict=True):
            assert sign_flip([value - end for value in values]) >= 0.05
            assert sign_flip([value - end - away for value in values]) < 0.05
    assert ends[1] < 0.0
    assert flip_interval([1.0, 2.0, 3.0, 4.0, 5.0]) is None and flip_interval([2.0] * 6) == (2.0, 2.0)


def test_texts_and_images_are_paired_for_the_picture(tmp_path):
    """A matched network first, then the others in order, what has no counterpart last; no task without a contrast."""
    curves = {"rand": {0.0: [90.0], 1.0: [80.0]}}
    for dataset in ("agnews", "mnist"):
        stores.fill(tmp_path, dataset, curves, **MATCHED)
        stores.fill(tmp_path, dataset, curves, **stores.TODAY[dataset])
    stores.fill(tmp_path, "multi30k", {"rand": {0.0: [20.0], 1.0: [10.0]}}, **stores.TODAY["multi30k"])
    stores.fill(tmp_path, "cifar10", curves, **stores.TODAY["cifar10"])  # conv
    named = [tuple(task and task.title for task in pair) for pair in answer.beside(_tasks(tmp_path))]
    assert named == [
        ("AG News, mlp", "MNIST, mlp"),
        ("AG News, text-classification", "MNIST, fc"),
        ("Multi30k, seq2seq", None),
    ]
    stores.fill(tmp_path / "other", "cifar10", curves, **stores.TODAY["cifar10"])
    (pair,) = answer.beside(_tasks(tmp_path / "other"))
    assert pair[0] is None and pair[1] is not None and pair[1].title == "CIFAR-10, conv"
    stores.fill(tmp_path / "third", "agnews", {"rand": {1.0: [80.0]}}, **stores.TODAY["agnews"])
    assert answer.beside(_tasks(tmp_path / "third")) == [], "without dense runs nothing is retained"
