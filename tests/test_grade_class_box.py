"""A class from the command to its tables, in boxes: every student has a sheet. Skipped where no box can be made."""

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import zipfile
from pathlib import Path

import boxes
import pytest

import main
from Experiments.grading import box
from Utils.store import lock

RIGHT = tomllib.loads((Path(__file__).parent / "students" / "mistakes.toml").read_text(encoding="utf-8"))["before"]
RAISES = (
    "\n\nclass Mag(Mag):\n    def score(self, *args):\n        print('a trace')\n        raise ValueError('=1+1')\n"
)
RUBRIC = """
points = 10
[classes]
Mag = 3
Rand = 1
[rows]
"scores of the text classifier" = 0
[late]
per_day = 10
"""
COUNTS = ("--checks", "interface,counts")
FILES = ("sheet.json", "feedback.md", "results.json")


def command(folder: Path, *more: str) -> list[str]:
    words = f"--experiment grade --submissions {folder}/class --grade-dir {folder}/out --rubric {folder}/rubric.toml"
    return [*words.split(), *more]


def sheets(folder: Path) -> dict[str, dict]:
    found = {path.parent.name: path.read_text(encoding="utf-8") for path in (folder / "out").glob("*/sheet.json")}
    return {name: json.loads(text) for name, text in sorted(found.items())}


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """A folder with a class that has been graded once."""
    boxes.isolation()
    folder = tmp_path_factory.mktemp("course")
    place = folder / "class"
    (place / "anna").mkdir(parents=True)
    (place / "anna" / "work.py").write_text("import os\nfrom helper import RIGHT\n" + RIGHT, encoding="utf-8")
    (place / "anna" / "helper.py").write_text("RIGHT = True\n", encoding="utf-8")
    (place / "bo_LATE_7_8_work.py").write_text(RIGHT, encoding="utf-8")
    (place / "cy.py").write_text("class Mag(\n", encoding="utf-8")
    (place / "di.py").write_text(RIGHT + RAISES, encoding="utf-8")
    with zipfile.ZipFile(place / "ed.zip", "w") as archive:
        archive.writestr("../../evil.py", RIGHT)
    cells = [{"cell_type": "code", "source": RIGHT}, {"cell_type": "code", "source": "Mag([]).score(*range(4))"}]
    (place / "fy.ipynb").write_text(json.dumps({"cells": cells}), encoding="utf-8")
    (folder / "rubric.toml").write_text(RUBRIC, encoding="utf-8")
    assert main.main(command(folder, *COUNTS, "--workers", "2")) == 0
    return folder


def test_everyone_has_a_sheet_and_feedback(graded):
    found = sheets(graded)
    assert {name: (one["state"], one["points"]) for name, one in found.items() if name != "di"} == {
        "anna": ("graded", 10.0),
        "bo": ("graded", 9.0),
        "cy": ("student error", 0.0),
        "ed": ("student error", 0.0),
        "fy": ("graded", 10.0),
    }
    assert found["di"]["state"] == "graded" and 2.5 < found["di"]["points"] < 4
    assert "was never closed" in found["cy"]["reason"] and "leads out of it" in found["ed"]["reason"]
    for name, one in found.items():
        assert all((graded / "out" / name / file).stat().st_size for file in FILES)
        assert one["isolation"].startswith("bubblewrap ") and len(one["key"]) == 64
        results = json.loads((graded / "out" / name / "results.json").read_text(encoding="utf-8"))
        assert results["score"] == one["points"] and results["max_score"] == 10
    assert [one["class"] for one in found["anna"]["classes"]] == ["Mag", "Rand"]
    assert len({one["draw"] for sheet in found.values() for one in sheet["classes"]}) == 10  # ed has no class at all
    assert {len(one["rows"]) for one in found["cy"]["classes"]} == {16}
    text = (graded / "out" / "di" / "feedback.md").read_text(encoding="utf-8")
    assert "ValueError: =1+1" in text and 'File "work' not in text and "raise ValueError('=1+1')" in text
    assert "a trace" in text and "/submission" not in text
    assert (graded / "out.secret").stat().st_mode & 0o077 == 0
    assert not list(graded.rglob("evil.py"))


