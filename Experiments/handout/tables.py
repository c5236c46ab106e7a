"""The handout's tables, with rows and columns in the handout's order."""

from collections.abc import Callable, Sequence
from typing import Any

from Experiments.handout.entries import (
    Absent,
    Entry,
    caption,
    entry,
    flop_fraction,
    machine_words,
    peak,
    precision,
    seconds,
    top1,
)
from Experiments.handout.holdings import Found, Holdings
from Experiments.handout.questions import (
    ARCHITECTURE_COMPRESSION,
    PRECISIONS,
    Profile,
)
from Experiments.handout.timed import Times
from Experiments.reporting.table import DASH, Table
from Utils.export.formats import MASKED, REFERENCE
from Utils.study.runs import Run

MIB = 2.0**-20
Layer = tuple[int, str]  # number and module
LAYER = ("layer", "module")  # the columns that name a layer
WHY_MASKS = (
    "Masks alone make nothing faster: a masked layer still multiplies its whole weight matrix, zeros and all, with one "
    "multiplication by the mask before, so the forward time is the same at every compression, whatever the FLOP table "
    "says. Zeros save time only where they are not computed with."
)


def architectures(profile: Profile, holdings: Holdings) -> Table:
    """Return question 1's table of test accuracies: rows are networks, columns are pruners."""
    columns = profile.columns(untrained=True)
    rows, records, founds = [], [], []
    for network in profile.networks:
        line = [network.title]
        for column in columns:
            found = holdings.of(profile.cell(network, column, ARCHITECTURE_COMPRESSION))
            cell = entry(found, top1)
            line.append(cell.text)
            founds.append(found)
            records.append(
                {"network": network.name, "pruner": column.pruner, "pre_epochs": found.cell.pre_epochs, **cell.record()}
            )
        rows.append(line)
    title = f"Question 1: test accuracy (top-1, %) at compression {ARCHITECTURE_COMPRESSION:g}"
    note = caption(profile, founds, "Mag as set is trained before it is pruned; beside it Mag without that training.")
    return Table("1-architectures", title, ["network", *(c.title for c in columns)], rows, records, note)


def by_compression(
    name: str,
    title: str,
    profile: Profile,
    holdings: Holdings,
    figure: Callable[[Run], float],
    decimals: int = 2,
    note: str = "",
) -> Table:
    """Return a table of question 2 for one figure of the runs: rows are compressions, columns are pruners."""
    columns = profile.columns()
    rows, records, founds = [], [], []
    for compression in profile.compressions:
        line = [f"{compression:g}"]
        for column in columns:
            found = holdings.of(profile.cell(profile.network, column, compression))
            cell = entry(found, figure, decimals)
            line.append(cell.text)
            founds.append(found)
            where = {"compression": compression, "pruner": column.pruner, "pre_epochs": found.cell.pre_epochs}
            records.append({**where, **cell.record()})
        rows.append(line)
    header = ["compression", *(column.title for column in columns)]
    return Table(name, f"{title}: {profile.network.title}", header, rows, records, caption(profile, founds, note))


def tuning(profile: Profile, holdings: Holdings, times: Times) -> list[Table]:
    """Return the tables of question 2: accuracy, test time, FLOP, and the spread of the test time."""
    return [
        by_compression("2a-accuracy", "Question 2a: test accuracy (top-1, %)", profile, holdings, top1),
        by_compression(
            "2b-test-time", "Question 2b: test time (s)", profile, holdings, times.seconds, 3,
            "Forward passes over the test data, their batches made before; median of repeated passes. The bars of the "
            "figure reach from the shortest pass to the longest. The table of the spread names the machine of each "
            "timing. " + WHY_MASKS,
        ),
        by_compression(
            "2c-flop", "Question 2c: fraction of the FLOP that remains", profile, holdings, flop_fraction, 4,
            "A fully connected network has one multiply-add for each weight, so that there all curves coincide.",
        ),
        timings(profile, holdings, times),
    ]  # fmt: skip


