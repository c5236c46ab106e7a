"""The time limit of a sweep, under a clock that moves only when a worker has made a run; no worker here computes."""

import json
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stores import RESULT

from Experiments import runs
from Experiments.sweeping import limit, plan, pool
from Utils import load
from Utils.commandline import arguments
from Utils.data import corpus

FLAGS = "--experiment sweep --dataset agnews --compression 1"


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    """The clock that time limits go by."""
    clock = Clock()
    monkeypatch.setattr(limit, "clock", clock)
    return clock


@pytest.fixture
def worker(clock, monkeypatch):
    """Workers that make any run at once, while the clock moves on.

    `begun` lists (pruner, seed) of what they were given. `seconds` are those of a run, by pruner; with None it fails,
    after 10.
    """

    class Worker:
        seconds = {"rand": 10.0}
        begun = []

        def __init__(self) -> None:
            read, write = os.pipe()
            self.replies, self.answers = os.fdopen(read), os.fdopen(write, "w", buffering=1)
            self.job: int | None = None
            self.ready = False
            self.answer({"ready": True})

        def answer(self, reply: dict) -> None:
            self.answers.write(json.dumps(reply) + "\n")

        def begin(self, job: int, command: list[str]) -> None:
            self.job = job
            args = arguments.parse(command)
            self.begun.append((args.pruner, args.seed))
            seconds = self.seconds[args.pruner]
            clock.now += seconds or 10.0
            if seconds is not None:
                located = corpus.locate(load.configured(args), args.data_dir, args.source)
                store(runs.find(args, located), seconds)
            self.answer({"seconds": seconds} if seconds else {"error": "out of luck"})

        def output(self) -> str:
            return ""

        def reply(self) -> dict:
            return json.loads(self.replies.readline())

        def release(self) -> None:
            self.answers.close()

        def stop(self) -> None:
            self.release()
            self.replies.close()

    monkeypatch.setattr(pool, "Worker", Worker)
    return Worker


def store(place, seconds: float, device: str = "cpu") -> None:
    """Put a finished run there."""
    place.path.mkdir(parents=True)
    (place.path / "config.json").write_text(json.dumps(place.config), encoding="utf-8")
    result = {**RESULT, "final": {"test_top1": 50.0}, "seconds": {"train": seconds}, "machine": {"device": device}}
    (place.path / "result.json").write_text(json.dumps(result), encoding="utf-8")


@pytest.fixture
def stored(tmp_path, sample_data):
    """stored(seconds, device, flags): a finished run of seed 99 in the results of `cli`."""

    def put(seconds: float, device: str = "cpu", flags: str = "--pruner rand") -> None:
        asked = f"--dataset agnews --source sample --post-epochs 0 --compression 1 --seed 99 {flags}"
        args = arguments.parse([*asked.split(), f"--data-dir={sample_data}", f"--result-dir={tmp_path / 'results'}"])
        store(runs.find(args, corpus.locate(load.dataset("agnews"), sample_data, "sample")), seconds, device)

    return put


def summary(outcome) -> str:
    """The last line, without the directory."""
    return outcome.out.splitlines()[-1].partition("; results in")[0]


# What may begin.


def test_a_run_begins_before_the_end_and_if_it_ends_in_time(clock):
    found = limit.TimeLimit(60.0)
    assert found.allows(None) and found.allows(60.0) and not found.allows(60.5)
    clock.now += 59.0
    assert found.allows(None) and found.allows(1.0) and not found.allows(1.5)
    clock.now += 1.0
    assert not found.allows(None) and not found.allows(0.0)
    assert found.allows(10.0, at=50.0) and not found.allows(10.0, at=51.0)


@pytest.mark.parametrize(
    ("seconds", "workers", "lengths", "begins"),
    [
        (10, 1, [6, 6, 4, 1], [True, False, True, False]),  # the second is too long, the third fills the time
        (10, 2, [6, 6, 4, 5, 4], [True, True, True, False, True]),
        (10, 1, [None, 10, None], [True, True, False]),  # an unknown one counts as none, until the time is over
        (10, 3, [11, 12], [False, False]),
        (10, 4, [10], [True]),
        (10, 2, [], []),
    ],
)
def test_what_is_foreseen(seconds, workers, lengths, begins):
    assert limit.TimeLimit(seconds).foresee(lengths, workers) == begins


@given(st.lists(st.integers(1, 12), max_size=10), st.integers(1, 4), st.integers(1, 25))
def test_what_is_foreseen_is_what_second_by_second_would_happen(lengths, workers, seconds):
    waiting, left, begun = list(range(len(lengths))), [0] * workers, set()
    for second in range(seconds):
        for k in range(workers):
            fitting = [number for number in waiting if second + lengths[number] <= seconds]
            if left[k] == 0 and fitting:
                left[k] = lengths[fitting[0]]
                waiting.remove(fitting[0])
                begun.add(fitting[0])
        left = [max(0, rest - 1) for rest in left]
    assert limit.TimeLimit(seconds).foresee(lengths, workers) == [k in begun for k in range(len(lengths))]


# A sweep.


