"""Which runs are read, and which of them are averaged."""

import json

import pytest
from stores import TODAY, add, fill

from Experiments.reporting import results_tables
from Utils import quality
from Utils.errors import UserError
from Utils.study import paper, runs, tasks


@pytest.fixture
def place(tmp_path):
    return tmp_path / "store"


def only_task(place):
    (task,) = tasks.group(runs.read([str(place)]))
    return task


# The store.


def test_every_complete_run_is_read_with_its_figures(place):
    path = add(place, "agnews", "grasp", 1.0, 3, 91.5, train=97.0)
    (run,) = runs.read([str(place)])
    assert (run.path, run.pruner, run.compression, run.seed) == (path, "grasp", 1.0, "3")
    assert run.figures["metric"] == 91.5 and run.figures["final_train_top1"] == 97.0
    assert run.figures["density"] == pytest.approx(0.1) and run.figures["flop_sparsity"] == pytest.approx(1010 / 10010)
    assert run.layers() == {"fc1": 0.1, "fc2": 0.1}


def test_the_flat_table_has_all_settings_and_figures(place):
    add(place, "multi30k", "rand", 0.0, 1, 20.0)
    add(place, "agnews", "rand", 0.5, 2, 90.0, lr_drops=[3, 5])
    table = runs.table(runs.read([str(place)])).set_index("dataset")
    assert table.loc["agnews", "lr_drops"] == "[3, 5]" and table.loc["agnews", "amp"] == "off"
    assert table.loc["multi30k", "metric"] == 20.0 and table.loc["multi30k", "bleu_1"] == 80.0
    assert table.loc["agnews", "final_test_top1"] == 90.0 and table.loc["agnews", "seconds"] == 1.0


def test_the_same_settings_in_two_stores_count_once(tmp_path):
    for store in ("a", "b"):
        add(tmp_path / store, "agnews", "rand", 1.0, 1, 90.0)
    add(tmp_path / "b", "agnews", "rand", 1.0, 1, 90.0, name="by-another-name")
    add(tmp_path / "b", "agnews", "rand", 1.0, 2, 91.0)
    found = runs.read([str(tmp_path / "a"), str(tmp_path / "b")])
    assert [run.seed for run in found] == ["1", "2"] and found[0].path.is_relative_to(tmp_path / "a")


DAMAGE = {
    "no result": lambda path: (path / "result.json").unlink(),
    "cut off": lambda path: (path / "result.json").write_text('{"final": {'),
    "not UTF-8": lambda path: (path / "config.json").write_bytes(b"\xff\xfe{}"),
    "another shape": lambda path: (path / "config.json").write_text("[]"),
    "no seed": lambda path: (path / "config.json").write_text('{"dataset": "agnews", "compression": 1}'),
    "not a number": lambda path: _final(path, float("nan")),
    "a word": lambda path: _final(path, "good"),
    "no figure": lambda path: (path / "result.json").write_text('{"final": {}}'),
    "no end": lambda path: _without(path, "final"),
    "no classes": lambda path: _without(path, "dead"),
}


def _without(path, key):
    result = json.loads((path / "result.json").read_text())
    del result[key]
    (path / "result.json").write_text(json.dumps(result))


def _final(path, value):
    result = json.loads((path / "result.json").read_text())
    result["final"]["test_top1"] = value
    (path / "result.json").write_text(json.dumps(result))


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_run_is_named_and_left_out(place, capsys, damage):
    add(place, "agnews", "rand", 1.0, 1, 90.0)
    broken = add(place, "agnews", "rand", 1.0, 2, 91.0)
    DAMAGE[damage](broken)
    assert [run.seed for run in runs.read([str(place)])] == ["1"]
    err = capsys.readouterr().err
    assert err.startswith("warning: ") and str(broken) in err and err.count("\n") == 1


def test_a_run_that_measures_nothing_at_the_end_is_told_what_it_lacks(place, capsys):
    add(place, "agnews", "rand", 1.0, 1, 90.0)
    other = add(place, "agnews", "rand", 1.0, 2, 91.0)
    _without(other, "final")
    runs.read([str(place)])
    assert capsys.readouterr().err == f'warning: {other} is left out: its recipe measures no point called "final"\n'


def test_runs_in_the_making_and_sheets_are_passed_over(place, capsys):
    add(place, "agnews", "rand", 1.0, 1, 90.0)
    (place / "singleshot" / ".half-done.x7").mkdir()
    (place / ".locks" / "one").mkdir(parents=True)
    (place / "singleshot" / "notes.txt").write_text("mine")
    (place / "grade" / "Mine-0123456789").mkdir(parents=True)
    (place / "grade" / "Mine-0123456789" / "sheet.json").write_text("{}")  # of a graded class
    assert len(runs.read([str(place)])) == 1 and capsys.readouterr().err == ""


