"""A run that is killed, at whatever moment, ends in the bits of a run that is not."""

import hashlib
import json
import os
import random
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import spacy  # noqa: F401 (imported once, not in every process)
import torch
import torchmetrics.text  # noqa: F401
from safetensors import safe_open

import main
from Experiments import checkpoint
from Experiments.sweeping import pool, worker
from Models.seq2seq import Seq2SeqTransformer
from Utils import load
from Utils.store import lock, provenance
from Utils.store import run as store

TASKS = {
    "text": "--dataset agnews --pruner grasp --compression 1 --pre-epochs 1 --post-epochs 2 --lr-drops 1",
    "images": "--dataset mnist --model fc --pruner rand --compression 1 --prune-epochs 5 --post-epochs 4 "
    "--optimizer momentum --lr 0.01",
    "translation": "--dataset multi30k --pruner snip --compression 0.5 --post-epochs 2",
    "levels": "--experiment multishot --dataset agnews --pruner mag --compression 1 --level-list 2 --rewind-epochs 1 "
    "--post-epochs 2",
    "sweep": "--experiment sweep --dataset mnist --model fc --pruner-list rand mag --compression-list 1 --pre-epochs 2 "
    "--post-epochs 2",
}
KILLS = {"text": 15, "images": 10, "translation": 7, "levels": 6, "sweep": 6}  # at least


def small(input_shape, num_classes, dense_classifier=False):
    """The translation model with dropout, small enough to be trained thirty times."""
    return Seq2SeqTransformer(input_shape, num_classes, dense_classifier, 32, 2, 1, 32)


@pytest.fixture(autouse=True)
def small_translation(monkeypatch):
    monkeypatch.setitem(load.MODELS["nlp"], "seq2seq", ("translation", f"{__name__}:small"))


def begin(arguments: str, results: Path, data: Path, said: Path | None = None) -> int:
    """A process of its own that makes the run, forked so that it need not import torch again; its number."""
    if child := os.fork():
        return child
    code = 70
    try:
        handle = os.open(said or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        where = ["--source", "sample", "--data-dir", str(data), "--result-dir", str(results)]
        code = main.main([*where, *shlex.split(arguments)])
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def whole(results: Path) -> dict:
    """What must be equal of the one run that there is."""
    (found,) = every(results).values()
    return found


def every(results: Path) -> dict[str, dict]:
    """What must be equal: every file of every run, but not how long things took and how much memory.

    And the runs are as they have sealed themselves.
    """
    places = sorted(path for path in results.glob("*/*") if (path / "config.json").exists())
    for folder in {place.parent for place in places}:
        assert not [path.name for path in folder.iterdir() if path not in places]  # nothing is left beside them
    assert not (results / ".pretrained").exists()
    return {place.name: one(place) for place in places}


def one(place: Path) -> dict:
    found: dict[str, Any] = {path.name: path.read_bytes() for path in place.iterdir()}
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in found.items() if name != "seal.json"}
    assert sums.keys() == {"config.json", "epochs.jsonl", "model.safetensors", "report.txt", "result.json"}
    assert json.loads(found.pop("seal.json")) == sums
    found["result.json"] = json.loads(found["result.json"])
    assert found["result.json"].pop("seconds").keys() == {"prepare", "prune", "train", "evaluate", "save"}
    assert found["result.json"].pop("peak_memory").keys() == {"prune", "train"}
    found["report.txt"] = [line for line in found["report.txt"].splitlines() if not line.startswith(b"Seconds")]
    return found


def here(commands, workers, allows=None):
    """In place of worker processes, which would import torch again: the runs one by one, in the process itself."""
    for number, words in enumerate(commands):
        yield number, pool.Ended(worker.perform(words).get("error"), "")


@pytest.mark.parametrize("task", TASKS)
def test_what_is_killed_ends_in_the_same_bits(task, tmp_path, sample_data, monkeypatch):
    monkeypatch.setattr(pool, "outcomes", here)
    begun = time.monotonic()
    assert ended(begin(TASKS[task], tmp_path / "whole", sample_data)) == 0
    length = time.monotonic() - begun
    wanted = every(tmp_path / "whole")
    draw = random.Random(task)
    kills = resumed = attempt = 0
    while kills < KILLS[task]:
        attempt += 1
        results, said = tmp_path / str(attempt), tmp_path / "said"
        while True:
            child = begin(TASKS[task], results, sample_data, said)
            time.sleep(draw.uniform(0.0, length))
            os.kill(child, signal.SIGKILL)
            code = ended(child)
            resumed += "Going on from " in said.read_text()
            if code == 0:
                break
            assert code == -signal.SIGKILL
            kills += 1
        assert every(results) == wanted
    assert resumed > 0


def test_a_checkpoint_is_kept_until_the_next_is_whole(tmp_path, sample_data, monkeypatch):
    """A process that dies while it writes: what was there before is what the next one finds."""
    replace, times = Path.replace, []

    def dying(self, target):
        if Path(target).name == store.CHECKPOINT:
            times.append(self)
            if len(times) == 3:
                os.kill(os.getpid(), signal.SIGKILL)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", dying)
    assert ended(begin(TASKS["images"], tmp_path, sample_data)) == -signal.SIGKILL
    (part,) = tmp_path.glob("singleshot/.*.part")
    with safe_open(part / store.CHECKPOINT, "pt") as file:
        assert json.loads(file.metadata()["record"])["progress"]["done"] == {"prune": 1, "post": 1}
    assert len(list(part.glob(f".{store.CHECKPOINT}*"))) == 1  # the torn one, which goes unread
    monkeypatch.undo()
    assert ended(begin(TASKS["images"], tmp_path, sample_data, tmp_path / "said")) == 0
    assert "Going on from a checkpoint (prune 1, post 1)." in (tmp_path / "said").read_text()
    (tmp_path / "said").unlink()
    whole(tmp_path)


