"""The report as one self-contained HTML page, without network access or scripts."""

import html
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from Experiments.reporting.canvas import Picture, inline
from Experiments.reporting.comparison_tables import ANSWER, LISTED, Comparison
from Experiments.reporting.study import SAMPLES, Study
from Experiments.reporting.table import Table
from Utils.study import answer, statements
from Utils.wording import counted

TEXTS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))  # by section


def build(
    study: Study,
    tables: Mapping[str, Sequence[Table]],
    comparison: Comparison,
    pictures: Mapping[str, Sequence[Picture]],
) -> str:
    """Return the page."""
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    commits = len({run.result.get("commit") for run in study.runs})
    speed = _grid(pictures["speed"]) + _folded("As a table", tables["speed"])
    sections = {
        "answer": _answer(study, comparison),
        "claims": _claims(study),
        "metric": _metric(study, pictures["metric"]) + _tables(tables["reached"]),
        "paper": f"<p>{html.escape(study.paper.note)}</p>{_tables(tables['paper'])}",
        "compare": _words("compare") + _grid(pictures["retained"]) + _tables(comparison.contrasts),
        "layers": _words("layers") + _grid(pictures["layers"]) + _folded("As tables", tables["layers"]),
        "bleu": _grid(pictures["bleu"]) + _tables(tables["bleu"]),
        "examples": _tables(tables["examples"]),
        "speed": _words("speed") + speed if speed else "",
        "data": _tables(tables["data"]),
        "runs": _folded("Every mean", tables["results"]) + _folded("Every run", tables["runs"]),
    }
    sections = {name: sections[name] for name in TEXTS if sections[name]}
    titles = {name: TEXTS[name]["title"] for name in sections}
    links = " ".join(f'<a href="#{name}">{html.escape(title)}</a>' for name, title in titles.items())
    body = "\n".join(
        f'<section id="{name}">\n<h2>{html.escape(titles[name])}</h2>\n{content}\n</section>'
        for name, content in sections.items()
    )
    banner = f'<p class="banner" role="alert">{SAMPLES}</p>' if study.on_samples else ""
    made = (
        f"{counted(len(study.runs), 'run')}, {counted(len(study.tasks), 'task')}, made by "
        f"{counted(commits, 'commit')} (listed below). Everything here is computed from them."
    )
    lines = "".join(f"<li>{html.escape(line)}</li>" for line in study.left_out)
    others = f'<p class="banner">Left out: {counted(len(study.left_out), "run")}.</p><ul>{lines}</ul>' if lines else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>Pruning, on text beside images</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>Pruning, on text beside images</h1>\n{banner}<p>{html.escape(made)}</p>\n{others}"
        f"<nav>{links}</nav>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _answer(study: Study, comparison: Comparison) -> str:
    lines = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in answer.sentences(study.tasks))
    return f"<ol>{lines}</ol>{_tables([table for table in comparison.tables if table.name == ANSWER])}"


def _words(section: str) -> str:
    return f"<p>{TEXTS[section]['words']}</p>"


def _tables(tables: Sequence[Table]) -> str:
    return "\n".join(table.html() for table in tables if table.rows)


def _folded(title: str, tables: Sequence[Table]) -> str:
    content = _tables(tables)
    return f"<details><summary>{html.escape(title)}</summary>\n{content}</details>" if content else ""


def _grid(pictures: Sequence[Picture]) -> str:
    shown = "\n".join(f"<figure>{inline(picture)}</figure>" for picture in pictures if picture.shown)
    return f'<div class="grid">{shown}</div>' if shown else ""


def _metric(study: Study, pictures: Sequence[Picture]) -> str:
    others = "; ".join(f"{task.title}: {task.unlike_paper}" for task in study.tasks if task.unlike_paper)
    unlike = f"<p>Made with other settings than the paper's: {html.escape(others)}.</p>" if others else ""
    return f"{_words('metric')}{unlike}{_grid(pictures)}" if pictures else ""


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
    return f'<p>{html.escape(statements.RULE)}</p><div class="cards">{cards}</div>{rest}'


def _card(claim: statements.Claim) -> str:
    name = {statements.HOLDS: "holds", statements.FAILS: "fails"}.get(claim.verdict, "open")
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
