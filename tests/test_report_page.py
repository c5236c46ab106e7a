"""The report's page: it stands alone, its words are no code, it can be read, and it begins with the answer."""

import base64
import hashlib
import html
import json
import math
import re
import statistics
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import pytest
from reports import EVIL, report, rows
from stores import add

from Experiments.reporting import canvas, embedded
from Utils.study import claims, paper, runs, tasks


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
def page(reported):
    return Page(reported[2]["report.html"].decode())


def test_the_page_is_whole_and_fetches_nothing(reported, page):
    assert page.open == [] and "svg" in page.tags
    assert not {"link", "img", "iframe", "object", "image", "foreignobject", "base"} & set(page.tags)
    for tag, key, value in page.attributes:
        if key in ("src", "href", "xlink:href", "srcset", "data", "action"):
            assert value.startswith("#") or ((tag, key) == ("a", "href") and value in reported[2]), "a file beside it"
        assert not key.startswith("on") and (tag, key) != ("script", "src")
        assert "url(" not in value or re.fullmatch(r"url\(#[\w.-]+\)", value)
    text = reported[2]["report.html"].decode()
    assert "@import" not in text
    outside = set(re.findall(r"https?://[^\s\"'<&)]+", text))
    names = {"http://www.w3.org/1999/xlink", "http://www.w3.org/2000/svg"}
    assert outside <= {*names, "https://example.org/x.png", "https://github.com/leeoniya/uPlot"}  # and words of texts


def test_a_browser_may_run_the_scripts_of_the_page_and_no_other(reported):
    """By its own policy, which allows no address and of scripts those with these hashes."""
    text = reported[2]["report.html"].decode()
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts]
    assert rules["default-src"] == "'none'" and rules["script-src"] == " ".join(hashes) and len(hashes) == 7
    assert not [script for script in scripts if "<!--" in script or "<script" in script], "what would end none of them"


def test_what_others_wrote_is_as_they_published_it_and_in_the_page_with_its_licence(reported, root):
    folder = root / "Experiments" / "reporting" / "browser" / "vendor"
    named = tomllib.loads((folder / "vendor.toml").read_text(encoding="utf-8"))
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "vendor.toml"}
    assert {name: hashlib.sha256(content).hexdigest() for name, content in files.items()} == named["sha256"]
    text = reported[2]["report.html"].decode()
    assert all(files[named[part]].decode() in text for part in ("licence", "script", "style"))
    assert named["version"] in files[named["script"]].decode().partition("\n")[0]
    assert len(text.encode()) < 2_000_000


def unpacked(column):
    return [column["words"][k] for k in column["at"]] if isinstance(column, dict) else column


def test_the_data_in_the_page_are_those_of_the_runs_and_of_the_tables(reported):
    files = reported[2]
    (text,) = re.findall(r'id="embedded">(.*?)</script>', files["report.html"].decode())
    data = json.loads(text)
    places = zip(unpacked(data["runs"]["folder"]), unpacked(data["runs"]["name"]), strict=True)
    paths = [Path(folder) / name for folder, name in places]
    assert {path.as_posix() for path in paths} == {row["run"] for row in rows(files, "runs")}
    metrics = []
    for k, path in enumerate(paths):
        final = json.loads((path / "result.json").read_text())["final"]
        metrics.append(final.get("bleu", final["test_top1"]))
        assert unpacked(data["runs"]["figures"]["metric"])[k] in ("", f"{metrics[k]:.2f}")
        config = json.loads((path / "config.json").read_text())
        configuration = unpacked(data["runs"]["configuration"])[k]
        assert unpacked(data["configurations"]["post_epochs"])[configuration] == str(config["post_epochs"])
        assert unpacked(data["configurations"]["shuffle"])[configuration] == str(config["shuffle"]).lower()
    shown = files["tables/results.md"].decode()
    points = {key: column if key == "runs" else unpacked(column) for key, column in data["points"].items()}
    for k, numbers in enumerate(points["runs"]):
        values = [metrics[number] for number in numbers]
        mean, _, rest = points["metric"][k].partition(" ")
        assert mean == f"{statistics.mean(values):.2f}" and rest.endswith(f"({len(values)})")
        assert f"| {points['metric'][k]} " in shown
    series = {key: unpacked(column) for key, column in data["series"].items()}
    names = [pruner["name"] for pruner in data["pruners"]]
    for pruner, own in zip(series["pruner"], series["points"], strict=True):
        for number in (number for k in own for number in points["runs"][k]):
            config = json.loads((paths[number] / "config.json").read_text())
            assert config["compression"] == 0.0 or names[pruner].startswith(config["pruner"])


