"""The report: its tables by independent sums, a page that stands alone, the same bytes each time."""

import base64
import csv
import hashlib
import html
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from stores import add, fill

import main
from Experiments.reporting.table import Table
from Utils.study import claims, paper, runs, tasks

EVIL = "<script>alert('x')</script> & \"<img src=https://example.org/x.png>\" | `a` *b*"
ACCURACIES = {"grasp": {0.0: [90.0, 91.0, 92.0], 1.0: [88.0, 89.5, 90.0]}, "rand": {1.0: [80.0]}}


def make(store):
    """One store with all that a report shows, and a name and a sentence that would be code in a careless page."""
    fill(store, "agnews", ACCURACIES)
    fill(store, "agnews", {"grasp": {1.0: [70.0]}}, shuffle=True)
    example = {"source": EVIL, "reference": EVIL, "output": EVIL}
    add(store, "multi30k", "rand", 0.0, 1, 20.0, post_epochs=3, examples=[example])
    add(store, "multi30k", "rand", 1.0, 1, 5.0, post_epochs=3, examples=[example], name="<b onclick=x>&amp;")
    add(store, "agnews", "../$x^$/<i>.py:Best", 0.5, 1, 60.0, pruner_sha256="0123456789", name="from-a-file")
    broken = add(store, "agnews", "rand", 2.0, 1, 50.0)
    (broken / "result.json").write_text("{")


