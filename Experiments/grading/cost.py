"""The check of the time and memory of scoring, compared with our pruner. The judge holds the clock."""

import copy
import statistics
from typing import Any

import torch
from torch import Tensor

from Experiments.grading import agreement, local
from Experiments.grading.bench import Bench, Check, Trial, Verdict, check
from Experiments.grading.truth import REFERENCES
from Utils import load, testtime

STAND_IN = "snip"  # our pruner to compare with if the class has no reference: it computes one gradient
ROUNDS, MOST = 5, 10.0  # measurements, after one that is not counted; the largest ratio of times that passes
# Of the scores largest in size, the share that has to be ours, or the time is that of no work at all: of constant or
# random scores at most 0.21 are, of the scores that known mistakes give at least 0.35.
ALIKE = 0.27


def _timed(trial: Trial) -> tuple[float, Tensor]:
    """Return (the seconds from the request to the scores, the scores of all weights)."""
    found: list[Tensor] = []
    seconds = testtime.seconds(lambda: found.extend(trial.score()), torch.device("cpu"))
    return seconds, torch.cat([score.flatten() for score in found])


def _cost(bench: Bench) -> Verdict:
    name = bench.truth or STAND_IN
    seconds: list[tuple[float, float]] = []
    share = 1.0
    with local.candidate(load.pruner(name)) as ours:
        shadow = copy.copy(bench)
        shadow.candidate = ours
        for k in range(ROUNDS + 1):  # another network each time, so that nothing can be remembered
            trials = [bench.trial("middling", variant=str(k)), shadow.trial("middling", variant=str(k))]
            order = -1 if k % 2 else 1  # it alternates, so that a machine whose speed drifts favours neither
            (a, scores), (b, our_scores) = [_timed(trial) for trial in trials[::order]][::order]
            seconds.append((a, b))
            if bench.truth in REFERENCES:
                share = min(share, agreement.overlap(our_scores.abs(), scores.abs(), 0.1))
        peaks = [trial.peak() for trial in trials]
    ratio = statistics.median(a / b for a, b in seconds[1:])
    figures: dict[str, Any] = {
        "beside": name, "ratio": ratio, "peak_bytes": peaks[0], "our_peak_bytes": peaks[1],
        "seconds": statistics.median(a for a, _ in seconds[1:]),
        "our_seconds": statistics.median(b for _, b in seconds[1:]),
    }  # fmt: skip
    if share < ALIKE:
        return Verdict(False, f"the scores have nothing of those of {name}, so their time says nothing", figures)
    words = f"{ratio:.2f} times our {name} ({1000 * figures['seconds']:.1f} ms)"
    counted = [peak / 1e6 for peak in peaks if peak is not None]
    if len(counted) == 2:
        words += f", peak memory {counted[0]:.0f} MB, ours {counted[1]:.0f} MB"
    return Verdict(ratio <= MOST, words, figures)


def rows(truth: str | None) -> list[Check]:
    """Return the checks of this group."""
    return [check("time", _cost, {"most": MOST, "beside": truth or f"{STAND_IN}, there being no reference"})]
