"""Export and measurement from the command line: what is written, and that the loader alone is enough to use it."""

import json
import math
import shutil
import subprocess
import sys

import pytest
import torch
from calls import ask
from safetensors.torch import load_file

import main
from Experiments import finished, measure
from Utils import exported, load
from Utils.data import corpus
from Utils.data.loader import Loader
from Utils.export import dead_units, form_timing, measured, trace
from Utils.export.formats import FORMATS
from Utils.study import runs

RUNS = {
    "fc": "--dataset mnist --model fc --pruner synflow --compression 1 --post-epochs 1",
    "news": "--dataset agnews --pruner rand --compression 2",
}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Little time for each measurement: what it says is not looked at here. Graphs of ONNX have tests of their own."""
    monkeypatch.setattr(measured, "ONNX", {})
    monkeypatch.setattr(form_timing, "SECONDS", 0.0005)
    monkeypatch.setattr(measured, "SECONDS", 0.0005)


@pytest.fixture(params=list(RUNS))
def run(request, ran, tmp_path):
    """A finished run's directory, a copy of its own for this test."""
    return shutil.copytree(ran(RUNS[request.param]).path, tmp_path / "run")


def model_and_batch(run, sample_data):
    config = finished.settings(str(run))
    data = corpus.load(finished.locate(config, sample_data))
    batch, _ = next(iter(Loader(data.test, 20, length=20)))
    return finished.model(config, data, run / "model.safetensors"), batch


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_of_a_run_gives_its_logits(run, format, sample_data):
    code, out, err = ask(f"--experiment export --run {run} --format {format}", sample_data)
    assert (code, err) == (0, "") and f"model.{format}.json" in out
    model, batch = model_and_batch(run, sample_data)
    with torch.no_grad():
        wanted = model(batch)
        for size in (1, 64):
            found = exported.load(run / f"model.{format}.json", size)(batch)
            assert (found - wanted).abs().max() <= 1e-5 * max(1.0, float(wanted.abs().max()))
    about = json.loads((run / f"model.{format}.json").read_text())
    assert about["largest_difference"] <= 1e-5 * max(1.0, float(wanted.abs().max()))
    assert len(about["classes"]) == wanted.shape[1] and about["run"] == run.name
    assert set(load_file(run / f"model.{format}.safetensors")) >= set(about["matrices"])
    words = run / f"model.{format}.words.json"
    assert words.exists() is (not isinstance(batch, torch.Tensor)) and about["preparation"]
    assert not words.exists() or len(json.loads(words.read_text())["text"]) == about["shape"][0]


