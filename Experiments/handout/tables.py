"""The handout's tables, with rows and columns in the handout's order."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from Experiments.handout import entries
from Experiments.handout.entries import Absent, caption, entry
from Experiments.handout.holdings import Found, Holdings
from Experiments.handout.questions import ARCHITECTURE_COMPRESSION, PRECISIONS, Column, Profile
from Experiments.handout.timed import NAMES, Times
from Experiments.reporting.table import DASH, Table
from Utils.export.formats import MASKED, REFERENCE
from Utils.study.runs import Run

MIB = 2.0**-20
Layer = tuple[int, str]  # number and module
Layers = dict[Layer, tuple[Any, Any]]  # what remains, and of how much where that is not 1
LAYER = ("layer", "module")  # the columns that name a layer
WHY_MASKS = (
    "Masks alone make nothing faster: a masked layer still multiplies its whole weight matrix, zeros and all, with one "
    "multiplication by the mask before, so the forward time is the same at every compression, whatever the FLOP table "
    "says. Zeros save time only where they are not computed with."
)


def _by_pruner(
    name: str, title: str, first: str, lines: Sequence[tuple[str, object, list[tuple[Column, Found]]]],
    profile: Profile, figure: Callable[[Run], float], decimals: int, note: str,
) -> Table:  # fmt: skip
    """Return a table of one figure of the runs, with a column for each pruner.

    first: the name of the first column. lines: for each row the first cell as shown and as recorded, and the others.
    """
    rows, records = [], []
    for shown, value, row in lines:
        cells = [entry(found, figure, decimals) for _, found in row]
        rows.append([shown, *(cell.text for cell in cells)])
        for (column, found), cell in zip(row, cells, strict=True):
            where = {first: value, "pruner": column.pruner, "pre_epochs": found.cell.pre_epochs}
            records.append({**where, **cell.record()})
    header = [first, *(column.title for column, _ in lines[0][2])]
    founds = [found for *_, row in lines for _, found in row]
    return Table(name, title, header, rows, records, caption(profile, founds, note))


def architectures(holdings: Holdings) -> Table:
    """Return question 1's table of test accuracies: rows are networks, columns are pruners."""
    lines = [
        (network.title, network.name, holdings.row(network, ARCHITECTURE_COMPRESSION, untrained=True))
        for network in holdings.profile.networks
    ]
    title = f"Question 1: test accuracy (top-1, %) at compression {ARCHITECTURE_COMPRESSION:g}"
    note = "Mag as set is trained before it is pruned; beside it Mag without that training."
    return _by_pruner("1-architectures", title, "network", lines, holdings.profile, entries.top1, 2, note)


def by_compression(
    name: str, title: str, holdings: Holdings, figure: Callable[[Run], float], decimals: int = 2, note: str = ""
) -> Table:
    """Return a table of question 2 for one figure of the runs: rows are compressions, columns are pruners."""
    profile = holdings.profile
    lines = [(f"{c:g}", c, holdings.row(profile.network, c)) for c in profile.compressions]
    title = f"{title}: {profile.network.title}"
    return _by_pruner(name, title, "compression", lines, profile, figure, decimals, note)


def tuning(holdings: Holdings, times: Times) -> list[Table]:
    """Return the tables of question 2: accuracy, test time, FLOP, and the spread of the test time."""
    return [
        by_compression("2a-accuracy", "Question 2a: test accuracy (top-1, %)", holdings, entries.top1),
        by_compression(
            "2b-test-time", "Question 2b: test time (s)", holdings, times.seconds, 3,
            "Forward passes over the test data, their batches made before; median of repeated passes. The bars of the "
            "figure reach from the shortest pass to the longest. The table of the spread names the machine of each "
            "timing. " + WHY_MASKS,
        ),
        by_compression(
            "2c-flop", "Question 2c: fraction of the FLOP that remains", holdings, entries.flop_fraction, 4,
            "A fully connected network has one multiply-add for each weight, so that there all curves coincide.",
        ),
        timings(holdings, times),
    ]  # fmt: skip


def timings(holdings: Holdings, times: Times) -> Table:
    """Return the test time of each model with its spread; the loader's time is listed separately."""
    profile = holdings.profile
    held = [(c, *each) for c in profile.compressions for each in holdings.row(profile.network, c)]
    rows, records = [], []
    for compression, column, run in ((c, column, run) for c, column, found in held for run in found.runs):
        first = [f"{compression:g}", column.title, run.seed]
        try:
            taken = times.of(run)
        except Absent as error:
            rows.append([*first, *[DASH] * 4, str(error)])
            records.append({"run": run.name, "why": str(error)})
            continue
        ranges = ["{median:.3f} ({lowest:.3f} to {highest:.3f})".format(**taken[name]) for name in NAMES]
        each = taken["examples"] / taken["forward"]["median"]
        number = f"{taken['timed']:,} of {taken['examples']:,}, {taken['repeats']} times"
        rows.append([*first, *ranges, f"{each:,.0f}", number, entries.machine_words(taken["machine"])])
        records.append({"run": run.name, **_flat(taken)})
    header = ["compression", "pruner", "seed", "forward, s (lowest to highest)", "loader, s (lowest to highest)"]
    header += ["images a second", "images timed", "machine"]
    note = "Test time of a whole pass, after a warm-up: the forward passes alone, and the making of the batches alone."
    title = f"Question 2b: test time in detail: {profile.network.title}"
    note = caption(profile, [found for *_, found in held], note)
    return Table("2b-test-time-spread", title, header, rows, records, note)


