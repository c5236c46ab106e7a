"""The script that makes the queue on a machine within a time and packs the results."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

SCRIPT = Path("sweeps", "queue", "run.sh")
KEPT = ("config.json", "result.json", "report.txt", "seal.json", "epochs.jsonl")


@pytest.fixture(scope="session")
def tree(root, tmp_path_factory) -> Path:
    """The project's code alone: no repository, no data, no results."""
    place = tmp_path_factory.mktemp("tree")
    for name in ("Experiments", "Layers", "Models", "Pruners", "Utils", "sweeps"):
        shutil.copytree(root / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "main.py", place)
    return place


def call(tree: Path, cwd: Path, words: str, **settings) -> subprocess.CompletedProcess:
    """The script, with these settings in its environment."""
    env = {key: value for key, value in os.environ.items() if key not in ("DATA", "KNOWN", "WORK", "FILES", "CIFAR")}
    env |= {"TMPDIR": str(cwd), "PYTHON": sys.executable, **{key: str(value) for key, value in settings.items()}}
    return subprocess.run([tree / SCRIPT, *words.split()], cwd=cwd, env=env, capture_output=True, text=True)


def packed(out: Path) -> list[str]:
    with tarfile.open(out / "results.tar.gz") as archive:
        return sorted(archive.getnames())


STUB = """#!/usr/bin/env bash
# In place of Python: says what the script asks, and as a sweep leaves one finished run and one in the making.
case "$*" in
*--version*) echo "Python 3" ;;
*--dry-run*) echo "2 runs: 1 done" ;;
*--time-limit*)
    while [ "$1" != --result-dir ]; do shift; done
    for run in done .half.part; do
        mkdir -p "$2/singleshot/$run"
        touch "$2/singleshot/$run"/{config.json,result.json,report.txt,seal.json,model.safetensors}
    done
    mkdir "$2/failed" && printf '{\n "message": "out of luck"\n}\n' >"$2/failed/other.json"
    ls "$2/../data" "$2/../data/prepared" "$2/singleshot"
    echo "$@" | sed 's/.*--time-limit/limit/'
    LAST
    ;;
*) echo "cpu|1.0"; echo "torch 0" ;;
esac
"""


@pytest.fixture
def stub(tmp_path):
    """stub(last): an interpreter whose sweep ends with that command."""

    def write(last: str) -> Path:
        (tmp_path / "stub").write_text(STUB.replace("LAST", last), encoding="utf-8")
        (tmp_path / "stub").chmod(0o755)
        return tmp_path / "stub"

    return write


DONE = [f"singleshot/done/{name}" for name in sorted(KEPT[:4])]


@pytest.mark.parametrize(("last", "code"), [("exit 0", 0), ("exit 1", 1), ("kill -KILL $$", 137)])
def test_what_is_finished_is_packed_however_the_sweep_ends(root, tmp_path, stub, last, code):
    ended = call(root, tmp_path, "out 600", PYTHON=stub(last), KNOWN="")
    assert ended.returncode == code, ended.stderr
    assert packed(tmp_path / "out") == DONE
    log = (tmp_path / "out" / "log.txt").read_text(encoding="utf-8")
    for line in ("device: cpu", "torch 0", "queue: 2 runs: 1 done", 'failed: other: "out of luck"', "packed: 1 runs"):
        assert line in log
    assert {path.name for path in tmp_path.iterdir()} == {"out", "stub"}  # nothing temporary is left


def test_a_sweep_that_does_not_end_is_stopped_in_time(root, tmp_path, stub):
    ended = call(root, tmp_path, "out 3", PYTHON=stub("exec sleep 600"), KNOWN="")
    assert ended.returncode == 0 and packed(tmp_path / "out") == DONE
    assert "stopped in the middle" in (tmp_path / "out" / "log.txt").read_text(encoding="utf-8")


