"""A whole class: what is read of downloads, what a rubric makes of rows, gradebooks, flags, and the page."""

import csv
import io
import json
import re
import stat
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

import main
from Experiments.grading import CHECKS, FORMULAS, gradebook, judge, outputs, page, rubric, structure, submissions
from Experiments.grading.rubric import Rubric
from Experiments.grading.submissions import Refused
from Utils.errors import UserError

CLASS = "class GraSP:\n    pass\n"


def zipped(files: dict[str, str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return out.getvalue()


def put(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def notebook(*cells: str) -> str:
    return json.dumps({"cells": [{"cell_type": "code", "source": cell.splitlines(True)} for cell in cells]})


# --- downloads -----------------------------------------------------------------------------------------------------


def test_a_file_a_folder_or_a_zip_is_a_student(tmp_path):
    put(
        tmp_path,
        {
            "anna.py": CLASS,
            "Bo Ek/work/grasp.py": CLASS,
            "Bo Ek/readme.txt": "x",
            "Bo Ek/.hidden/x.py": CLASS,
            "Bo Ek/__pycache__/y.py": CLASS,
            "cy.zip": zipped({"Pruners/pruners.py": CLASS, "__MACOSX/z.py": CLASS, "data.bin": "x"}),
            ".DS_Store": "x",
        },
    )
    (tmp_path / "Bo Ek" / "link.py").symlink_to(tmp_path / "anna.py")
    found = {one.student: one.read() for one in submissions.found(tmp_path)}
    assert {name: list(files) for name, files in found.items()} == {
        "anna": ["anna.py"],
        "Bo Ek": ["work/grasp.py"],
        "cy": ["Pruners/pruners.py"],
    }
    assert submissions.sha256(found["anna"]) != submissions.sha256(found["cy"])


@pytest.mark.parametrize("packed", [False, True])
def test_downloads_of_canvas_and_moodle(tmp_path, packed):
    names = {
        "lovelaceada_LATE_4711_88_grasp.py": CLASS,
        "lovelaceada_LATE_4711_89_helper.py": "x = 1\n",
        "hopper_12_90_all.zip": zipped({"deep/grasp.py": CLASS}),
        "Ada Lovelace_77_assignsubmission_file/grasp.py": CLASS,
        "Ada Lovelace_78_assignsubmission_file/grasp.py": CLASS,
    }
    place = put(tmp_path / "class", names)
    if packed:
        with zipfile.ZipFile(tmp_path / "class.zip", "w") as archive:
            for name in names:
                archive.write(place / name, name)
        place = tmp_path / "class.zip"
    found = {one.student: one for one in submissions.found(place)}
    assert {name: (one.ident, one.late, list(one.read())) for name, one in found.items()} == {
        "Ada Lovelace_77": ("77", False, ["grasp.py"]),
        "Ada Lovelace_78": ("78", False, ["grasp.py"]),
        "hopper": ("12", False, ["deep/grasp.py"]),
        "lovelaceada": ("4711", True, ["grasp.py", "helper.py"]),
    }


def entry(name: str, text: str = CLASS, mode: int = 0) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        info.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(info, text)
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (entry("../../evil.py"), "leads out of it"),
        (entry("/etc/evil.py"), "leads out of it"),
        (entry("..\\evil.py"), "leads out of it"),
        (entry("C:/evil.py"), "leads out of it"),
        (entry("evil.py", "/etc/passwd", stat.S_IFLNK | 0o777), "leads out of it"),
        (entry("bomb.py", " " * (3 << 20)), "larger than 2 MB"),
        (zipped({f"{k}.py": "x" for k in range(501)}), "more than 500"),
        (zipped({f"{k}.txt": "" for k in range(20_001)}), "more than 20000 entries"),
        (zipped({"x/" * 30 + "x.py": "x"}), "no name for a file"),
        (zipped({"a.py": "x", "a.py/b.py": "x"}), "is a file and a folder"),
        (zipped({"readme.txt": "x"}), "no file that ends in"),
        (b"PK\x03\x04 no zip", "cannot be read"),
        (b"", "cannot be read"),
    ],
)
def test_an_archive_that_means_ill_is_refused_for_its_student_alone(tmp_path, content, words):
    put(tmp_path, {"anna.zip": content, "bo.py": CLASS})
    one, other = submissions.found(tmp_path)
    with pytest.raises(Refused, match=words):
        one.read()
    assert list(other.read()) == ["bo.py"]


def test_of_a_notebook_the_definitions_are_kept(tmp_path):
    cells = (
        "%matplotlib inline\nimport torch\n!pip install x\nT = 200\nmodel = train()",
        "%%bash\nrm -rf /",
        "@torch.no_grad()\ndef f():\n    return T\nprint(f())\nfor k in range(3):\n    f()",
        "class GraSP:\n    T: int = T\n\n    def score(self):\n        pass",
    )
    put(tmp_path, {"anna/My work.ipynb": notebook(*cells), "bo.ipynb": "{}", "cy.ipynb": notebook("class GraSP(")})
    anna, bo, cy = submissions.found(tmp_path)
    ((name, source),) = anna.read().items()
    text = source.decode()
    assert name == "My_work_ipynb.py" and submissions.defining(anna.read(), "GraSP") == [name]
    assert all(word in text for word in ("import torch", "T = 200", "@torch.no_grad()", "class GraSP"))
    assert not any(word in text for word in ("pip", "train", "print", "range", "rm -rf"))
    with pytest.raises(Refused, match="is no notebook"):
        bo.read()
    with pytest.raises(Refused, match="was never closed"):
        submissions.defining(cy.read(), "GraSP")


def test_the_file_that_defines_the_class_is_found():
    files = {"a/b/old.py": CLASS, "a/pruners.py": CLASS, "new.py": CLASS, "other.py": "x = 1\n"}
    encoded = {name: text.encode() for name, text in files.items()}
    assert submissions.defining(encoded, "GraSP")[0] == "a/pruners.py"
    assert submissions.defining({k: v for k, v in encoded.items() if "pruners" not in k}, "GraSP")[0] == "new.py"
    with pytest.raises(Refused, match="no file defines a class SNIP"):
        submissions.defining(encoded, "SNIP")
    for broken in (b"class GraSP(", b"x = 1\0", b"\xff\xfe", b"(" * 10_000):
        with pytest.raises(Refused, match=r"x\.py.*; so no class GraSP can be read"):
            submissions.defining({"x.py": broken, "y.py": b""}, "GraSP")


def test_everyone_at_the_top_has_a_submission(tmp_path):
    """Also who has handed in nothing that is read; other files are said to be left out."""
    place = put(
        tmp_path / "class", {"anna.py": CLASS, "otto/x.pdf": "x", "lea_4711_8822_essay.pdf": "x", "notes.txt": "x"}
    )
    (place / "quentin").mkdir()
    (place / "link.py").symlink_to(place / "anna.py")
    packed = tmp_path / "class.zip"
    packed.write_bytes(
        zipped({"Bo O'Neil_7_assignsubmission_onlinetext_/x.html": "x", "anna.py": CLASS, "notes.txt": "x"})
    )
    for where, names, others in (
        (place, {"anna": True, "lea": False, "otto": False, "quentin": False}, ["link.py", "notes.txt"]),
        (packed, {"Bo O'Neil": False, "anna": True}, ["notes.txt"]),
    ):
        for one in (found := submissions.found(where)):
            if names[one.student]:
                assert one.read()
            else:
                with pytest.raises(Refused, match="no file that ends in"):
                    one.read()
        assert [one.student for one in found] == [*names] and submissions.left_out(where) == others


def test_a_notebook_may_import_what_is_only_elsewhere(tmp_path):
    cell = "from google.colab import (\n    drive\n)\nimport math\ndrive.mount('/x')\n\nclass GraSP:\n    at = math"
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": [{"cell_type": "code", "source": cell}]}), encoding="utf-8")
    (one,) = submissions.found(tmp_path)
    (source,) = one.read().values()
    made: dict = {}
    exec(source, made)
    assert made["GraSP"].at.pi > 3 and "drive" not in made and b"mount" not in source


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a.py": b""}, "a.py: there is nothing in it"),
        (
            {"a.py": "class GraSP:\n    pass\n".encode("utf-16")},
            "a.py: it is saved as UTF-16; save it as UTF-8; so no class",
        ),
        ({"a.py": b"x = (", "b.py": b""}, "a.py, line 1: '\\(' was never closed; so no class"),
        ({"a.py": b"x = 1", "b.py": b""}, "no file defines a class GraSP; there are a.py, b.py"),
    ],
)
def test_what_defines_no_class_is_said_with_its_reason(files, words):
    with pytest.raises(Refused, match=words):
        submissions.defining(files, "GraSP")


