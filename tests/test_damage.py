"""Damage to what runs have stored: each kind is noticed, named in one line, and mended by the next command."""

import json
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from calls import ask
from stores import RESULT, add

import main
from Experiments import checkpoint, finished
from Experiments.sweeping import grid
from Utils.data import download
from Utils.errors import UserError
from Utils.store import provenance, schema, seal
from Utils.study import runs

FC = "--dataset mnist --model fc --pruner mag --compression 1 --threads 1 --post-epochs 1"
STORED = ("config.json", "epochs.jsonl", "model.safetensors", "report.txt", "result.json")
REMEDY = "; restore it, or make the run again with --force"


def flip(path: Path, byte: int = -3) -> None:
    """Change one bit, so that the file can still be read: of a digit, a letter or a tensor."""
    content = bytearray(path.read_bytes())
    content[byte] ^= 1
    path.write_bytes(content)


def edit(path: Path) -> None:
    """A slip in a figure."""
    path.write_text(path.read_text(encoding="utf-8").replace('"seconds"', ' "seconds"'), encoding="utf-8")


@pytest.fixture
def run(ran, tmp_path) -> Path:
    """A finished run of the smallest kind, in the results of `cli`."""
    made = ran(FC)
    shutil.copytree(made.results, tmp_path / "results")
    return tmp_path / "results" / "singleshot" / made.path.name


def one_line(err: str, path: Path) -> None:
    """One line names the file and says what to do."""
    (line,) = (line for line in err.splitlines() if "is damaged (" in line)
    assert f"{path} is damaged (" in line and line.endswith(REMEDY)


# Checksums.
def test_a_run_seals_all_that_it_stores(run):
    assert json.loads((run / seal.FILE).read_text(encoding="utf-8")).keys() == set(STORED)


@pytest.mark.parametrize("name", [name for name in STORED if name != "model.safetensors"])
def test_a_changed_file_is_named_and_the_run_made_again_if_asked(cli, run, name):
    flip(run / name)
    refused = cli(FC)
    assert refused.code == 2 and refused.err.startswith("error: ") and refused.err.count("\n") == 1
    one_line(refused.err, run / name)
    assert cli(f"{FC} --force").code == 0 and cli(FC).code == 0


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"result.json": 1}'])
def test_a_damaged_seal_is_damage_too(cli, run, text):
    (run / seal.FILE).write_text(text, encoding="utf-8")
    refused = cli(FC)
    assert refused.code == 2
    one_line(refused.err, run / ("result.json" if "result" in text else seal.FILE))


@pytest.mark.parametrize("asked", ["--experiment export --format dense", "--experiment measure", "--experiment probe"])
def test_a_bit_flipped_in_the_weights_is_noticed_by_who_reads_them(run, sample_data, asked):
    flip(run / "model.safetensors")
    code, _, err = ask(f"{asked} --run {run}", sample_data)
    assert code == 2 and err.count("\n") == 1
    one_line(err, run / "model.safetensors")


def test_a_training_does_not_begin_from_damaged_weights(cli, run):
    flip(run / "model.safetensors")
    outcome = cli(f"{FC} --pretrained {run}")
    assert outcome.code == 2
    one_line(outcome.err, run / "model.safetensors")


def test_edited_settings_are_noticed_by_who_reads_them_alone(run):
    flip(run / "config.json")
    with pytest.raises(UserError, match="has changed since") as caught:
        finished.settings(str(run))
    one_line(str(caught.value), run / "config.json")


@pytest.mark.parametrize("byte", [-1, -1000, 400])
def test_a_bit_flipped_in_a_checkpoint_is_noticed(tmp_path, byte):
    """In a tensor, in another one, and in the text beside them."""
    import torch

    path = tmp_path / "state"
    state = {"part": {"value": torch.ones(300), "other": torch.zeros(7, dtype=torch.int64)}, "text": "x" * 900}
    checkpoint.write(path, state)
    assert checkpoint.read(path)["text"] == state["text"]
    flip(path, byte)
    with pytest.raises(UserError, match=rf"the checkpoint {path} is damaged \(it is not what was written\)"):
        checkpoint.read(path)


def test_what_is_missing_is_no_damage(cli, run):
    """Weights are often not kept; a report can be made up."""
    for name in ("model.safetensors", "report.txt", "epochs.jsonl"):
        (run / name).unlink()
    assert cli(FC).code == 0


