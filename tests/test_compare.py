"""What is retained, pairs, and the verdicts on the paper's claims, against sums by hand and enumeration."""

import itertools
import json
import math
import re

import pytest
from stores import TODAY, add, fill

import main
from Experiments.reporting import comparison_tables
from Utils.study import answer, claims, contrasts, paper, retained, runs, statements, tasks
from Utils.study.statistics import flip_interval


@pytest.fixture
def place(tmp_path):
    return tmp_path / "store"


def by_data_set(place):
    return {task.dataset: task for task in tasks.group(runs.read([str(place)]))}


# Retained.


def test_retained_by_hand(place):
    fill(place, "agnews", {"rand": {0.0: [89.0, 91.0], 1.0: [57.5, 25.0]}})
    fill(place, "multi30k", {"rand": {0.0: [20.0], 1.0: [5.0]}})
    found = by_data_set(place)
    assert retained.retained(found["agnews"], "rand", 1.0) == {"1": pytest.approx(32.5 / 64.0), "2": 0.0}
    assert retained.retained(found["multi30k"], "rand", 1.0) == {"1": 0.25}


def test_nothing_is_retained_of_a_dense_network_that_guesses_or_is_missing(place):
    fill(place, "agnews", {"rand": {0.0: [25.0], 1.0: [25.0]}})
    fill(place, "cifar10", {"rand": {1.0: [60.0]}})
    for task in by_data_set(place).values():
        assert retained.retained(task, "rand", 1.0) == {} and retained.thresholds(task, "rand") == []


@pytest.mark.parametrize(
    ("values", "level", "expected"),
    [
        ([1.0, 0.8, 0.2], 0.9, 0.5),
        ([1.0, 0.8, 0.2], 0.5, 1.5),
        ([1.0, 1.02, 0.2], 0.95, 1.0 + 0.07 / 0.82),
        ([1.0, 0.8, 0.9], 0.8, math.inf),
        ([1.0, 0.9, 0.7], 0.9, 1.0),
        ([1.0, 0.5, 1.0], 0.75, 0.5),
    ],
)
def test_the_crossing_is_linear_between_the_points(values, level, expected):
    assert retained.crossing([0.0, 1.0, 2.0], values, level) == pytest.approx(expected)


def test_thresholds_and_their_intervals_are_those_of_all_resamples(place):
    """Three seeds have 27 resamples: none is rarer than 2.5 %, so the interval is their whole range."""
    dense, pruned = [90.0, 91.0, 89.0], [80.0, 60.0, 84.0]
    fill(place, "agnews", {"rand": {0.0: dense, 1.0: pruned}})
    found = retained.thresholds(by_data_set(place)["agnews"], "rand")
    for level, threshold in zip((0.95, 0.9, 0.5), found, strict=True):
        crossings = []
        for drawn in itertools.product(range(3), repeat=3):
            top, low = (sum(side[k] for k in drawn) / 3 - 25.0 for side in (dense, pruned))
            crossings.append(min((1.0 - level) / (1.0 - low / top), 1.0) if low / top < level else math.inf)
        top, low = (sum(side) / 3 - 25.0 for side in (dense, pruned))
        expected = (1.0 - level) / (1.0 - low / top) if low / top < level else math.inf
        assert threshold.level == level and threshold.value == pytest.approx(expected)
        assert (threshold.low, threshold.high) == (pytest.approx(min(crossings)), pytest.approx(max(crossings)))
    assert found[2].text() == "above 1 (all of the interval)" and re.fullmatch(
        r"0\.\d\d \(0\.\d\d to 0\.\d\d\)", found[0].text()
    )


def test_few_seeds_have_no_interval_and_it_is_said(place):
    fill(place, "agnews", {"rand": {0.0: [90.0], 1.0: [25.0]}})
    found = retained.thresholds(by_data_set(place)["agnews"], "rand")
    assert [threshold.text() for threshold in found][2] == "0.50 (no interval: 1 seed)"


def test_seeds_that_are_missing_somewhere_do_no_harm(place):
    fill(place, "agnews", {"rand": {0.0: [90.0, 90.0, 90.0], 1.0: [80.0, 80.0, 80.0]}})
    for seed in (7, 8, 9):
        add(place, "agnews", "rand", 2.0, seed, 25.0)
    found = retained.thresholds(by_data_set(place)["agnews"], "rand")[2]
    assert found.value == pytest.approx(1.0 + (55 / 65 - 0.5) / (55 / 65))
    assert (found.low, found.high) == (None, None) and found.text() == "1.41 (no interval: the seeds agree)"


