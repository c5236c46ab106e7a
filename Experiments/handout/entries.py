"""A cell of a table: a mean over seeds, or the reason why it is blank."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from Experiments.handout.holdings import Found
from Experiments.handout.questions import Profile
from Experiments.reporting.table import DASH
from Utils.quality import ACCURACY
from Utils.study.runs import Run
from Utils.study.statistics import Interval, interval
from Utils.wording import counted

SEEDS_FOR_HALF = 3  # with fewer seeds, the interval is not shown


class Absent(Exception):
    """An error for a figure that a run lacks; the message says why."""


@dataclass(frozen=True)
class Entry:
    """A cell of a table."""

    text: str  # as shown
    found: Interval | None  # mean over the runs that have the figure; None if none has
    amp: str
    why: str = ""  # the reason for missing runs or figures

    @property
    def mean(self) -> float | None:
        """Return the mean, or None without one."""
        return None if self.found is None else self.found.mean

    def record(self) -> dict[str, Any]:
        """Return the columns of the CSV."""
        mean = self.found
        if mean is None:
            return {"mean": None, "half_width": None, "seeds": 0, "precision": "", "why": self.why}
        half = mean.half if mean.count >= SEEDS_FOR_HALF else None
        return {**mean.record, "half_width": half, "precision": precision(self.amp), "why": self.why}


def precision(amp: str) -> str:
    """Return the name of a precision as tables show it."""
    return "fp32" if amp == "off" else amp


def entry(found: Found, figure: Callable[[Run], float], decimals: int = 2, scale: float = 1.0) -> Entry:
    """Return the cell for a figure of these runs. `figure` raises Absent for a run that lacks it."""
    values, reasons = [], [found.why] if found.why else []
    for run in found.runs:
        try:
            values.append(scale * figure(run))
        except Absent as error:
            reasons.append(str(error))
    why = "; ".join(dict.fromkeys(reasons))
    mean = interval(values)
    if mean is None:
        return Entry(f"{DASH} ({why})", None, found.amp, why)
    text = f"{mean.mean:.{decimals}f}"
    if mean.half and mean.count >= SEEDS_FOR_HALF:
        text += f" ± {mean.half:.{decimals}f}"
    labels = [precision(found.amp)] if found.amp != "off" and found.cell.amp is None else []
    seeds = len(found.runs) + found.missing
    if len(values) < seeds:
        labels.append(f"{len(values)} of {counted(seeds, 'seed')}")
    return Entry(text + (f" ({', '.join(labels)})" if labels else ""), mean, found.amp, why)


def top1(run: Run) -> float:
    """Return the final test accuracy, in percent."""
    return run.figures[f"final_{ACCURACY.key}"]


def flop_fraction(run: Run) -> float:
    """Return the fraction of the FLOP that remains."""
    return run.figures["flop_sparsity"]


def taken(run: Run, what: str, phase: str) -> float:
    """Return what a phase took: its "seconds", or of "peak_memory" the bytes. Raises Absent if it was not measured."""
    try:
        return float(run.result[what][phase])
    except KeyError:
        raise Absent("not measured") from None


def caption(profile: Profile, founds: Iterable[Found], *more: str) -> str:
    """Return the conditions of the figures in words: epochs, seeds, device, precision, data."""
    founds = list(founds)
    runs = [run for found in founds for run in found.runs]
    post, pre = profile.post_epochs, profile.pre_epochs
    first = any(found.cell.pre_epochs for found in founds)
    words = [f"{counted(post, 'epoch')} after pruning" + (f"; Mag is trained for {pre} before it" * first) + "."]
    if runs:
        seeds = list(dict.fromkeys(run.seed for run in runs))
        devices = list(dict.fromkeys(map(device, runs)))
        words.append(f"Seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}; {' and '.join(devices)}; ")
        words[-1] += f"{' and '.join(dict.fromkeys(precision(f.amp) for f in founds if f.runs))}; {data(runs)}."
        if len(seeds) >= SEEDS_FOR_HALF:
            words.append("Mean ± half the width of the 95 % interval.")
    else:
        words.append("No run yet.")
    return " ".join([*filter(None, more), *words])


def data(runs: Sequence[Run]) -> str:
    """Return which data the runs were made on."""
    sources = {run.result["source"] for run in runs}
    if len(sources) > 1:
        return "real data and GENERATED SAMPLES"
    return "real data" if sources == {"real"} else "GENERATED SAMPLE DATA"


def device(run: Run) -> str:
    """Return the device that the run was made on, with its threads or the GPU's name."""
    return machine_words(run.result.get("machine", {}))


def machine_words(machine: Mapping[str, Any]) -> str:
    """Return the name of a GPU, or the processor, if it is recorded, with its threads."""
    if gpu := machine.get("gpu"):
        return str(gpu)
    if not (threads := machine.get("threads")):
        return str(machine.get("device", "unknown device"))
    return f"{machine.get('processor', 'CPU')}, {counted(threads, 'thread')}"
