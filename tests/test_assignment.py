"""The assignment recipe: the smoke profile end to end, after a kill; and its tables from runs made by hand."""

import csv
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from safetensors.numpy import save_file
from stores import RESULT
from waiting import finished, until

import main
from Experiments.handout import beside, entries, holdings, pictures, questions, sheet, tables, weights
from Experiments.handout.questions import COMPRESSIONS, FC, PROFILES, VGG16
from Experiments.handout.timed import Times
from Experiments.sweeping.failures import Failures
from Utils.commandline import arguments
from Utils.export.formats import FORMATS, ONNX
from Utils.store.run import RunDirectory

SMOKE = PROFILES["smoke"]
RUNS = 25
ORDER = ["Rand", "Mag", "SNIP", "GraSP", "SynFlow"]


def line(results, data, *more):
    return ["--experiment", "assignment", "--profile", "smoke", "--result-dir", str(results), "--data-dir", str(data),
            *more]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory, sample_data, root):
    """(results, what the second call printed): the smoke profile, killed once in the middle and called again."""
    results = tmp_path_factory.mktemp("assignment")
    process = subprocess.Popen(
        [sys.executable, "main.py", *line(results, sample_data, "--threads", "1")],
        cwd=root, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        until(lambda: len(finished(results)) >= 2 or process.poll() is not None)
    finally:
        process.kill()
        process.communicate()
    before = {path: path.read_bytes() for path in finished(results)}
    assert 2 <= len(before) < RUNS and not (results / "assignment").exists()
    code = main.main(line(results, sample_data, "--threads", "1"))
    assert code == 0 and len(finished(results)) == RUNS
    assert all(path.read_bytes() == content for path, content in before.items())
    return results


def page(results):
    return results / "assignment" / "smoke"


def read(results, name):
    with (page(results) / "tables" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def shown(results, name):
    """Header and rows of a table in Markdown, words."""
    text = (page(results) / "tables" / f"{name}.md").read_text(encoding="utf-8")
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]


def pixels(path):
    """The bytes of a PNG's picture, inflated: an empty panel is all of one value."""
    content, at, data = path.read_bytes(), 8, b""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        if content[at + 4 : at + 8] == b"IDAT":
            data += content[at + 8 : at + 8 + length]
        at += 12 + length
    return zlib.decompress(data)


def test_every_table_and_picture_is_there_and_named_on_the_page(made):
    text = (page(made) / sheet.PAGE).read_text(encoding="utf-8")
    place = page(made)
    per_compression = {f"{kind}-c{c:g}" for kind in ("3a-sparsity", "3c-flop") for c in SMOKE.compressions}
    curves = {"1-architectures", "2a-accuracy", "2b-test-time", "2c-flop", "4-mixed-precision", "public-solutions"}
    wanted = curves | per_compression | {"2b-test-time-spread", "2b-exports", "3b-weights"}
    drawn = curves | per_compression | {f"3b-weights-{pruner}-c0.5" for pruner in questions.PRUNERS}
    assert {path.stem for path in (place / "tables").glob("*.md")} == wanted
    assert {path.stem for path in (place / "tables").glob("*.csv")} == wanted
    assert {path.stem for path in (place / "figures").glob("*.svg")} == drawn
    assert {path.stem for path in (place / "figures").glob("*.png")} == drawn
    for name in wanted:
        assert f"(tables/{name}.md)" in text
    for name in drawn:
        assert text.count(f"(figures/{name}.png)") == 2  # listed, and shown
        assert len(set(pixels(place / "figures" / f"{name}.png"))) > 10
    assert SMOKE.reduced in text and "What to hand in" in text


def test_a_second_call_makes_and_measures_nothing_anew(made, sample_data, capsys, monkeypatch):
    from Experiments.sweeping import pool

    monkeypatch.setattr(pool.Worker, "__init__", lambda *_: pytest.fail("a worker was started"))
    monkeypatch.setattr(Times, "_measure", lambda *_: pytest.fail("a test time was measured"))
    before = {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}
    assert main.main(line(made, sample_data)) == 0
    assert "Nothing is to be made." in capsys.readouterr().out
    assert {path: path.read_bytes() for path in made.rglob("*") if path.is_file()} == before


def test_rows_and_columns_are_in_the_handouts_order(made):
    for name in ("2a-accuracy", "2b-test-time", "2c-flop"):
        header, _, *rows = shown(made, name)
        assert header == ["compression", *ORDER]
        assert [row[0] for row in rows] == ["0.5", "1", "2"]
        assert not any("–" in cell for row in rows for cell in row)
    header, _, *rows = shown(made, "1-architectures")
    assert header == ["network", "Rand", "Mag", "Mag, untrained", "SNIP", "GraSP", "SynFlow"]
    assert [row[0] for row in rows] == [SMOKE.network.title, FC.title]


def test_accuracies_and_flop_are_those_of_the_runs(made):
    results = {}
    for path in finished(made):
        config = json.loads((path.parent / "config.json").read_text())
        if config["dataset"] == "cifar10" and "amp" not in config:
            results[config["pruner"], config["compression"], config["pre_epochs"]] = json.loads(path.read_text())
    for row in read(made, "2a-accuracy"):
        key = row["pruner"], float(row["compression"]), int(row["pre_epochs"])
        assert key[2] == (row["pruner"] == "mag")
        assert float(row["mean"]) == results[key]["final"]["test_top1"]
    for row in read(made, "2c-flop"):
        flops = results[row["pruner"], float(row["compression"]), int(row["pre_epochs"])]["flops"]
        assert float(row["mean"]) == flops["kept"] / flops["total"]
    for row in read(made, "3c-flop-c0.5"):
        run = results[row["pruner"], 0.5, int(row["pruner"] == "mag")]
        (tensor,) = [t for t in run["per_tensor"] if t["prunable"] and t["module"] == row["module"]]
        assert int(row["remains"]) == tensor["flops"] * tensor["kept"] // tensor["size"]
        assert int(row["of"]) == tensor["flops"]


def test_captions_name_epochs_seeds_device_precision_and_data(made):
    text = (page(made) / "tables" / "2a-accuracy.md").read_text(encoding="utf-8")
    said = "1 epoch after pruning; Mag is trained for 1 before it. Seed 1; CPU, 1 thread; fp32; GENERATED SAMPLE DATA."
    assert said in text
    assert "fp32 and bf16" in (page(made) / "tables" / "4-mixed-precision.md").read_text(encoding="utf-8")


def test_histograms_count_the_kept_weights_and_the_pruned_apart(made):
    for row in read(made, "3b-weights"):
        assert row["compression"] == "0.5"
    counted = {}
    for row in read(made, "3b-weights"):
        key = row["pruner"], row["layer"], row["from"] == "pruned"
        counted[key] = counted.get(key, 0) + int(row["count"])
    for row in read(made, "3a-sparsity-c0.5"):
        kept, pruned = (counted[row["pruner"], row["layer"], apart] for apart in (False, True))
        assert kept / (kept + pruned) == float(row["remains"])


def test_test_times_have_a_spread_and_the_loader_apart(made):
    rows = read(made, "2b-test-time-spread")
    assert len(rows) == 15
    for row in rows:
        for name in ("forward", "loader"):
            low, middle, high = (float(row[f"{name}_{key}"]) for key in ("lowest", "median", "highest"))
            assert 0.0 < low <= middle <= high
        assert int(row["examples"]) == 1000 and 0 < int(row["timed"]) <= 1000 and int(row["repeats"]) == SMOKE.repeats


def test_speeds_have_one_baseline_the_dense_form(made):
    """As `measure` prints them and the report's table of speed has them; the caption names it."""
    formats = {row["format"]: row for row in read(made, "2b-exports")}
    assert formats.keys() - ONNX == {"masked", *FORMATS} >= {"dense", "compact", "sparse"}
    for row in formats.values():
        for size in ("1", "64"):
            faster = float(formats["dense"][f"seconds_{size}"]) / float(row[f"seconds_{size}"])
            assert float(row[f"times_dense_{size}"]) == faster
    text = (page(made) / "tables" / "2b-exports.md").read_text(encoding="utf-8")
    assert "ms for 64 (times dense)" in text and "as fast as the dense form" in text


def test_layers_have_the_same_numbers_in_tables_and_figures(made):
    """From 1 on, with their modules beside them: nn.Sequential counts its activations too."""
    modules = [["1", "1"], ["2", "3"], ["3", "5"], ["4", "7"], ["5", "9"], ["6", "11"]]
    for name in ("3a-sparsity-c1", "3c-flop-c1"):
        header, _, *rows = shown(made, name)
        assert header[:2] == ["layer", "module"] and [row[:2] for row in rows] == modules
        assert [list(pair) for pair in dict.fromkeys((r["layer"], r["module"]) for r in read(made, name))] == modules
        svg = (page(made) / "figures" / f"{name}.svg").read_text(encoding="utf-8")
        words = re.findall(r">([^<>]+)</text>", svg)
        ticks = words[: words.index("layer")]
        assert ticks[-6:] == ["1", "2", "3", "4", "5", "6"]
    header, _, *rows = shown(made, "3b-weights")
    assert header[:3] == ["pruner", "layer", "module"] and [row[1:3] for row in rows[:6]] == modules
    svg = (page(made) / "figures" / "3b-weights-mag-c0.5.svg").read_text(encoding="utf-8")
    assert re.findall(r">layer (\d) \(module (\d+)\)<", svg) == list(map(tuple, modules))


def test_the_figure_of_test_times_has_bars_from_the_shortest_to_the_longest(made, sample_data, monkeypatch):
    drawn = []
    monkeypatch.setattr(pictures.canvas, "curve", lambda axes, x, means, *_, ends: drawn.append((x, means, ends)))
    monkeypatch.setattr(pictures.canvas, "legend", lambda *_: None)
    args = arguments.parse(line(made, sample_data))
    pictures.tuning(holdings.Holdings(args, SMOKE), Times(args, SMOKE))
    timed = [lines for lines in drawn if lines[2] is not None]
    assert len(drawn) == 3 * len(ORDER) and len(timed) == len(ORDER)
    rows = read(made, "2b-test-time-spread")  # compression by compression
    for k, (_, means, ends) in enumerate(timed):
        own = rows[k :: len(ORDER)]
        assert [mean.mean for mean in means] == [float(row["forward_median"]) for row in own]
        assert ends == [(float(row["forward_lowest"]), float(row["forward_highest"])) for row in own]
    assert len({x[0] for x, _, _ in timed}) == len(ORDER)  # side by side
    assert "bars from the shortest to the longest" in (page(made) / sheet.PAGE).read_text(encoding="utf-8")


def links(results):
    """Targets of all links and pictures of the page."""
    return re.findall(r"\]\(([^)]+)\)", (page(results) / sheet.PAGE).read_text(encoding="utf-8"))


def copied(made, tmp_path):
    return shutil.copytree(made, tmp_path / "copy")


def test_a_call_that_makes_nothing_takes_nothing_from_the_handout(made, sample_data, tmp_path):
    """Other seeds are asked for and no time is left to make them: the stored seed stays in every cell."""
    results = copied(made, tmp_path)
    assert main.main(line(results, sample_data, "--seed-list", "2", "--time-limit", "0.001")) == 0
    assert len(finished(results)) == RUNS
    for name in ("1-architectures", "2a-accuracy", "2b-test-time-spread", "3b-weights", "4-mixed-precision"):
        assert [row.get("mean") for row in read(results, name)] == [row.get("mean") for row in read(made, name)]
    assert all((page(results) / target).is_file() for target in links(results))
    assert "1 of 2 seeds" in (page(results) / "tables" / "2a-accuracy.md").read_text(encoding="utf-8")


def test_a_handout_made_of_more_runs_stays(made, sample_data, tmp_path, capsys):
    results = copied(made, tmp_path)
    for path in finished(results)[:5]:
        shutil.rmtree(path.parent)
    before = {path: path.read_bytes() for path in page(results).rglob("*") if path.is_file()}
    assert main.main(line(results, sample_data, "--stored-only")) == 0
    assert {path: path.read_bytes() for path in page(results).rglob("*") if path.is_file()} == before
    said = capsys.readouterr()
    assert "Saved" not in said.out
    assert "Made of 25 runs: GENERATED SAMPLE DATA. Now it would be: Made of 20 runs" in said.err


def test_a_page_of_no_run_links_only_what_is_written(sample_data, tmp_path):
    assert main.main(line(tmp_path, sample_data, "--time-limit", "0.001")) == 0
    assert not finished(tmp_path) and len(links(tmp_path)) > 30
    assert all((page(tmp_path) / target).is_file() for target in links(tmp_path))


def flip(path):
    path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))


