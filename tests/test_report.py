"""The report: its tables by independent sums, nothing else is touched, the same bytes each time."""

import csv
import hashlib
import json
import math
import os
import re
import statistics
import subprocess
import sys
from xml.etree import ElementTree

import pytest
from reports import EVIL, contents, report, rows
from stores import add, fill

import main
from Experiments.reporting import writing
from Experiments.reporting.table import Table
from Utils.study import paper


def test_the_papers_table_stands_beside_ours_cell_by_cell(reported):
    found = {(float(row["compression"]), row["pruner"]): row for row in rows(reported[2], "table1")}
    for pruner, compression, values in (
        ("grasp", 0.0, [90.0, 91.0, 92.0]), ("rand", 0.0, [90.0, 91.0, 92.0]), ("grasp", 1.0, [88.0, 89.5, 90.0]),
    ):  # fmt: skip
        row = found[compression, pruner]
        assert float(row["mean"]) == pytest.approx(statistics.mean(values)) and row["seeds"] == "3"
        half = 4.302652729749 * statistics.stdev(values) / math.sqrt(3)
        assert float(row["half_width"]) == pytest.approx(half)
    one, none = found[1.0, "rand"], found[0.5, "rand"]
    assert (one["mean"], one["half_width"], one["seeds"], one["paper"]) == ("80.0", "", "1", "96.57")
    assert (none["mean"], none["half_width"], none["seeds"], none["paper"]) == ("", "", "0", "97.23")
    shown = reported[2]["tables/table1.md"].decode()
    assert (
        "| 1 | 96.50 | 89.17 ± 2.59 (3) | 96.57 | 80.00 (1) |" in shown and "| 0.5 | 97.22 | – | 97.23 | – |" in shown
    )


def test_flop_sparsity_is_the_fraction_that_remains(reported):
    found = {(float(row["compression"]), row["pruner"]): row for row in rows(reported[2], "table2")}
    assert float(found[1.0, "grasp"]["mean"]) == pytest.approx(1010 / 10010)
    assert found[1.0, "grasp"]["paper"] == "0.11"


def test_every_figure_of_the_paper_is_in_a_table(reported):
    """The image table too, of which no run exists."""
    for printed in paper.read().tables:
        of = rows(reported[2], printed.name)
        assert {(float(row["compression"]), row["pruner"]): float(row["paper"]) for row in of if row["paper"]} == dict(
            printed.cells
        )
    assert "No run of ours exists yet." in reported[2]["tables/images.md"].decode()


def test_the_papers_figures_are_as_they_were_given():
    """A few, typed in again."""
    tables = {printed.name: printed.cells for printed in paper.read().tables}
    assert tables["table1"][2.0, "rand"] == 48.17 and tables["table3"][0.5, "grasp"] == 24.24
    assert tables["table4"][2.0, "rand"] == 0.01 and tables["images"][0.05, "grasp"] == 31.21
    assert tables["images"][2.0, "synflow"] == 10.0 and {k: len(v) for k, v in tables.items()} == {
        "table1": 10, "table2": 8, "table3": 10, "table4": 8, "images": 30,
    }  # fmt: skip


def test_other_settings_are_labelled_and_said_to_be_unlike_the_papers(reported):
    found = {(row["setting"], row["pruner"], row["compression"]): row for row in rows(reported[2], "results")}
    assert found["shuffle", "GraSP", "1.0"]["by_seed"] == "1=70.0"
    assert found["main", "GraSP", "1.0"]["by_seed"] == "1=88.0 2=89.5 3=90.0"
    assert "other settings than the paper's: post epochs 3" in reported[2]["tables/table3.md"].decode()


def test_runs_are_told_apart_by_the_classes_that_they_still_reach(tmp_path):
    for seed, (pruner, alive, value) in enumerate(
        [("rand", 2, 70.0), ("grasp", 2, 68.0), ("grasp", 3, 90.0), ("rand", 4, 91.0)], start=1
    ):
        run = add(tmp_path / "store", "agnews", pruner, 2.0, seed, value)
        result = json.loads((run / "result.json").read_text())
        result["dead"]["classes"]["alive"] = list(range(alive))
        (run / "result.json").write_text(json.dumps(result))
        whole = add(tmp_path / "store", "agnews", pruner, 1.0, seed, 92.0)
        result["dead"]["classes"]["alive"] = list(range(4))
        (whole / "result.json").write_text(json.dumps(result))
    unknown = add(tmp_path / "store", "agnews", "mag", 2.0, 1, 92.0)
    result["dead"] = {"not_searched": "why", "classes": {"total": 4}}
    (unknown / "result.json").write_text(json.dumps(result))
    found = rows(report(tmp_path / "store", tmp_path / "report"), "reached")
    assert [(row["compression"], row["classes"], row["runs"], row["mean"], row["pruners"]) for row in found] == [
        ("2.0", "2", "2", "69.0", "Rand 1, GraSP 1"),
        ("2.0", "3", "1", "90.0", "GraSP 1"),
        ("2.0", "4", "1", "91.0", "Rand 1"),
    ], "compression 1 cuts no class off and is not listed"