def test_the_tables_have_everyone(graded):
    with (graded / "out" / "gradebook.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["anna", "bo", "cy", "di", "ed", "fy"] and rows["bo"]["late days"] == "1"
    assert rows["anna"]["flags"] == "imports os" and rows["cy"]["flags"] == ""
    assert (graded / "out" / "index.html").read_text(encoding="utf-8").count("<tr>") > 6
    assert len((graded / "out" / "canvas.csv").read_text(encoding="utf-8").splitlines()) == 8
    assert len((graded / "out" / "moodle.csv").read_text(encoding="utf-8").splitlines()) == 7


def test_what_has_not_changed_is_kept_and_what_has_is_graded_again(graded, tmp_path, capsys):
    folder = shutil.copytree(graded, tmp_path / "course")
    shutil.copy(graded / "out.secret", folder / "out.secret")
    table = folder / "out" / "gradebook.csv"
    table.write_text(
        table.read_text(encoding="utf-8").replace("student error,0,", "student error,0,4"), encoding="utf-8"
    )
    (folder / "class" / "cy.py").write_text(RIGHT, encoding="utf-8")
    before = sheets(folder)
    assert main.main(command(folder, *COUNTS)) == 0
    assert capsys.readouterr().out.count("kept, nothing has changed") == 5
    after = sheets(folder)
    assert after.pop("cy")["points"] == 10 and before.pop("cy")["points"] == 0 and after == before
    with table.open(encoding="utf-8", newline="") as file:
        finals = {row["student"]: (row["override"], row["final"]) for row in csv.DictReader(file)}
    assert finals["cy"] == finals["ed"] == ("4", "4") and finals["anna"] == ("", "10")
    (folder / "rubric.toml").write_text(RUBRIC.replace("points = 10", "points = 20"), encoding="utf-8")
    assert main.main(command(folder, *COUNTS, "--only", "ed")) == 0
    after = sheets(folder)
    assert after["ed"]["of"] == 20 and after["anna"]["of"] == 10
    for text, words in (("student error,0,-4", "no number of points"), ("student error,0,nan", "no number of points")):
        table.write_text(table.read_text(encoding="utf-8").replace("student error,0,4", text), encoding="utf-8")
        capsys.readouterr()
        assert main.main(command(folder, *COUNTS)) == 2 and words in capsys.readouterr().err
        table.write_text(table.read_text(encoding="utf-8").replace(text, "student error,0,4"), encoding="utf-8")
    line = next(line for line in table.read_text(encoding="utf-8").splitlines(True) if line.startswith("anna"))
    with table.open("a", encoding="utf-8") as file:
        file.write(line)
    assert main.main(command(folder, *COUNTS)) == 2 and "anna in two rows" in capsys.readouterr().err


def test_two_gradings_do_not_write_to_one_directory(graded, capsys):
    before = {path: path.read_bytes() for path in (graded / "out").rglob("*.*") if path.is_file()}
    with lock.held(graded / "out" / ".grading", pytest.fail):
        assert main.main(command(graded, "--checks", "interface")) == 2
    assert "another grading writes to" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in (graded / "out").rglob("*.*") if path.is_file()}


def test_a_class_that_is_killed_goes_on_where_it_was(graded, tmp_path, root):
    """SIGKILL of the command: its workers and boxes end, and what was graded is kept, to the byte."""
    folder = tmp_path / "course"
    (folder / "class").mkdir(parents=True)
    for name in ("bo_LATE_7_8_work.py", "di.py"):
        shutil.copy(graded / "class" / name, folder / "class" / name)
    (folder / "rubric.toml").write_text("[classes]\nMag = 1\n", encoding="utf-8")
    made = command(folder, "--checks", "interface")
    words = [sys.executable, str(root / "main.py"), *made]
    running = subprocess.Popen(words, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    family: set[int] = set()
    while not (first := sheets_there(folder)):
        assert running.poll() is None
        family |= set(box.tree(running.pid))
        time.sleep(0.05)
    family |= set(box.tree(running.pid))
    running.send_signal(signal.SIGKILL)
    running.wait()
    deadline = time.monotonic() + 30
    while left := [pid for pid in family if there(pid)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
    kept = {path: path.read_bytes() for path in first}
    assert main.main(made) == 0
    assert all(path.read_bytes() == content for path, content in kept.items())
    assert [*sheets(folder)] == ["bo", "di"] and len(family) > 2


def sheets_there(folder: Path) -> list[Path]:
    return sorted((folder / "out").glob("*/sheet.json"))


def there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_box_sees_what_it_needs_of_the_project_and_no_more():
    boxes.isolation()
    code = (
        "import json, os; files = [os.path.join(d, f) for d, _, fs in os.walk('/code') for f in fs]\n"
        "print(json.dumps([files, os.listdir('/submission'), os.listdir('/'), dict(os.environ), os.getuid()]))"
    )
    with box.Command({"a.py": b"x = 1\n"}) as made:
        words = [*made.words, sys.executable, "-c", code]
        shown = subprocess.check_output(words, pass_fds=made.handles, env=box.ENVIRONMENT, cwd="/")
    files, submission, top, environment, user = json.loads(shown)
    seen = {name.removeprefix("/code/") for name in files if not name.endswith(".pyc")}
    assert {name.partition("/")[0] for name in seen} == {"Layers", "Models", "Pruners", "Utils", "Experiments"}
    assert {name for name in seen if name.startswith("Pruners/")} == {
        f"Pruners/{name}.py" for name in ("__init__", "base", "guest", "layout", "pruners", "ranking", "untouched")
    }
    assert all(name.startswith(("Experiments/__init__", "Experiments/candidate/")) for name in seen if "Exper" in name)
    assert submission == ["a.py"] and user == 1000 and not {"home", "etc/passwd", "mnt"} & {*top}
    assert environment.keys() - {"PWD"} == {*box.ALONE, "PYTHONPATH"}