@pytest.mark.parametrize("damage", [os.unlink, flip])
def test_a_run_whose_model_is_missing_or_damaged_is_made_again(made, sample_data, tmp_path, capsys, damage):
    """It alone, and only if the handout needs the model: what is measured and not drawn needs none."""
    results = copied(made, tmp_path)
    runs = {path.parent.name: path.parent for path in finished(results)}
    drawn = next(path for name, path in runs.items() if name.startswith("cifar10-sample-fc-snip-c0.5-"))
    measured = next(path for name, path in runs.items() if name.startswith("cifar10-sample-fc-snip-c2-"))
    content = (drawn / "model.safetensors").read_bytes()
    damage(drawn / "model.safetensors")
    (measured / "model.safetensors").unlink()
    before = {path: path.stat().st_mtime_ns for path in finished(results)}
    assert main.main(line(results, sample_data, "--dry-run")) == 0
    out = capsys.readouterr().out
    assert out.count(": to do") == 1 and f"{drawn.name}: to do" in out
    assert main.main(line(results, sample_data, "--stored-only")) == 0
    err = capsys.readouterr().err
    assert f"note: {drawn} has no whole model: its test time or weights are blank; --force" in err
    assert "Now it would be: Made of 25 runs (1 without a model)" in err
    assert main.main(line(results, sample_data, "--threads", "1")) == 0
    assert f"note: {drawn} has no whole model: the run is made again" in capsys.readouterr().err
    assert (drawn / "model.safetensors").read_bytes() == content and not (measured / "model.safetensors").exists()
    after = {path: path.stat().st_mtime_ns for path in finished(results)}
    assert [path.parent for path in before if after[path] != before[path]] == [drawn]
    assert read(results, "3b-weights") == read(made, "3b-weights")