# Pairs.


def test_pruners_are_paired_by_seed(place):
    fill(place, "agnews", {"grasp": {1.0: [91.0, 92.0, 93.0], 2.0: [80.0]}, "rand": {1.0: [90.0, 90.5]}})
    add(place, "agnews", "rand", 1.0, 9, 10.0)
    (found,) = contrasts.pruners(by_data_set(place)["agnews"])
    assert (found.what, found.compression, found.by_seed) == ("GraSP - Rand", 1.0, {"1": 1.0, "2": 1.5})
    assert found.interval.mean == 1.25 and found.p == found.smallest_p == 0.5 and len(found.runs) == 4


def test_every_pruner_is_paired_with_rand(place):
    """The user's own pruner as well, with its interval and p in the table."""
    curves = {
        name: {1.0: [90.0 + k, 91.0 + k, 92.0 + k]} for k, name in enumerate(("rand", "grasp-abs", "own.py:Best"))
    }
    fill(place, "agnews", curves)
    found = contrasts.pruners(by_data_set(place)["agnews"])
    assert [(one.pruner, one.what, one.interval.mean) for one in found] == [
        ("grasp-abs", "GraSPAbs - Rand", 1.0), ("own.py:Best", "own.py:Best - Rand", 2.0),
    ]  # fmt: skip
    table = comparison_tables.contrast_table("pairs", "", found)
    assert [(row["low"], row["high"], row["p"]) for row in table.records] == [(1.0, 1.0, 0.25), (2.0, 2.0, 0.25)]


def test_one_seed_has_no_ends(place):
    fill(place, "agnews", {"rand": {1.0: [90.0]}, "grasp": {1.0: [91.0]}})
    (row,) = comparison_tables.contrast_table("", "", contrasts.pruners(by_data_set(place)["agnews"])).records
    assert (row["mean"], row["low"], row["high"], row["seeds"]) == (1.0, None, None, 1)


def test_pairs_claims_and_the_answer_have_one_interval(place):
    """Of twelve seeds, of which two lose much, the sign-flip test shows a difference; Student's t would not."""
    away = [-0.1 - 0.01 * k for k in range(10)] + [-22.0, -21.0]
    curves = {"rand": {1.0: [90.0] * 12}, "grasp": {1.0: [90.0 + x for x in away]}}
    fill(place, "agnews", curves, **TODAY["agnews"])
    task = by_data_set(place)["agnews"]
    (pair,), (first,) = contrasts.pruners(task), answer.primaries([task])
    (stated,) = statements.compared(task, [("", ("grasp", 1.0), ("rand", 1.0))], 0.0)
    ends = {(one.low, one.high) for one in (pair.interval, first.interval, stated.found)}
    assert ends == {flip_interval([*pair.by_seed.values()])} and stated.verdict == FAILS
    assert pair.interval.mean + pair.interval.half > 0.0 > pair.interval.high


def test_pruners_are_paired_within_each_scope_and_kind_of_layer(place):
    for settings, gap in (({}, 1.0), ({"mask_scope": "local"}, 2.0), ({"prune_attention": "all"}, 3.0)):
        fill(place, "multi30k", {"grasp": {1.0: [10.0 + gap]}, "rand": {1.0: [10.0]}}, **settings)
    found = contrasts.pruners(by_data_set(place)["multi30k"])
    assert {tasks.label(contrast.variant): contrast.by_seed["1"] for contrast in found} == {
        "main": 1.0,
        "mask scope local": 2.0,
        "prune attention all": 3.0,
    }


def test_ablations_stand_beside_the_plain_masks(place):
    fill(place, "agnews", {"grasp": {1.0: [91.0, 92.0]}, "snip": {1.0: [90.0]}})
    fill(place, "agnews", {"grasp": {1.0: [90.0, 90.5], 2.0: [50.0]}, "snip": {1.0: [95.0]}}, shuffle=True)
    found = contrasts.variants(by_data_set(place)["agnews"])
    assert [(contrast.pruner, contrast.by_seed) for contrast in found] == [
        ("snip", {"1": 5.0}),
        ("grasp", {"1": -1.0, "2": -1.5}),
    ]


