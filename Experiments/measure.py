"""Measure what pruning has saved in a finished run's model: seconds, memory and file size of its exported formats."""

from __future__ import annotations

import statistics
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from Experiments import finished
from Experiments.export import SIZES
from Utils import corpus, files, load, pretrained, provenance
from Utils.flags import Parser, positive_count

if TYPE_CHECKING:
    from torch import nn

# torch is imported once the run is known to be there.

MASKED = "masked"  # the model as it was trained, beside the exported formats
SECONDS = 0.2  # of measurement, at least, for each median


def flags(top: Parser) -> None:
    finished.flags(top, "measurement")
    top._action_groups[-1].add_argument(
        "--repeats", type=positive_count, default=9, metavar="N", help="medians taken of each, in turn (default: 9)"
    )


def check(args: Namespace) -> Namespace:
    return args


def run(args: Namespace) -> dict[str, Any]:
    """Time the masked model and its exports in turn; print a table and save it as measurement.json in the run."""
    config = finished.settings(args.run)
    file = pretrained.find("--run", args.run)
    data = corpus.load(finished.locate(config, Path(args.data_dir)))

    import torch

    if args.threads:
        torch.set_num_threads(args.threads)
    model = finished.model(config, data, file)
    with torch.no_grad():
        formats, makers = _formats(model, load.exporter(data.dataset), data)
        for size in SIZES:
            use = load.exporter(data.dataset).use(data, size, torch.device("cpu"))
            _time({name: makers[name](size) for name in makers}, use, size, args.repeats, formats)
    found = {
        "formats": formats,
        "repeats": args.repeats,
        "machine": provenance.machine(torch.device("cpu")),
        "versions": provenance.versions(),
        "commit": provenance.commit(),
    }
    files.write_json(Path(args.run) / "measurement.json", found)
    print(words(found), end="")
    print(f"Saved {Path(args.run) / 'measurement.json'}")
    return found


def _formats(model: nn.Module, exporter: Any, data: corpus.Corpus) -> tuple[dict[str, Any], dict[str, Any]]:
    """({format: sizes}, {format: number of examples at a time -> the model loaded for so many})."""
    import torch

    from Utils import exported
    from Utils.export import forms, package

    uses = {size: exporter.use(data, size, torch.device("cpu")) for size in SIZES}
    whole = exporter.draft(model)
    state = model.state_dict()
    formats: dict[str, Any] = {
        MASKED: {
            "file_bytes": len(package.content(state)),
            "memory_bytes": sum(value.numel() * value.element_size() for value in state.values()),
            "multiply_adds": forms.multiply_adds(whole, {}, uses[1]),
        }
    }
    makers: dict[str, Any] = {MASKED: lambda size: model}
    for name in load.FORMATS:
        draft = exporter.compact(whole, data) if name == "compact" else whole
        about, tensors = package.package(draft, name, uses)
        package.difference(model, about, tensors, data)
        chosen = {matrix: exported.nearest(kept["quickest"], 1) for matrix, kept in about["matrices"].items()}
        formats[name] = {
            "file_bytes": len(package.content(tensors)),
            "memory_bytes": sum(held.numel() * held.element_size() for held in exported.build(about, tensors).held),
            "multiply_adds": forms.multiply_adds(draft, chosen, uses[1]),
            "forms": {size: [kept["quickest"].get(str(size)) for kept in about["matrices"].values()] for size in SIZES},
        }
        makers[name] = lambda size, about=about, tensors=tensors: exported.build(about, tensors, size)
    return formats, makers


def _time(models: dict[str, nn.Module], use: Any, size: int, repeats: int, formats: dict[str, Any]) -> None:
    """Add seconds of one use on `size` examples to each format."""
    from functools import partial

    from Utils import timing

    for name, seconds in timing.in_turn(
        {key: partial(use, made) for key, made in models.items()}, repeats, SECONDS
    ).items():
        middle = statistics.median(seconds)
        formats[name].setdefault("seconds", {})[str(size)] = {
            "median": middle,
            "lowest": min(seconds),
            "highest": max(seconds),
        }
        formats[name].setdefault("examples_per_second", {})[str(size)] = size / middle


def words(found: dict[str, Any]) -> str:
    """A table for the console, a format a line, speed against the dense format."""
    lines = [f"{'':>8} {'file':>10} {'memory':>10} {'multiply-adds':>14}" + "".join(_head(size) for size in SIZES)]
    for name, figures in found["formats"].items():
        line = f"{name:>8} {figures['file_bytes']:>10,} {figures['memory_bytes']:>10,} {figures['multiply_adds']:>14,}"
        for size in map(str, SIZES):
            middle = figures["seconds"][size]["median"]
            faster = found["formats"]["dense"]["seconds"][size]["median"] / middle
            line += f" {1e3 * middle:>9.3f} ms {faster:>6.2f} x"
        lines.append(line)
    return "".join(f"{line}\n" for line in lines)


def _head(size: int) -> str:
    return f" {f'{size} at a time':>21}"