def contents(place):
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def report(store, place):
    assert main.main(["--experiment", "report", "--store", str(store), "--report-dir", str(place)]) == 0
    return contents(place)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(the store, its files before, the report's files)."""
    top = tmp_path_factory.mktemp("study")
    make(top / "store")
    before = contents(top / "store")
    return top / "store", before, report(top / "store", top / "report")


def rows(files, name):
    return list(csv.DictReader(files[f"tables/{name}.csv"].decode().splitlines()))


def test_the_papers_table_stands_beside_ours_cell_by_cell(made):
    found = {(float(row["compression"]), row["pruner"]): row for row in rows(made[2], "table1")}
    for pruner, compression, values in (
        ("grasp", 0.0, [90.0, 91.0, 92.0]), ("rand", 0.0, [90.0, 91.0, 92.0]), ("grasp", 1.0, [88.0, 89.5, 90.0]),
    ):  # fmt: skip
        row = found[compression, pruner]
        assert float(row["mean"]) == pytest.approx(statistics.mean(values)) and row["seeds"] == "3"
        half = 4.302652729749 * statistics.stdev(values) / math.sqrt(3)
        assert float(row["half_width"]) == pytest.approx(half)
    one, none = found[1.0, "rand"], found[0.5, "rand"]
    assert (one["mean"], one["half_width"], one["seeds"], one["paper"]) == ("80.0", "", "1", "96.57")
    assert (none["mean"], none["half_width"], none["seeds"], none["paper"]) == ("", "", "0", "97.23")
    shown = made[2]["tables/table1.md"].decode()
    assert (
        "| 1 | 96.50 | 89.17 ± 2.59 (3) | 96.57 | 80.00 (1) |" in shown and "| 0.5 | 97.22 | – | 97.23 | – |" in shown
    )


def test_flop_sparsity_is_the_fraction_that_remains(made):
    found = {(float(row["compression"]), row["pruner"]): row for row in rows(made[2], "table2")}
    assert float(found[1.0, "grasp"]["mean"]) == pytest.approx(1010 / 10010)
    assert found[1.0, "grasp"]["paper"] == "0.11"


def test_every_figure_of_the_paper_is_in_a_table(made):
    """The image table too, of which no run exists."""
    for printed in paper.read().tables:
        of = rows(made[2], printed.name)
        assert {(float(row["compression"]), row["pruner"]): float(row["paper"]) for row in of if row["paper"]} == dict(
            printed.cells
        )
    assert "No run of ours exists yet." in made[2]["tables/images.md"].decode()


def test_the_papers_figures_are_as_they_were_given():
    """A few, typed in again."""
    tables = {printed.name: printed.cells for printed in paper.read().tables}
    assert tables["table1"][2.0, "rand"] == 48.17 and tables["table3"][0.5, "grasp"] == 24.24
    assert tables["table4"][2.0, "rand"] == 0.01 and tables["images"][0.05, "grasp"] == 31.21
    assert tables["images"][2.0, "synflow"] == 10.0 and {k: len(v) for k, v in tables.items()} == {
        "table1": 10, "table2": 8, "table3": 10, "table4": 8, "images": 30,
    }  # fmt: skip


def test_other_settings_are_labelled_and_said_to_be_unlike_the_papers(made):
    found = {(row["setting"], row["pruner"], row["compression"]): row for row in rows(made[2], "results")}
    assert found["shuffle", "GraSP", "1.0"]["by_seed"] == "1=70.0"
    assert found["main", "GraSP", "1.0"]["by_seed"] == "1=88.0 2=89.5 3=90.0"
    assert "other settings than the paper's: post epochs 3" in made[2]["tables/table3.md"].decode()


def test_each_claim_has_a_card_or_is_named_among_those_that_no_run_speaks_of(made):
    """The store has runs of text alone, so the claims on images are the latter."""
    page = made[2]["report.html"].decode()
    section = page[page.index('<section id="claims">') : page.index('<section id="paper">')]
    cards, rest = section.split("Undecided, for no run of ours speaks of it:")
    judged = claims.judge(tasks.group(runs.read([str(made[0])])), paper.read())
    assert cards.count("<article ") == sum(bool(claim.statements) for claim in judged) > 1
    for claim in judged:
        entry, part = (f"<h3>{claim.name}</h3>", cards) if claim.statements else (f"<li>{claim.name}: ", rest)
        assert entry in html.unescape(part)
    assert any("CIFAR-10" in claim.where for claim in judged if not claim.statements)


def test_runs_are_told_apart_by_the_classes_that_they_still_reach(tmp_path):
    for seed, (pruner, alive, value) in enumerate(
        [("rand", 2, 70.0), ("grasp", 2, 68.0), ("grasp", 3, 90.0), ("rand", 4, 91.0)], start=1
    ):
        run = add(tmp_path / "store", "agnews", pruner, 2.0, seed, value)
        result = json.loads((run / "result.json").read_text())
        result["dead"]["classes"]["alive"] = list(range(alive))
        (run / "result.json").write_text(json.dumps(result))
        whole = add(tmp_path / "store", "agnews", pruner, 1.0, seed, 92.0)
        result["dead"]["classes"]["alive"] = list(range(4))
        (whole / "result.json").write_text(json.dumps(result))
    found = rows(report(tmp_path / "store", tmp_path / "report"), "reached")
    assert [(row["compression"], row["classes"], row["runs"], row["mean"], row["pruners"]) for row in found] == [
        ("2.0", "2", "2", "69.0", "Rand 1, GraSP 1"),
        ("2.0", "3", "1", "90.0", "GraSP 1"),
        ("2.0", "4", "1", "91.0", "Rand 1"),
    ], "compression 1 cuts no class off and is not listed"


def test_what_pruning_does_to_the_untrained_network_is_told_by_its_loss(tmp_path):
    """Median and range over seeds; a run without these figures, as those of older code, has no part in it."""
    losses = {"rand": [9.0, 9.5, 9.25], "grasp": [7.5, 1e10, 12.0]}
    for pruner, values in losses.items():
        for seed, loss in enumerate(values, start=1):
            run = add(tmp_path / "store", "agnews", pruner, 1.0, seed, 90.0)
            result = json.loads((run / "result.json").read_text())
            result |= {"pre_prune": {"test_loss": 9.0 + seed / 10}, "post_prune": {"test_loss": loss}}
            (run / "result.json").write_text(json.dumps(result))
    add(tmp_path / "store", "agnews", "rand", 1.0, 4, 90.0)
    files = report(tmp_path / "store", tmp_path / "report")
    found = {row["pruner"]: row for row in rows(files, "moved")}
    columns = ("compression", "before", "after", "seeds", "lowest", "highest")
    assert [found["rand"][name] for name in columns] == ["1.0", "9.2", "9.25", "3", "9.0", "9.5"]
    assert [found["grasp"][name] for name in columns] == ["1.0", "9.2", "12.0", "3", "7.5", "10000000000.0"]
    assert "| 1 | 9.2 (9.1 to 9.3) | 9.25 (9 to 9.5) | 12 (7.5 to 1e+10) |" in (files["tables/moved.md"]).decode()


def test_every_run_is_named_with_its_directory(made):
    store, _, files = made
    named = {row["run"] for row in rows(files, "runs")}
    assert named == {path.as_posix() for path in (store / "singleshot").iterdir() if "-c2-" not in path.name}
    assert {row["run"] for row in rows(files, "settings")} == named


def test_layers_orders_and_examples_are_there(made):
    layers = rows(made[2], "layers-agnews-text-classification")
    assert {
        (row["layer"], row["pruner"], round(float(row["density"]), 9)) for row in layers if row["compression"] == "1.0"
    } == {(layer, pruner, 0.1) for layer in ("fc1", "fc2") for pruner in ("grasp", "rand")}
    orders = {(row["pruner"], row["figure"]): float(row["mean"]) for row in rows(made[2], "bleu-multi30k-seq2seq")}
    assert orders["dense", "bleu_1"] == 80.0 and orders["Rand", "bleu_4"] == 5.0
    assert rows(made[2], "translations-multi30k-seq2seq")[0]["output"] == EVIL
    figures = {"metric", "retained", "metric-agnews-text-classification", "layers-agnews-text-classification-c1"}
    assert {f"figures/{name}.{kind}" for name in figures for kind in ("svg", "png")} <= made[2].keys()


def test_a_task_with_a_single_compression_has_a_panel_only_where_it_is_alone(tmp_path):
    store = tmp_path / "store"
    add(store, "mnist", "grasp", 1.0, 1, 90.0)
    assert "figures/metric-mnist-fc.svg" in report(store, tmp_path / "alone")
    fill(store, "agnews", {"grasp": {0.5: [91.0], 1.0: [90.0]}})  # two compressions, none of them dense
    add(store, "cifar10", "rand", 0.0, 1, 60.0)
    add(store, "cifar10", "rand", 1.0, 1, 50.0)
    files = report(store, tmp_path / "beside")
    panels = {name for name in files if name.startswith("figures/metric-") and name.endswith(".svg")}
    assert panels == {f"figures/metric-{task}.svg" for task in ("agnews-text-classification", "cifar10-conv")}
    whole = files["figures/metric.svg"].decode()
    assert "AG News" in whole and "CIFAR-10" in whole and "MNIST" not in whole
    assert {row["dataset"] for row in rows(files, "results")} == {"agnews", "cifar10", "mnist"}


def test_the_store_is_only_read_and_nothing_is_written_elsewhere(made):
    store, before, files = made
    assert contents(store) == before
    assert {path.name for path in store.parent.iterdir()} == {"store", "report"}
    assert all(re.fullmatch(r"(report\.html|compare\.(md|json))|(tables|figures)/[\w.-]+", name) for name in files)


class Page(HTMLParser):
    """Tags, attributes and words of a page; that each tag that needs it is closed."""

    VOID = {"meta", "br", "img", "link", "input", "hr"}

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.words = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, key, value or "") for key, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, key, value or "") for key, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def page(made):
    return Page(made[2]["report.html"].decode())