def test_of_several_files_with_the_class_the_others_are_named():
    assert submissions.defining({"b.py": CLASS.encode(), "x/a.py": CLASS.encode()}, "GraSP") == ["b.py", "x/a.py"]


def test_a_folder_of_nothing_is_an_error(tmp_path):
    put(tmp_path, {"x/y.zip": "no zip", "z/readme.txt": "x"})
    for place in (tmp_path / "z", tmp_path / "none", tmp_path / "x" / "y.zip"):
        with pytest.raises(UserError, match="--submissions"):
            submissions.found(place)


# --- rubrics -------------------------------------------------------------------------------------------------------


def row(name="shuffle()", group="counts", ok=True, found="", forgeable=False) -> dict:
    texts: dict = {"expected": "one", "why": "" if ok else "because", "figures": {}}
    return {"name": name, "group": group, "ok": ok, "found": found, "forgeable": forgeable, **texts}


ROWS = [
    row("a", "scores"),
    row("b", "scores", False, "a wrong sign"),
    row("c", "counts", False, "other"),
    row("d", "effects", forgeable=True),
]


def test_points_are_what_the_rubric_says(tmp_path):
    """By hand: of weights 6, 6, 1 and 0.1 the first and the last are earned."""
    assert Rubric().earned({"rows": ROWS}) == pytest.approx(6.1 / 13.1)
    path = tmp_path / "rubric.toml"
    path.write_text(
        'points = 10\nassignment = "Two"\n[classes]\nSNIP = 1\nGraSP = 3\n[weights]\nscores = 2\n[rows]\nc = 0\n'
        "[partial]\n'wrong sign' = 0.5\n[late]\nper_day = 10\nmost = 25\nmarked = 2\ndays = { anna = 1, bo = 9 }\n",
        encoding="utf-8",
    )
    marks = rubric.read(str(path), None)
    assert marks.earned({"rows": ROWS}) == pytest.approx((2 + 1 + 0.1) / (2 + 2 + 0.1))
    sheets = [{"class": "SNIP", "rows": ROWS}, {"class": "GraSP", "rows": [row()]}]
    whole = (3.1 / 4.1 + 3) / 4 * 10
    assert marks.total(sheets, 0) == pytest.approx(whole, abs=0.005)
    assert marks.total(sheets, marks.days["anna"]) == pytest.approx(0.9 * whole, abs=0.005)
    assert marks.total(sheets, marks.days["bo"]) == pytest.approx(0.75 * whole, abs=0.005)
    assert marks.total([], 0) == 0 and marks.total([{"class": "SNIP", "rows": []}], 0) == 0
    path.write_text(path.read_text(encoding="utf-8"), encoding="utf-8-sig")  # as some editors save it
    assert replace(rubric.read(str(path), None), sha256=marks.sha256) == marks


