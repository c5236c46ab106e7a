"""The report's page in a real browser: it is clicked, and its numbers are compared with the runs' own files."""

import csv
import json
import math
import statistics
from pathlib import Path
from types import SimpleNamespace

import browser
import pytest
from stores import TODAY, add, fill

import main

CURVES = {
    "agnews": {"rand": {0.0: [90.0, 91.0, 92.0], 0.5: [89.0, 90.5, 91.25], 1.0: [80.0, 82.5, 84.125], 2.0: [40.0] * 3},
               "grasp": {0.5: [88.0, 89.5, 90.0], 1.0: [85.0, 87.5, 89.75], 2.0: [30.0, 52.0, 75.0]}},
    "mnist": {"rand": {0.0: [95.0, 96.0, 97.0], 1.0: [90.0, 91.0, 92.5]},
              "grasp": {1.0: [93.0, 94.0, 95.5]}, "mag": {1.0: [11.0, 11.5, 12.5]}},
}  # fmt: skip
T = 4.302652729749  # Student's t with two degrees of freedom, 97.5 %
MARKS = "[...document.querySelectorAll('.mark')]"
MEANS, RUNS = "document.querySelectorAll('.mark.mean')", "document.querySelectorAll('.mark.run')"
SHOWN = (
    "Object.fromEntries([...document.querySelectorAll('#shown > dl > div')]"
    ".map(row => [...row.children].map(part => part.textContent)))"
)
LABEL, TEXT = "mark => mark.getAttribute('aria-label')", "one => one.textContent"
LABELS = f"{MARKS}.map({LABEL})"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The store, the report on it, and the address of its page."""
    top = tmp_path_factory.mktemp("browser")
    store, place = top / "store", top / "report"
    for dataset, curves in CURVES.items():
        fill(store, dataset, curves, **TODAY[dataset])
    fill(store, "agnews", {"grasp": {1.0: [70.0, 71.0]}}, shuffle=True, **TODAY["agnews"])
    add(store, "multi30k", "rand", 0.0, 1, 20.0, **TODAY["multi30k"])
    add(store, "multi30k", "rand", 1.0, 1, 5.0, name="<!--<script>", **TODAY["multi30k"])
    for k, path in enumerate(sorted(store.rglob("result.json"))):
        result = json.loads(path.read_text())
        result["data"]["files"], result["versions"] = {"a.csv": f"{k:064x}", "b.csv": "f" * 64}, {"torch": f"2.{k}"}
        path.write_text(json.dumps(result))
    assert main.main(["--experiment", "report", "--store", str(store), "--report-dir", str(place)]) == 0
    return SimpleNamespace(store=store, place=place, url=(place / "report.html").as_uri())


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    program = browser.installed()
    if program is None:
        pytest.skip(f"no browser is installed: {', '.join(browser.NAMES)}")
    with browser.tab(program, tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.fixture
def page(made, tab):
    """The page, newly opened; at the end it has complained of nothing and fetched nothing but itself."""
    tab.size(1280)
    tab.open(made.url)
    yield tab
    assert tab.complaints() == []
    assert {url.partition("#")[0] for url in tab.fetched()} == {made.url}


def alone(page, task="agnews-text-classification", **choices):
    page.choose("task", task)
    page.choose("beside", "")
    for name, value in choices.items():
        page.choose(name, value)


def words(values):
    """A mean with its interval, as the tables have it."""
    half = T * statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.mean(values):.2f}{f' ± {half:.2f}' if half else ''} ({len(values)})"


def test_a_run_that_is_clicked_shows_what_its_own_files_say(made, page):
    alone(page, figure="metric", compression="1")
    seen = set()
    for k in range(page.value(f"{RUNS}.length")):
        page.click(f"{RUNS}[{k}]")
        shown = page.value(SHOWN)
        result, config = (
            json.loads((Path(shown["directory"]) / f"{name}.json").read_text()) for name in ("result", "config")
        )
        title = page.value("document.querySelector('#shown h3').textContent")
        pruner = {"rand": "Rand", "grasp": "GraSP"}[config["pruner"]]
        assert title == f"{pruner}, compression 1, seed {config['seed']}"
        assert shown["test accuracy, %"] == f"{result['final']['test_top1']:.2f}"
        assert shown["training accuracy, %"] == f"{result['final']['train_top1']:.2f}"
        kept = result["parameters"]
        assert float(shown["density"]) == kept["prunable_kept"] / kept["prunable"]
        assert shown["seed"] == str(config["seed"]) and shown["setting"] == "main"
        assert shown["commit"] == result["commit"][:12] and shown["data"] == config["data_key"][:12]
        files = result["data"]["files"].items()
        assert shown["data files (SHA-256)"] == ", ".join(f"{name} {hash_}" for name, hash_ in files)
        machine, versions = result["machine"], result["versions"].items()
        assert shown["machine"] == f"{machine['device']}, {machine['threads']}"
        assert shown["versions"] == ", ".join(f"{name} {version}" for name, version in versions)
        dense = json.loads((Path(shown["retained against"]) / "config.json").read_text())
        assert (dense["compression"], dense["seed"], dense["dataset"]) == (0.0, config["seed"], config["dataset"])
        settings = page.value(SHOWN.replace("> dl", "details dl"))
        assert {"lr": "0.001", "mask scope": "global", "post epochs": "10"}.items() <= settings.items()
        page.point("document.querySelector('h2')")
        assert page.value(SHOWN) == shown, "what was clicked stays"
        seen.add((config["pruner"], config["seed"]))
    assert seen == {(pruner, seed) for pruner in ("rand", "grasp") for seed in (1, 2, 3)}


def test_the_task_beside_follows_to_the_partner(page):
    beside = "document.querySelector('select[name=beside]').value"
    for task, partner in (("mnist-fc", "agnews-text-classification"), ("agnews-text-classification", "mnist-fc")):
        alone(page, "multi30k-seq2seq")
        assert page.value(beside) == "", "it has no partner"
        page.choose("task", task)
        assert page.value(beside) == partner
        page.choose("beside", "multi30k-seq2seq")
        assert page.value(beside) == "multi30k-seq2seq", "another may be chosen"


def test_means_and_intervals_are_those_of_the_runs(page):
    alone(page, figure="metric")
    expected = {f"dense: {words(CURVES['agnews']['rand'][0.0])}"}
    for pruner, title in (("rand", "Rand"), ("grasp", "GraSP")):
        for c, values in CURVES["agnews"][pruner].items():
            if c:
                expected.add(f"{title}, compression {c:g}: {words(values)}")
    found = page.value(f"[...{MEANS}].map({LABEL})")
    assert set(found) == expected and len(found) == len(expected)


def test_marks_lie_where_their_numbers_are(page):
    """Of one panel: height is linear in the accuracy, from left to right the density falls by equal ratios."""
    alone(page, figure="metric")
    places = page.value(
        f"[...{MEANS}].map(mark => [({LABEL})(mark), parseFloat(mark.style.left), parseFloat(mark.style.top)])"
    )
    at = {label.partition(":")[0]: (x, y, float(label.partition(": ")[2].split(" ")[0])) for label, x, y in places}
    rand = [at["dense"], *(at[f"Rand, compression {c}"] for c in ("0.5", "1", "2"))]
    slopes = [(y - rand[0][1]) / (rand[0][2] - value) for _, y, value in rand[1:]]
    assert slopes == pytest.approx([slopes[0]] * 3, rel=1e-3) and slopes[0] > 0
    steps = [at[f"GraSP, compression {c}"][0] for c in ("0.5", "1", "2")]
    assert steps[2] - steps[1] == pytest.approx(2 * (steps[1] - steps[0]), rel=1e-2) and steps[1] > steps[0]


def test_a_pruner_that_is_unticked_goes_and_the_address_keeps_the_choice(made, page):
    alone(page, figure="metric", compression="1", against="compression")
    before = page.value(LABELS)
    page.click("document.querySelector('#pruners input[value=rand]')")
    labels = page.value(LABELS)
    assert labels == [label for label in before if "Rand" not in label] and 0 < len(labels) < len(before)
    fragment = page.value("location.hash")
    table = "document.querySelector('#numbers table').textContent"
    text = page.value(table)
    assert "Rand" not in text and words(CURVES["agnews"]["grasp"][1.0]) in text
    page.open(made.url + fragment)
    assert page.value(LABELS) == labels and page.value(table) == text and page.value("location.hash") == fragment
    page.click("document.querySelector('#choice button')")
    assert page.value("document.querySelectorAll('#panels figure').length") == 2
    assert page.value("document.querySelector('#pruners input[value=rand]').checked")


def test_two_tasks_stand_side_by_side_and_share_the_axis_of_what_is_retained(page):
    figures = page.value("[...document.querySelectorAll('#panels figure')].map(one => one.getAttribute('aria-label'))")
    assert figures == ["AG News, text-classification: performance retained, %", "MNIST, fc: performance retained, %"]
    tops = page.value(
        f"[...{MEANS}].map(mark => [({LABEL})(mark), mark.style.top]).filter(([label]) => label.startsWith('dense'))"
    )
    assert len(tops) == 2 and tops[0] == tops[1] and tops[0][0] == "dense: 100.0 (3)"
    values = [
        100 * (value - 11.35) / (dense - 11.35)  # a guess on MNIST is its commonest digit
        for value, dense in zip([90.0, 91.0, 92.5], [95.0, 96.0, 97.0], strict=True)
    ]
    half = T * statistics.stdev(values) / math.sqrt(3)
    assert f"Rand, compression 1: {statistics.mean(values):.1f} ± {half:.1f} (3)" in page.value(LABELS)


def test_what_has_no_runs_says_so_and_what_cannot_be_is_changed_and_named(made, page):
    empty = f"[...document.querySelectorAll('#panels .empty')].map({TEXT})"
    page.choose("setting", "shuffle")
    assert page.value(empty) == ["No runs for this choice."], "of MNIST; AG News has some"
    assert len(page.value(LABELS)) > 2
    page.choose("task", "multi30k-seq2seq")
    assert page.value("document.querySelector('select[name=setting]').value") == "main"
    assert page.value("document.getElementById('status').textContent").endswith(": setting shuffle to main.")
    page.open(f"{made.url}#explore&task=unknown&pruner=mine&pruner=rand&figure=metric")
    assert page.value("document.querySelector('select[name=figure]').value") == "metric"
    status = page.value("document.getElementById('status').textContent")
    assert "task unknown to agnews-text-classification" in status and "pruner mine to none" in status


def test_the_keyboard_reaches_every_mark(page):
    alone(page, figure="metric")
    label = "document.activeElement.getAttribute('aria-label')"
    page.value("document.querySelector('#choice button').focus()")
    page.press("Tab", 9)
    walked = [page.value(label)]
    for _ in range(6):
        page.press("ArrowRight", 39)
        walked.append(page.value(label))
    means = page.value(f"[...{MEANS}].map({LABEL})")
    assert walked[0].startswith("dense") and sorted(walked) == sorted(means)
    page.press("Home", 36)
    for seed, value in enumerate(CURVES["agnews"]["rand"][0.0], start=1):
        page.press("ArrowDown", 40)
        assert page.value(label) == f"dense, seed {seed}: {value:.2f}"
        assert page.value(SHOWN)["seed"] == str(seed)
        assert f"{value:.2f}" in page.value("document.querySelector('.tip:not([hidden])').textContent")
    page.press("Escape", 27)
    assert page.value("document.querySelector('.tip:not([hidden])')") is None
    page.press("Tab", 9)
    assert not page.value("document.activeElement.classList.contains('mark')"), "one stop for the whole chart"


def test_densities_of_layers_are_those_of_the_table(made, page):
    alone(page, figure="layers")
    assert page.value("document.querySelector('select[name=compression]').value") == "1", "of one compression"
    with (made.place / "tables" / "layers-agnews-text-classification.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if float(row["compression"]) == 1.0]
    titles = {"rand": "Rand", "grasp": "GraSP"}
    expected = [f"{titles[row['pruner']]}, compression 1, {row['layer']}: {float(row['density']):.4g}" for row in rows]
    assert sorted(page.value(LABELS)) == sorted(expected) and len(expected) == 4


def test_tables_are_drawn_sorted_and_searched(made, page):
    table = "document.querySelector('#table-runs table')"
    page.click("document.querySelector('#table-runs summary')")
    page.wait(f"{table} !== null")
    with (made.place / "tables" / "runs.csv").open(encoding="utf-8", newline="") as file:
        named = {row["run"] for row in csv.DictReader(file)}
    cells = f"[...{table}.tBodies[0].rows].filter(row => !row.hidden).map(row => [...row.cells].map({TEXT}))"
    rows = page.value(cells)
    assert {row[0] for row in rows} == named and len(rows) == len(named)
    figures = {row[0]: row[6] for row in rows}
    for path in named:
        final = json.loads((Path(path) / "result.json").read_text())["final"]
        assert figures[path] == (
            f"{final['bleu']:.2f} BLEU" if "bleu" in final else f"{final['test_top1']:.2f} test accuracy"
        )
    heading = f"{table}.tHead.rows[0].cells[6].firstChild"
    for direction, sign in (("ascending", 1), ("descending", -1)):
        page.click(heading)
        values = [float(row[6].split(" ")[0]) for row in page.value(cells)]
        assert values == sorted(values, key=lambda value: sign * value)
        assert page.value(f"{table}.tHead.rows[0].cells[6].getAttribute('aria-sort')") == direction
    page.click("document.querySelector('#table-runs input')")
    page.call("Input.insertText", text="mnist mag")
    page.settled()
    assert len(page.value(cells)) == 3
    assert page.value("document.querySelector('#table-runs output').value") == f"3 of {len(named)} rows"


def test_the_runs_behind_a_claim_are_named(made, page):
    behind = json.loads((made.place / "compare.json").read_text())["claims"]
    asked = [claim for claim in behind if claim["statements"]]
    page.value("document.querySelectorAll('[data-behind]').forEach(one => { one.open = true; })")
    page.wait("[...document.querySelectorAll('[data-behind]')].every(one => one.dataset.drawn)")
    found = page.value(
        f"[...document.querySelectorAll('[data-behind]')].map(one => [...one.querySelectorAll('li')].map({TEXT}))"
    )
    assert found == [claim["runs"] for claim in asked] and found[0]


@pytest.mark.parametrize("wide", [360, 1280])
def test_nothing_is_cut_off_at_the_edge(page, wide):
    page.size(wide)
    page.value("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    page.wait("document.querySelector('#table-runs table') !== null")
    page.click(f"{RUNS}[0]")
    assert page.value("document.documentElement.scrollWidth") == wide
    hidden = page.value(
        "[...document.querySelectorAll('main *')].filter(one => !one.closest('.scroll, svg, canvas, .tip') && "
        "one.getBoundingClientRect().right > innerWidth + 0.5).map(one => one.outerHTML.slice(0, 80))"
    )
    assert hidden == []
    boxes = page.value(
        "[...document.querySelectorAll('.scroll')].map(box => [getComputedStyle(box).overflowX, box.scrollWidth, "
        "Math.floor(box.firstElementChild.getBoundingClientRect().width)])"
    )
    assert len(boxes) > 10 and all(scrolls == "auto" and reach >= needed for scrolls, reach, needed in boxes)


def test_without_scripts_the_answer_the_picture_and_all_tables_are_there(made, tab):
    tab.size(1280)
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        tab.open(made.url)
        assert tab.value("document.querySelectorAll('#answer ol.answer > li').length") == 5
        assert tab.value("document.querySelector('#answer svg').getBoundingClientRect().height") > 100
        assert tab.value("getComputedStyle(document.getElementById('choice')).display") == "none"
        assert "needs JavaScript" in tab.value("document.querySelector('noscript').innerText")
        tables = set(tab.value("[...document.querySelectorAll('details')].map(one => one.id)"))
        files = {f"table-{path.stem}" for path in (made.place / "tables").glob("*.md")}
        assert files - {"table-claims"} <= tables, "the claims are cards"
        link = tab.value("document.querySelector('#table-runs a').getAttribute('href')")
        assert (made.place / link).is_file()
    finally:
        tab.call("Emulation.setScriptExecutionDisabled", value=False)


def test_a_store_without_pruned_runs_has_no_chart_and_the_rest(tmp_path, tab):
    add(tmp_path / "store", "mnist", "rand", 0.0, 1, 97.0, **TODAY["mnist"])
    assert main.main(["--experiment", "report", "--store", str(tmp_path / "store"), "--report-dir", str(tmp_path)]) == 0
    tab.open((tmp_path / "report.html").as_uri())
    assert tab.value("document.getElementById('explore')") is None
    tab.click("document.querySelector('#table-runs summary')")
    tab.wait("document.querySelectorAll('#table-runs td').length === 8")
    assert "97.00 test accuracy" in tab.value("document.querySelector('#table-runs table').textContent")
    assert tab.complaints() == []