def test_what_pruning_does_to_the_untrained_network_is_told_by_its_loss(tmp_path):
    """Median and range over seeds; a run without these figures, as those of older code, has no part in it."""
    losses = {"rand": [9.0, 9.5, 9.25], "grasp": [7.5, 1e10, 12.0]}
    for pruner, values in losses.items():
        for seed, loss in enumerate(values, start=1):
            run = add(tmp_path / "store", "agnews", pruner, 1.0, seed, 90.0)
            result = json.loads((run / "result.json").read_text())
            result |= {"pre_prune": {"test_loss": 9.0 + seed / 10}, "post_prune": {"test_loss": loss}}
            (run / "result.json").write_text(json.dumps(result))
    add(tmp_path / "store", "agnews", "rand", 1.0, 4, 90.0)
    files = report(tmp_path / "store", tmp_path / "report")
    found = {row["pruner"]: row for row in rows(files, "moved")}
    columns = ("compression", "before", "after", "seeds", "lowest", "highest")
    assert [found["rand"][name] for name in columns] == ["1.0", "9.2", "9.25", "3", "9.0", "9.5"]
    assert [found["grasp"][name] for name in columns] == ["1.0", "9.2", "12.0", "3", "7.5", "10000000000.0"]
    assert "| 1 | 9.2 (9.1 to 9.3) | 9.25 (9 to 9.5) | 12 (7.5 to 1e+10) |" in (files["tables/moved.md"]).decode()


def test_every_run_is_named_with_its_directory(reported):
    store, _, files = reported
    named = {row["run"] for row in rows(files, "runs")}
    assert named == {path.as_posix() for path in (store / "singleshot").iterdir() if "-c2-" not in path.name}
    assert {row["run"] for row in rows(files, "settings")} == named


def test_layers_orders_and_examples_are_there(reported):
    layers = rows(reported[2], "layers-agnews-text-classification")
    assert {
        (row["layer"], row["pruner"], round(float(row["density"]), 9)) for row in layers if row["compression"] == "1.0"
    } == {(layer, pruner, 0.1) for layer in ("fc1", "fc2") for pruner in ("grasp", "rand")}
    orders = {(row["pruner"], row["figure"]): float(row["mean"]) for row in rows(reported[2], "bleu-multi30k-seq2seq")}
    assert orders["dense", "bleu_1"] == 80.0 and orders["Rand", "bleu_4"] == 5.0
    assert rows(reported[2], "translations-multi30k-seq2seq")[0]["output"] == EVIL
    figures = {"metric", "retained", "metric-agnews-text-classification"}
    assert {f"figures/{name}.{kind}" for name in figures for kind in ("svg", "png")} <= reported[2].keys()


def test_a_task_with_a_single_compression_has_a_panel_only_where_it_is_alone(tmp_path):
    store = tmp_path / "store"
    add(store, "mnist", "grasp", 1.0, 1, 90.0)
    assert "figures/metric-mnist-fc.svg" in report(store, tmp_path / "alone")
    fill(store, "agnews", {"grasp": {0.5: [91.0], 1.0: [90.0]}})  # two compressions, none of them dense
    add(store, "cifar10", "rand", 0.0, 1, 60.0)
    add(store, "cifar10", "rand", 1.0, 1, 50.0)
    files = report(store, tmp_path / "beside")
    panels = {name for name in files if name.startswith("figures/metric-") and name.endswith(".svg")}
    assert panels == {f"figures/metric-{task}.svg" for task in ("agnews-text-classification", "cifar10-conv")}
    whole = files["figures/metric.svg"].decode()
    assert "AG News" in whole and "CIFAR-10" in whole and "MNIST" not in whole
    assert {row["dataset"] for row in rows(files, "results")} == {"agnews", "cifar10", "mnist"}