@pytest.mark.parametrize("name", FORMULAS)
def test_scores_of_another_formula_cost_half_of_the_points_or_more(name):
    """A class that ranks by something else and does the rest right is no half of a pruner."""
    every = judge.planned(list(CHECKS), name)
    rows = [row(c.name, group, group not in ("scores", "training"), forgeable=c.forgeable) for group, c in every]
    assert {group for group, c in every if c.forgeable} == {"interface", "effects"}
    assert 0.3 < Rubric().earned({"rows": rows}) < 0.5


def test_the_usual_rubric_can_be_copied_and_what_it_suggests_is_read(tmp_path):
    text = Path(rubric.__file__).with_suffix(".toml").read_text(encoding="utf-8")
    copy = tmp_path / "rubric.toml"
    copy.write_text(text, encoding="utf-8")
    assert replace(rubric.read(str(copy), "Mag"), sha256="") == Rubric(classes={"Mag": 1.0})
    first, _, more = text.partition("# What else a rubric may say:\n")
    copy.write_text(first + re.sub("^# ", "", more, flags=re.MULTILINE), encoding="utf-8")
    marks = rubric.read(str(copy), None)
    assert marks.classes == {"SNIP": 1.0, "GraSP": 3.0} and marks.days == {"anna": 2.0} and marks.most == 50.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("point = 3", "'point'"),
        ("[late]\nper_dy = 3", "'late.per_dy'"),
        ("points = 'many'", "points"),
        ("points = true", "points"),
        ("points = 0", "points"),
        ("[weights]\nscore = 1", "did you mean scores?"),
        ("[weights]\nscores = -1", "weights.scores"),
        ("[partial]\nx = 1.5", "partial.x"),
        ("[late]\nper_day = 101", "late.per_day"),
        ("late = 3", "late"),
        ("[classes]\n'Gra SP' = 1", "no name of a class"),
        ("= 3", "--rubric"),
    ],
)
def test_a_rubric_that_means_nothing_is_refused(tmp_path, text, words):
    path = tmp_path / "rubric.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=words.replace("?", r"\?")):
        rubric.read(str(path), "GraSP")


