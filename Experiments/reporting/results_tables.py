"""Tables of the results, with the paper's figures for comparison."""

import math
from collections import Counter
from collections.abc import Iterable
from statistics import median
from typing import Any

from Experiments.handout.entries import precision
from Experiments.reporting import benchmark, speed
from Experiments.reporting.study import Study
from Experiments.reporting.table import DASH, Table, spread
from Utils import load
from Utils.quality import METRICS
from Utils.study.paper import PaperTable
from Utils.study.runs import Run
from Utils.study.statistics import Interval, interval
from Utils.study.tasks import MAIN, Task, Variant, encoded, in_order, label, plain, pruner_title

SHOWN = 3  # example translations
RUNS = ("directory", "task", "setting", "pruner", "compression", "seed", "figure", "commit")  # of the list of runs
NONE_YET = "No run of ours exists yet."
FORMS = {"metric": ".2f", "flop_sparsity": ".3f"}


def all_tables(study: Study) -> dict[str, list[Table]]:
    """Return the tables by section of the page."""
    return {
        "paper": [table for printed in study.paper.tables for table in beside_paper(printed, study.tasks)],
        "results": [results(study.tasks)],
        "benchmark": benchmark.tables(study.benchmark),
        "reached": [further(study.tasks), reached(study.tasks), moved(study.tasks)],
        "layers": [layers(task) for task in study.tasks],
        "bleu": [bleu(task) for task in study.tasks if is_translation(task)],
        "examples": [examples(task) for task in study.tasks if is_translation(task)],
        "speed": [speed.table(study.tasks)],
        "data": [data(study.tasks), versions(study.runs)],
        "runs": [run_list(study.tasks)],
    }


def is_translation(task: Task) -> bool:
    """Return whether the task is a translation."""
    return any("translation" in member.run.result for member in task.members)


def _numbers(mean: Interval | None) -> dict[str, Any]:
    return {"mean": None, "half_width": None, "seeds": 0} if mean is None else mean.record


def beside_paper(printed: PaperTable, tasks: list[Task]) -> list[Table]:
    """Return one table per task that the paper's table is about, or one without our figures if there is none."""
    of = [task for task in tasks if printed.of.items() <= task.record.items()]
    names = [printed.name if len(of) == 1 else f"{printed.name}-{task.name}" for task in of]
    tables = [_beside(printed, task, name) for task, name in zip(of, names, strict=True)]
    return tables or [_beside(printed, None, printed.name)]


def _beside(printed: PaperTable, task: Task | None, name: str) -> Table:
    pruners = list(dict.fromkeys([*printed.pruners, *(task.pruners() if task else [])]))
    ours = [0.0, *(c for pruner in pruners for c in task.compressions(printed.variant(pruner)))] if task else []
    rows, records = [], []
    for c in sorted({*printed.compressions, *ours}):
        row = [f"{c:g}"]
        for pruner in pruners:
            value = printed.cells.get((c, pruner))
            mean, other = _figure(printed, task, pruner, c)
            if pruner in printed.pruners:
                row.append(DASH if value is None else f"{value:.2f}" if value >= 0.1 else f"{value:g}")
            row.append(" ".join(filter(None, (spread(mean, FORMS[printed.figure]), other))))
            where = {"compression": c, "pruner": pruner, "paper": value}
            records.append({**where, **_numbers(mean), "precision": other})
        rows.append(row)
    header = ["compression"]
    for pruner in pruners:
        whose = ("paper", "ours") if pruner in printed.pruners else ("ours",)
        header += [f"{pruner_title(pruner)}, {side}" for side in whose]
    ours_are = "Ours: mean ± half width of the 95 % interval (seeds); without ± where the seeds agree or one is alone."
    notes = [printed.note, ours_are if task else NONE_YET]
    if task and task.unlike_paper:
        notes.append(f"Ours are with other settings than the paper's: {task.unlike_paper}.")
    return Table(name, printed.title, header, rows, records, " ".join(filter(None, notes)))