@pytest.mark.parametrize(
    ("seconds", "made"),
    [
        (35, 3),  # the first ends at 10, and tells how long the others take: the fourth would end at 40
        (30, 3),
        (29, 2),
        (5, 1),  # it is in hand when the time is over, and is finished
        (1_000, 5),
    ],
)
def test_runs_begin_while_they_will_end_in_time(cli, worker, seconds, made):
    outcome = cli(f"{FLAGS} --pruner rand --seed-list 4 1 2 3 5 --time-limit {seconds}")
    assert outcome.code == 0 and worker.begun == [("rand", seed) for seed in (4, 1, 2, 3, 5)][:made]
    left = f", {5 - made} left for want of time" if made < 5 else ""
    assert summary(outcome) == f"5 runs: {made} done, 0 failed{left}"
    assert not (outcome.results / "failed").exists()
    again = cli(f"{FLAGS} --pruner rand --seed-list 4 1 2 3 5")  # no limit: the rest
    assert summary(again) == "5 runs: 5 done, 0 failed" and sorted(worker.begun) == [("rand", k) for k in range(1, 6)]


def test_what_stored_runs_tell_holds_from_the_first_on(cli, worker, stored):
    """None is begun, and no worker started, where none would end in time; shorter ones further on are."""
    worker.seconds = {"rand": 10.0, "snip": 40.0}
    stored(10.0)
    stored(40.0, flags="--pruner snip")
    worker.__init__, begin = None, worker.__init__  # a worker that is started would be called
    outcome = cli(f"{FLAGS} --pruner-list snip rand --seed-list 1 2 --time-limit 9")
    assert outcome.code == 0 and worker.begun == [] and summary(outcome).endswith("4 left for want of time")
    worker.__init__ = begin
    outcome = cli(f"{FLAGS} --pruner-list snip rand --seed-list 1 2 --time-limit 39")
    assert outcome.code == 0 and worker.begun == [("rand", 1), ("rand", 2)]
    assert summary(outcome) == "4 runs: 2 done, 0 failed, 2 left for want of time"


def test_runs_of_another_kind_of_device_tell_nothing(cli, worker, stored):
    stored(1_000.0, device="cuda:0")
    outcome = cli(f"{FLAGS} --pruner rand --seed-list 1 2 --time-limit 15 --no-cuda")
    assert worker.begun == [("rand", 1)] and summary(outcome) == "2 runs: 1 done, 0 failed, 1 left for want of time"


def test_runs_of_this_sweep_tell_more_than_stored_ones(cli, worker, stored):
    stored(2.0)
    outcome = cli(f"{FLAGS} --pruner rand --seed-list 1 2 3 --time-limit 15")
    assert worker.begun == [("rand", 1)] and summary(outcome) == "3 runs: 1 done, 0 failed, 2 left for want of time"


def test_a_failure_is_one_with_a_limit_too(cli, worker):
    worker.seconds = {"rand": 10.0, "snip": None}
    outcome = cli(f"{FLAGS} --pruner-list rand snip --seed-list 1 2 --time-limit 35")
    assert outcome.code == 1 and worker.begun == [("rand", 1), ("snip", 1), ("rand", 2)]
    assert summary(outcome) == "4 runs: 2 done, 1 failed, 1 left for want of time"


@pytest.mark.parametrize(("seconds", "made"), [(25, 4), (15, 2)])
def test_workers_side_by_side_stop_at_the_same_time(cli, worker, clock, monkeypatch, seconds, made):
    """Two at a time: the clock moves on when both have begun."""
    begin = worker.begin

    def one_of_two(self, job, command):
        now = clock.now
        begin(self, job, command)
        clock.now = now if len(worker.begun) % 2 else now + 10.0

    monkeypatch.setattr(worker, "begin", one_of_two)
    outcome = cli(f"{FLAGS} --pruner rand --seed-list 1 2 3 4 5 6 --workers 2 --time-limit {seconds}")
    assert outcome.code == 0 and len(worker.begun) == made, worker.begun
    assert summary(outcome) == f"6 runs: {made} done, 0 failed, {6 - made} left for want of time"


# What a dry run says.


def test_a_dry_run_shows_what_there_is_time_for(cli, worker, stored):
    stored(40.0, flags="--pruner snip")
    stored(10.0)
    stored(100.0, device="cuda:0", flags="--pruner grasp --prune-epochs 2")
    asked = f"{FLAGS} --pruner-list rand snip --seed-list 1 2 --dry-run --no-cuda"

    def shown(flags: str) -> tuple[list[tuple[str, str]], str]:
        outcome = cli(f"{asked} {flags}")
        assert outcome.code == 0 and worker.begun == []
        return re.findall(r"-(\w+)-c1-s\d-\w+: (.+), about", outcome.out), outcome.out.splitlines()[-1]

    states, last = shown("--time-limit 60")
    assert states == [("rand", "to do"), ("snip", "to do"), ("rand", "to do"), ("snip", "no time")]
    assert last.endswith("4 to do, about 2 min for 1 at a time; in 60 s there is time for 3 of the 4 of known length")
    assert all(state == "to do" for _, state in shown("--time-limit 60 --workers 2")[0])
    assert all(state == "no time" for _, state in shown("--time-limit 5")[0])
    assert "there is time" not in shown("")[1]
    outcome = cli(f"{FLAGS.replace('agnews', 'mnist')} --seed-list 1 2 --dry-run --time-limit 60")
    assert outcome.out.endswith("2 to do, of unknown length for 1 at a time; as many begin as 60 s leave time for\n")
    assert plan.duration(100) == "2 min"
