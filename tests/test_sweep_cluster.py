"""Sweeps on a Dask cluster: a real scheduler with two real workers on this machine, and what a cluster must share."""

import json
import os
import signal
import socket
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
from distributed import Client
from waiting import LIMIT, LONG, begun, finished, until

from Experiments.sweeping import cluster, plan, remote
from Utils.commandline import arguments
from Utils.errors import UserError

SHORT = "--dataset agnews --pruner snip --compression 1 --post-epochs 0"


@pytest.fixture
def processes():
    """processes(module, words): a Python process, killed after the test."""
    running = []

    def start(*words, cwd, **more) -> subprocess.Popen:
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        running.append(subprocess.Popen([sys.executable, *map(str, words)], cwd=cwd, env=env, **more))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def running_cluster(processes, tmp_path):
    """(address, scheduler, two workers), in a directory where our source is not."""
    room = tmp_path / "cluster"
    room.mkdir()
    quiet = {"cwd": room, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    local = ("--host", "127.0.0.1", "--no-dashboard")
    address = room / "address"
    words = ("-m", "distributed.cli.dask_scheduler", *local, "--port", 0, "--scheduler-file", address)
    scheduler = processes(*words, **quiet)
    own = ("--nthreads", 1, "--no-nanny", "--local-directory", room)
    worker = ("-m", "distributed.cli.dask_worker", *local, *own, "--scheduler-file", address)
    until(lambda: address.exists() and address.read_text().rstrip().endswith("}"))
    workers = [processes(*worker, **quiet) for _ in range(2)]
    found = json.loads(address.read_text())["address"]
    with Client(found, timeout=LIMIT, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=LIMIT)
    return found, scheduler, workers


def test_a_sweep_on_a_cluster_outlives_a_worker(root, ran, sample_data, tmp_path, processes, running_cluster):
    """Two runs begin on two workers; one worker is killed in the middle of its run, which the other then makes."""
    address, _, workers = running_cluster
    results = tmp_path / "results"
    places = [f"--data-dir={sample_data}", f"--result-dir={results}", "--source=sample", "--threads=1"]
    line = ["main.py", "--experiment", "sweep", *places, *LONG.split(), "--scheduler", address]
    shown = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    sweep = processes(*line, "--seed-list", 1, 2, cwd=root, **shown)
    until(lambda: len(begun(results)) == 2 or sweep.poll() is not None)
    assert not finished(results)
    workers[0].kill()
    out, err = sweep.communicate(timeout=LIMIT)
    assert sweep.returncode == 0 and "2 runs: 2 done, 0 failed" in out, err
    assert workers[0].wait() == -9 and workers[1].poll() is None
    assert not (results / "failed").exists() and not list(results.glob(".shared-*"))
    single = ran(LONG)
    for name in ("model.safetensors", "epochs.jsonl", "config.json"):
        assert (results / "singleshot" / single.path.name / name).read_bytes() == (single.path / name).read_bytes()

    # The same worker again: a run that goes wrong there is recorded with what it printed, the other is made.
    grid = tmp_path / "grid.toml"
    grid.write_text(
        '[settings]\ndataset = "agnews"\npruner = "rand"\ncompression = 1\npost_epochs = 1\nlr = [1, 1e30]\n'
        f'pretrained = "results/singleshot/{single.path.name}"\n'  # from where the sweep is, not the worker
    )
    line = [root / "main.py", "--experiment", "sweep", *places, "--sweep-file", grid, "--scheduler", address]
    sweep = processes(*line, cwd=tmp_path, **shown)
    out, err = sweep.communicate(timeout=LIMIT)
    assert sweep.returncode == 1 and "2 runs: 1 done, 1 failed" in out, err
    (record,) = (results / "failed").iterdir()
    assert "a lower --lr may help" in record.read_text() and "Post-Training for 1 epochs." in record.read_text()


def test_a_sweep_that_is_stopped_or_loses_its_cluster_says_so(root, sample_data, tmp_path, processes, running_cluster):
    """Ctrl-C ends it at once. A scheduler that is gone is a line, and no run has failed by that."""
    address, scheduler, _ = running_cluster
    results = tmp_path / "results"
    line = ["main.py", "--experiment", "sweep", f"--data-dir={sample_data}", f"--result-dir={results}", "--threads=1"]
    line += ["--source=sample", *LONG.split(), "--scheduler", address, "--seed-list"]
    shown = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    sweep = processes(*line, 1, 2, 3, 4, 5, 6, cwd=root, **shown)
    until(lambda: begun(results))
    sweep.send_signal(signal.SIGINT)
    _, err = sweep.communicate(timeout=LIMIT)
    assert sweep.returncode == 130 and err.splitlines()[-1] == "stopped" and "go on there" in err

    sweep = processes(*line, 7, 8, 9, cwd=root, **shown)
    until(lambda: [path for path in begun(results) if "-s7-" in str(path)])
    scheduler.kill()
    _, err = sweep.communicate(timeout=LIMIT)
    assert sweep.returncode == 2 and f"{address} is gone; the same command" in err.splitlines()[-1]
    assert "Traceback" not in err and not (results / "failed").exists()


# What must be shared. One worker, in this process, stands for the cluster.


class Worker:
    """What the probe reads of a Dask worker."""

    def __init__(self, slots: int) -> None:
        self.state = Namespace(nthreads=slots)


class Asker:
    """A client of one worker. Changes what the worker sees before it looks."""

    def __init__(self, change=lambda *seen: seen, slots: int = 1) -> None:
        self.change, self.slots = change, slots

    def run(self, probe, *seen):
        return {"tcp://worker:1": probe(*self.change(*seen), dask_worker=Worker(self.slots))}


@pytest.fixture
def asked(tmp_path):
    """(runs on a corpus of two files that is read as real, the places)."""
    data = tmp_path / "data"
    for name in ("train", "test"):
        (data / "AG_NEWS").mkdir(parents=True, exist_ok=True)
        (data / "AG_NEWS" / f"{name}.csv").write_text(f'"1","{name}"\n')
    places = f"--source real --data-dir {data} --result-dir {tmp_path / 'r'}"
    lines = f"--experiment sweep {SHORT} --seed-list 1 2 3 4 5 6 7 8 {places}"
    args = arguments.parse(lines.split())
    return plan.plan(args.cells, data, args.result_dir), args


def test_a_cluster_that_shares_all_is_taken(asked, tmp_path):
    cluster._check(Asker(), *asked)
    assert list((tmp_path / "r").iterdir()) == []  # the token is gone


def test_what_a_cluster_does_not_share_is_named(asked, tmp_path):
    runs, args = asked

    def refusal(change=lambda *seen: seen, slots: int = 1) -> str:
        with pytest.raises(UserError) as refused:
            cluster._check(Asker(change, slots), runs, args)
        assert "tcp://worker:1" in str(refused.value) and "\n" not in str(refused.value)
        assert list((tmp_path / "r").iterdir()) == []
        return str(refused.value)

    elsewhere = tmp_path / "elsewhere"
    assert f"result directory {tmp_path / 'r'}" in refusal(lambda root, token, sizes: (root, f"{token}-", sizes))
    assert "source" in refusal(lambda root, token, sizes: (str(elsewhere), token, sizes))
    for room in ("Experiments", "Utils"):
        (elsewhere / room).mkdir(parents=True)
        (elsewhere / room / "other.py").write_text("")
    assert "source" in refusal(lambda root, token, sizes: (str(elsewhere), token, sizes))
    moved = refusal(lambda root, token, sizes: (root, token, {f"{path}.gz": size for path, size in sizes.items()}))
    assert f"data directory {tmp_path / 'data'}" in moved
    longer = refusal(lambda root, token, sizes: (root, token, {path: size + 1 for path, size in sizes.items()}))
    assert longer == moved
    assert "--nthreads 1" in refusal(slots=4)


def test_another_text_in_the_token_is_another_directory(asked, tmp_path):
    def overwrite(root, token, sizes):
        Path(token).write_text("not this one")
        return root, token, sizes

    with pytest.raises(UserError, match="does not share the result directory"):
        cluster._check(Asker(overwrite), *asked)


def test_the_digest_of_the_source_sees_every_file(tmp_path):
    digest = remote.digester()
    assert digest(str(tmp_path)) is None
    (tmp_path / "Utils" / "below").mkdir(parents=True)
    (tmp_path / "Utils" / "below" / "a.py").write_text("1")
    seen = [digest(str(tmp_path))]
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "b.py").write_text("2")
    assert digest(str(tmp_path)) == seen[0]  # not part of what runs
    (tmp_path / "Utils" / "below" / "a.py").write_text("2")
    seen.append(digest(str(tmp_path)))
    (tmp_path / "Utils" / "below" / "a.py").rename(tmp_path / "Utils" / "b.py")
    seen.append(digest(str(tmp_path)))
    assert len(set(seen)) == 3 and None not in seen