# Who goes on without.
def test_the_report_says_what_it_leaves_out_and_goes_on(tmp_path, capsys):
    whole = add(tmp_path / "store", "agnews", "rand", 1.0, 1, 90.0)
    broken = add(tmp_path / "store", "agnews", "rand", 1.0, 2, 91.0)
    for path in (whole, broken):
        seal.put(path, STORED)
    add(tmp_path / "store", "agnews", "rand", 1.0, 3, 92.0)
    edit(broken / "result.json")
    words = ["--experiment", "report", "--store", str(tmp_path / "store"), "--report-dir", str(tmp_path / "report")]
    assert main.main(words) == 0
    out, err = capsys.readouterr()
    left = f"result.json is damaged (it has changed since seal.json was written){REMEDY}"
    assert err.splitlines()[0] == f"warning: {broken} is left out: {left}"
    assert "note: 1 run without checksums" in err and "--experiment seal adds them" in err
    assert "2 runs, 1 left out, 1 task." in out
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert f"Left out: 1 run.</p><ul><li>{broken}: {left}</li></ul>" in page


def test_a_sweep_makes_a_damaged_run_again(cli, run):
    """In one step: one with another figure, one with an empty result, one whose settings are lost, among whole ones."""
    asked = f"--experiment sweep {FC} --seed-list 1 2 3 4"
    assert cli(asked).code == 0
    places = {seed: next(run.parent.glob(f"*-s{seed}-*")) for seed in (1, 2, 3, 4)}
    wanted = {seed: (path / "model.safetensors").read_bytes() for seed, path in places.items()}
    edit(places[1] / "result.json")
    (places[2] / "result.json").write_text("{}", encoding="utf-8")
    (places[2] / seal.FILE).unlink()
    (places[3] / "config.json").unlink()
    kept = (places[4] / "result.json").stat().st_mtime_ns
    dry = cli(f"{asked} --dry-run")
    assert dry.code == 0 and dry.out.count(": to do again") == 3 and "1 done, 0 failed before, 3 to do" in dry.out
    again = cli(asked)
    assert again.code == 0 and "4 runs: 4 done, 0 failed" in again.out and again.err.count("warning: ") == 3
    for seed, path in places.items():
        seal.check(path)
        assert (path / "model.safetensors").read_bytes() == wanted[seed]
    assert (places[4] / "result.json").stat().st_mtime_ns == kept
    assert not list(run.parent.glob(".*"))


def test_a_directory_that_is_no_run_is_not_replaced_by_a_sweep(cli, run):
    for path in run.iterdir():
        path.unlink()
    (run / "mine.txt").write_text("mine", encoding="utf-8")
    outcome = cli(f"--experiment sweep {FC} --seed-list 1")
    assert outcome.code == 1 and "is no run; --force replaces runs alone: remove it" in outcome.out
    assert [path.name for path in run.iterdir()] == ["mine.txt"]


# The seal of earlier runs.
def test_earlier_runs_are_sealed_once(tmp_path, capsys):
    good = add(tmp_path, "agnews", "rand", 1.0, 1, 90.0)
    bad = add(tmp_path, "agnews", "rand", 1.0, 2, 91.0)
    (bad / "result.json").write_text("{}", encoding="utf-8")
    (good / "measurement.json").write_text("{}", encoding="utf-8")  # written again whenever it is measured
    words = ["--experiment", "seal", "--store", str(tmp_path)]
    assert main.main(words) == 1
    out, err = capsys.readouterr()
    assert out == "Sealed 1 run; 0 had a seal, 1 damaged\n" and f"{bad} is not sealed: " in err
    sealed = (good / seal.FILE).read_bytes()
    assert json.loads(sealed).keys() == {"config.json", "result.json"} and not (bad / seal.FILE).exists()
    edit(good / "result.json")
    shutil.rmtree(bad)
    assert main.main(words) == 0 and capsys.readouterr().out == "Sealed 0 runs; 1 had a seal\n"
    assert (good / seal.FILE).read_bytes() == sealed
    with pytest.raises(UserError, match="no complete run below"):
        runs.read([str(tmp_path)])


def test_committed_runs_are_whole(root):
    """By their seals where they have one, and by their schema."""
    (left_out, whole) = ([], runs.read([str(root / "Results" / "study")]))
    runs.read([str(root / "Results" / "study")], left_out)
    assert len(whole) > 1000 and left_out == []


# The schema of a result.
WHOLE = {**RESULT, "final": {"test_top1": 50.0}}