def test_data_and_earlier_results_are_brought_together(root, tmp_path, stub):
    """Data stays as it is; CIFAR-10 comes from its archive; known runs are there, and are not packed again."""
    data, store, archive = tmp_path / "data", tmp_path / "store" / "singleshot", tmp_path / "cifar.tar.gz"
    (data / "prepared" / "agnews-real-1").mkdir(parents=True)
    (data / "AG_NEWS").mkdir()
    (tmp_path / "cifar-10-batches-py").mkdir()
    with tarfile.open(archive, "w:gz") as file:
        file.add(tmp_path / "cifar-10-batches-py", "cifar-10-batches-py")
    for name in ("old", "done"):
        (store / name).mkdir(parents=True)
        for kept in KEPT:
            (store / name / kept).write_text("{}", encoding="utf-8")
    shutil.move(store / "done", tmp_path / "singleshot" / "done")
    with tarfile.open(tmp_path / "results.tar.gz", "w:gz") as file:
        file.add(tmp_path / "singleshot", "singleshot")
    known = f"{tmp_path / 'store'} {tmp_path / 'results.tar.gz'}"
    asked = {"PYTHON": stub("exit 0"), "KNOWN": known, "DATA": data, "CIFAR": archive, "WORK": tmp_path / "work"}
    ended = call(root, tmp_path, "out 600 3 --seed-list 1", **asked)
    assert ended.returncode == 0 and packed(tmp_path / "out") == []
    seen = (tmp_path / "out" / "sweep.txt").read_text(encoding="utf-8")
    assert {"AG_NEWS", "cifar-10-batches-py", "agnews-real-1", "old", "done"} <= set(seen.split())
    assert "3 workers" in ended.stdout and {path.name for path in data.iterdir()} == {"AG_NEWS", "prepared"}
    assert (tmp_path / "work" / "results" / "singleshot" / "done" / "model.safetensors").exists()  # WORK is kept
    (limit,) = (int(line.split()[1]) for line in seen.splitlines() if line.startswith("limit "))
    assert 0 < limit <= 570


@pytest.mark.parametrize(
    ("words", "settings", "named"),
    [
        ("out", {}, "usage"),
        ("out 0", {}, "SECONDS 0"),
        ("out soon", {}, "SECONDS soon"),
        ("out 60 two", {}, "WORKERS two"),
        ("out 60", {"PYTHON": "no-python"}, "no-python"),
        ("out 60", {"FILES": "none.toml"}, "none.toml"),
        ("out 60", {"KNOWN": "nowhere"}, "nowhere"),
    ],
)
def test_what_cannot_be_is_one_line(root, tmp_path, words, settings, named):
    ended = call(root, tmp_path, words, **settings)
    assert ended.returncode == 2 and ended.stderr.startswith("error: ") and ended.stderr.count("\n") == 1
    assert named in ended.stderr


def test_the_queue_of_a_bare_tree_on_a_cpu(tree, cli, sample_data, tmp_path):
    """Two runs on the sample; brought home, the same sweep finds them done, and a second call makes none."""
    file = tmp_path / "tiny.toml"
    file.write_text('[settings]\ndataset = "agnews"\npost_epochs = 0\npruner = ["rand", "snip"]\n', encoding="utf-8")
    words = "600 1 --source sample --compression 1 --no-cuda"
    first = call(tree, tmp_path, f"out {words}", FILES=file, DATA=sample_data)
    assert first.returncode == 0 and "queue: 2 runs: 2 done" in first.stdout, first.stdout + first.stderr
    assert "torch 2." in first.stdout and "packed: 2 runs" in first.stdout
    shutil.unpack_archive(tmp_path / "out" / "results.tar.gz", tmp_path / "home", filter="data")
    runs = sorted((tmp_path / "home" / "singleshot").iterdir())
    assert [sorted(path.name for path in run.iterdir()) for run in runs] == [sorted(KEPT[:4])] * 2
    assert json.loads((runs[0] / "result.json").read_text(encoding="utf-8"))["commit"] is None
    asked = f"--experiment sweep --sweep-file {file} --compression 1 --dry-run"
    assert "2 runs: 2 done" in cli(asked, results=tmp_path / "home").out
    again = call(tree, tmp_path, f"again {words}", FILES=file, DATA=sample_data, KNOWN=tmp_path / "home")
    assert again.returncode == 0 and "packed: 0 runs" in again.stdout and packed(tmp_path / "again") == []
