"""Measure seconds, memory and file size of a finished run's model, masked and exported."""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from Experiments import finished
from Utils import console, load
from Utils.commandline.kinds import positive_count
from Utils.commandline.parser import Parser
from Utils.export.formats import MASKED, REFERENCE
from Utils.store import files, provenance

STEADY = 2.0  # factor between repeats, each a median itself, beyond which figures say nothing

# torch is imported only after the run has been found.


def flags(top: Parser) -> None:
    """Add the flags of this experiment to the parser."""
    add = finished.flags(top, "measure")
    words = "medians taken of each, in turn (default: 9)"
    add("--repeats", type=positive_count, default=9, metavar="N", help=words)


def check(args: Namespace) -> Namespace:
    """Return the arguments unchanged."""
    return args


def run(args: Namespace) -> dict[str, Any]:
    """Time the masked model and its exports in turn; print a table and save it as measurement.json in the run."""
    _, data, model = finished.take_up(args)

    import torch

    from Utils.export import measured

    formats, left_out = measured.formats(model, load.exporter(data.dataset), data, args.repeats)
    found = {"formats": formats, "left_out": left_out, "repeats": args.repeats}
    found |= {"machine": provenance.machine(torch.device("cpu")), "versions": provenance.versions()}
    found |= {"commit": provenance.commit()}
    files.write_json(Path(args.run) / "measurement.json", found)
    print(words(formats), end="")
    unlike = {name: unsteady(figures) for name, figures in formats.items()}
    if any(times > STEADY for times in unlike.values()):
        name = max(unlike, key=unlike.__getitem__)
        console.warn(
            f"the repeats of {name} differ by a factor of {unlike[name]:.1f}: measure again while the machine does "
            "nothing else" + (", or with --threads 1" if torch.get_num_threads() > 1 else "")
        )
    for reason in dict.fromkeys(left_out.values()):
        names = " and ".join(name for name, why in left_out.items() if why == reason)
        console.warn(f"left out: {names} ({reason})")
    print(f"Saved {Path(args.run) / 'measurement.json'}")
    return found


def unsteady(figures: Mapping[str, Any]) -> float:
    """Return the largest factor by which the slowest repeat of a format exceeds the quickest, of all batch sizes."""
    return max(taken["highest"] / taken["lowest"] for taken in figures["seconds"].values())


def words(formats: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a table for the console, one format per line, with its speed relative to the dense format."""
    sizes = list(formats[MASKED]["seconds"])
    lines = [
        f"{'':>10} {'parameters':>11} {'file':>11} {'memory':>11} {'multiply-adds':>14}" + "".join(map(_head, sizes))
    ]
    for name, figures in formats.items():
        line = f"{name:>10} {figures['parameters']:>11,} {figures['file_bytes']:>11,} {figures['memory_bytes']:>11,}"
        work = figures.get("multiply_adds")
        line += f" {'-' if work is None else format(work, ','):>14}"
        for size in sizes:
            middle = figures["seconds"][size]["median"]
            line += f" {1e3 * middle:>9.3f} ms"
            if REFERENCE in formats:
                line += f" {formats[REFERENCE]['seconds'][size]['median'] / middle:>6.2f} x"
        lines.append(line.rstrip())
    lines += [f"x: times as fast as the {REFERENCE} form"] * (REFERENCE in formats)
    return "".join(f"{line}\n" for line in lines)


def _head(size: str) -> str:
    return f" {f'{size} at a time':>21}"