def timings(profile: Profile, holdings: Holdings, times: Times) -> Table:
    """Return the test time of each model with its spread; the loader's time is listed separately."""
    rows, records, founds = [], [], []
    for compression in profile.compressions:
        for column in profile.columns():
            found = holdings.of(profile.cell(profile.network, column, compression))
            founds.append(found)
            for run in found.runs:
                try:
                    taken = times.of(run)
                except Absent as error:
                    rows.append([f"{compression:g}", column.title, run.seed, *[DASH] * 4, str(error)])
                    records.append({"run": run.name, "why": str(error)})
                    continue
                ranges = [
                    f"{taken[name]['median']:.3f} ({taken[name]['lowest']:.3f} to {taken[name]['highest']:.3f})"
                    for name in ("forward", "loader")
                ]
                each = taken["examples"] / taken["forward"]["median"]
                number = f"{taken['timed']:,} of {taken['examples']:,}, {taken['repeats']} times"
                line = [f"{compression:g}", column.title, run.seed, *ranges, f"{each:,.0f}", number]
                rows.append([*line, machine_words(taken["machine"])])
                records.append({"run": run.name, **_flat(taken)})
    header = ["compression", "pruner", "seed", "forward, s (lowest to highest)", "loader, s (lowest to highest)"]
    header += ["images a second", "images timed", "machine"]
    note = caption(
        profile, founds,
        "Test time of a whole pass, after a warm-up: the forward passes alone, and the making of the batches alone.",
    )  # fmt: skip
    return Table("2b-test-time-spread", f"Question 2b: test time in detail: {profile.network.title}", header, rows,
                 records, note)  # fmt: skip


def _flat(taken: Any) -> dict[str, Any]:
    found = {f"{name}_{key}": value for name in ("forward", "loader") for key, value in taken[name].items()}
    return found | {key: taken[key] for key in ("examples", "timed", "batch_size", "repeats")}


def exports(run: Run | None, formats: Any) -> Table:
    """Return the masked model's time and that of its exports, which leave out zeros.

    formats: the result of `Times.exported`; None if nothing was measured.
    """
    rows, records = [], []
    for name, figures in (formats or {}).items():
        line = [name, f"{figures['parameters']:,}", f"{figures['file_bytes'] / 1024:,.1f}"]
        record = {"format": name, "parameters": figures["parameters"], "file_bytes": figures["file_bytes"]}
        for size, taken in figures["seconds"].items():
            faster = formats[REFERENCE]["seconds"][size]["median"] / taken["median"] if REFERENCE in formats else None
            line.append(f"{1e3 * taken['median']:.3f} ({DASH if faster is None else f'{faster:.2f}'})")
            record |= {f"seconds_{size}": taken["median"], f"times_{REFERENCE}_{size}": faster}
        rows.append(line)
        records.append(record)
    if run is None or not rows:
        rows, records = [[MASKED, DASH, DASH, DASH, f"{DASH} (not measured)"]], [{"why": "not measured"}]
    where = f": {run.name}" if run else ""
    header = ["format", "parameters", "file, KiB", *(f"ms for {size} (times {REFERENCE})" for size in (1, 64))]
    note = (
        f"{WHY_MASKS} In brackets: how many times as fast as the {REFERENCE} form, which is the whole network with the "
        "masks multiplied in once. The compact form leaves out units that are dead, sparse single weights too, each "
        "matrix in the form that was the quickest (--experiment export)."
    )
    return Table("2b-exports", f"Question 2b: the masked model and its exports{where}", header, rows, records, note)


def layers(profile: Profile, holdings: Holdings) -> list[Table]:
    """Return question 3's tables of what remains of each layer's weights and FLOP, two for each compression."""
    result = []
    for compression in profile.compressions:
        sparsity, flop = layer_figures(profile, holdings, compression)
        for kind, words, columns in (
            ("3a-sparsity", "Question 3a: fraction of the weights that remains, by layer", sparsity),
            ("3c-flop", "Question 3c: FLOP that remains, by layer", flop),
        ):
            result.append(_by_layer(profile, holdings, f"{kind}-c{compression:g}", words, compression, columns))
    return result


