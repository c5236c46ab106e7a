"""Seconds by purpose, on a clock that is set by hand."""

import pytest

from Utils.machine import clock


@pytest.fixture
def hand(monkeypatch):
    """hand[0]: what the time is."""
    now = [100.0]
    monkeypatch.setattr(clock.time, "perf_counter", lambda: now[0])
    return now


def test_what_is_done_within_counts_for_itself_alone(hand):
    watch = clock.Clock("train", "evaluate", "save")
    hand[0] += 50  # nothing runs
    with watch("train"):
        hand[0] += 1
        with watch("evaluate"):
            hand[0] += 10
            with watch("save"):
                hand[0] += 100
            hand[0] += 20
        hand[0] += 2
        assert watch.reading() == {"train": 3, "evaluate": 30, "save": 100}
        hand[0] += 3
    hand[0] += 50
    assert watch.reading() == {"train": 6, "evaluate": 30, "save": 100}


def test_a_body_that_raises_is_counted(hand):
    watch = clock.Clock("train")
    with pytest.raises(KeyError), watch("train"):
        hand[0] += 1
        raise KeyError
    hand[0] += 1
    assert watch.reading() == {"train": 1}
    with watch("train"):
        hand[0] += 1
    assert watch.reading() == {"train": 2}