def test_ablations_of_another_training_stand_beside_that_training(place):
    """Where a task's main runs are longer, say; the shorter training itself stands beside the main one."""
    fill(place, "agnews", {"rand": {1.0: [91.0, 92.0]}})
    fill(place, "agnews", {"rand": {1.0: [81.0, 83.0]}}, post_epochs=3)
    fill(place, "agnews", {"rand": {1.0: [84.0, 85.0], 2.0: [50.0]}}, post_epochs=3, ignore_masks="all")
    found = contrasts.variants(by_data_set(place)["agnews"])
    assert [(tasks.label(contrast.variant), contrast.what, contrast.by_seed) for contrast in found] == [
        ("ignore masks all, post epochs 3", "setting - post epochs 3", {"1": 3.0, "2": 2.0}),
        ("post epochs 3", "setting - main", {"1": -10.0, "2": -9.0}),
    ]


# Claims.


def verdicts(place):
    found = claims.judge(tasks.group(runs.read([str(place)])), paper.read())
    return {(claim.name, claim.where): claim.verdict for claim in found}


def one(place, name):
    (verdict,) = (verdict for (claim, _), verdict in verdicts(place).items() if claim.startswith(name))
    return verdict


def near(value):
    """Three seeds, close together."""
    return [value - 0.05, value + 0.02, value + 0.03]


MAG = "Mag, pruned untrained"
VGG16 = {"model": "vgg16", "model_class": "lottery"}  # on CIFAR-10 the paper's images
HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"
CASES = [
    ("Accuracy falls", "agnews", {"rand": {0.0: near(90), 1.0: near(88), 2.0: near(70)}}, HOLDS),
    ("Accuracy falls", "agnews", {"rand": {0.0: near(90), 1.0: near(92), 2.0: near(70)}}, FAILS),
    ("Accuracy falls", "agnews", {"rand": {0.0: near(90), 1.0: [88, 92, 89], 2.0: near(70)}}, UNDECIDED),
    ("Accuracy falls", "agnews", {"rand": {0.0: near(90)[:2], 1.0: near(80)[:2]}}, UNDECIDED),
    ("GraSP beats Rand", "agnews", {"grasp": {2.0: near(72)}, "rand": {2.0: near(48)}}, HOLDS),
    ("GraSP beats Rand", "agnews", {"grasp": {2.0: near(48)}, "rand": {2.0: near(72)}}, FAILS),
    ("GraSP beats Rand", "agnews", {"grasp": {2.0: [50, 70, 60]}, "rand": {2.0: [60, 60, 59]}}, UNDECIDED),
    ("GraSP beats Rand", "agnews", {"grasp": {1.0: near(72)}, "rand": {1.0: near(48)}}, UNDECIDED),
    ("GraSP and Rand do", "agnews", {"grasp": {0.5: near(90.1), 1.0: near(91)}, "rand": {0.5: near(90), 1.0: near(91)}},
     HOLDS),
    ("GraSP and Rand do", "agnews", {"grasp": {0.5: near(93), 1.0: near(91)}, "rand": {0.5: near(90), 1.0: near(91)}},
     FAILS),
    ("GraSP and Rand do", "agnews", {"grasp": {1.0: [90, 92, 91]}, "rand": {1.0: near(91)}}, UNDECIDED),
    ("BLEU barely", "multi30k", {"grasp": {0.0: near(20), 1.0: near(19.5), 2.0: near(21)}}, HOLDS),
    ("BLEU barely", "multi30k", {"grasp": {0.0: near(20), 1.0: near(19.5), 2.0: near(3)}}, FAILS),
    ("BLEU barely", "multi30k", {"grasp": {0.0: near(20)[:1], 1.0: near(3)[:1]}}, UNDECIDED),
    ("BLEU at compression 1", "multi30k", {"grasp": {1.0: near(20.2)}, "rand": {1.0: near(20)}}, HOLDS),
    ("BLEU at compression 1", "multi30k", {"grasp": {1.0: near(12)}, "rand": {1.0: near(20)}}, FAILS),
    ("BLEU at compression 1", "multi30k", {"grasp": {2.0: near(20)}, "rand": {2.0: near(20)}}, UNDECIDED),
    ("GraSP is far below", "cifar10", {"grasp": {0.0: near(84), 0.05: near(31), 2.0: near(80)}}, HOLDS),
    ("GraSP is far below", "cifar10", {"grasp": {0.0: near(84), 0.05: near(83)}}, FAILS),
    ("GraSP is far below", "cifar10", {"grasp": {0.0: near(84), 1.0: near(31)}}, UNDECIDED),
    ("Rand at compression 1", "cifar10", {"rand": {1.0: [10.0, 10.0, 10.0]}}, HOLDS),
    ("Rand at compression 1", "cifar10", {"rand": {1.0: near(60)}}, FAILS),
    ("Rand at compression 1", "cifar10", {"rand": {1.0: [10.0]}}, UNDECIDED),
    (MAG, "cifar10", {"mag": {1.0: near(84)}, "rand": {1.0: near(5)}, "snip": {1.0: near(7)}}, HOLDS),
    (MAG, "cifar10", {"mag": {1.0: near(84)}, "rand": {1.0: near(5)}, "snip": {1.0: near(86)}}, FAILS),
    (MAG, "cifar10", {"mag": {1.0: near(84)}}, UNDECIDED),
    (MAG, "cifar10", {"mag": {1.0: near(84), 2.0: near(2)}, "rand": {1.0: near(5), 2.0: near(3)}},
     HOLDS),
    ("SynFlow at compression 2", "cifar10", {"synflow": {2.0: [10.0] * 3}}, HOLDS),
    ("SynFlow at compression 2", "cifar10", {"synflow": {2.0: near(45)}}, FAILS),
    ("SynFlow at compression 2", "cifar10", {"synflow": {1.0: [10.0] * 3}}, UNDECIDED),
]  # fmt: skip


