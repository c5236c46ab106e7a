"""Tables of the comparison: retained performance, pruner against pruner, the paper's claims."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from Experiments.reporting.study import SAMPLES, Study
from Experiments.reporting.table import DASH, Table, spread
from Utils.study import answer, contrasts, retained, statements
from Utils.study.statistics import interval
from Utils.study.tasks import Task, Variant, label, pruner_title

ANSWER = "answer"  # the table of the primary contrasts
LISTED = 4  # statements of a claim shown in the table; compare.json has all


@dataclass(frozen=True)
class Comparison:
    """The tables of the comparison that have rows, and the claims."""

    tables: list[Table]
    claims: list[statements.Claim]
    on_samples: bool

    @property
    def contrasts(self) -> list[Table]:
        """Return the tables but those of the answer and of the claims."""
        return [table for table in self.tables[:-1] if table.name != ANSWER]

    def markdown(self, runs: bool = False) -> str:
        """Return the tables as a document; with `runs`, the directories of the runs behind each claim as well."""
        banner = [f"**{SAMPLES}**"] if self.on_samples else []
        text = "\n".join(["# The comparison\n", *banner, *(table.markdown() for table in self.tables)])
        if not runs:
            return text
        behind = [
            f"- {claim.name} ({claim.where}):\n" + "".join(f"  - `{run.path.as_posix()}`\n" for run in claim.runs)
            for claim in self.claims
            if claim.runs
        ]
        return "\n".join([text, "## Runs behind the claims\n", *behind])

    def as_json(self) -> dict:
        """Return the claims with their statements and runs, and the other tables' records; infinite numbers as null."""
        return {
            "rule": statements.RULE,
            "on_samples": self.on_samples,
            "claims": [_claim(claim) for claim in self.claims],
            **{table.name: [*map(_finite, table.records)] for table in self.tables[:-1]},
        }


def compare(study: Study) -> Comparison:
    """Return the comparison of these runs."""
    pairs = [found for task in study.tasks for found in contrasts.pruners(task)]
    variants = [found for task in study.tasks for found in contrasts.variants(task)]
    tables = [
        answer_table(study.tasks),
        retained_table(study.tasks),
        threshold_table(study.tasks),
        contrast_table("pairs", f"Pruners against {pruner_title(contrasts.BASE)}, paired by seed", pairs),
        contrast_table("variants", "Other settings, paired by seed", variants),
    ]
    filled = [table for table in tables if table.rows]
    return Comparison([*filled, claim_table(study.claims)], study.claims, study.on_samples)


def _claim(claim: statements.Claim) -> dict:
    return {
        "claim": claim.name, "on": claim.where, "verdict": claim.verdict, "border": claim.border,
        "statements": [
            {"text": s.text(), "verdict": s.verdict, "seeds": s.found.count}
            | _finite({"mean": s.found.mean, "low": s.found.low, "high": s.found.high}) for s in claim.statements
        ],
        "runs": [run.path.as_posix() for run in claim.runs],
    }  # fmt: skip


def _finite(record: Mapping[str, object]) -> dict[str, object]:
    infinite = {key for key, value in record.items() if isinstance(value, float) and math.isinf(value)}
    return {key: None if key in infinite else value for key, value in record.items()}


def _series(tasks: Iterable[Task]) -> Iterable[tuple[Task, Variant, str, list[str], dict[str, str]]]:
    """Yield each task, variant and pruner, with the beginnings of its row and of its records."""
    for task in tasks:
        for variant in task.variants:
            for pruner in task.pruners(variant):
                row = [task.title, label(variant), pruner_title(pruner)]
                yield task, variant, pruner, row, {**task.record, "setting": label(variant), "pruner": pruner}


def answer_table(tasks: Sequence[Task]) -> Table:
    """Return the table of the primary contrasts."""
    rows, records = [], []
    found = answer.primaries(tasks)
    for one in found:
        mean, seeds = one.interval, len(one.by_seed)
        p = DASH if one.adjusted is None else f"{one.adjusted:.2g}"
        row = [one.question, one.where, f"{mean.mean:+.2f}", mean.ends(), f"{one.median:+.2f}", str(seeds)]
        rows.append([*row, f"{one.known} of {seeds}", p, one.verdict])
        where: dict[str, object] = {"question": one.question, "where": one.where, "verdict": one.verdict}
        numbers = {"mean": mean.mean, "low": mean.low, "high": mean.high, "median": one.median, "seeds": seeds}
        records.append(where | _finite(numbers) | {"known_before": one.known, "p": one.p, "p_adjusted": one.adjusted})
    header = ["question", "on", "mean, points", "95 % interval", "median", "seeds", "of them before it was named"]
    header += ["p, adjusted", "verdict"]
    return Table(ANSWER, "The study's questions", header, rows, records, answer.note(found))


