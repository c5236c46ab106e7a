"""The metric by which a run is judged, and the value that guessing reaches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A figure in percent by which runs are judged."""

    key: str  # its name among a run's final figures
    title: str
    chance: Callable[[int], float]  # number of classes -> what guessing reaches


METRICS = (  # the first that a run has counts, because a translation also has an accuracy, per token
    Metric("bleu", "BLEU", lambda classes: 0.0),
    Metric("test_top1", "test accuracy", lambda classes: 100.0 / classes),
)


def of(final: Mapping[str, float]) -> Metric:
    """Return the metric of a run with these final figures. Raises KeyError if there is none."""
    for metric in METRICS:
        if metric.key in final:
            return metric
    raise KeyError("test_top1")