def layer_figures(profile: Profile, holdings: Holdings, compression: float) -> tuple[dict, dict]:
    """Return, by column, {layer: fraction of its weights that remains} and {layer: (remaining FLOP, all FLOP)}.

    A layer is (its number, from 1 on in the network's order; the name of its module). The figures are those of the
    first seed, because each seed has other masks.
    """
    sparsity: dict[str, dict[Layer, float]] = {}
    flop: dict[str, dict[Layer, tuple[int, int]]] = {}
    for column in profile.columns():
        runs = holdings.of(profile.cell(profile.network, column, compression)).runs
        if runs:
            tensors = [row for row in runs[0].result["per_tensor"] if row["prunable"]]
            named = enumerate((f"{row['module']}.{row['param']}".removesuffix(".weight") for row in tensors), start=1)
            names = list(named)
            sparsity[column.title] = {n: row["kept"] / row["size"] for n, row in zip(names, tensors, strict=True)}
            flop[column.title] = {
                name: (row["flops"] * row["kept"] // row["size"], row["flops"])
                for name, row in zip(names, tensors, strict=True)
                if "flops" in row
            }
    return sparsity, flop


def _by_layer(
    profile: Profile, holdings: Holdings, name: str, title: str, compression: float, columns: dict[str, dict]
) -> Table:
    founds = [holdings.of(profile.cell(profile.network, column, compression)) for column in profile.columns()]
    every = list(dict.fromkeys(layer for column in columns.values() for layer in column))
    rows, records = [], []
    for layer in every or [("all", f"{DASH} ({founds[0].why})")]:
        line = list(map(str, layer))
        for column, found in zip(profile.columns(), founds, strict=True):
            value = columns.get(column.title, {}).get(layer)
            why = "" if value is not None else (found.why or "not measured")
            number = value[0] if isinstance(value, tuple) else value
            line.append(f"{DASH} ({why})" if value is None else f"{value[0]:,}" if isinstance(value, tuple) else
                        f"{value:.4f}")  # fmt: skip
            record = {"compression": compression, **dict(zip(LAYER, layer, strict=True)), "pruner": column.pruner}
            record["remains"] = number
            records.append(record | {"of": value[1] if isinstance(value, tuple) else "", "why": why})
        if any(isinstance(column.get(layer), tuple) for column in columns.values()):
            line.append(f"{next(column[layer][1] for column in columns.values() if layer in column):,}")
        rows.append(line)
    header = [*LAYER, *(column.title for column in profile.columns())]
    header += ["dense"] if len(rows[0]) > len(header) else []
    note = caption(profile, founds, "Multiply-adds for one image; of the first seed." if "dense" in header else
                   "Of the first seed.")  # fmt: skip
    return Table(name, f"{title}: {profile.network.title} at compression {compression:g}", header, rows, records, note)


# Figures that are compared between precisions: title, figure of a run, its scale, decimals.
PRECISION_FIGURES: tuple[tuple[str, Callable[[Run], float], float, int], ...] = (
    ("memory in training, MiB", lambda run: peak(run, "train"), MIB, 0),
    ("memory in pruning, MiB", lambda run: peak(run, "prune"), MIB, 0),
    ("training, s", lambda run: seconds(run, "train"), 1.0, 1),
    ("test accuracy, %", top1, 1.0, 2),
)


def mixed_precision(profile: Profile, holdings: Holdings) -> Table:
    """Return question 4's table: memory, time and accuracy of Rand in both precisions; rows are compressions."""
    rows, records, founds = [], [], []
    for compression in profile.compressions:
        line = [f"{compression:g}"]
        both = [holdings.of(profile.precision_cell(compression, amp)) for amp in PRECISIONS]
        founds += both
        for title, figure, scale, decimals in PRECISION_FIGURES:
            for found in both:
                cell: Entry = entry(found, figure, decimals, scale)
                line.append(cell.text)
                records.append({"compression": compression, "figure": title, **cell.record(),
                                "precision": precision(found.amp)})  # fmt: skip
        rows.append(line)
    header = ["compression"] + [f"{t}: {precision(amp)}" for t, *_ in PRECISION_FIGURES for amp in PRECISIONS]
    note = caption(
        profile, founds,
        "Rand, with and without --quantization (--amp bf16). Memory: the most in use within the phase, on a GPU what "
        "torch has allocated, on a CPU all that is resident of the process.",
    )  # fmt: skip
    return Table("4-mixed-precision", f"Question 4: mixed precision: {profile.network.title}", header, rows, records,
                 note)  # fmt: skip


def shown_runs(founds: Sequence[Found]) -> list[Run]:
    """Return all runs of these cells."""
    return [run for found in founds for run in found.runs]