def interrupted(cli, monkeypatch, arguments: str = TASKS["images"]):
    """A run that Ctrl-C stopped after its second epoch; its directory in the making."""
    after, seen = store.Stage.epoch, []

    def stop(self, record):
        after(self, record)
        seen.append(record)
        if len(seen) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(store.Stage, "epoch", stop)
    outcome = cli(arguments)
    monkeypatch.undo()
    assert outcome.code == 130
    (part,) = outcome.results.glob("singleshot/.*.part")
    return part


def test_an_interrupted_run_goes_on(cli, monkeypatch):
    interrupted(cli, monkeypatch)
    outcome = cli(TASKS["images"])
    assert outcome.code == 0 and "Going on from a checkpoint (prune 1, post 2)." in outcome.out
    assert [line["epoch"] for line in outcome.epochs] == [1, 2, 3, 4]


@pytest.mark.parametrize("content", [b"", b"x" * 100, None])
def test_a_damaged_checkpoint_is_as_none(cli, monkeypatch, content):
    """Empty, no such file at all, cut off."""
    path = interrupted(cli, monkeypatch) / store.CHECKPOINT
    path.write_bytes(path.read_bytes()[:-1] if content is None else content)
    outcome = cli(TASKS["images"])
    assert outcome.code == 0 and "Going on" not in outcome.out and len(outcome.epochs) == 4
    assert f"{path} is damaged" in outcome.err and outcome.err.count("\n") == 1


OTHERS = {"threads": 2, "torch": "1.0", "commit": "0" * 40, "device": "cuda:0"}


@pytest.mark.parametrize(("key", "value"), OTHERS.items())
def test_a_checkpoint_of_another_making_is_not_gone_on_from(cli, monkeypatch, key, value):
    """Its rest would be other bits than those of either whole run."""
    interrupted(cli, monkeypatch)
    bearing = provenance.bearing
    monkeypatch.setattr(provenance, "bearing", lambda device: {**bearing(device), key: value})
    outcome = cli(TASKS["images"])
    assert outcome.code == 0 and "Going on" not in outcome.out and len(outcome.epochs) == 4
    assert "the run begins again" in outcome.err and key in outcome.err


def test_force_begins_again(cli, monkeypatch):
    interrupted(cli, monkeypatch)
    outcome = cli(f"{TASKS['images']} --force")
    assert outcome.code == 0 and "Going on" not in outcome.out and len(outcome.epochs) == 4


def test_a_loss_that_is_no_number_leaves_nothing(cli):
    """It would be none again."""
    outcome = cli("--dataset mnist --model fc --optimizer sgd --lr 1e30 --post-epochs 2")
    assert outcome.code == 2 and not any((outcome.results / "singleshot").iterdir())


def test_two_processes_make_a_run_once(tmp_path, sample_data):
    """The second waits, says so, and shows what the first has made."""
    sayings = [tmp_path / "first", tmp_path / "second"]
    results = tmp_path / "results"
    children = [begin(TASKS["images"], results, sample_data, said) for said in sayings]
    assert [ended(child) for child in children] == [0, 0]
    said = [path.read_text() for path in sayings]
    assert sum("Post-Training" in text for text in said) == 1 == sum("stored result of" in text for text in said)
    whole(results)


def test_who_waits_goes_on_where_the_other_is_killed(tmp_path, sample_data):
    results, said = tmp_path / "results", tmp_path / "said"
    first = begin(TASKS["images"], results, sample_data)
    while not list(results.glob(f"singleshot/.*.part/{store.CHECKPOINT}")):
        time.sleep(0.01)
    second = begin(TASKS["images"], results, sample_data, said)
    while "waiting for it" not in (said.read_text() if said.exists() else ""):
        assert not list(results.glob("singleshot/[!.]*"))  # the first is slower than a process is begun
        time.sleep(0.01)
    os.kill(first, signal.SIGKILL)
    assert ended(first) == -signal.SIGKILL and ended(second) == 0
    assert "Going on from a checkpoint" in said.read_text()
    whole(results)


def test_a_lock_is_held_by_one(tmp_path):
    """Until it is left; and a file that its holder has moved away is no lock for those who come."""
    path, told = tmp_path / "room" / "lock", []
    with lock.held(path, lambda: told.append("first")):
        child = os.fork()
        if not child:
            with lock.held(path, lambda: (tmp_path / "waits").touch()):
                (tmp_path / "came").touch()
            os._exit(0)
        while not (tmp_path / "waits").exists():
            time.sleep(0.01)
        path.parent.rename(tmp_path / "elsewhere")
        assert not (tmp_path / "came").exists()
    assert ended(child) == 0 and (tmp_path / "came").exists() and path.exists() and told == []


def test_a_saved_state_is_that_of_the_moment(tmp_path):
    """It is written later, beside the training, which goes on changing the tensors and the dictionaries."""
    stage = store.Stage(tmp_path)
    state = {"part": {"value": torch.zeros(1000, 1000), "k": 0}}
    for k in range(5):
        state["part"]["value"].fill_(k)
        state["part"]["k"] = k
        stage.save(checkpoint.frozen(state))
        state["part"]["value"].fill_(-1)
        state["part"]["k"] = -1
    stage._written()
    found = checkpoint.read(stage.checkpoint)
    assert found["part"]["k"] == 4 and (found["part"]["value"] == 4).all()