def retained_table(tasks: Sequence[Task]) -> Table:
    """Return the table of retained performance by task, variant, pruner and compression."""
    rows, records = [], []
    compressions = sorted({c for task in tasks for variant in task.variants for c in task.compressions(variant)})
    for task, variant, pruner, row, where in _series(tasks):
        for c in compressions:
            mean = interval(retained.retained(task, pruner, c, variant).values())
            density = interval(task.values(pruner, c, variant, "density").values())
            row.append(spread(mean and mean.scaled(100.0), ".1f"))
            if mean is not None and density is not None:
                record = {**where, "compression": c, "density": density.mean, "retained": mean.mean}
                record |= {"half_width": mean.half, "seeds": mean.count, "chance": task.chance}
                records.append(record)
        rows.append(row)
    header = ["task", "setting", "pruner", *(f"at {c:g}, %" for c in compressions)]
    note = "(metric - chance) / (dense - chance), by seed; mean ± half width of the 95 % interval (seeds)."
    return Table("retained", "Performance retained at each compression", header, rows, records, note)


def threshold_table(tasks: Iterable[Task]) -> Table:
    """Return the table of the compressions up to which each level is retained."""
    rows, records = [], []
    for task, variant, pruner, row, where in _series(tasks):
        levels = retained.thresholds(task, pruner, variant)
        rows.append([*row, *([t.text() for t in levels] or ["no dense run above chance", *[DASH] * 2])])
        records += [
            {**where, "level": t.level, "compression": t.value, "low": t.low, "high": t.high}
            | {"highest_measured": t.highest, "seeds": t.seeds}
            for t in levels
        ]
    header = ["task", "setting", "pruner", *(f"{100 * level:g} % retained" for level in retained.LEVELS)]
    note = (
        "The compression at which the mean first falls below that level, linear between the points measured (dense is "
        f"0); 95 % interval by bootstrap over seeds, from {retained.MIN_SEEDS} seeds on. "
        '"Above": not reached by the highest compression measured. "The seeds agree": to two decimals the interval has '
        "no width, for what is uncertain is the straight line, about which seeds say nothing."
    )
    return Table("thresholds", "Compression up to which so much is retained", header, rows, records, note)


def contrast_table(name: str, title: str, compared: Iterable[contrasts.Contrast]) -> Table:
    """Return a table of contrasts."""
    rows, records = [], []
    for contrast in compared:
        task, mean, compression = contrast.task, contrast.interval, contrast.compression
        setting = label(contrast.variant)
        p = f"{contrast.p:.3g} (smallest possible {contrast.smallest_p:.3g})"
        row = [task.title, setting, pruner_title(contrast.pruner), f"{compression:g}", contrast.what]
        rows.append([*row, f"{mean.mean:+.2f}", mean.ends(), p, str(mean.count)])
        where = {**task.record, "setting": setting, "what": contrast.what, "pruner": contrast.pruner}
        numbers = {"compression": compression, "mean": mean.mean, "low": mean.low, "high": mean.high}
        records.append(
            where | _finite(numbers) | {"seeds": mean.count, "p": contrast.p, "smallest_p": contrast.smallest_p}
        )
    header = ["task", "setting", "pruner", "compression", "difference", "its mean", "95 % interval", "p", "seeds"]
    note = (
        f"Differences of accuracy or BLEU, in points. {answer.INTERVALS} p, two-sided, of the sign-flip permutation "
        "test, exact up to 20 seeds, not adjusted; n seeds cannot bring it below 2 / 2^n."
    )
    return Table(name, title, header, rows, records, note)


def claim_table(judged: Iterable[statements.Claim]) -> Table:
    """Return the table of the claims with their verdicts."""
    rows, records = [], []
    for claim in judged:
        deciding = [statement.text() for statement in claim.deciding]
        more = [f"and {len(deciding) - LISTED} more"] if len(deciding) > LISTED else []
        shown = "; ".join(deciding[:LISTED] + more) or "no runs"
        rows.append([claim.name, claim.where, claim.verdict, claim.border, shown])
        records.append(
            {"claim": claim.name, "where": claim.where, "verdict": claim.verdict, "border": claim.border}
            | {"figures": "; ".join(deciding), "runs": " ".join(run.path.as_posix() for run in claim.runs)}
        )
    header = ["claim", "on", "verdict", "what is asked", "the figures that decide"]
    return Table("claims", "The paper's claims", header, rows, records, statements.RULE)