def _figure(printed: PaperTable, task: Task | None, pruner: str, compression: float) -> tuple[Interval | None, str]:
    """Return ours beside a cell of the paper's; the dense network's is the same for all pruners.

    If there is none in the task's precision, it is that of another precision, with its name.
    """
    if task is None:
        return None, ""
    variant = printed.variant(pruner) if compression > 0.0 else MAIN
    for amp in ("", *load.PRECISIONS):
        more = (("amp", encoded(amp)),) if amp else ()
        if values := task.values(pruner, compression, tuple(sorted((*variant, *more))), printed.figure):
            return interval(values.values()), amp and precision(amp)
    return None, ""


def _points(task: Task, variant: Variant = MAIN) -> Iterable[tuple[str, float]]:
    """Yield (pruner, compression) of a variant; its dense runs once, with pruner "", if they are its own."""
    if task.runs("", 0.0, variant) and variant == plain(variant):
        yield "", 0.0
    for pruner in task.pruners(variant):
        for c in task.compressions(variant, pruner):
            yield pruner, c


def _named(pruner: str) -> str:
    return pruner_title(pruner) if pruner else "dense"


def results(tasks: list[Task]) -> Table:
    """Return the table of all means over seeds."""
    rows, records = [], []
    for task in tasks:
        for variant in task.variants:
            for pruner, c in _points(task, variant):
                by_seed = task.values(pruner, c, variant)
                mean, density, flops = (
                    interval(task.values(pruner, c, variant, figure).values())
                    for figure in ("metric", "density", "flop_sparsity")
                )
                if mean is None or density is None or flops is None:
                    continue
                each = ", ".join(f"{value:.2f}" for value in by_seed.values())
                rows.append(
                    [task.title, label(variant), _named(pruner), f"{c:g}", f"{density.mean:.4g}", f"{flops.mean:.4g}"]
                    + [f"{spread(mean)} {task.metric.title}", each]
                )
                records.append(
                    {**task.record, "setting": label(variant), "pruner": _named(pruner), "compression": c}
                    | {"density": density.mean, "flop_sparsity": flops.mean, "metric": task.metric.key, **mean.record}
                    | {"by_seed": " ".join(f"{seed}={value!r}" for seed, value in by_seed.items())}
                )
    header = ["task", "setting", "pruner", "compression", "density", "FLOP sparsity", "mean ± half width", "each seed"]
    note = "Density and FLOP sparsity are the fractions that remain. Of one seed there is no interval."
    return Table("results", "All results", header, rows, records, note)


def further(tasks: list[Task]) -> Table:
    """The metrics of Utils.quality that every evaluation finds beside the one that a run is judged by."""
    rows, records = [], []
    for task in tasks:
        for metric in (metric for metric in METRICS if metric.of_each and metric != task.metric):
            for pruner, c in _points(task):
                found = interval(task.values(pruner, c, figure=f"final_{metric.key}").values())
                if found is not None:
                    rows.append([task.title, metric.title, _named(pruner), f"{c:g}", spread(found)])
                    where = {**task.record, "metric": metric.key, "pruner": _named(pruner), "compression": c}
                    records.append({**where, **found.record})
    header = ["task", "metric", "pruner", "compression", "mean ± half width"]
    return Table("further", "Further metrics", header, rows, records, "Main settings.")


