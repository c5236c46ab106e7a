"""The report as one self-contained HTML page that needs no network: the answer, a chart to explore, the tables.

What the browser gets is in browser/. The chart is drawn by uPlot: one small file under the MIT licence with no
dependencies, which has logarithmic axes and leaves what lies on them to the page. Without JavaScript the page lacks the
chart alone.
"""

import base64
import hashlib
import html
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from Experiments.reporting import embedded
from Experiments.reporting.canvas import Picture, inline
from Experiments.reporting.comparison_tables import ANSWER, LISTED, Comparison
from Experiments.reporting.study import SAMPLES, Study
from Experiments.reporting.table import Table, document, folded
from Utils.study import answer, statements
from Utils.study.tasks import pruner_title
from Utils.wording import counted

TEXTS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))  # by section
NAMES = TEXTS.pop("names")  # of networks and pruners, in words
BROWSER = Path(__file__).with_name("browser")
VENDOR = BROWSER / "vendor"
OWN = ("data.js", "axes.js", "chart.js", "view.js", "tables.js", "explore.js")


def build(
    study: Study,
    tables: Mapping[str, Sequence[Table]],
    comparison: Comparison,
    pictures: Mapping[str, Sequence[Picture]],
) -> str:
    """Return the page."""
    (run_list,) = tables["runs"]
    found = embedded.data(study, run_list.header)
    speed = _grid(pictures["speed"]) + _tables(tables["speed"])
    sections = {
        "answer": _answer(study, comparison, pictures["answer"]),
        "explore": _file(BROWSER / "explore.html") if found["series"]["points"] else "",
        "benchmark": _worded("benchmark", _grid(pictures["benchmark"]) + _tables(tables["benchmark"])),
        "claims": _claims(study),
        "reached": _tables(tables["reached"]),
        "paper": f"<p>{html.escape(study.paper.note)}</p>{_tables(tables['paper'])}",
        "compare": _worded("compare", _tables(comparison.contrasts)),
        "layers": _worded("layers", _tables(tables["layers"])),
        "bleu": _tables(tables["bleu"]),
        "examples": _tables(tables["examples"]),
        "speed": _worded("speed", speed),
        "data": _tables(tables["data"]),
        "runs": _tables(tables["results"]) + _runs(run_list),
    }
    sections = {name: sections[name] for name in TEXTS if sections[name]}
    titles = {name: html.escape(TEXTS[name]["title"]) for name in sections}
    links = " ".join(f'<a href="#{name}">{title}</a>' for name, title in titles.items() if name != "answer")
    nav = f'<nav aria-label="Sections">{links}</nav>\n<p class="note">{html.escape(_made(study))}</p>\n'
    body = "\n".join(
        f'<section id="{name}">\n<h2>{titles[name]}</h2>\n{content}\n</section>' + ("\n" + nav) * (name == "answer")
        for name, content in sections.items()
    )
    banner = f'<p class="banner" role="alert">{SAMPLES}</p>' if study.on_samples else ""
    vendor = tomllib.loads(_file(VENDOR / "vendor.toml"))
    licence = f"/*\n{_file(VENDOR / vendor['licence'])}\n*/"
    scripts = [f"{licence}\n{_file(VENDOR / vendor['script'])}", *(_file(BROWSER / name) for name in OWN)]
    inlined = "\n".join(f"<script>{script}</script>" for script in scripts)
    return document(
        "Pruning, on text beside images",
        f"{_file(VENDOR / vendor['style'])}\n{_file(BROWSER / 'page.css')}",
        f"{banner}{_left_out(study)}{body}",
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(scripts)}">\n',
        f'<script type="application/json" id="embedded">{embedded.text(found)}</script>\n{inlined}\n',
    )


