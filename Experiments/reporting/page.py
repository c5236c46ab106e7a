"""The report as one self-contained HTML page, without network access or scripts."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path

from Experiments.reporting.canvas import Picture, inline
from Experiments.reporting.comparison_tables import ANSWER, LISTED, Comparison
from Experiments.reporting.study import SAMPLES, Study
from Experiments.reporting.table import Table
from Utils.study import answer, claims
from Utils.wording import counted


def build(
    study: Study,
    tables: Mapping[str, Sequence[Table]],
    comparison: Comparison,
    pictures: Mapping[str, Sequence[Picture]],
) -> str:
    """Return the page."""
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    commits = len({run.result.get("commit") for run in study.runs})
    sections = [
        ("answer", "The answer", _answer(study, comparison)),
        ("claims", "The paper's claims", _claims(study)),
        ("metric", "Metric against compression", _metric(study, pictures["metric"]) + _tables(tables["reached"])),
        ("paper", "The paper's tables beside ours", _paper(study, tables["paper"])),
        ("compare", "The comparison", _comparison(comparison, pictures["retained"])),
        ("layers", "Density by layer", _layers(tables["layers"], pictures["layers"])),
        ("bleu", "BLEU by n-gram order", _grid(pictures["bleu"]) + _tables(tables["bleu"])),
        ("examples", "Example translations", _tables(tables["examples"])),
        ("speed", "Measured speed", _speed(tables["speed"], pictures["speed"])),
        ("data", "Data, code and machines", _tables(tables["data"])),
        (
            "runs",
            "All results and runs",
            _folded("Every mean", tables["results"]) + _folded("Every run", tables["runs"]),
        ),
    ]
    sections = [section for section in sections if section[2]]
    links = " ".join(f'<a href="#{name}">{html.escape(title)}</a>' for name, title, _ in sections)
    body = "\n".join(
        f'<section id="{name}">\n<h2>{html.escape(title)}</h2>\n{content}\n</section>'
        for name, title, content in sections
    )
    banner = f'<p class="banner" role="alert">{SAMPLES}</p>' if study.on_samples else ""
    made = (
        f"{counted(len(study.runs), 'run')}, {counted(len(study.tasks), 'task')}, made by "
        f"{counted(commits, 'commit')} (listed below). Everything here is computed from them."
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>Pruning, on text beside images</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>Pruning, on text beside images</h1>\n{banner}<p>{html.escape(made)}</p>\n"
        f"<nav>{links}</nav>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _answer(study: Study, comparison: Comparison) -> str:
    lines = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in answer.sentences(study.tasks))
    return f"<ol>{lines}</ol>{_tables([table for table in comparison.tables if table.name == ANSWER])}"


def _tables(tables: Sequence[Table]) -> str:
    return "\n".join(table.html() for table in tables if table.rows)


def _folded(title: str, tables: Sequence[Table]) -> str:
    content = _tables(tables)
    return f"<details><summary>{html.escape(title)}</summary>\n{content}</details>" if content else ""


def _grid(pictures: Sequence[Picture]) -> str:
    shown = "\n".join(f"<figure>{inline(picture)}</figure>" for picture in pictures if picture.shown)
    return f'<div class="grid">{shown}</div>' if shown else ""


def _metric(study: Study, pictures: Sequence[Picture]) -> str:
    words = (
        "Mean over seeds with its 95 % interval (Student's t); faint dots are single seeds. An interval may run out of "
        "its panel; of one seed there is none. Compression 0 is dense, the same for every pruner."
    )
    others = "; ".join(f"{task.title}: {task.unlike_paper}" for task in study.tasks if task.unlike_paper)
    unlike = f"<p>Made with other settings than the paper's: {html.escape(others)}.</p>" if others else ""
    return f"<p>{words}</p>{unlike}{_grid(pictures)}" if pictures else ""


def _paper(study: Study, tables: Sequence[Table]) -> str:
    return f"<p>{html.escape(study.paper.note)}</p>{_tables(tables)}"


def _claims(study: Study) -> str:
    """Return one card per claim with its verdict, deciding figures and runs; then the claims without runs."""
    cards = "".join(_card(claim) for claim in study.claims if claim.statements)
    open_ones: dict[str, list[str]] = {}
    for claim in study.claims:
        if not claim.statements:
            open_ones.setdefault(claim.name, []).append(claim.where)
    lines = "".join(
        f"<li>{html.escape(name)}: {html.escape('; '.join(where))}</li>" for name, where in open_ones.items()
    )
    rest = f"<p>Undecided, for no run of ours speaks of it:</p><ul>{lines}</ul>" if lines else ""
    return f'<p>{html.escape(claims.RULE)}</p><div class="cards">{cards}</div>{rest}'


def _card(claim: claims.Claim) -> str:
    name = {claims.HOLDS: "holds", claims.FAILS: "fails"}.get(claim.verdict, "open")
    shown = claim.deciding[:LISTED]
    lines = "".join(f"<li>{html.escape(s.text())}</li>" for s in shown)
    rest = [s for s in claim.statements if s not in shown]
    every = "".join(f"<li>{html.escape(s.text())}: {s.verdict}</li>" for s in rest)
    more = f"<details><summary>{len(rest)} more</summary><ul>{every}</ul></details>" if every else ""
    runs = "".join(f"<li><code>{html.escape(run.path.as_posix())}</code></li>" for run in claim.runs)
    return (
        f'<article class="{name}"><h3>{html.escape(claim.name)}</h3><p><strong>{claim.verdict}</strong> on '
        f'{html.escape(claim.where)}</p><p class="note">Asked: {html.escape(claim.border)}</p><ul>{lines}</ul>{more}'
        f"<details><summary>{counted(len(claim.runs), 'run')} behind it</summary><ul>{runs}</ul></details></article>"
    )


def _comparison(comparison: Comparison, pictures: Sequence[Picture]) -> str:
    words = (
        "Performance retained is (metric - chance) / (dense - chance): 1 is as good as dense, 0 no better than a guess."
    )
    return f"<p>{words}</p>{_grid(pictures)}{_tables(comparison.contrasts)}"


def _layers(tables: Sequence[Table], pictures: Sequence[Picture]) -> str:
    words = (
        "Mean over seeds of the fraction of each tensor's weights that is kept; the dotted line is the density of the "
        "whole. A network with one prunable tensor has no figure."
    )
    return f"<p>{words}</p>{_grid(pictures)}{_folded('As tables', tables)}"


def _speed(tables: Sequence[Table], pictures: Sequence[Picture]) -> str:
    words = (
        "Each finished network as trained (masked) and in its exported formats, timed in turn on one machine. A point "
        "is a run in one format, the line its lowest and highest median; 1 is the same network's dense format: what "
        "lies to the right of 1 is won by pruning."
    )
    content = _grid(pictures) + _folded("As a table", tables)
    return f"<p>{words}</p>{content}" if content else ""
