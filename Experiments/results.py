"""The entries of result.json, and the report of a run for the console and report.txt."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from Utils import quality
from Utils.data.corpus import Corpus
from Utils.wording import listed

LONG = 40  # a table with more rows shows only the prunable tensors; result.json has all
LAYERS = 20  # layers with dead units that the console shows
GONE = 1e-6  # share of the dense network's signal at which nothing is left: float32's resolution, and some
POINTS = {"init": "Init.", "pre_prune": "Pre-Prune", "post_prune": "Post-Prune", "final": "Final"}


def dead_lines(dead: Mapping[str, Any], classes: Sequence[str]) -> str:
    """Describe the report of `Pruners.dead.find` in words, one finding per line."""
    if "not_searched" in dead:
        return f"Dead: not searched for, as {dead['not_searched']}\n"
    lines = []
    if dead["tensors"]:
        lines.append(f"Dead: no weight left in {', '.join(dead['tensors'])}")
    hit = {name: units for name, units in dead["units"].items() if units["dead"]}
    for name, units in list(hit.items())[:LAYERS]:
        lines.append(
            f"Dead: {units['dead']} of {units['units']} units of {name} "
            f"({units['no_way_in']} with no way in, {units['no_way_out']} with no way out)"
        )
    if further := list(hit.values())[LAYERS:]:
        count, whole = (sum(units[key] for units in further) for key in ("dead", "units"))
        lines.append(f"Dead: {count} of {whole} units of {len(further)} further layers, which result.json lists")
    alive, total = dead["classes"]["alive"], dead["classes"]["total"]
    if len(alive) < total:
        names = listed([classes[k] for k in alive]) or "none"
        lines.append(
            f"Dead: only {len(alive)} of {total} classes still have an incoming weight ({names}): "
            f"test top-1 can reach {dead['accuracy_cap']:.2f} % at most"
        )
    if not lines:
        lines.append("Dead: nothing" + " in other layers" * ("unsearched" in dead))
    if "unsearched" in dead:
        lines.append(f"Dead: units not searched for in layers that are never called: {listed(dead['unsearched'])}")
    return "".join(f"{line}\n" for line in lines)


def _died(signal: Mapping[str, float | None]) -> bool:
    """Tell whether a run ended with one output for all inputs, as far as float32 can tell."""
    before, end = signal.get("before"), signal.get("end")
    return before is not None and end is not None and end <= GONE * before


def described(args: Namespace, data: Corpus) -> dict[str, Any]:
    """Return the entries of result.json that identify the run and its data."""
    named = ("experiment", "dataset", "model", "model_class", "pruner", "compression", "seed")
    return {
        **{key: getattr(args, key) for key in named},
        "source": data.source,
        "data": {"files": data.files, "rows": data.rows, "notes": data.notes, "commonest": data.commonest},
        "vocab": data.vocab,
    }


def epoch_words(running_loss: float, found: Mapping[str, float], decisive: str = "") -> str:
    """Return one line with the losses and accuracies after an epoch; decisive: the figure that may end the training."""
    keys = (decisive, "test_loss", *(metric.key for metric in reversed(quality.METRICS)))
    shown = [f"{key.replace('_', ' ')} {found[key]:.4f}" for key in keys if key in found]
    return ", ".join([f"running loss {running_loss:.4f}", *shown])


def text(
    result: Mapping[str, Any],
    points: Mapping[str, Mapping[str, float]],
    table: pd.DataFrame,
    classes: Sequence[str],
    more: str,
) -> str:
    """Return the report: train results, prune results and two sparsities as assignment-one prints them, then `more`.

    points: the figures of each measured point, in order.
    """
    data = result["data"]
    rows = ", ".join(f"{count:,} {split}" for split, count in data["rows"].items())
    words = "".join(f", {size:,} words ({name})" for name, size in result["vocab"].items())
    wide = pd.option_context("display.width", 200, "display.max_columns", None, "display.max_rows", None)
    with wide:
        train = pd.DataFrame({POINTS.get(point, point): figures for point, figures in points.items()}).T
        train = train.round(4).to_string(na_rep="-")
        shown = table.drop(columns=["kept"])
        if len(shown) > LONG:
            shown = shown[shown["prunable"]].drop(columns=["prunable"])
        parts = [
            f"Data: {result['source'].upper()} {result['dataset']} ({rows}{words})",
            *(f"Data: {note}" for note in data["notes"]),
            *([f"Train results ({result['source']} data; accuracies in percent):\n{train}"] if points else []),
            f"Prune results ({result['source']} data):\n{shown}",
        ]
    for label, figures in (("Parameter", result["parameters"]), ("FLOP", result["flops"])):
        kept, total = figures["kept"], figures["total"]
        parts.append(f"{label} Sparsity: {kept}/{total} ({kept / max(1, total):.4f})")
    if unknown := result["flops"].get("not_counted"):
        parts.append(f"FLOPs do not count what uses of these cost: {listed(unknown)}")
    prunable = result["parameters"]["prunable"]
    parts.append(f"Prunable weights kept: {result['parameters']['prunable_kept']}/{prunable}")
    for phase, columns in result.get("mask_updates", {}).items():
        dropped, grown, count = sum(columns["dropped"]), sum(columns["grown"]), len(columns["step"])
        parts.append(f"Mask updates in {phase}: {count}; weights dropped {dropped}, grown {grown}")
    seconds = {**result["seconds"], "total": sum(result["seconds"].values())}
    more += f"Seconds: {', '.join(f'{key} {value:.1f}' for key, value in seconds.items())}\n"
    for last in list(points.values())[-1:]:
        judged, kept = quality.of(last), result["parameters"]["prunable_kept"] / max(1, prunable)
        figure = f"{judged.title} {last[judged.key]:.2f}"
        more += f"Result ({result['source']} data): {figure} with {100 * kept:.4g} % of the prunable weights\n"
    lines = dead_lines(result["dead"], classes)
    if _died(result.get("signal", {})) and result["dead"]["classes"].get("alive", True):
        lines += "Dead: the output is the same for every input, so nothing more is learnt; other seeds may train\n"
    return "\n".join(parts) + "\n" + lines + more