def test_no_scheduler_there_is_one_line(cli, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"  # bound, but no one listens
        monkeypatch.setattr(cluster, "ANSWER", 1)
        outcome = cli(f"--experiment sweep {SHORT} --seed-list 1 2 --scheduler {address}")
    assert outcome.code == 2 and f"--scheduler {address}: no scheduler answers there" in outcome.err
    assert outcome.err.count("\n") == 1 and not outcome.results.exists()


def test_without_dask_a_line_says_what_to_install(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    outcome = cli(f"--experiment sweep {SHORT} --seed-list 1 2 --scheduler tcp://127.0.0.1:1")
    assert outcome.code == 2 and "pip install -r requirements-cluster.txt" in outcome.err
    assert outcome.err.count("\n") == 1


def test_with_a_limit_a_cluster_gets_a_run_only_when_a_worker_is_free(asked, running_cluster, monkeypatch):
    """Five of eight runs may begin, those with an even seed first; two workers never have more than two of them."""
    runs, args = asked
    address, _, workers = running_cluster
    monkeypatch.setattr(cluster, "_check", lambda *_: None)
    monkeypatch.setattr(remote, "maker", lambda: lambda root, directory, words: {"seconds": 0.0, "output": words[-1]})
    sent, ended = [], []
    submit = Client.submit

    def counted(client, make, *words, **options):
        assert sum(not future.done() for future in sent) < len(workers)
        sent.append(submit(client, make, *words, **options))
        return sent[-1]

    monkeypatch.setattr(Client, "submit", counted)

    def allows(run) -> bool:
        return len(sent) < 5 and (run.args.seed % 2 == 0 or len(sent) >= 4)

    for run, end in cluster.outcomes(address, runs, args, allows):
        assert end.error is None and end.output == run.command(args, None)[-1]
        ended.append(run.args.seed)
    assert sorted(ended) == [1, 2, 4, 6, 8] and len(sent) == 5
    assert list(cluster.outcomes("tcp://nowhere:1", runs, args, lambda run: False)) == []  # nobody is asked