def _file(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _policy(scripts: Sequence[str]) -> str:
    """Return the page's own rule for browsers: nothing is fetched, and no script runs but these."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{hash_}'" for hash_ in hashes)
    return f"default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'unsafe-inline'; script-src {allowed}"


def _made(study: Study) -> str:
    commits = len({run.result.get("commit") for run in study.runs})
    return (
        f"{counted(len(study.runs), 'run')}, {counted(len(study.tasks), 'task')}, made by "
        f"{counted(commits, 'commit')} (listed below). Everything here is computed from them."
    )


def _left_out(study: Study) -> str:
    """Return what the report leaves out, with the reasons."""
    lines = "".join(f"<li>{html.escape(line)}</li>" for line in study.left_out)
    return f'<p class="banner">Left out: {counted(len(study.left_out), "run")}.</p><ul>{lines}</ul>' if lines else ""


def _answer(study: Study, comparison: Comparison, pictures: Sequence[Picture]) -> str:
    lines = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in answer.sentences(study.tasks))
    drawn = _grid(pictures, "pairs")
    tables = _tables([table for table in comparison.tables if table.name == ANSWER])
    note = f'<p class="note">{TEXTS["answer"]["words"]}</p>' if drawn else ""
    return f'<ol class="answer">{lines}</ol>{_named(study)}{drawn}{note}{tables}'


def _named(study: Study) -> str:
    """Return what the names of the study's networks and pruners mean, for those that do not say it themselves."""
    names = dict.fromkeys([*(task.model for task in study.tasks), *(run.pruner for run in study.runs)])
    words = [f"{pruner_title(name)}: {NAMES[name]}" for name in names if name in NAMES]
    return f'<p class="note">{html.escape("; ".join(words))}.</p>' if words else ""


def _worded(section: str, content: str) -> str:
    return f"<p>{TEXTS[section]['words']}</p>{content}" if content else ""


def _tables(tables: Sequence[Table]) -> str:
    return "\n".join(table.html() for table in tables if table.rows)


def _grid(pictures: Sequence[Picture], name: str = "grid") -> str:
    shown = "\n".join(f"<figure>{inline(picture)}</figure>" for picture in pictures if picture.shown)
    return f'<div class="{name}">{shown}</div>' if shown else ""


def _runs(table: Table) -> str:
    """Return the list of all runs, which is drawn from the page's data; without JavaScript it is only named."""
    named = (
        f'<p class="scriptless">Beside this page: <a href="tables/{table.name}.csv">tables/{table.name}.csv</a>.</p>'
    )
    return folded(f"table-{table.name}", table.title, named, data="runs")


def _claims(study: Study) -> str:
    """Return one card per claim with its verdict, deciding figures and runs; then the claims without runs."""
    numbers = {run.path: k for k, run in enumerate(study.runs)}
    cards = "".join(_card(claim, numbers) for claim in study.claims if claim.statements)
    lines = "".join(_open(claim) for claim in study.claims if not claim.statements)
    rest = f"<p>Undecided, for no run of ours speaks of it:</p><ul>{lines}</ul>" if lines else ""
    said = f"{TEXTS['claims']['words']} {statements.RULE}"
    return f'<p>{html.escape(said)}</p><div class="cards">{cards}</div>{rest}'


def _open(claim: statements.Claim) -> str:
    price = f' <span class="note">(what it takes: {html.escape(claim.price)})</span>' if claim.price else ""
    return f"<li>{html.escape(claim.name)}: {html.escape(claim.where)}{price}</li>"


def _card(claim: statements.Claim, numbers: Mapping[Path, int]) -> str:
    name = {statements.HOLDS: "holds", statements.FAILS: "fails"}.get(claim.verdict, "open")
    shown = claim.deciding[:LISTED]
    lines = "".join(f"<li>{html.escape(s.text())}</li>" for s in shown)
    rest = [s for s in claim.statements if s not in shown]
    every = "".join(f"<li>{html.escape(s.text())}: {s.verdict}</li>" for s in rest)
    more = f"<details><summary>{len(rest)} more</summary><ul>{every}</ul></details>" if every else ""
    runs = " ".join(str(numbers[run.path]) for run in claim.runs)
    behind = '<p class="scriptless">Listed in <a href="compare.md">compare.md</a> beside this page.</p>'
    return (
        f'<article class="{name}"><h3>{html.escape(claim.name)}</h3><p><strong>{claim.verdict}</strong> on '
        f'{html.escape(claim.where)}</p><p class="note">Asked: {html.escape(claim.border)}</p><ul>{lines}</ul>{more}'
        f'<details data-behind="{runs}"><summary>{counted(len(claim.runs), "run")} behind it</summary>{behind}'
        "</details></article>"
    )
