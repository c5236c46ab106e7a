"""The peak of memory in a body: at least what the body takes, and anew with each."""

import pytest
import torch

from Utils.machine import memory

CPU = torch.device("cpu")
MANY = 200 << 20  # bytes


def test_a_peak_holds_what_its_body_allocates_and_the_next_begins_anew():
    peaks: dict[str, int] = {}
    memory.give_back()
    try:
        with memory.peak(CPU, "idle", peaks):
            pass
        with memory.peak(CPU, "busy", peaks):
            block = torch.ones(MANY, dtype=torch.uint8)
            del block
        with memory.peak(CPU, "after", peaks):
            pass
    finally:
        memory.keep_freed()
    assert peaks["busy"] >= peaks["idle"] + 0.95 * MANY
    assert peaks["after"] <= peaks["busy"] - 0.9 * MANY
    assert all(isinstance(value, int) and value > 1 << 20 for value in peaks.values())


def test_of_one_phase_the_largest_stays():
    peaks = {"train": 1 << 60, "prune": 1}
    for phase in peaks:
        with memory.peak(CPU, phase, peaks):
            pass
    assert peaks["train"] == 1 << 60 and peaks["prune"] > 1 << 20


def test_where_the_system_does_not_say_nothing_is_said(monkeypatch):
    def missing(key):
        raise OSError(2, "No such file or directory")

    monkeypatch.setattr(memory, "_status", missing)
    peaks: dict[str, int] = {}
    with memory.peak(CPU, "train", peaks):
        pass
    assert peaks == {}


@pytest.mark.parametrize("command", ["--dataset mnist --pruner snip --compression 1 --post-epochs 1"])
def test_a_result_says_it_by_phase(ran, command):
    found = ran(command).result["peak_memory"]
    assert found.keys() == {"prune", "train"} and all(value > 50 << 20 for value in found.values())
