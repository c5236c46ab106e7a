"""Worker processes: the same bits as the single command, and nothing is lost when one dies or the sweep is stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
import torch
from waiting import LIMIT, LONG, begun, finished, until

from Experiments.sweeping import pool, worker
from Experiments.sweeping.failures import Failures
from Utils import load
from Utils.data import corpus

AGNEWS = "--dataset agnews --pruner grasp --compression 1 --pre-epochs 1 --post-epochs 1"


@pytest.fixture
def places(tmp_path, sample_data):
    """Words for the command line: where things are, one thread."""
    where = ["--source=sample", f"--data-dir={sample_data}", f"--result-dir={tmp_path / 'results'}"]
    return [*where, "--threads=1"]


@pytest.fixture
def results(tmp_path):
    return tmp_path / "results"


@pytest.fixture
def started(root, places):
    """started(flags): a sweep in a process of its own, killed after the test if it is still there."""
    processes = []

    def start(flags: str) -> psutil.Popen:
        line = [sys.executable, "main.py", "--experiment", "sweep", *places, *flags.split()]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = psutil.Popen(line, cwd=root, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.is_running():
            process.kill()
        process.communicate()


def same_bits(path, outcome) -> None:
    """The files of a run that a worker made are those of the single command."""
    assert path.name == outcome.path.name
    for name in ("model.safetensors", "epochs.jsonl", "config.json"):
        assert (path / name).read_bytes() == (outcome.path / name).read_bytes(), name


def test_a_worker_gives_each_run_the_bits_it_has_alone(ran, places, results):
    """Whatever ran before it in the same process: other data on more threads, the same data, which is kept."""
    other = f"--dataset mnist --pruner snip --compression 1 --post-epochs 0 --threads {min(2, os.cpu_count())}"
    before = "--dataset agnews --pruner rand --compression 0.5 --post-epochs 0 --seed 5"
    commands = [[*places, *line.split()] for line in (other, before, AGNEWS)]
    for number, ended in pool.outcomes(commands, workers=1):
        assert ended.error is None and "Pruning with " in ended.output
        assert len(finished(results)) == number + 1
    single = ran(AGNEWS)
    same_bits(results / "singleshot" / single.path.name, single)


def test_a_sweep_makes_its_grid_and_goes_on_past_a_failure(cli, ran, tmp_path):
    """Two workers, a run that diverges twice, one that succeeds at the second attempt."""
    file = tmp_path / "grid.toml"
    file.write_text(
        '[settings]\ndataset = "agnews"\ncompression = 1\n[[grid]]\npruner = ["snip", "rand"]\n[[grid]]\nlr = 1e30\n'
    )
    asked = f"--experiment sweep --sweep-file {file} --threads 1 --post-epochs 1"
    outcome = cli(f"{asked} --workers 2", results=tmp_path / "results")
    assert outcome.code == 1 and "3 runs: 2 done, 1 failed" in outcome.out, outcome.err
    single = ran("--dataset agnews --pruner snip --compression 1 --post-epochs 1")
    made = [path.parent for path in finished(outcome.results)]
    assert len(made) == 2
    same_bits(next(path for path in made if "-snip-" in path.name), single)
    line = next(line for line in outcome.out.splitlines() if line.startswith(single.path.name))
    assert f": test_top1 {single.result['final']['test_top1']:.2f}, " in line
    (record,) = (outcome.results / "failed").iterdir()
    kept = json.loads(record.read_text())
    assert "--lr" in kept["message"] and "Post-Training for 1 epochs." in kept["output"]
    assert f"{record.stem}: failed: {kept['message']}\n" in outcome.out
    assert cli(asked, results=outcome.results).code == 1  # no worker is needed to say so
    lost = next(path for path in made if "-rand-" in path.name)
    shutil.rmtree(lost)
    Failures(str(outcome.results)).record(lost.name, "out of luck", [], "")
    now = time.time_ns()
    again = cli(f"{asked} --retry-failed --verbose", results=outcome.results)
    assert again.code == 1 and "3 runs: 2 done, 1 failed" in again.out  # one diverges again, one has better luck
    assert list(record.parent.iterdir()) == [record] and record.stat().st_mtime_ns > now
    assert (lost / "result.json").exists() and "Pruning with rand for 1 epochs." in again.out


def test_a_run_whose_worker_is_killed_is_made_again(ran, places, results, monkeypatch):
    """In the middle of a run, by the signal of a system that is out of memory."""
    given, killed = [], []
    begin = pool.Worker.begin

    def begin_and_kill(self, job, command):
        begin(self, job, command)
        given.append(self.process.pid)
        if len(given) == 1:
            threading.Thread(target=kill_in_the_middle, args=[self.process]).start()

    def kill_in_the_middle(process):
        until(lambda: begun(results))
        if not finished(results):
            killed.append(process.pid)
            process.kill()

    monkeypatch.setattr(pool.Worker, "begin", begin_and_kill)
    ((number, ended),) = pool.outcomes([[*places, *LONG.split()]], workers=2)
    assert (number, ended.error) == (0, None) and len(given) == 2 and killed == given[:1]
    assert not any(map(psutil.pid_exists, given))
    (made,) = finished(results)
    same_bits(made.parent, ran(LONG))


def test_a_run_that_kills_every_worker_fails_and_the_others_do_not(places, results, monkeypatch):
    deaths = []
    begin = pool.Worker.begin

    def begin_and_die(self, job, command):
        if job == 0:
            deaths.append(self.process.pid)
            self.process.kill()
        begin(self, job, command)

    monkeypatch.setattr(pool.Worker, "begin", begin_and_die)
    line = "--dataset agnews --pruner rand --compression 1 --post-epochs 0"
    outcomes = dict(pool.outcomes([[*places, *line.split(), f"--seed={seed}"] for seed in (1, 2)], workers=1))
    assert len(set(deaths)) == pool.TRIES == 3
    assert outcomes[1].error is None and len(finished(results)) == 1
    assert "died 3 times" in outcomes[0].error and "SIGKILL" in outcomes[0].error


def test_a_worker_that_cannot_start_is_one_error(monkeypatch, cli):
    monkeypatch.setattr(pool, "ROOT", pool.ROOT / "tests")  # where no Experiments are
    outcome = cli("--experiment sweep --dataset agnews --seed-list 1 2 --workers 2")
    assert outcome.code == 2 and "does not start" in outcome.err and "Experiments" in outcome.err
    assert outcome.err.count("\n") == 1 and not (outcome.results / "failed").exists()


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGKILL])
def test_stopped_in_the_middle_nothing_runs_on_and_nothing_is_lost(started, results, ran, told):
    """Ctrl-C and even kill -9: the workers end too, what is finished stays, and the same command does the rest."""
    flags = f"{LONG} --seed-list 1 2 --workers 2"
    process = started(flags)
    until(lambda: begun(results) and len(process.children()) == 2)
    workers = process.children()
    process.send_signal(told)
    out, err = process.communicate(timeout=LIMIT)
    gone, alive = psutil.wait_procs(workers, timeout=LIMIT)
    assert not alive and len(gone) == 2
    assert not (results / "failed").exists() and len(finished(results)) < 2
    if told == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
        return
    assert process.returncode == 130 and err.splitlines()[-1] == "stopped"
    again = started(flags)
    out, err = again.communicate(timeout=LIMIT)
    assert again.returncode == 0 and "2 runs: 2 done" in out, err
    single = ran(LONG)
    same_bits(results / "singleshot" / single.path.name, single)


def test_a_run_leaves_the_number_of_threads_as_it_was(places):
    """Even one that goes wrong; what it prints is no one's reply."""
    more = f"--threads={min(2, os.cpu_count())}"
    assert worker.perform([*places, "--dataset=agnews", "--post-epochs=0", more]).keys() == {"seconds"}
    assert torch.get_num_threads() == 1
    reply = worker.perform([*places, "--dataset=agnews", "--post-epochs=1", "--lr=1e30", "--seed=2", more])
    assert reply.keys() == {"error"} and "--lr" in reply["error"]
    assert torch.get_num_threads() == 1


def test_an_error_of_the_code_is_a_reply_too(places, monkeypatch, capsys):
    def fall(*_):
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr(corpus, "load", fall)
    assert worker.perform([*places, "--dataset=agnews"]) == {"error": "RuntimeError: first line"}
    assert "Traceback" in capsys.readouterr().err


def test_only_the_last_corpus_is_kept_and_only_where_asked_for(sample_data, monkeypatch):
    located = {name: corpus.locate(load.dataset(name), sample_data, "sample") for name in ("agnews", "mnist")}
    assert corpus.load(located["agnews"]) is not corpus.load(located["agnews"])
    monkeypatch.setattr(corpus, "_kept", None)
    corpus.keep_loaded()
    first = corpus.load(located["agnews"])
    corpus.keep_loaded()
    assert corpus.load(located["agnews"]) is first
    other = corpus.load(located["mnist"])
    assert other.dataset.name != first.dataset.name and corpus.load(located["mnist"]) is other
    assert corpus.load(located["agnews"]) is not first