# --- what is written -----------------------------------------------------------------------------------------------


def sheet(student: str, state: str = outputs.GRADED, points: float = 50.0, reason: str = "", rows=ROWS) -> dict:
    classes = [{"class": "SNIP", "file": "x.py", "rows": rows, "output": "```\n<script>"}] if rows else []
    return {
        "student": student, "id": "7", "state": state, "reason": reason, "points": points, "of": 100.0,
        "late_days": 0.0, "isolation": "bubblewrap 1", "seconds": 3.4, "classes": classes,
    }  # fmt: skip


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_gradebooks_and_the_second_rater(tmp_path):
    sheets = [
        sheet("anna"),
        sheet("@bo", outputs.STUDENT, 0.0, "=cmd|' /C calc'!A0", []),
        sheet("cy", outputs.GRADER, 0.0),
    ]
    gradebook.write(tmp_path, sheets, {}, {"anna": ["-alike", "x"]}, "Two")
    rows = {line["student"]: line for line in table(tmp_path / gradebook.GRADEBOOK)}
    assert rows["anna"]["points"] == rows["anna"]["final"] == "50" and rows["anna"]["rows"] == "2 of 4"
    assert rows["'@bo"]["reason"] == "'=cmd|' /C calc'!A0" and rows["anna"]["flags"] == "'-alike; x"
    assert rows["cy"]["final"] == "" and rows["cy"]["state"] == "grader error"  # it is not the student's loss
    text = (tmp_path / gradebook.GRADEBOOK).read_text(encoding="utf-8")
    for given in (text.replace("50,,50", '50,"72,5",50'), text.replace("50,,50", "50,72.5,50")):
        (tmp_path / gradebook.GRADEBOOK).write_text(given, encoding="utf-8")
        kept = gradebook.kept(tmp_path / gradebook.GRADEBOOK)
        made = gradebook.write(tmp_path, [*sheets[1:], sheet("anna", points=10.0)], kept, {}, "Two")
        assert [line["final"] for line in made] == [0.0, None, 72.5]
    gradebook.write(tmp_path, sheets[1:], gradebook.kept(tmp_path / gradebook.GRADEBOOK), {}, "Two")
    rows = {line["student"]: line for line in table(tmp_path / gradebook.GRADEBOOK)}
    assert rows["anna"]["override"] == "72.5" and rows["anna"]["state"] == "no submission"
    canvas, moodle = table(tmp_path / gradebook.CANVAS), table(tmp_path / gradebook.MOODLE)
    assert list(canvas[0]) == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "Two"]
    assert canvas[0]["Student"] == "    Points Possible" and canvas[0]["Two"] == "100"
    assert moodle[0]["Identifier"] == "Participant 7" and moodle[0]["Full name"] == "'@bo"
    text = (tmp_path / gradebook.GRADEBOOK).read_text(encoding="utf-8")
    (tmp_path / gradebook.GRADEBOOK).write_text(text.replace("72.5", "good"), encoding="utf-8")
    with pytest.raises(UserError, match="the override 'good' of anna"):
        gradebook.kept(tmp_path / gradebook.GRADEBOOK)


