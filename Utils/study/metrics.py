"""Which figure of a run is the one to look at, and what guessing would reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """`key`: its name among a run's final figures, in percent. `chance`: number of classes -> what a guess reaches."""

    key: str
    title: str
    chance: Callable[[int], float]


METRICS = (  # of a run that has several, the first counts: the accuracy of a translation is one a token
    Metric("bleu", "BLEU", lambda classes: 0.0),
    Metric("test_top1", "test accuracy", lambda classes: 100.0 / classes),
)


def of(final: Mapping[str, float]) -> Metric:
    """The metric of a run with these final figures. Raises KeyError where there is none."""
    for metric in METRICS:
        if metric.key in final:
            return metric
    raise KeyError("test_top1")
