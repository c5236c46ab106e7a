"""The figure by which a run is judged: its name, how it is shown, and what guessing reaches.

`METRICS` is the one table of these figures. `sweep`, `report` and the claims read it, in its order. The numbers of
parameters and multiply-adds of a model are counted in `Utils.metrics`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A figure by which runs are judged."""

    key: str  # its name among a run's final figures; its values are in percent
    title: str
    chance: Callable[[int], float]  # number of classes -> what a guess reaches
    # Of a metric that is a mean over examples: where the function of one batch is, (logits [n, classes], target [n]) ->
    # the examples' values [n]. Every evaluation then finds it. "" where the data set's evaluation finds the figure.
    of_each: str = ""


BLEU = Metric("bleu", "BLEU", lambda classes: 0.0)
ACCURACY = Metric("test_top1", "test accuracy", lambda classes: 100.0 / classes)
METRICS = (  # of a run that has several, the first counts: the accuracy of a translation is one a token
    BLEU,
    ACCURACY,
)


def of(final: Mapping[str, float]) -> Metric:
    """Return the metric of a run with these final figures. Raises KeyError if there is none."""
    for metric in METRICS:
        if metric.key in final:
            return metric
    raise KeyError(ACCURACY.key)