def test_a_whole_result_passes():
    schema.check(WHOLE)
    schema.check(RESULT)  # its recipe measures nothing at the end


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"final": {}}, "final has no test_top1"),
        ({"final": {"test_top1": "good"}}, "final.test_top1 is 'good'"),
        ({"final": {"test_top1": math.nan}}, "final.test_top1 is nan"),
        ({"final": None}, "final is 'None'"),
        ({"parameters": {"kept": 1}}, "parameters.total is missing"),
        ({"flops": {"kept": True, "total": 1}}, "flops.kept is 'True'"),
        ({"per_tensor": {}}, "per_tensor is '{}'"),
        ({"per_tensor": [{"module": "fc"}]}, r"per_tensor\[0\].param is missing"),
        ({"seconds": {"train": None}}, "seconds.train is 'None'"),
        ({"dead": {"classes": {}}}, "dead.classes.total is missing"),
        ({"source": 3}, "source is '3'"),
    ],
)
def test_an_entry_that_is_missing_or_of_another_kind_is_named(changed, said):
    with pytest.raises(ValueError, match=f"^{said}$"):
        schema.check({**WHOLE, **changed})


@pytest.mark.parametrize("key", schema.RESULT)
def test_each_entry_is_needed(key):
    with pytest.raises(ValueError, match=f"^{key} is missing$"):
        schema.check({name: value for name, value in WHOLE.items() if name != key})


@pytest.mark.parametrize("text", ["{}", '{"final": {"test_top1": 1.0}}', "[]", ""])
def test_an_empty_result_is_not_done_without_a_seal_either(cli, run, text):
    (run / seal.FILE).unlink()
    (run / "result.json").write_text(text, encoding="utf-8")
    refused = cli(FC)
    assert refused.code == 2
    one_line(refused.err, run / "result.json")


# Threads.
def test_a_stored_result_of_other_threads_is_noted(cli, run, monkeypatch):
    """The name says nothing of them."""
    assert "it was made with" not in cli(FC).err
    note = "note: it was made with {}; made here, its last digits may differ\n"
    assert note.format("threads 1, not 2") in cli(FC.replace("--threads 1", "--threads 2")).err
    free = FC.replace("--threads 1", "--threads 0")
    assert "it was made with" not in cli(free).err
    cores = provenance.cores()
    monkeypatch.setattr(provenance, "cores", lambda: cores + 1)
    assert note.format(f"cores {cores}, not {cores + 1}") in cli(free).err
    monkeypatch.setattr(provenance, "cores", lambda: cores)
    monkeypatch.setenv("OMP_NUM_THREADS", "17")
    assert "OMP_NUM_THREADS None, not 17" in cli(free).err or "OMP_NUM_THREADS" in os.environ


# What else went unnoticed.
def test_an_unreachable_mark_of_the_future_does_not_count(tmp_path, monkeypatch):
    from Utils import load

    mark = tmp_path / "prepared" / ".mnist-unreachable"
    mark.parent.mkdir()
    mark.write_text("nobody answers", encoding="utf-8")
    tried = []
    monkeypatch.setattr(download, "fetch", lambda *wanted: tried.append(wanted))
    data = load.dataset("mnist")
    assert download.complete(data, tmp_path, list(data.raw), insist=False) == "nobody answers" and not tried
    future = time.time() + 3600
    os.utime(mark, (future, future))
    assert download.complete(data, tmp_path, list(data.raw), insist=False) is None and len(tried) == len(data.raw)


def test_a_large_grid_says_its_size_before_it_is_checked(monkeypatch, capsys):
    monkeypatch.setattr(grid, "LARGE", 5)
    told = []
    monkeypatch.setattr(grid.arguments, "resolve", lambda *_: told.append(capsys.readouterr().err))
    grid.cells([], {"seed": [1, 2, 3], "pruner": ["rand", "mag"]})
    assert told[0].startswith("note: this grid has 6 runs; ") and not any(told[1:])
    grid.cells([], {"seed": [1, 2, 3, 4, 5]})
    assert not any(told[6:])


def test_output_that_cannot_be_encoded_is_escaped(tmp_path, root):
    add(tmp_path / "store", "agnews", "rand", 1.0, 1, 90.0)
    words = ["--experiment", "compare", "--store", str(tmp_path / "store"), "--report-dir", str(tmp_path / "report")]
    ended = subprocess.run(
        [sys.executable, "main.py", *words], cwd=root, env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True, encoding="ascii",
    )  # fmt: skip
    assert ended.returncode == 0 and "\\u2013" in ended.stdout and "Traceback" not in ended.stderr