@pytest.mark.parametrize(("name", "dataset", "curves", "expected"), CASES)
def test_verdicts_turn_with_the_figures(place, name, dataset, curves, expected):
    fill(place, dataset, curves, **(VGG16 if dataset == "cifar10" else {}))
    assert one(place, name) == expected


@pytest.mark.parametrize(("mag", "expected"), [(84, HOLDS), (76, FAILS)])
def test_mag_is_put_to_the_claim_with_its_training_and_without(place, mag, expected):
    fill(
        place,
        "cifar10",
        {"mag": {1.0: near(11)}, "rand": {0.0: near(80), 1.0: near(10)}, "snip": {1.0: near(77)}},
        **VGG16,
    )
    fill(place, "cifar10", {"mag": {0.0: near(81), 1.0: near(mag)}}, pre_epochs=10, **VGG16)
    assert one(place, "Mag, trained before") == expected and one(place, "Mag, pruned untrained") == FAILS


def test_images_that_are_not_the_papers_say_nothing_of_its_images(place):
    fill(place, "cifar10", {"rand": {1.0: [10.0, 10.0, 10.0]}})
    assert one(place, "Rand at compression 1") == UNDECIDED


@pytest.mark.parametrize(
    ("test", "train", "expected"), [(97.6, 99.9, HOLDS), (90.7, 97.5, FAILS), (97.0, 98.34, UNDECIDED)]
)
def test_the_printed_accuracy_is_held_against_test_and_training(place, test, train, expected):
    for seed, shift in enumerate((-0.1, 0.0, 0.1), start=1):
        add(place, "agnews", "rand", 0.0, seed, test + shift, train=train)
    assert one(place, "The dense accuracy of 97.67") == expected
    (claim,) = (
        claim
        for claim in claims.judge(tasks.group(runs.read([str(place)])), paper.read())
        if claim.name.startswith("The dense accuracy")
    )
    assert claim.statements[0].text().startswith(f"test {test:.2f}, train {train:.2f}")


@pytest.mark.parametrize(("image", "expected"), [(80.0, HOLDS), (20.0, FAILS)])
def test_text_is_held_against_images_on_one_scale(place, image, expected):
    """AG News at 57.5 of 90 keeps a half; CIFAR-10 of 90 keeps a half at 50."""
    fill(place, "agnews", {"rand": {0.0: near(90), 1.0: near(57.5)}})
    fill(place, "cifar10", {"rand": {0.0: near(90), 1.0: near(image)}})
    assert one(place, "Text is more sensitive than images, Rand up to 1") == expected
    (claim,) = (
        claim
        for claim in claims.judge(tasks.group(runs.read([str(place)])), paper.read())
        if claim.name.startswith("Text is more")
    )
    assert claim.statements[0].found.mean == pytest.approx(100 * ((image - 10) / 80 - 0.5), abs=0.1)
    assert len(claim.runs) == 12