def reached(tasks: list[Task]) -> Table:
    """Return the runs by the number of classes with a path of kept weights, where a mask has cut off any class."""
    rows, records = [], []
    for task in tasks:
        groups: dict[tuple[float, int], list[Run]] = {}
        for member in task.members:
            classes = member.run.result["dead"]["classes"]
            if "alive" in classes:  # else dead units were not searched for
                groups.setdefault((member.run.compression, len(classes["alive"])), []).append(member.run)
        cut = {c for c, alive in groups if alive < max(run.classes for run in groups[c, alive])}
        for c, alive in sorted(groups):
            if c not in cut or is_translation(task):
                continue
            values = [run.figures["metric"] for run in groups[c, alive]]
            counts = Counter(run.pruner for run in groups[c, alive])
            pruners = ", ".join(f"{pruner_title(name)} {counts[name]}" for name in in_order(counts))
            found = interval(values)
            assert found is not None
            spans = f"{found.mean:.2f} ({min(values):.2f} to {max(values):.2f})"
            rows.append([task.title, f"{c:g}", f"{alive} of {groups[c, alive][0].classes}", spans, pruners])
            where = {**task.record, "compression": c, "classes": alive, "runs": len(values), "mean": found.mean}
            records.append({**where, "lowest": min(values), "highest": max(values), "pruners": pruners})
    header = ["task", "compression", "classes reached", "mean (lowest to highest)", "runs"]
    note = (
        "All settings and seeds. Of the classes that nothing reaches any more, one alone can ever be the answer: the "
        "logits of all are constants."
    )
    return Table("reached", "Classes still reached", header, rows, records, note)


def moved(tasks: list[Task]) -> Table:
    """Return the test loss of the network before pruning and directly after it, before any further training."""
    pruners = in_order(pruner for task in tasks for pruner in task.pruners())
    rows, records = [], []
    for task in tasks:
        for c in task.compressions():
            after = {pruner: list(task.values(pruner, c, figure="post_prune_loss").values()) for pruner in pruners}
            before = [value for p in pruners for value in task.values(p, c, figure="pre_prune_loss").values()]
            if not before:
                continue
            rows.append([task.title, f"{c:g}", *(span(values) for values in (before, *after.values()))])
            for pruner, values in after.items():
                if values:
                    where: dict[str, Any] = {**task.record, "compression": c, "pruner": pruner}
                    where |= {"before": median(before), "after": median(values), "seeds": len(values)}
                    records.append({**where, "lowest": min(values), "highest": max(values)})
    header = ["task", "compression", "before", *map(pruner_title, pruners)]
    note = "Median over seeds (lowest to highest). Before: all pruners' runs. Main settings."
    return Table("moved", "Test loss before and right after pruning", header, rows, records, note)


def span(values: list[float]) -> str:
    """Return the median with the range, such as `9.3 (9.28 to 9.33)`."""
    if not values:
        return DASH
    ends = [f"{value:.3g}" for value in (min(values), max(values))]
    return f"{median(values):.3g}" + ("" if ends[0] == ends[1] else f" ({ends[0]} to {ends[1]})")


def layer_names(task: Task) -> list[str]:
    """Return the names of the prunable tensors of the main runs, in the model's order."""
    pruned = [(pruner, c) for pruner, c in _points(task) if c > 0.0]
    return list(dict.fromkeys(name for side in pruned for run in task.runs(*side).values() for name in run.layers()))


def layers(task: Task) -> Table:
    """Return the density of each prunable tensor, averaged over seeds."""
    columns = [(pruner, c) for pruner, c in _points(task) if c > 0.0]
    by_layer: dict[str, dict[tuple[str, float], float]] = {name: {} for name in layer_names(task)}
    for pruner, c in columns:
        each = [run.layers() for run in task.runs(pruner, c).values()]
        for name, found in by_layer.items():
            values = [densities[name] for densities in each if name in densities]
            if values:
                found[pruner, c] = math.fsum(values) / len(values)
    rows = [
        [name, *(f"{densities[key]:.4g}" if key in densities else DASH for key in columns)]
        for name, densities in by_layer.items()
    ]
    records = [
        {"layer": name, "pruner": pruner, "compression": c, "density": value}
        for name, densities in by_layer.items()
        for (pruner, c), value in densities.items()
    ]
    header = ["layer", *(f"{pruner_title(pruner)} {c:g}" for pruner, c in columns)]
    note = "Fraction of the tensor's weights that is kept, mean over seeds."
    return Table(f"layers-{task.name}", f"Density by layer: {task.title}", header, rows, records, note)