def test_no_store_and_no_run_are_refused(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no such directory"):
        runs.read([str(tmp_path / "nowhere")])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "a/b/c/config.json").write_text("{}", encoding="utf-8")
    for inside in ("a/b", "a/b/c"):
        with pytest.raises(UserError, match=f"--store {inside} is inside a store; give --store a$"):
            runs.read(["a", inside])
    with pytest.raises(UserError, match="no complete run below Results/study, Results/data"):
        runs.read(None)


def test_samples_are_never_mixed_with_real_data(place, capsys):
    add(place, "agnews", "rand", 1.0, 1, 90.0)
    add(place, "agnews", "rand", 1.0, 2, 50.0, source="sample")
    assert [run.seed for run in runs.of_one_source(runs.read([str(place)]))] == ["1"]
    assert "left out, beside runs on real data: 1 on generated samples" in capsys.readouterr().err
    add(place / "other", "agnews", "rand", 1.0, 2, 50.0, source="sample")
    found = runs.of_one_source(runs.read([str(place / "other")]))
    assert [run.result["source"] for run in found] == ["sample"]
    assert "GENERATED SAMPLES" in capsys.readouterr().err
    assert "SAMPLE" in tasks.group(found)[0].title


def test_the_metric_and_its_chance_come_from_one_place():
    translated = quality.of({"test_top1": 50.0, "bleu": 20.0})
    assert (translated.key, translated.chance(10_837)) == ("bleu", 0.0)
    classified = quality.of({"test_top1": 50.0, "train_top1": 60.0})
    assert (classified.key, classified.chance(4), classified.chance(10)) == ("test_top1", 25.0, 10.0)


# Grouping.


def test_seeds_are_averaged_and_data_sets_kept_apart(place):
    fill(place, "agnews", {"grasp": {1.0: [90.0, 91.0], 2.0: [70.0]}})
    fill(place, "cifar10", {"grasp": {1.0: [60.0]}})
    found = {task.dataset: task for task in tasks.group(runs.read([str(place)]))}
    assert found["agnews"].values("grasp", 1.0) == {"1": 90.0, "2": 91.0}
    assert found["agnews"].values("grasp", 2.0) == {"1": 70.0} and found["cifar10"].compressions() == [1.0]
    assert (found["agnews"].chance, found["cifar10"].chance) == (25.0, 10.0)


def test_two_models_on_one_data_set_are_two_tasks(place):
    fill(place, "cifar10", {"rand": {1.0: [60.0]}})
    fill(place, "cifar10", {"rand": {1.0: [70.0]}}, model="resnet20", model_class="lottery")
    assert [task.title for task in tasks.group(runs.read([str(place)]))] == ["CIFAR-10, conv", "CIFAR-10, resnet20"]


@pytest.mark.parametrize(
    ("settings", "label"),
    [
        ({"post_epochs": 3}, "post epochs 3"),
        ({"lr": 0.1}, "lr 0.1"),
        ({"amp": "bf16"}, "amp bf16"),
        ({"shuffle": True}, "shuffle"),
        ({"reinitialize": True}, "reinitialize"),
        ({"invert": True}, "invert"),
        ({"mask_scope": "local"}, "mask scope local"),
        ({"prune_attention": "all"}, "prune attention all"),
        ({"prune_epochs": 5}, "prune epochs 5"),
        ({"ignore_masks": True}, "ignore masks"),
        ({"level_list": [1, 2]}, "level list [1, 2]"),
        ({"data_key": "ffffffffffff"}, "data files ffffff"),
        ({"masks": "ab12cd34ef56"}, "masks ab12cd"),
        ({"shuffle": True, "lr": 0.1}, "lr 0.1, shuffle"),
    ],
)
def test_other_settings_are_never_averaged_with_the_main_ones(place, settings, label):
    """Settings that this code has never heard of as well."""
    fill(place, "agnews", {"grasp": {1.0: [90.0, 91.0, 92.0]}})
    fill(place, "agnews", {"grasp": {1.0: [10.0, 11.0]}}, **settings)
    task = only_task(place)
    assert task.values("grasp", 1.0) == {"1": 90.0, "2": 91.0, "3": 92.0}
    main, other = task.variants
    assert main == () and tasks.label(other) == label and task.values("grasp", 1.0, other) == {"1": 10.0, "2": 11.0}


def test_the_papers_settings_are_the_main_ones_however_few_have_them(place):
    fill(place, "agnews", {"rand": {1.0: [80.0, 81.0, 82.0]}}, post_epochs=3, **TODAY["agnews"])
    add(place, "agnews", "rand", 1.0, 1, 90.0, **TODAY["agnews"])
    task = only_task(place)
    assert task.values("rand", 1.0) == {"1": 90.0} and task.unlike_paper == ""