def test_feedback_and_results_of_one_student(tmp_path):
    """Nothing that a student has written becomes markup."""
    rows = [*ROWS, row("e", ok=False, found="<img src=x> [a](b)") | {"trace": "line 3\n```\n# x"}]
    unmade = [row("f", ok=False, found=f"{outputs.UNRUN}no class")] * 3
    marks = Rubric(rows={"c": 0.0}, partial={"wrong sign": 0.5})
    one = sheet("anna", outputs.STUDENT, 50.0, "*why*", rows + unmade)
    outputs.write(tmp_path, one, marks)
    text = (tmp_path / outputs.FEEDBACK).read_text(encoding="utf-8")
    assert "# anna: 50 of 100 points" in text and r"**student error**: \*why\*" in text
    assert "### b, earns 50% of its points" in text and "### c (not counted here)" in text
    assert r"\<img src=x\>" in text and "<script>" in text and "\n    ```\n    <script>" in text
    assert "\n    line 3\n    ```\n" in text and "3 rows were not run: no class" in text and "### f" not in text
    results = json.loads((tmp_path / outputs.RESULTS).read_text(encoding="utf-8"))
    assert results["score"] == 50 and results["max_score"] == 100 and results["output"] == "student error: *why*"
    tests = {test["name"]: test for test in results["tests"]}
    assert "SNIP: counts: c" not in tests and tests["SNIP: scores: b"]["score"] == 3.0
    assert tests["SNIP: scores: a"]["status"] == "passed" and tests["SNIP: counts: e"]["status"] == "failed"
    assert {"score", "max_score", "status", "output", "name"} <= tests["SNIP: scores: a"].keys()
    assert "set by hand" not in text
    outputs.tell(tmp_path, one, marks, 77.0)  # a second rater's points are what the student reads
    text = (tmp_path / outputs.FEEDBACK).read_text(encoding="utf-8")
    assert "# anna: 77 of 100 points" in text and "set by hand; the rows below make 50" in text
    assert json.loads((tmp_path / outputs.RESULTS).read_text(encoding="utf-8"))["score"] == 77.0
    assert json.loads((tmp_path / outputs.SHEET).read_text(encoding="utf-8")) == one


def test_the_page_shows_the_class(tmp_path):
    sheets = [sheet("a<b>"), sheet("bo", points=100.0), sheet("cy", outputs.GRADER, 0.0, "it broke", [])]
    rows = gradebook.write(tmp_path, sheets, {}, {"bo": ["SNIP: 90% alike cy"]}, "Two")
    text = page.build(sheets, rows, Rubric(assignment="Two <2>"))
    assert "Two &lt;2&gt;" in text and "a&lt;b&gt;" in text and "<b>" not in text
    assert "3 submissions: 2 graded, 1 to be graded again" in text and "median 75, from 50 to 100" in text
    assert "SNIP: 90% alike cy" in text and "bubblewrap 1" in text and 'href="a%3Cb%3E/feedback.md"' in text
    assert "50 to 60: 1; 90 to 100: 1" in text
    rows = [row(name, ok=False, found=f"{k} stay, not 7") for k, name in enumerate("vwxyz")]
    assert page.mistakes([*sheets, sheet("di", rows=rows)]) == [
        ("2", "SNIP", "a wrong sign", "b"),
        ("2", "SNIP", "other", "c"),
        ("1", "SNIP", "0 stay, not 7", "v; w; x and 2 more"),
    ]


# --- flags ---------------------------------------------------------------------------------------------------------

FIRST = """
class SNIP:
    def score(self, model, loss, dataloader, device):
        total = [torch.zeros_like(p) for _, p in self.masked_parameters]
        for data, target in dataloader:
            value = loss(model(data.to(device)), target.to(device))
            for t, g in zip(total, torch.autograd.grad(value, [p for _, p in self.masked_parameters])):
                t += g
        self.scores = {id(p): (t * p).abs() for t, (_, p) in zip(total, self.masked_parameters)}
"""
OTHER = """
class SNIP:
    def score(self, model, loss, dataloader, device):
        for mask, _ in self.masked_parameters:
            mask.requires_grad = True
        for batch in dataloader:
            loss(model(batch[0]), batch[1]).backward()
        norm = 0
        for mask, weight in self.masked_parameters:
            self.scores[id(weight)] = mask.grad.clone().detach().abs_()
            norm += self.scores[id(weight)].sum()
            weight.grad.data.zero_()
            mask.grad.data.zero_()
            mask.requires_grad = False
"""