def test_runs_whose_result_is_lost_or_damaged_are_made_again_in_one_step(made, sample_data, tmp_path, capsys):
    results = copied(made, tmp_path)
    lost, damaged, *_ = (path.parent for path in finished(results) if "-fc-rand-c" in path.parent.name)
    (lost / "result.json").unlink()
    flip(damaged / "result.json")
    args = arguments.parse(line(results, sample_data))
    assert main.main(line(results, sample_data, "--threads", "1")) == 0
    said = capsys.readouterr()
    warned = {text for text in said.err.splitlines() if text.startswith("warning: ")}
    assert len(warned) == 2 and str(lost) in said.err and str(damaged / "result.json") in said.err
    assert "25 runs: 25 done, 0 failed" in said.out and len(finished(results)) == RUNS
    held = holdings.Holdings(args, SMOKE)
    assert all(not held.of(cell).missing for cell in SMOKE.cells())


def test_a_test_time_of_another_machine_is_measured_anew(made, sample_data, tmp_path, monkeypatch):
    """Or, if nothing is to be made, it stays and the table names that machine."""
    args = arguments.parse(line(made, sample_data))
    (run,) = holdings.Holdings(args, SMOKE).of(SMOKE.cell(SMOKE.network, SMOKE.columns()[0], 1.0)).runs
    args.result_dir = str(tmp_path)
    run = holdings.Run(shutil.copytree(run.path, tmp_path / "singleshot" / run.name), run.settings, run.result)
    here = json.loads((run.path / "test_time.json").read_text(encoding="utf-8"))
    measured = []
    monkeypatch.setattr(Times, "_measure", lambda _, run: measured.append(run.name) or here)
    Times(args, SMOKE).take([run])
    assert measured == []
    for change, words in (
        ({"processor": "another"}, "another, 1 thread"),
        ({"threads": 64}, "64 threads"),
        ({"gpu": "a GPU"}, "a GPU"),
    ):
        there = {**here, "machine": {**here["machine"], **change}}
        (run.path / "test_time.json").write_text(json.dumps(there), encoding="utf-8")
        args.stored_only = True
        Times(args, SMOKE).take([run])
        assert measured == [] and words in entries.machine_words(Times(args, SMOKE).of(run)["machine"])
        args.stored_only = False
        Times(args, SMOKE).take([run])
        assert measured.pop() == run.name and Times(args, SMOKE).of(run) == here