def test_without_them_the_most_numerous_are_and_it_is_said(place):
    fill(place, "agnews", {"rand": {1.0: [80.0, 81.0]}}, post_epochs=3, **TODAY["agnews"])
    fill(place, "agnews", {"rand": {1.0: [70.0]}}, post_epochs=2, **TODAY["agnews"])
    task = only_task(place)
    assert task.values("rand", 1.0) == {"1": 80.0, "2": 81.0} and task.unlike_paper == "post epochs 3"


def test_ablations_have_no_voice_in_what_is_main(place):
    fill(place, "multi30k", {"rand": {0.0: [16.0], 1.0: [10.0]}}, post_epochs=3, **TODAY["multi30k"])
    fill(place, "multi30k", {"rand": {2.0: [1.0]}}, post_epochs=2, **TODAY["multi30k"])
    for settings in ({"ignore_masks": "all"}, {"prune_attention": "all"}):
        fill(place, "multi30k", {"rand": {1.0: [9.0], 2.0: [2.0]}}, post_epochs=2, **settings, **TODAY["multi30k"])
    task = only_task(place)
    assert task.unlike_paper == "post epochs 3" and task.values("rand", 1.0) == {"1": 10.0}


def test_a_training_without_a_dense_run_is_not_main_beside_one_that_has_one(place):
    """The one run of the paper's own settings has nothing to be measured against."""
    fill(place, "cifar10", {"rand": {0.0: [86.0], 1.0: [83.0]}}, amp="bf16", **TODAY["cifar10"])
    add(place, "cifar10", "synflow", 1.0, 1, 90.0, **TODAY["cifar10"])
    task = only_task(place)
    assert task.unlike_paper == "amp bf16" and task.values("rand", 1.0) == {"1": 83.0}
    assert task.values("synflow", 1.0) == {}


def test_a_cell_that_only_another_precision_fills_says_which(place):
    """Both ways around: what is main is in float32 here, and then in bf16, which has a dense run."""
    more = {**TODAY["cifar10"], "model": "vgg16", "model_class": "lottery"}
    add(place, "cifar10", "rand", 1.0, 1, 10.0, **more)
    add(place, "cifar10", "grasp", 0.1, 1, 13.39, amp="bf16", **more)
    for rand, grasp in (("", " bf16"), (" fp32", "")):
        if rand:
            add(place, "cifar10", "rand", 0.0, 1, 86.0, amp="bf16", **more)
        (table,) = results_tables.beside_paper(paper.read().image_table, [only_task(place)])
        cells = {(row[0], name): cell for row in table.rows for name, cell in zip(table.header, row, strict=True)}
        assert cells["1", "Rand, ours"] == f"10.00 (1){rand}"
        assert cells["0.1", "GraSP, ours"] == f"13.39 (1){grasp}"


def test_runs_of_the_defaults_before_are_apart_and_named(place):
    """However many they are: stored without the later settings, which then mean the old values."""
    fill(place, "cifar10", {"rand": {1.0: [60.0, 61.0]}})
    add(place, "cifar10", "rand", 1.0, 1, 70.0, **TODAY["cifar10"])
    task = only_task(place)
    assert task.unlike_paper == "" and task.values("rand", 1.0) == {"1": 70.0}
    main, before = task.variants
    assert main == () and task.values("rand", 1.0, before) == {"1": 60.0, "2": 61.0}
    said = {"ties position", "train batch size 64", "no prune augment"}
    assert set(tasks.label(before).split(", ")) == said


def test_where_only_they_have_a_dense_run_they_are_the_main_ones_and_it_is_said(place):
    fill(place, "agnews", {"rand": {0.0: [91.0] * 3, 1.0: [80.0, 81.0, 82.0]}})
    add(place, "agnews", "rand", 1.0, 1, 90.0, **TODAY["agnews"])
    task = only_task(place)
    assert set(task.unlike_paper.split(", ")) == {"ties position", "train batch size 64"}
    assert task.values("rand", 1.0) == {"1": 80.0, "2": 81.0, "3": 82.0}
    (today,) = (variant for variant in task.variants if variant)
    assert task.values("rand", 1.0, today) == {"1": 90.0}


def test_settings_that_came_later_stand_for_how_it_was_before(place):
    """An old run has no word of them; a new one has, at the same value."""
    add(place, "agnews", "rand", 1.0, 1, 90.0)
    add(place, "agnews", "rand", 1.0, 2, 91.0, amp="off", prune_attention="out")
    assert only_task(place).values("rand", 1.0) == {"1": 90.0, "2": 91.0}