def test_the_loader_needs_nothing_else_of_the_project(run, sample_data, tmp_path, root):
    """In a process of its own, from a directory with the two files of the export and a copy of the loader's folder."""
    ask(f"--experiment export --run {run} --format sparse --export-dir {tmp_path}/away", sample_data)
    shutil.copytree(root / "Utils" / "exported", tmp_path / "away" / "exported")
    model, batch = model_and_batch(run, sample_data)
    parts = {"images": batch} if isinstance(batch, torch.Tensor) else {"ids": batch.ids, "offsets": batch.offsets}
    from safetensors.torch import save_file

    save_file(parts, tmp_path / "away" / "batch.safetensors")
    script = (
        "import types, torch, exported\n"
        "from safetensors.torch import load_file, save_file\n"
        "parts = load_file('batch.safetensors')\n"
        "batch = parts['images'] if 'images' in parts else types.SimpleNamespace(**parts)\n"
        "save_file({'logits': exported.load('model.sparse.json', 64)(batch).contiguous()}, 'logits.safetensors')\n"
        "import sys; assert not {'Utils', 'Layers', 'Models'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path / "away", check=True, env={"PATH": ""})
    with torch.no_grad():
        wanted = model(batch)
    found = load_file(tmp_path / "away" / "logits.safetensors")["logits"]
    assert (found - wanted).abs().max() <= 1e-5 * max(1.0, float(wanted.abs().max()))


def test_compact_and_sparse_are_smaller_than_dense(run, sample_data):
    sizes = {}
    for format in FORMATS:
        ask(f"--experiment export --run {run} --format {format}", sample_data)
        sizes[format] = (run / f"model.{format}.safetensors").stat().st_size
    assert sizes["compact"] < 0.7 * sizes["dense"]
    assert sizes["sparse"] < sizes["dense"]


@pytest.mark.parametrize("threads", [1, 2])
def test_repeats_that_differ_are_warned_of(run, sample_data, monkeypatch, threads):
    slow = {"1": {"lowest": 0.1, "highest": 0.15}, "64": {"lowest": 0.2, "highest": 0.6}}
    assert measure.unsteady({"seconds": slow}) == pytest.approx(3.0)
    monkeypatch.setattr(measure, "STEADY", 0.5)
    monkeypatch.setattr(measured, "SECONDS", 0.0005)
    code, _, err = ask(f"--experiment measure --run {run} --repeats 1 --threads {threads}", sample_data)
    assert code == 0 and "differ by a factor of 1.0: measure again" in err and err.count("\n") == 1
    assert ("--threads 1" in err) == (threads > 1)


def test_a_measurement_is_kept_with_the_run(run, sample_data, monkeypatch):
    monkeypatch.setattr(measure, "STEADY", math.inf)  # other tests may run beside it
    code, out, err = ask(f"--experiment measure --run {run} --repeats 3", sample_data)
    assert (code, err) == (0, "")
    found = json.loads((run / "measurement.json").read_text())
    assert found["left_out"] == {}
    assert list(found["formats"]) == ["masked", *FORMATS] and found["repeats"] == 3
    for name, figures in found["formats"].items():
        assert f"{figures['file_bytes']:,}" in out and f"{name} " in out
    assert "x: times as fast as the dense form\n" in out
    for figures in found["formats"].values():
        for size in ("1", "64"):
            taken = figures["seconds"][size]
            assert 0 < taken["lowest"] <= taken["median"] <= taken["highest"]
            assert figures["examples_per_second"][size] == pytest.approx(int(size) / taken["median"])
    dense, compact = found["formats"]["dense"], found["formats"]["compact"]
    assert compact["multiply_adds"] < dense["multiply_adds"] == found["formats"]["masked"]["multiply_adds"]
    assert compact["memory_bytes"] < dense["memory_bytes"]
    assert compact["parameters"] < dense["parameters"] == found["formats"]["masked"]["parameters"]
    model, _ = model_and_batch(run, sample_data)
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    assert dense["multiply_adds"] == sum(m.weight.numel() for m in linear)
    assert dense["parameters"] == sum(p.numel() for p in model.parameters())


def masked_alone(run, out, err):
    """The measurement.json of a run of which no export can be made."""
    found = json.loads((run / "measurement.json").read_text())
    assert list(found["formats"]) == ["masked"] and list(found["left_out"]) == list(FORMATS)
    assert err.count("\n") == 1 and err.startswith(f"warning: left out: {' and '.join(FORMATS)} (")
    assert "masked" in out and all(figures["median"] > 0 for figures in found["formats"]["masked"]["seconds"].values())
    return found


def test_a_model_that_cannot_be_exported_is_measured_all_the_same(ran, sample_data, tmp_path, monkeypatch):
    run = shutil.copytree(ran(RUNS["fc"]).path, tmp_path / "store" / "singleshot" / "run")
    monkeypatch.delitem(trace.LAYERS, torch.nn.ReLU)
    code, out, err = ask(f"--experiment measure --run {run} --repeats 1", sample_data)
    assert code == 0 and "a ReLU of this kind; it knows the layers" in err
    found = masked_alone(run, out, err)
    (stored,) = runs.read([str(tmp_path / "store")])
    assert stored.measurement == found["formats"], "and who reads stored runs takes it for whole"
    assert main.main(["--experiment", "report", "--store", f"{tmp_path}/store", "--report-dir", f"{tmp_path}/r"]) == 0
    assert not (tmp_path / "r" / "tables" / "speed.csv").exists(), "speed is told against an export"


def test_a_format_that_cannot_be_made_is_left_out_with_its_reason(ran, sample_data, tmp_path, monkeypatch):
    def fails(draft, example):
        raise RuntimeError("an exporter\nwith a fault")

    run = shutil.copytree(ran(RUNS["fc"]).path, tmp_path / "run")
    monkeypatch.setattr(dead_units, "compact", fails)
    code, out, err = ask(f"--experiment measure --run {run} --repeats 1", sample_data)
    smaller = [name for name, format in FORMATS.items() if format.smaller]
    reason = "RuntimeError: an exporter with a fault"
    assert (code, err) == (0, f"warning: left out: {' and '.join(smaller)} ({reason})\n") and "compact" in smaller
    found = json.loads((run / "measurement.json").read_text())
    assert list(found["formats"]) == ["masked", *(name for name in FORMATS if name not in smaller)]
    assert {"sparse", "dense"} <= found["formats"].keys() and " x" in out and "compact" not in out
    assert found["left_out"] == dict.fromkeys(smaller, reason)


@torch.no_grad()
def test_a_network_with_a_layer_of_which_nothing_is_left_is_measured_in_all_formats(sample_data):
    data = load.corpus("mnist", str(sample_data), "sample")
    model = load.model("conv")(data.shape, data.num_classes).eval()
    model[2].weight_mask.zero_()
    found, left_out = measured.formats(model, load.exporter(data.dataset), data, 1)
    assert left_out == {} and list(found) == ["masked", *FORMATS]
    assert found["compact"]["parameters"] < 0.1 * found["dense"]["parameters"]


def test_what_cannot_be_exported_is_said_in_one_line(run, sample_data, tmp_path):
    def refused(arguments):
        code, out, err = ask(arguments, sample_data)
        assert (code, out) == (2, "") and err.count("\n") == 1 and err.startswith("error: ")
        return err

    assert "no format is called 'spars' (did you mean sparse?)" in refused(
        f"--experiment export --run {run} --format spars"
    )
    assert "no config.json" in refused(f"--experiment export --run {tmp_path} --format dense")
    (tmp_path / "file").write_text("in the way")
    assert "cannot write" in refused(f"--experiment export --run {run} --format dense --export-dir {tmp_path}/file/x")
    (run / "model.safetensors").unlink()
    assert "no model.safetensors there" in refused(f"--experiment export --run {run} --format dense")
    assert "no model.safetensors there" in refused(f"--experiment measure --run {run}")


def test_weights_of_another_model_are_refused(ran, sample_data, tmp_path):
    run = shutil.copytree(ran(RUNS["fc"]).path, tmp_path / "run")
    other = ran(RUNS["news"]).path
    shutil.copy(other / "model.safetensors", run / "model.safetensors")
    (run / "seal.json").unlink()
    code, _, err = ask(f"--experiment export --run {run} --format dense", sample_data)
    assert code == 2 and "name a run or file of this model" in err
    assert f"{run / 'model.safetensors'} is of another model: fc has " in err  # its config.json is still fc's