def renamed(source: str) -> str:
    for old, new in (("total", "acc"), ("value", "L"), ("data", "x"), ("target", "y"), ("model", "net")):
        source = source.replace(old, new)
    return source.replace("class SNIP:\n", 'class SNIP:\n    """My own work."""\n\n    # all mine\n')


def test_a_copy_with_other_names_is_flagged_and_other_work_is_not():
    found = structure.pairs(
        {name: ("SNIP", text.encode()) for name, text in {"a": FIRST, "b": renamed(FIRST), "c": OTHER}.items()}
    )
    assert found == {"a": ["SNIP: 100% alike b"], "b": ["SNIP: 100% alike a"]}


def test_what_everyone_has_is_no_copy():
    everyone = {str(k): ("SNIP", FIRST.encode()) for k in range(10)}
    assert structure.pairs(everyone) == {}


def test_copies_of_ours_and_unusual_imports_are_flagged(root):
    ours = (root / "Pruners" / "pruners.py").read_bytes()
    assert structure.alone({}, "GraSP", ours) == ["GraSP: 100% of its structure is that of our GraSP"]
    source = b"import os, torch\nfrom Pruners.pruners import SNIP as S\nclass SNIP(S):\n    pass\n"
    flags = structure.alone({"x.py": source, "bad.py": b"("}, "SNIP", source)
    assert flags == ["imports our SNIP", "imports os"]
    assert structure.alone({"x.py": OTHER.encode()}, "SNIP", OTHER.encode()) == []


# --- the command line ----------------------------------------------------------------------------------------------


def test_bad_input_is_one_line(tmp_path, capsys, monkeypatch):
    put(tmp_path, {"class/anna.py": CLASS, "rubric.toml": "x = 1", "short.secret": "short"})
    zero = "\n".join(f"{group} = 0" for group in CHECKS)
    put(tmp_path, {"zero.toml": f"[weights]\n{zero}", "days.toml": "[late]\ndays = { ana = 1 }"})
    base = ["--experiment", "grade", "--submissions", str(tmp_path / "class")]
    out = ["--grade-dir", str(tmp_path / "out"), "--class", "GraSP"]
    for more, words in (
        ([], "--grade-dir"),
        (["--grade-dir", str(tmp_path / "out")], "--class NAME"),
        ([*out, "--pruner-file", "x.py:GraSP"], "give one of"),
        ([*out[:2], "--class", "Grasp"], "no submission defines a class Grasp; what they define: GraSP (1)"),
        ([*out[2:], "--grade-dir", str(tmp_path / "class" / "out")], "lies among the submissions"),
        ([*out[2:], "--grade-dir", str(tmp_path)], "holds other files"),
        ([*out, "--rubric", str(tmp_path / "zero.toml")], "no row of GraSP has a weight"),
        ([*out, "--rubric", str(tmp_path / "days.toml")], "did you mean anna?"),
        ([*out, "--sheet", "x.json"], "--sheet is of --pruner-file"),
        ([*out, "--rubric", str(tmp_path / "rubric.toml")], "'x' is no entry"),
        ([*out, "--rubric", str(tmp_path / "none.toml")], "No such file"),
        ([*out, "--only", "ana"], "did you mean anna?"),
        ([*out, "--workers", "0"], "--workers"),
        ([*out, "--as", "grsp"], "did you mean grasp?"),
        ([*out[2:], "--grade-dir", str(tmp_path / "short.secret")], "cannot write"),
    ):
        assert main.main([*base, *more]) == 2
        said = capsys.readouterr()
        assert said.err.startswith("error: ") and said.err.count("\n") == 1 and words in said.err, said.err
    assert main.main(["--experiment", "grade", "--pruner-file", "x.py:A", "--only", "anna"]) == 2
    assert "--only is of --submissions, which is not given" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main.main([*base, *out]) == 2
    assert "sudo apt-get install bubblewrap" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