def test_how_often_bleu_is_taken_does_not_keep_runs_apart(place):
    add(place, "multi30k", "rand", 1.0, 1, 20.0, bleu_every=1, **TODAY["multi30k"])
    add(place, "multi30k", "rand", 1.0, 2, 21.0, **TODAY["multi30k"])
    task = only_task(place)
    assert task.values("rand", 1.0) == {"1": 20.0, "2": 21.0} and task.unlike_paper == ""


def test_dense_runs_serve_every_pruner_each_seed_once(place):
    add(place, "agnews", "rand", 0.0, 1, 90.0)
    add(place, "agnews", "grasp", 0.0, 1, 90.0)
    add(place, "agnews", "grasp", 0.0, 2, 91.0, mask_scope="local", prune_epochs=7)
    fill(place, "agnews", {"rand": {1.0: [80.0]}, "grasp": {1.0: [81.0]}, "mag": {1.0: [82.0]}})
    fill(place, "agnews", {"grasp": {1.0: [40.0]}}, shuffle=True)
    task = only_task(place)
    for pruner in ("rand", "grasp", "mag"):
        assert task.values(pruner, 0.0) == {"1": 90.0, "2": 91.0}
    shuffled = (("shuffle", "true"),)
    assert task.variants == [(), shuffled] and task.values("grasp", 0.0, shuffled) == {"1": 90.0, "2": 91.0}


def test_dense_runs_with_another_training_or_other_weights_are_no_ones_dense(place):
    add(place, "agnews", "rand", 0.0, 1, 90.0)
    add(place, "agnews", "rand", 0.0, 2, 50.0, post_epochs=1)
    add(place, "agnews", "rand", 0.0, 3, 60.0, reinitialize=True)
    fill(place, "agnews", {"rand": {1.0: [80.0]}}, post_epochs=1)
    fill(place, "agnews", {"rand": {1.0: [85.0]}})
    task = only_task(place)
    assert task.values("rand", 0.0) == {"1": 90.0}
    assert task.values("rand", 0.0, (("post_epochs", "1"),)) == {"2": 50.0}


def test_one_round_is_every_pruners_main_number(place):
    """As in the assignment; runs with another number are shown apart, and are main only where there are no others."""
    fill(place, "cifar10", {"rand": {1.0: [60.0]}, "snip": {1.0: [62.0]}})
    fill(place, "cifar10", {"synflow": {1.0: [65.0]}}, prune_epochs=100)
    fill(place, "cifar10", {"synflow": {1.0: [5.0, 6.0]}}, prune_epochs=1)
    task = only_task(place)
    assert task.pruners() == ["rand", "snip", "synflow"] and task.values("synflow", 1.0) == {"1": 5.0, "2": 6.0}
    assert [tasks.label(variant) for variant in task.variants] == ["main", "prune epochs 100"]


def test_a_pruner_that_has_runs_with_other_rounds_alone_has_those(place):
    fill(place, "cifar10", {"rand": {1.0: [60.0]}})
    fill(place, "cifar10", {"synflow": {1.0: [65.0]}}, prune_epochs=100)
    assert only_task(place).values("synflow", 1.0) == {"1": 65.0}


def test_an_ablation_is_never_a_pruners_main_setting(place):
    """Even where the pruner has no other runs."""
    fill(place, "agnews", {"rand": {1.0: [90.0]}})
    fill(place, "agnews", {"snip": {1.0: [80.0, 81.0]}}, shuffle=True)
    task = only_task(place)
    assert task.pruners() == ["rand"] and task.pruners((("shuffle", "true"),)) == ["snip"]


def test_a_pruner_from_a_file_is_another_with_other_code(place):
    for seed, code in ((1, "aaaaaaaa"), (2, "aaaaaaaa"), (1, "bbbbbbbb")):
        add(place, "agnews", "mine.py:Best", 1.0, seed, 80.0 + seed, pruner_sha256=code)
    fill(place, "agnews", {"rand": {1.0: [90.0]}})
    task = only_task(place)
    assert task.variants == [()] and task.pruners() == ["rand", "mine.py:Best aaaaaa", "mine.py:Best bbbbbb"]
    assert task.values("mine.py:Best aaaaaa", 1.0) == {"1": 81.0, "2": 82.0}


def test_streams_with_seeds_of_their_own_are_other_seeds(place):
    add(place, "agnews", "rand", 1.0, 1, 90.0)
    add(place, "agnews", "rand", 1.0, 1, 91.0, prune_seed=2)
    assert only_task(place).values("rand", 1.0) == {"1": 90.0, "init:1 data:1 prune:2": 91.0}


def test_directories_that_are_no_runs_are_passed_over(place, capsys):
    fill(place, "agnews", {"rand": {1.0: [90.0]}})
    (place / "assignment" / "smoke" / "tables").mkdir(parents=True)
    assert len(runs.read([str(place)])) == 1 and capsys.readouterr().err == ""