def test_the_page_is_whole_and_fetches_nothing(made, page):
    assert page.open == [] and "svg" in page.tags
    assert not {"link", "img", "iframe", "object", "image", "foreignobject", "base"} & set(page.tags)
    for tag, key, value in page.attributes:
        if key in ("src", "href", "xlink:href", "srcset", "data", "action"):
            assert value.startswith("#") or ((tag, key) == ("a", "href") and value in made[2]), "a file beside it"
        assert not key.startswith("on") and (tag, key) != ("script", "src")
        assert "url(" not in value or re.fullmatch(r"url\(#[\w.-]+\)", value)
    text = made[2]["report.html"].decode()
    assert "@import" not in text
    outside = set(re.findall(r"https?://[^\s\"'<&)]+", text))
    names = {"http://www.w3.org/1999/xlink", "http://www.w3.org/2000/svg"}
    assert outside <= {*names, "https://example.org/x.png", "https://github.com/leeoniya/uPlot"}  # and words of texts


def test_a_browser_may_run_the_scripts_of_the_page_and_no_other(made):
    """By its own policy, which allows no address and of scripts those with these hashes."""
    text = made[2]["report.html"].decode()
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts]
    assert rules["default-src"] == "'none'" and rules["script-src"] == " ".join(hashes) and len(hashes) == 7


