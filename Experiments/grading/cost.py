"""The check of the time and memory of scoring, compared with our pruner."""

import statistics
from typing import Any

from Experiments.grading.bench import CPU, Bench, Check, Verdict, check
from Utils import load, testtime
from Utils.machine import memory

STAND_IN = "snip"  # our pruner to compare with if the class has no reference: it computes one gradient
ROUNDS, MOST = 5, 10.0  # measurements; the largest ratio of times that passes


def _peak(body) -> int | None:
    """Return the bytes that `body` needs at its peak; None if the system does not count them."""
    try:
        return memory.added(body)
    except (OSError, LookupError, ValueError):
        return None


def _cost(bench: Bench) -> Verdict:
    name = bench.truth or STAND_IN
    theirs, ours = bench.trial("middling"), bench.trial("middling")
    pruner = load.pruner(name)(ours.pairs)

    def score() -> None:
        theirs.pruner.score(theirs.model, theirs.loss, theirs.batches, CPU)

    def our_score() -> None:
        pruner.score(ours.model, ours.loss, ours.batches, CPU)

    score()
    our_score()
    seconds: list[tuple[float, float]] = []
    for k in range(ROUNDS):  # the order alternates, so that a machine whose speed drifts favours neither
        first, second = (testtime.seconds(body, CPU) for body in ((score, our_score) if k % 2 else (our_score, score)))
        seconds.append((first, second) if k % 2 else (second, first))
    ratio = statistics.median(a / b for a, b in seconds)
    figures: dict[str, Any] = {
        "beside": name,
        "seconds": statistics.median(a for a, _ in seconds),
        "our_seconds": statistics.median(b for _, b in seconds),
        "ratio": ratio,
        "peak_bytes": _peak(score),
        "our_peak_bytes": _peak(our_score),
    }
    words = f"{ratio:.2f} times our {name} ({1000 * figures['seconds']:.1f} ms)"
    if figures["peak_bytes"] is not None and figures["our_peak_bytes"] is not None:
        words += f", peak memory {figures['peak_bytes'] / 1e6:.0f} MB, ours {figures['our_peak_bytes'] / 1e6:.0f} MB"
    return Verdict(ratio <= MOST, words, figures)


def rows(truth: str | None) -> list[Check]:
    """Return the checks of this group."""
    return [check("time", _cost, {"most": MOST, "beside": truth or f"{STAND_IN}, there being no reference"})]