# From runs made by hand


@pytest.fixture
def held(tmp_path, sample_data):
    """held(flags): the runs under these flags, of FC on the sample with the colab profile's epochs."""

    def look(*flags):
        words = ["--experiment", "assignment", "--result-dir", str(tmp_path / "r"), "--data-dir", str(sample_data)]
        args = arguments.parse([*words, "--source", "sample", *flags])
        args.store = [] if "--store" not in flags else args.store
        return holdings.Holdings(args, PROFILES["colab"])

    return look


def keep(found, cell, seed, value, amp="off", store=None, **more):
    run = found.singleshot(cell, seed, amp)
    path = run.directory.path if store is None else store / "singleshot" / run.name
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(run.directory.config))
    result = {**RESULT, "final": {"test_top1": value, "test_loss": 1.0}, **more}
    (path / "result.json").write_text(json.dumps(result))
    return path


CELL = questions.Cell(FC, "rand", 1.0, 0, 10)


def test_a_mean_has_its_half_width_from_three_seeds_on(held):
    found = held("--seed-list", "1", "2", "3")
    keep(found, CELL, 1, 90.0)
    keep(found, CELL, 2, 92.0)
    cell = entries.entry(found.of(CELL), entries.top1)
    assert cell.text == "91.00 (2 of 3 seeds)" and cell.why == "not run yet"
    keep(found, CELL, 3, 94.0)
    found.look_again()
    cell = entries.entry(found.of(CELL), entries.top1)
    assert cell.text == f"92.00 ± {4.302652729749 * 2.0 / 3**0.5:.2f}" and cell.why == ""