def test_what_others_wrote_is_as_they_published_it_and_in_the_page_with_its_licence(made, root):
    folder = root / "Experiments" / "reporting" / "browser" / "vendor"
    named = tomllib.loads((folder / "vendor.toml").read_text(encoding="utf-8"))
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "vendor.toml"}
    assert {name: hashlib.sha256(content).hexdigest() for name, content in files.items()} == named["sha256"]
    text = made[2]["report.html"].decode()
    assert all(files[named[part]].decode() in text for part in ("licence", "script", "style"))
    assert named["version"] in files[named["script"]].decode().partition("\n")[0]
    assert len(text.encode()) < 2_000_000


def test_what_links_point_to_is_there_once(page):
    names = [value for _, key, value in page.attributes if key == "id"]
    assert len(names) == len(set(names))
    links = {value for _, key, value in page.attributes if key in ("href", "xlink:href")}
    pointed = {value[1:] for value in links if value.startswith("#")}
    assert pointed and pointed <= set(names)
    clips = {value[5:-1] for _, key, value in page.attributes if key == "clip-path"}
    assert clips and clips <= set(names)


def test_names_and_texts_are_words_not_code(made, page):
    words = "".join(page.words)
    assert EVIL in words and "../$x^$/<i>.py:Best 012345" in words
    assert not {"b", "i"} & set(page.tags)
    (text,) = re.findall(
        r'<script type="application/json" id="embedded">(.*?)</script>', made[2]["report.html"].decode()
    )
    assert "<" not in text and "<b onclick=x>&amp;" in json.loads(text)["runs"]["name"]
    assert "../$x^$/<i>.py:Best 012345" in {pruner["name"] for pruner in json.loads(text)["pruners"]}


def test_the_page_begins_with_the_answer_and_its_picture(page, made):
    text = made[2]["report.html"].decode()
    answer = text[: text.index('<section id="explore">')]
    assert answer.count("<li>") == 5 and "<svg" in answer
    assert answer.index("<li>") < answer.index("<svg") < answer.index("<table") < answer.index("<nav")
    assert page.tags.count("h1") == 1 and ("html", "lang", "en") in page.attributes