def _flat(taken: Any) -> dict[str, Any]:
    found = {f"{name}_{key}": value for name in NAMES for key, value in taken[name].items()}
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
            faster = formats[REFERENCE]["seconds"][size]["median"] / taken["median"]
            line.append(f"{1e3 * taken['median']:.3f} ({faster:.2f})")
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


def layers(holdings: Holdings) -> list[Table]:
    """Return question 3's tables of what remains of each layer's weights and FLOP, two for each compression."""
    result = []
    for compression in holdings.profile.compressions:
        sparsity, flop = layer_figures(holdings, compression)
        words = "Question 3a: fraction of the weights that remains, by layer"
        result.append(_by_layer(holdings, f"3a-sparsity-c{compression:g}", words, compression, sparsity))
        words = "Question 3c: FLOP that remains, by layer"
        result.append(_by_layer(holdings, f"3c-flop-c{compression:g}", words, compression, flop))
    return result


def layer_figures(holdings: Holdings, compression: float) -> tuple[dict[str, Layers], dict[str, Layers]]:
    """Return, by column, {layer: (fraction of its weights that remains, "")} and {layer: (remaining FLOP, all FLOP)}.

    A layer is (its number, from 1 on in the network's order; the name of its module). The figures are those of the
    first seed, because each seed has other masks.
    """
    sparsity: dict[str, Layers] = {}
    flop: dict[str, Layers] = {}
    for column, found in holdings.row(holdings.profile.network, compression):
        for run in found.runs[:1]:
            shares, flops = sparsity.setdefault(column.title, {}), flop.setdefault(column.title, {})
            tensors = [row for row in run.result["per_tensor"] if row["prunable"]]
            for number, row in enumerate(tensors, start=1):
                layer = number, f"{row['module']}.{row['param']}".removesuffix(".weight")
                shares[layer] = row["kept"] / row["size"], ""
                if "flops" in row:
                    flops[layer] = row["flops"] * row["kept"] // row["size"], row["flops"]
    return sparsity, flop


def _by_layer(holdings: Holdings, name: str, title: str, compression: float, columns: dict[str, Layers]) -> Table:
    network = holdings.profile.network
    held = holdings.row(network, compression)
    every: list[tuple[Any, str]] = list(dict.fromkeys(layer for column in columns.values() for layer in column))
    rows, records = [], []
    dense: dict[Any, Any] = {layer: of for column in columns.values() for layer, (_, of) in column.items() if of}
    for layer in every or [("all", f"{DASH} ({held[0][1].why})")]:
        line = list(map(str, layer))
        for column, found in held:
            number, of = columns.get(column.title, {}).get(layer, (None, ""))
            why = "" if number is not None else found.why or "not measured"
            line.append(f"{DASH} ({why})" if number is None else f"{number:,}" if of else f"{number:.4f}")
            record = {"compression": compression, **dict(zip(LAYER, layer, strict=True)), "pruner": column.pruner}
            records.append(record | {"remains": number, "of": of, "why": why})
        rows.append([*line, *([f"{dense[layer]:,}"] if layer in dense else [])])
    header = [*LAYER, *(column.title for column, _ in held), *(["dense"] if dense else [])]
    note = "Multiply-adds for one image; of the first seed." if dense else "Of the first seed."
    title = f"{title}: {network.title} at compression {compression:g}"
    return Table(name, title, header, rows, records, caption(holdings.profile, [found for _, found in held], note))


# Figures that are compared between precisions: title, figure of a run, its scale, decimals.
PRECISION_FIGURES: tuple[tuple[str, Callable[[Run], float], float, int], ...] = (
    ("memory in training, MiB", partial(entries.taken, what="peak_memory", phase="train"), MIB, 0),
    ("memory in pruning, MiB", partial(entries.taken, what="peak_memory", phase="prune"), MIB, 0),
    ("training, s", partial(entries.taken, what="seconds", phase="train"), 1.0, 1),
    ("test accuracy, %", entries.top1, 1.0, 2),
)


def mixed_precision(holdings: Holdings) -> Table:
    """Return question 4's table: memory, time and accuracy of Rand in both precisions; rows are compressions."""
    profile = holdings.profile
    rows, records, founds = [], [], []
    for compression in profile.compressions:
        line = [f"{compression:g}"]
        both = [holdings.of(profile.precision_cell(compression, amp)) for amp in PRECISIONS]
        founds += both
        for title, figure, scale, decimals in PRECISION_FIGURES:
            for found in both:
                cell = entry(found, figure, decimals, scale)
                line.append(cell.text)
                where = {"compression": compression, "figure": title}
                records.append({**where, **cell.record(), "precision": entries.precision(found.amp)})
        rows.append(line)
    header = ["compression"] + [f"{t}: {entries.precision(amp)}" for t, *_ in PRECISION_FIGURES for amp in PRECISIONS]
    note = (
        "Rand, with and without --quantization (--amp bf16). Memory: the most in use within the phase, on a GPU what "
        "torch has allocated, on a CPU all that is resident of the process."
    )
    title = f"Question 4: mixed precision: {profile.network.title}"
    return Table("4-mixed-precision", title, header, rows, records, caption(profile, founds, note))