def test_a_blank_cell_says_why(held, sample_data):
    found = held()
    assert entries.entry(found.of(CELL), entries.top1).text == "– (not run yet)"
    Failures(found.args.result_dir).record(found.singleshot(CELL, 1, "off").name, "the loss is nan", [], "")
    found.look_again()
    assert entries.entry(found.of(CELL), entries.top1).text == "– (run failed: the loss is nan)"
    path = keep(found, CELL, 1, 90.0)
    found.look_again()
    times = Times(found.args, found.profile)
    assert entries.entry(found.of(CELL), times.seconds).text == "– (model file not kept)"
    assert (
        entries.entry(found.of(CELL), lambda run: entries.taken(run, "peak_memory", "train")).text == "– (not measured)"
    )
    (path / "model.safetensors").write_bytes(b"")
    assert entries.entry(found.of(CELL), times.seconds).text == "– (not measured)"
    with pytest.raises(entries.Absent, match="damaged"):
        weights.read(found.of(CELL).runs[0])
    (path / "result.json").write_text(json.dumps({**RESULT, "final": {}}))
    found.look_again()
    assert entries.entry(found.of(CELL), entries.top1).text == "– (its files are damaged)"


def test_a_stored_run_by_sparse_convolutions_fills_its_cell(held, tmp_path):
    """It differs by rounding alone."""
    cell = questions.Cell(VGG16, "rand", 1.0, 0, 10)
    found = held()
    run = found.singleshot(cell, 1, "off")
    other = RunDirectory(str(tmp_path / "r"), "singleshot", run.directory.config | {"sparse_convolutions": True})
    assert other.path != run.directory.path and found.wanted([cell]) == [run]
    other.path.mkdir(parents=True)
    (other.path / "config.json").write_text(json.dumps(other.config))
    (other.path / "result.json").write_text(json.dumps({**RESULT, "final": {"test_top1": 10.5, "test_loss": 1.0}}))
    found.look_again()
    assert found.wanted([cell]) == [] and entries.entry(found.of(cell), entries.top1).text == "10.50"


def test_stored_runs_of_another_precision_are_taken_and_labelled_but_never_mixed(held, tmp_path):
    store = tmp_path / "other"
    store.mkdir()
    found = held("--store", str(store), "--seed-list", "1", "2")
    keep(found, CELL, 1, 80.0, "bf16", store)
    keep(found, CELL, 2, 82.0, "bf16", store)
    assert found.wanted([CELL]) == []  # whole in one precision
    keep(found, CELL, 1, 70.0)
    found.look_again()
    cell = entries.entry(found.of(CELL), entries.top1)
    assert cell.text == "81.00 (bf16)" and cell.record()["precision"] == "bf16"
    keep(found, CELL, 2, 72.0)
    found.look_again()
    assert entries.entry(found.of(CELL), entries.top1).text == "71.00"


def test_what_is_wanted_is_each_run_once_in_the_precision_asked_for(held):
    found = held("--amp", "bf16", "--seed-list", "3", "3", "1")
    names = [run.directory.config for run in found.wanted([CELL, CELL])]
    assert [(config["seed"], config["amp"]) for config in names] == [(3, "bf16"), (1, "bf16")]