def test_the_store_is_only_read_and_nothing_is_written_elsewhere(reported):
    store, before, files = reported
    assert contents(store) == before
    assert {path.name for path in store.parent.iterdir()} == {"store", "report"}
    assert all(
        re.fullmatch(r"(report\.(html|sha256)|compare\.(md|json))|(tables|figures)/[\w.-]+", name) for name in files
    )


def test_a_report_lists_its_own_files_with_their_checksums(reported):
    listed = dict(line.split("  ")[::-1] for line in reported[2][writing.MADE].decode().splitlines())
    assert listed == {
        name: hashlib.sha256(content).hexdigest() for name, content in reported[2].items() if name != writing.MADE
    }


def test_files_that_a_report_no_longer_makes_are_removed_and_the_users_stay(tmp_path, capsys):
    place, outside = tmp_path / "report", tmp_path / "outside"
    own = ["tables/old.csv", "tables/old.md", "figures/old.svg", "tables/edited.md", "tables/kept.md"]
    for name in (*own, "tables/mine.csv", "figures/mine.svg", "notes.md"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(name)
    outside.write_text("notes.md")
    writing.settle(place, [place / name for name in own])
    (place / "tables" / "edited.md").write_text("by hand")
    with (place / writing.MADE).open("a") as file:  # as nobody writes it
        for name in ("notes.md", "../outside", "tables/../../outside", str(outside)):
            file.write(f"{hashlib.sha256(b'notes.md').hexdigest()}  {name}\n")
    writing.settle(place, [place / "tables" / "kept.md"])
    left = {name for name in contents(place) if name != writing.MADE}
    assert left == {"tables/edited.md", "tables/kept.md", "tables/mine.csv", "figures/mine.svg", "notes.md"}
    assert outside.read_text() == "notes.md" and "edited.md was of an earlier report" in capsys.readouterr().err
    assert (place / writing.MADE).read_text().split()[1:] == ["tables/kept.md"]
    writing.settle(place, [])
    assert (place / "tables" / "edited.md").is_file() and not (place / "tables" / "kept.md").exists()


def test_figures_are_whole_svg_and_png(reported):
    figures = {name: content for name, content in reported[2].items() if name.startswith("figures/")}
    assert len(figures) > 10
    for name, content in figures.items():
        if name.endswith(".svg"):
            assert ElementTree.fromstring(content).tag.endswith("svg")
        else:
            assert content.startswith(b"\x89PNG") and content.endswith(b"IEND\xaeB`\x82")


def test_the_same_store_gives_the_same_bytes(reported, tmp_path):
    assert report(reported[0], tmp_path / "again") == reported[2]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path, capsys):
    add(tmp_path / "store", "agnews", "rand", 0.0, 1, 90.0)
    (tmp_path / "file").write_text("mine")
    code = main.main(
        ["--experiment", "report", "--store", str(tmp_path / "store"), "--report-dir", str(tmp_path / "file")]
    )
    err = capsys.readouterr().err
    note, error = err.splitlines()
    assert code == 2 and error.startswith("error: cannot write") and note.startswith("note: 1 run without checksums")
    assert (tmp_path / "file").read_text() == "mine"


def test_cells_cannot_break_a_markdown_table():
    table = Table("t", "T", ["a|b", "c"], [["x\ny", EVIL]], [{"a": "1,2\n3"}])
    line = table.markdown().splitlines()[-1]
    assert line.startswith("| x y | ") and len(re.findall(r"(?<!\\)\|", line)) == 3 and "<" not in line
    assert list(csv.DictReader(table.csv().splitlines(keepends=True))) == [{"a": "1,2\n3"}]


@pytest.mark.parametrize("experiment", ["report", "compare"])
def test_the_help_waits_for_nothing_heavy(root, experiment):
    code = (
        "import contextlib, io, sys, main\n"
        "with contextlib.suppress(SystemExit):\n"
        f"    main.main(['--experiment', '{experiment}', '--help'])\n"
        "print(sorted({'torch', 'numpy', 'pandas', 'matplotlib'} & sys.modules.keys()))\n"
    )
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    shown = subprocess.run([sys.executable, "-c", code], cwd=root, env=env, capture_output=True, text=True)
    assert shown.stdout.endswith("[]\n") and "--store" in shown.stdout and "--report-dir" in shown.stdout


def test_an_unknown_store_is_one_line(tmp_path, capsys):
    for flag in ("--store", "--result-dir"):
        assert main.main(["--experiment", "report", flag, str(tmp_path / "no")]) == 2
        assert re.fullmatch(r"error: --store .*/no: no such directory\n", capsys.readouterr().err)