def bleu(task: Task) -> Table:
    """Return BLEU with n-grams up to each order."""
    rows, records = [], []
    for pruner, c in _points(task):
        figures = {f"bleu_{n}": interval(task.values(pruner, c, figure=f"bleu_{n}").values()) for n in range(1, 5)}
        rows.append([_named(pruner), f"{c:g}", *map(spread, figures.values())])
        records += [
            {"pruner": _named(pruner), "compression": c, "figure": key, **_numbers(mean)}
            for key, mean in figures.items()
        ]
    header = ["pruner", "compression", *(f"BLEU-{n}" for n in range(1, 5))]
    return Table(f"bleu-{task.name}", f"BLEU by n-gram order: {task.title}", header, rows, records)


def examples(task: Task) -> Table:
    """Return translations by the first seed's network, at each compression."""
    rows: list[list[str]] = []
    records: list[dict[str, Any]] = []
    for k in range(SHOWN):
        for pruner, c in _points(task):
            seed, run = next(iter(task.runs(pruner, c).items()))
            shown = run.result.get("translation", {}).get("examples", [])[k : k + 1]
            for example in shown:
                if not any(record["source"] == example["source"] for record in records):
                    rows.append([example["source"], "reference", "", example["reference"]])
                rows.append(["", _named(pruner), f"{c:g}", example["output"]])
                records.append({**example, "pruner": _named(pruner), "compression": c, "seed": seed})
    header = ["source", "by", "compression", "text"]
    return Table(f"translations-{task.name}", f"Example translations: {task.title}", header, rows, records)


def data(tasks: list[Task]) -> Table:
    """Return the table of the data that the figures are based on."""
    rows, records = [], []
    for task in tasks:
        for source, counts, notes in dict.fromkeys(_behind(member.run) for member in task.members):
            rows.append([task.title, source, counts, notes])
            records.append({**task.record, "source": source, "rows": counts, "notes": notes})
    return Table("data", "Data", ["task", "source", "rows", "remarks"], rows, records)


def _behind(run: Run) -> tuple[str, str, str]:
    found = run.result["data"]
    counts = ", ".join(f"{count:,} {split}" for split, count in found.get("rows", {}).items())
    source = run.result["source"]
    return source if source == "real" else f"GENERATED {source}", counts, "; ".join(found.get("notes", []))


def made_with(run: Run) -> dict[str, str]:
    """Return the versions of the packages, and the device, threads and platform, that made a run."""
    packages = ", ".join(f"{name} {version}" for name, version in run.result["versions"].items() if version)
    machine = run.result.get("machine", {})
    device = ", ".join(str(machine[key]) for key in ("gpu", "device", "threads", "platform") if key in machine)
    return {"versions": packages, "machine": device}


def versions(runs: list[Run]) -> Table:
    """Return the table of code versions and machines that made the runs, one line per combination."""
    counts: Counter[tuple[str, ...]] = Counter()
    for run in runs:
        counts[str(run.result.get("commit")), *made_with(run).values()] += 1
    header = ["commit", "runs", "versions", "device, threads, platform"]
    rows, records = [], []
    for (commit, packages, device), count in counts.items():
        rows.append([commit[:12], str(count), packages, device])
        records.append({"commit": commit, "runs": count, "versions": packages, "machine": device})
    return Table("versions", "Code and machines", header, rows, records)


def run_list(tasks: list[Task]) -> Table:
    """Return the table of every run's directory and figure, so that each number can be traced."""
    rows, records = [], []
    for task in tasks:
        for member in sorted(task.members, key=lambda p: (p.run.pruner, p.run.compression, p.run.seed, p.run.path)):
            run = member.run
            value, commit = run.figures["metric"], str(run.result.get("commit"))
            path, setting = run.path.as_posix(), label(member.variant)
            rows.append([path, task.title, setting, pruner_title(run.pruner), f"{run.compression:g}", run.seed])
            rows[-1] += [f"{value:.2f} {task.metric.title}", commit[:12]]
            where: dict[str, Any] = {"run": path, **task.record, "setting": setting, "pruner": run.pruner}
            where |= {"compression": run.compression, "seed": run.seed, "metric": task.metric.key}
            records.append({**where, "value": value, "commit": commit})
    return Table("runs", "Every run", RUNS, rows, records)