def test_the_cells_of_the_full_profiles_are_the_handouts():
    assert COMPRESSIONS == (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
    for name, pre, post in (("colab", 10, 10), ("full", 200, 100)):
        cells = list(PROFILES[name].cells())
        curve = {(cell.pruner, cell.compression) for cell in cells if cell.network is VGG16 and cell.amp is None}
        assert curve == {(pruner, c) for pruner in questions.PRUNERS for c in COMPRESSIONS}
        epochs = {(cell.pruner, cell.pre_epochs) for cell in cells}
        assert epochs == {("mag", 0), ("mag", pre), *((p, 0) for p in ("rand", "snip", "grasp", "synflow"))}
        assert {cell.post_epochs for cell in cells} == {post}
        assert {(c.pruner, c.compression, c.amp) for c in cells if c.amp} == {
            ("rand", c, amp) for c in COMPRESSIONS for amp in ("off", "bf16")
        }


def test_runs_are_in_the_directories_of_their_single_commands(made, sample_data, capsys):
    single = (
        "--dataset cifar10 --model-class default --model fc --pruner mag --compression 2 --pre-epochs 1 --source sample"
    )
    where = ["--post-epochs", "1", "--result-dir", str(made), "--data-dir", str(sample_data)]
    assert main.main([*single.split(), *where]) == 0
    assert "note: stored result of" in capsys.readouterr().err and len(finished(made)) == RUNS


def test_ours_stand_beside_equal_epochs_alone(held):
    """Of a network of the handout on real data; a sample or another network is not comparable."""
    found = held()
    keep(found, CELL, 1, 94.3)
    ours, public, verdict = beside.compare(found.of(CELL))
    assert ours.mean == 94.3 and public.solutions == 5 and verdict.word == "inside"
    longer = questions.Cell(FC, "rand", 1.0, 0, 11)
    assert beside.compare(found.of(longer))[1] is None
    small = questions.Cell(questions.SMALL, "rand", 1.0, 0, 10)
    keep(found, small, 1, 30.0)
    assert str(beside.compare(found.of(small))[2]) == "not comparable: another network"
    sample = questions.Cell(FC, "snip", 1.0, 0, 10)
    keep(found, sample, 1, 95.5, source="sample")
    assert str(beside.compare(found.of(sample))[2]) == "not comparable: sample data"
    assert beside.printed(VGG16, "mag", 1.0) == 84.21 and beside.printed(FC, "mag", 1.0) is None
    table = beside.table(found)
    row = next(row for row in table.rows if row[:3] == ["1", FC.title, "Rand"])
    assert row[5:] == ["94.30", "–", "94.49", "94.11 to 94.52", "5", "inside"]


def test_layers_of_weights_are_counted_under_their_masks(tmp_path):
    weight = np.array([[1.0, 0.0, -2.0, 0.0]], dtype=np.float32)
    mask = np.array([[1.0, 1.0, 1.0, 0.0]], dtype=np.float32)
    save_file({"fc.weight": weight, "fc.weight_mask": mask}, tmp_path / "model.safetensors")
    run = holdings.Run(tmp_path, {}, RESULT)
    (layer,) = weights.read(run)
    assert (layer.name, layer.kept, layer.pruned, layer.counts.sum()) == ("fc", 3, 1, 3)  # a kept zero is no pruned one
    assert layer.edges[0] == -2.0 and layer.edges[-1] == 2.0 and layer.share_pruned == 0.25
    assert layer.deviation == pytest.approx(np.std([1.0, 0.0, -2.0]))


def test_a_dry_run_prints_the_hours_and_makes_nothing(tmp_path, sample_data, capsys):
    assert main.main(line(tmp_path, sample_data, "--dry-run", "--workers", "2")) == 0
    out = capsys.readouterr().out
    first = re.search(rf"^{RUNS} runs to make, about [\d.e-]+ hours \((.+)\) for 2 at a time", out, re.MULTILINE)
    assert out.count(": to do, about ") == RUNS and not list(tmp_path.iterdir())
    last = f"{RUNS} runs: 0 done, 0 failed before, {RUNS} to do, about {first[1]} for 2 at a time"
    assert out.splitlines()[-1] == last


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--profile collab", "no profile is called 'collab' (did you mean colab?)"),
        ("--amp fp8", "no precision is called 'fp8'"),
        ("--source made-up", "no source is called 'made-up'"),
        ("--store /nowhere/at/all", "--store /nowhere/at/all: no such directory"),
        ("--seed-list 1 x", "'x' is not a whole number"),
        ("--stored-only --force", "--stored-only makes no run"),
        ("--workers 0", "'0' is not a whole number from 1"),
        ("--scheduler here", "not of the form tcp://HOST:PORT"),
    ],
)
def test_bad_input_is_one_line(flags, message, capsys):
    assert main.main(["--experiment", "assignment", *flags.split()]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


def test_tables_of_nothing_are_whole_and_blank(held):
    found = held()
    for table in (tables.architectures(found), *tables.layers(found)[:2]):
        assert table.rows and all("not run yet" in cell for row in table.rows for cell in row[1:])
        assert "No run yet." in table.note