@pytest.mark.parametrize("column", [[], ["a"], ["alpha", "beta"] * 9, ["1", "2", "3"], [1, 1, 1, 2]])
def test_a_column_is_packed_without_loss_and_never_longer(column):
    packed = embedded.pack(column)
    assert unpacked(packed) == column and len(embedded.text(packed)) <= len(embedded.text(column))
    assert isinstance(packed, dict) == (column == ["alpha", "beta"] * 9)


def test_markers_of_the_page_are_those_of_the_pictures():
    """Those with straight edges by their corners, upside down as y grows downwards; a circle by its distance from 0."""
    assert canvas.outline("s") == "M-0.5 0.5L0.5 0.5L0.5 -0.5L-0.5 -0.5Z"
    assert canvas.outline("^") == "M0 -0.5L-0.5 0.5L0.5 0.5Z" and canvas.outline("v") == "M0 0.5L0.5 -0.5L-0.5 -0.5Z"
    ends = [tuple(map(float, part.split()[-2:])) for part in re.split("[MC]", canvas.outline("o").rstrip("Z"))[1:]]
    assert len(ends) == 9 and all(math.hypot(*end) == pytest.approx(0.5, abs=2e-3) for end in ends)


def test_what_links_point_to_is_there_once(page):
    names = [value for _, key, value in page.attributes if key == "id"]
    assert len(names) == len(set(names))
    links = {value for _, key, value in page.attributes if key in ("href", "xlink:href")}
    pointed = {value[1:] for value in links if value.startswith("#")}
    assert pointed and pointed <= set(names)
    clips = {value[5:-1] for _, key, value in page.attributes if key == "clip-path"}
    assert clips and clips <= set(names)


def test_names_and_texts_are_words_not_code(reported, page):
    words = "".join(page.words)
    assert EVIL in words and "../$x^$/<i>.py:Best 012345" in words
    assert not {"b", "i"} & set(page.tags)
    (text,) = re.findall(
        r'<script type="application/json" id="embedded">(.*?)</script>', reported[2]["report.html"].decode()
    )
    assert "<" not in text and "<b onclick=x>&amp;" in json.loads(text)["runs"]["name"]
    assert "../$x^$/<i>.py:Best 012345" in {pruner["name"] for pruner in json.loads(text)["pruners"]}


def test_the_page_begins_with_the_answer_and_its_picture(page, reported):
    text = reported[2]["report.html"].decode()
    answer = text[: text.index('<section id="explore">')]
    sentences = answer[answer.index('<ol class="answer">') : answer.index("</ol>")]
    assert sentences.count("<li>") == 5 and "<svg" in answer
    assert answer.index('<ol class="answer">') < answer.index("<svg") < answer.index("<table") < answer.index("<nav")
    assert page.tags.count("h1") == 1 and ("html", "lang", "en") in page.attributes


def test_text_can_be_read_on_both_pages(reported):
    """A contrast of 4.5 to 1 (WCAG 2.1, AA) of each colour of text on each ground, by the standard's own formula."""
    text = reported[2]["report.html"].decode()

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


def test_the_page_follows_light_and_dark(reported):
    text = reported[2]["report.html"].decode()
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


def test_a_report_on_samples_says_so_loudly(tmp_path, capsys):
    add(tmp_path / "store", "agnews", "rand", 1.0, 1, 90.0, source="sample")
    files = report(tmp_path / "store", tmp_path / "report")
    assert "!!!!" in capsys.readouterr().err
    assert "GENERATED SAMPLES" in "".join(Page(files["report.html"].decode()).words)
    assert "AG News SAMPLE" in files["tables/results.md"].decode()


def test_each_claim_has_a_card_or_is_named_among_those_that_no_run_speaks_of(reported):
    """The store has runs of text alone, so the claims on images are the latter."""
    page = reported[2]["report.html"].decode()
    section = page[page.index('<section id="claims">') : page.index('<section id="paper">')]
    cards, rest = section.split("Undecided, for no run of ours speaks of it:")
    judged = claims.judge(tasks.group(runs.read([str(reported[0])])), paper.read())
    assert cards.count("<article ") == sum(bool(claim.statements) for claim in judged) > 1
    for claim in judged:
        entry, part = (f"<h3>{claim.name}</h3>", cards) if claim.statements else (f"<li>{claim.name}: ", rest)
        assert entry in html.unescape(part)
    assert any("CIFAR-10" in claim.where for claim in judged if not claim.statements)