def test_each_pruner_is_held_against_images_up_to_1_and_beyond_it(place):
    """At 1 text keeps less than images, at 2 more; GraSP has no runs beyond 1. The matched one stands beside itself."""
    curves = {"rand": {0.0: near(90), 1.0: near(57.5), 2.0: near(57.5)}, "grasp": {1.0: near(57.5)}}
    fill(place, "agnews", curves)
    fill(place, "cifar10", {"rand": {0.0: near(90), 1.0: near(80), 2.0: near(20)}, "grasp": {1.0: near(20)}})
    matched = {"model_class": "matched", "model": "mlp"}
    fill(place, "agnews", {"rand": {0.0: near(90), 1.0: near(80)}}, **matched)
    fill(place, "mnist", {"rand": {0.0: near(90), 1.0: near(30)}}, **matched)
    judged = claims.judge(tasks.group(runs.read([str(place)])), paper.read())
    found = {
        (claim.name.rpartition(", ")[2], claim.where): [(s.label, s.verdict) for s in claim.statements]
        for claim in judged
        if claim.name.startswith("Text is more")
    }
    assert found == {
        ("Rand up to 1", "AG News, text-classification"): [("CIFAR-10, conv at 1 (%)", HOLDS)],
        ("Rand beyond 1", "AG News, text-classification"): [("CIFAR-10, conv at 2 (%)", FAILS)],
        ("GraSP up to 1", "AG News, text-classification"): [("CIFAR-10, conv at 1 (%)", FAILS)],
        ("Rand up to 1", "AG News, mlp"): [("MNIST, mlp at 1 (%)", FAILS)],
    }


def test_claims_without_runs_are_undecided_and_say_so(place):
    add(place, "mnist", "rand", 1.0, 1, 90.0)
    found = verdicts(place)
    assert set(found.values()) == {UNDECIDED} and ("GraSP beats Rand at compression 2", "AG News") in found
    assert len(found) == 25


def test_only_the_main_settings_speak_for_a_claim(place):
    fill(place, "agnews", {"grasp": {2.0: near(72)}, "rand": {2.0: near(48)}})
    fill(place, "agnews", {"grasp": {2.0: near(30)}, "rand": {2.0: near(48)}}, shuffle=True)
    assert one(place, "GraSP beats Rand") == HOLDS


# The command.


@pytest.fixture
def compared(place, tmp_path, capsys):
    fill(place, "agnews", {"rand": {0.0: near(90), 2.0: near(48)}, "grasp": {2.0: near(72)}})
    fill(place, "agnews", {"grasp": {2.0: near(60)}}, mask_scope="local")
    report = tmp_path / "report"
    assert main.main(["--experiment", "compare", "--store", str(place), "--report-dir", str(report)]) == 0
    return report, capsys.readouterr().out


def test_compare_prints_and_writes_the_same(compared):
    report, out = compared
    text = (report / "compare.md").read_text()
    assert text.startswith(out[: out.index("Saved to")].rstrip())
    assert "| GraSP beats Rand at compression 2 | AG News, text-classification | holds |" in out
    assert "+24.00" in out and "smallest possible 0.25" in out and "mask scope local" in out and statements.RULE in out
    stored = json.loads((report / "compare.json").read_text())
    beats = next(claim for claim in stored["claims"] if claim["claim"].startswith("GraSP beats"))
    assert (beats["verdict"], beats["statements"][0]["seeds"]) == (HOLDS, 3)
    assert beats["statements"][0].keys() >= {"mean", "low", "high"} and stored["pairs"][0]["p"] == 0.25
    assert len(beats["runs"]) == 6 and all(run in text for run in beats["runs"])
    levels = {row["level"]: row["compression"] for row in stored["thresholds"] if row["pruner"] == "rand"}
    assert levels[0.5] == pytest.approx(2.0 * 0.5 / (1.0 - 23.0 / 65.0))
    assert {path.name for path in (report / "figures").iterdir()} >= {"retained.svg", "retained.png"}


def test_the_report_has_the_same_comparison(compared, place, tmp_path):
    alone, _ = compared
    assert not (alone / "report.sha256").exists()
    whole = tmp_path / "whole"
    assert main.main(["--experiment", "report", "--store", str(place), "--report-dir", str(whole)]) == 0
    files = [path.relative_to(alone) for path in alone.rglob("*") if path.is_file()]
    assert len(files) >= 4 and all((alone / path).read_bytes() == (whole / path).read_bytes() for path in files)
    assert (whole / "report.html").is_file() and not (alone / "report.html").exists()


def test_without_runs_there_is_one_line(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for experiment in ("compare", "report"):
        arguments = [
            "--experiment",
            experiment,
            "--store",
            str(tmp_path / "empty"),
            "--report-dir",
            str(tmp_path / "r"),
        ]
        assert main.main(arguments) == 2
        shown = capsys.readouterr()
        assert shown.out == "" and shown.err.startswith("error: no complete run below") and shown.err.count("\n") == 1
    assert not (tmp_path / "r").exists()