def test_text_can_be_read_on_both_pages(made):
    """A contrast of 4.5 to 1 (WCAG 2.1, AA) of each colour of text on each ground, by the standard's own formula."""
    text = made[2]["report.html"].decode()

    def luminance(colour):
        parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    themes = [
        dict(re.findall(r"(--\w+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", text, re.DOTALL)
    ]
    assert len(themes) == 2
    for theme in themes:
        for ground in ("--card", "--page"):
            for ink in ("--ink", "--muted", "--link", "--holds", "--fails", "--open"):
                light, dark = sorted((luminance(theme[ink]), luminance(theme[ground])), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, ground)


def test_the_page_follows_light_and_dark(made):
    text = made[2]["report.html"].decode()
    style = text[text.index("<style>") : text.index("</style>")]
    assert "prefers-color-scheme: dark" in style and 'name="viewport"' in text
    used = set(re.findall(r"var\((--\w+)\)", text))
    assert {"--ink", "--card", "--grid"} <= used and all(style.count(f"{name}:") == 2 for name in used)
    assert "#ffffff" not in text[text.index("<svg") : text.rindex("</svg>")]


def test_the_page_has_every_table_in_a_box_that_scrolls(page):
    boxes = [value for tag, key, value in page.attributes if (tag, key, value) == ("div", "class", "scroll")]
    assert len(boxes) == page.tags.count("table") > 10
    folds = [value for tag, key, value in page.attributes if tag == "details" and key == "id"]
    assert len(folds) == page.tags.count("table") + 2, "each in one that is closed; two are drawn by the script"
    assert not [key for tag, key, _ in page.attributes if tag == "details" and key == "open"]


def test_figures_are_whole_svg_and_png(made):
    figures = {name: content for name, content in made[2].items() if name.startswith("figures/")}
    assert len(figures) > 10
    for name, content in figures.items():
        if name.endswith(".svg"):
            assert ElementTree.fromstring(content).tag.endswith("svg")
        else:
            assert content.startswith(b"\x89PNG") and content.endswith(b"IEND\xaeB`\x82")


def test_the_same_store_gives_the_same_bytes(made, tmp_path):
    assert report(made[0], tmp_path / "again") == made[2]


def test_a_report_on_samples_says_so_loudly(tmp_path, capsys):
    add(tmp_path / "store", "agnews", "rand", 1.0, 1, 90.0, source="sample")
    files = report(tmp_path / "store", tmp_path / "report")
    assert "!!!!" in capsys.readouterr().err
    assert "GENERATED SAMPLES" in "".join(Page(files["report.html"].decode()).words)
    assert "AG News SAMPLE" in files["tables/results.md"].decode()


def test_a_place_that_cannot_be_written_is_one_line(tmp_path, capsys):
    add(tmp_path / "store", "agnews", "rand", 0.0, 1, 90.0)
    (tmp_path / "file").write_text("mine")
    code = main.main(
        ["--experiment", "report", "--store", str(tmp_path / "store"), "--report-dir", str(tmp_path / "file")]
    )
    err = capsys.readouterr().err
    assert code == 2 and err.startswith("error: cannot write") and err.count("\n") == 1
    assert (tmp_path / "file").read_text() == "mine"


def test_cells_cannot_break_a_markdown_table():
    table = Table("t", "T", ["a|b", "c"], [["x\ny", EVIL]], [{"a": "1,2\n3"}])
    line = table.markdown().splitlines()[-1]
    assert line.startswith("| x y | ") and len(re.findall(r"(?<!\\)\|", line)) == 3 and "<" not in line
    assert list(csv.DictReader(table.csv().splitlines(keepends=True))) == [{"a": "1,2\n3"}]


@pytest.mark.parametrize("experiment", ["report", "compare"])
def test_the_help_waits_for_nothing_heavy(root, experiment):
    code = (
        "import contextlib, io, sys, main\n"
        "with contextlib.suppress(SystemExit):\n"
        f"    main.main(['--experiment', '{experiment}', '--help'])\n"
        "print(sorted({'torch', 'numpy', 'pandas', 'matplotlib'} & sys.modules.keys()))\n"
    )
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    shown = subprocess.run([sys.executable, "-c", code], cwd=root, env=env, capture_output=True, text=True)
    assert shown.stdout.endswith("[]\n") and "--store" in shown.stdout and "--report-dir" in shown.stdout


def test_an_unknown_store_is_one_line(tmp_path, capsys):
    assert main.main(["--experiment", "report", "--store", str(tmp_path / "no")]) == 2
    assert re.fullmatch(r"error: --store .*/no: no such directory\n", capsys.readouterr().err)
