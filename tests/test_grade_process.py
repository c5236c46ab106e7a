"""`--experiment grade` as it is called: what a class may do without ending the sheet, its exit codes, and its JSON."""

import itertools
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

import main
from Experiments.grading import box, judge, scores
from Experiments.grading.sheet import WIDTH
from Utils import load
from Utils.commandline import arguments as commandline

NAMES = {"rand": "Rand", "mag": "Mag", "snip": "SNIP", "grasp": "GraSP", "synflow": "SynFlow"}


@dataclass(frozen=True)
class Graded:
    """What one call came to; sheet: the JSON that it kept, if any."""

    code: int
    out: str
    err: str
    sheet: dict | None


@pytest.fixture
def grade(tmp_path, capsys):
    """grade("file.py:Class", further flags): one call of the command line."""

    def call(spec: object, flags: str = "") -> Graded:
        results = tmp_path / "results"
        base = f"--experiment grade --pruner-file '{spec}' --result-dir '{results}'"
        code = main.main(shlex.split(f"{base} {flags}"))
        kept = [json.loads(path.read_text()) for path in sorted(results.rglob("sheet.json"))]
        shutil.rmtree(results, ignore_errors=True)
        assert len(kept) == (code < 2)
        out, err = capsys.readouterr()
        return Graded(code, out, err, kept[0] if kept else None)

    return call


@pytest.fixture
def student(tmp_path):
    """student(body of score, what stands before the class): "file:Class" of a Mag that does that first."""

    def write(body: str, before: str = "") -> str:
        path = tmp_path / "student.py"
        lines = "\n        ".join(body.splitlines())
        path.write_text(
            "import os, sys, time\nimport torch\nfrom Pruners.pruners import Mag as Base\n"
            f"{before}\n"
            "class Mag(Base):\n"
            "    calls = 0\n"
            "    def score(self, model, loss, dataloader, device):\n"
            "        Mag.calls += 1\n"
            f"        {lines}\n"
            "        super().score(model, loss, dataloader, device)\n"
        )
        return f"{path}:Mag"

    return write


def by_name(sheet: dict) -> dict[str, dict]:
    return {row["name"]: row for row in sheet["rows"]}


# --- ours ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_our_own_pass(grade, root, name):
    spec = f"{root / 'Pruners' / 'pruners.py'}:{NAMES[name]}"
    graded = grade(spec, "--checks interface,scores,counts,rounds,effects")
    assert graded.code == 0, graded.out
    assert (
        graded.sheet["holds"] and graded.sheet["graded_as"] == name and all(row["ok"] for row in graded.sheet["rows"])
    )
    assert graded.sheet["reference"]
    groups = {"interface", "scores", "counts", "rounds", "effects"}
    assert {row["group"] for row in graded.sheet["rows"]} == set(graded.sheet["points"]) == groups
    assert "FAIL" not in graded.out and graded.err == "" and f", graded as {name}\n" in graded.out
    assert f"results/grade/{NAMES[name]}-{graded.sheet['sha256'][:10]}/sheet.json\n" in graded.out


def test_a_registered_pruner_without_a_reference_has_the_rows_of_any_class(grade, root, monkeypatch):
    """Not those of a random one: the same rows, and the same expectations, as a class of no known name."""
    spec = f"{root / 'tests' / 'students' / 'assignment_one.py'}:Custom"
    unknown = grade(spec, "--checks scores,cost")
    assert unknown.sheet["graded_as"] is None and unknown.sheet["reference"] is None
    assert "none of ours by name: its scores have no reference\n" in unknown.out
    monkeypatch.setitem(load.PRUNERS, "custom", "Pruners.pruners:Rand")
    known = grade(spec, "--checks scores,cost")
    assert known.sheet["graded_as"] == "custom" and known.sheet["reference"] is None
    assert "graded as custom: its scores have no reference\n" in known.out
    for row, other in zip(known.sheet["rows"], unknown.sheet["rows"], strict=True):
        assert (row["name"], row["expected"], row["ok"]) == (other["name"], other["expected"], other["ok"])
    names = [row["name"] for row in known.sheet["rows"] if row["group"] == "scores"]
    assert names == [f"scores of {words}" for words in scores.NETWORKS.values()]


def test_a_run_with_the_class_in_our_recipe_stands_beside_ours(grade, root, sample_data):
    """The same class by another way: the same masks, and the same accuracy to the last digit."""
    graded = grade(f"{root / 'Pruners' / 'pruners.py'}:GraSP", f"--checks training --data-dir '{sample_data}'")
    assert graded.code == 0, graded.out
    image, text = (row["figures"] for row in graded.sheet["rows"] if row["group"] == "training")
    for figures in (image, text):
        assert figures["test_top1"] == figures["our_test_top1"] > 70
        assert figures["kept"] == figures["our_kept"]


# --- what a class may do -------------------------------------------------------------------------------------------


def test_a_crash_in_the_constructor(grade, tmp_path):
    path = tmp_path / "student.py"
    path.write_text("class GraSP:\n    def __init__(self, masked_parameters):\n        masked_parameters.no_such\n")
    graded = grade(f"{path}:GraSP", "--checks scores")
    assert graded.code == 1 and graded.sheet["graded_as"] == "grasp"
    row = by_name(graded.sheet)["the class can be built"]
    assert row["found"].startswith("AttributeError: ") and row["found"].endswith("(line 3)")


def test_an_endless_loop_is_stopped_with_all_that_it_started(grade, student, tmp_path):
    """And the checks go on in a new process; a process left behind by the class is gone too."""
    body = f"""if Mag.calls == 1 and not os.path.exists('{tmp_path}/pid'):
    import subprocess
    left = subprocess.Popen(['sleep', '600'])
    open('{tmp_path}/pid', 'w').write(str(left.pid))
    while True: pass"""
    graded = grade(student(body), "--checks scores --limit 5")
    assert graded.code == 1
    failed = [row for row in graded.sheet["rows"] if not row["ok"]]
    assert [row["name"] for row in failed] == ["scores of the MLP, biases too"]
    assert failed[0]["found"] == "did not end within 5 s"
    pid = int((tmp_path / "pid").read_text())
    for _ in range(100):
        if not running(pid):
            break
        time.sleep(0.05)
    assert not running(pid)


def running(pid: int) -> bool:
    """Whether that process is there and no zombie."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_a_class_that_never_ends_is_given_up(grade, student):
    """Not every row waits for the limit."""
    graded = grade(student("time.sleep(600)"), "--checks scores,effects --limit 3")
    rows = [row for row in graded.sheet["rows"] if not row["ok"]]
    assert graded.code == 1 and len(rows) == len(graded.sheet["rows"]) - 2
    assert [row["found"] for row in rows[: judge.GIVE_UP]] == ["did not end within 3 s"] * judge.GIVE_UP
    assert {row["found"] for row in rows[judge.GIVE_UP :]} == {"not run: 3 rows before it did not come to an end"}


RAISED = {
    "sys.exit(0)": "SystemExit: 0 (line 9)",
    "raise KeyboardInterrupt": "KeyboardInterrupt (line 10)",
    "[0] * 10**10": "MemoryError (line 11)",
    "torch.zeros(10**10)": "RuntimeError: ",
    "again = lambda: again(); again()": "RecursionError: maximum recursion depth exceeded (line 13)",
    "raise ValueError('a\\n\\033b' * 10**6)": "ValueError: a ba ba",
    "raise BaseException": "BaseException (line 15)",
}


def test_what_is_raised_is_a_failed_row_and_the_same_process_goes_on(grade, student):
    """A row for each way, in order; the rows after them, in the same process, hold."""
    body = "\n".join(f"if Mag.calls == {k}: {way}" for k, way in enumerate(RAISED, 1))
    graded = grade(student(body), "--checks counts")
    scoring = [row for row in graded.sheet["rows"] if row["group"] != "interface"]
    assert graded.code == 1 and [row["ok"] for row in scoring] == [k >= len(RAISED) for k in range(len(scoring))]
    assert len(scoring) > len(RAISED)
    for row, found in zip(scoring, RAISED.values(), strict=False):
        assert row["found"].startswith(found) and len(row["found"]) <= 300


def test_the_end_of_its_process_is_a_failed_row_and_the_next_row_goes_on(grade, student, tmp_path):
    once = "if not os.path.exists('{0}'):\n    open('{0}', 'w').close()\n    {1}\n"
    body = once.format(tmp_path / "one", "os._exit(0)") + once.format(tmp_path / "two", "os.kill(os.getpid(), 11)")
    graded = grade(student(body.strip()), "--checks scores")
    failed = [row["found"] for row in graded.sheet["rows"] if not row["ok"]]
    assert graded.code == 1
    assert failed == ["the process ended itself with exit code 0", "the process was ended by SIGSEGV"]


def test_floods_and_litter_are_no_ones_concern(grade, student, tmp_path):
    """Megabytes of output go nowhere, what is written where the class stands goes with the sheet; and what is imported
    from beside its file is found."""
    (tmp_path / "beside.py").write_text("SOUGHT = 'x'\n")
    flood = (
        "for _ in range(100):\n    print(SOUGHT * 10**5)\n    print('y' * 10**5, file=sys.stderr)\nsys.stdin.read()\n"
    )
    graded = grade(student(flood + "open('left.txt', 'w').write('x')", "from beside import SOUGHT"), "--checks scores")
    assert graded.code == 0 and graded.sheet["holds"]
    assert len(graded.out) < 5_000 and not graded.err
    assert {path.name for path in tmp_path.iterdir()} == {"student.py", "beside.py"}


@pytest.mark.parametrize(
    ("before", "found"),
    [
        ("raise RuntimeError('no import')", "RuntimeError: no import (line 4)"),
        ("os._exit(3)", "the process ended itself with exit code 3"),
        ("time.sleep(600)", "did not end within 3 s"),
    ],
)
def test_a_file_that_cannot_be_imported_fails_every_row_at_once(grade, student, before, found):
    graded = grade(student("...", before), "--checks scores --limit 3")
    assert graded.code == 1 and not any(row["ok"] for row in graded.sheet["rows"]) and len(graded.sheet["rows"]) == 6
    assert graded.sheet["rows"][0]["found"] == found
    assert {row["found"] for row in graded.sheet["rows"][1:]} == {"not run: there is no class to check"}


# --- input ---------------------------------------------------------------------------------------------------------


def test_bad_input_is_one_line(grade, tmp_path):
    (tmp_path / "wrong.py").write_text("class GraSP:\n    def\n")
    (tmp_path / "null.py").write_bytes(b"x = 1\0")
    (tmp_path / "other.py").write_text("class Other: ...\nGraSP = 3\n")
    good = tmp_path / "other.py"
    for spec, flags, words in (
        (f"{tmp_path}/none.py:GraSP", "", ["none.py", "No such file"]),
        (f"{tmp_path}:GraSP", "", ["name a .py or .ipynb file"]),
        (f"{tmp_path}/wrong.py:GraSP", "", ["wrong.py:2", "invalid syntax"]),
        (f"{tmp_path}/null.py:GraSP", "", ["null.py"]),
        (f"{tmp_path}/other.py:GraSP", "", ["no class GraSP", "it has: Other"]),
        (f"{tmp_path}/other.py", "", ["path/to/file.py:Class"]),
        (":GraSP", "", ["path/to/file.py:Class"]),
        (f"{good}:Other", "--as grasps", ["grasps", "did you mean grasp?"]),
        (f"{good}:Other", "--checks scores,count", ["'count'", "did you mean counts?"]),
        (f"{good}:Other", "--limit 0", ["--limit"]),
        (f"{good}:Other", "--gpu 1", ["--gpu"]),
        (f"{good}:Other", f"--sheet {tmp_path}", ["--sheet", "directory"]),
    ):
        graded = grade(spec, flags)
        assert graded.code == 2 and graded.sheet is None and not graded.out, spec
        assert graded.err.startswith("error: ") and graded.err.count("\n") == 1
        assert all(word in graded.err for word in words), graded.err


def test_help_and_refusals_need_no_torch(root, tmp_path):
    code = (
        "import sys, main\n"
        "try:\n    main.main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    for more in (["--help"], ["--pruner-file", str(tmp_path / "none.py:GraSP")]):
        call = [sys.executable, "-c", code, "--experiment", "grade", *more]
        assert subprocess.run(call, cwd=root, capture_output=True).returncode == 0


def test_a_class_that_the_file_lacks_is_one_plain_line(grade, student):
    file, _, _ = student("pass").rpartition(":")
    graded = grade(f"{file}:Magnitude")
    assert graded.code == 2 and graded.err.startswith("error: student.py has no class Magnitude; it has: ")


# --- the sheet -----------------------------------------------------------------------------------------------------


def test_the_sheet_as_printed_and_as_kept(grade, root, tmp_path):
    """Lines of at most 100 columns, a reason at each failed row and at no other, and totals."""
    spec = root / "tests" / "students" / "assignment_one.py"
    graded = grade(f"{spec}:SNIP", f"--checks counts,effects,cost --sheet '{tmp_path}/results/mine/sheet.json'")
    sheet = graded.sheet
    assert f"Saved to {tmp_path}/results/mine/sheet.json\n" in graded.out
    assert graded.code == 1 and not graded.err
    lines = graded.out.splitlines()
    assert max(map(len, lines[:-1])) <= WIDTH
    failed = [row for row in sheet["rows"] if not row["ok"]]
    reasons = [reason for reason, _ in itertools.groupby(row["why"] for row in failed)]  # one that repeats is said once
    assert graded.out.count("  FAIL  ") == len(failed) > 3
    assert graded.out.count("        why ") == len(reasons) < len(failed)
    assert graded.out.count("  ok    ") == len(sheet["rows"]) - len(failed)
    assert all(bool(row["why"]) != row["ok"] and row["expected"] and row["found"] for row in sheet["rows"])
    held = {group: sum(row["ok"] for row in sheet["rows"] if row["group"] == group) for group in sheet["points"]}
    assert {group: points[0] for group, points in sheet["points"].items()} == held
    assert f"{sum(held.values())} of {len(sheet['rows'])} rows hold: interface 2/2, " in lines[-2]
    assert sheet["file"] == "assignment_one.py" and sheet["class"] == "SNIP" and sheet["seconds"] > 0
    assert sheet["versions"]["torch"] and sheet["machine"]["device"] == "cpu"
    (cost,) = (row for row in sheet["rows"] if row["group"] == "cost")
    assert cost["figures"]["ratio"] > 0


def test_a_class_is_graded_as_what_it_is_called_or_as_is_said(tmp_path):
    path = tmp_path / "student.py"
    path.write_text("class sNiP: ...\nclass Mine: ...\n")

    def graded_as(*arguments: str):
        return commandline.parse(["--experiment", "grade", "--pruner-file", *arguments]).graded_as

    assert graded_as(f"{path}:sNiP") == "snip" and graded_as(f"{path}:Mine") is None
    assert graded_as(f"{path}:Mine", "--as", "mag") == graded_as(f"{path}:sNiP", "--as", "mag") == "mag"


def test_a_sheet_never_replaces_another_file(tmp_path, capsys):
    """Neither the student's own source; a sheet of before it does replace."""
    file = tmp_path / "student.py"
    file.write_text("class Mag: ...\n", encoding="utf-8")
    arguments = ["--experiment", "grade", "--pruner-file", f"{file}:Mag", "--checks", "interface", "--sheet"]
    assert main.main([*arguments, str(file)]) == 2
    assert "another file" in capsys.readouterr().err and file.read_text(encoding="utf-8") == "class Mag: ...\n"
    sheet = tmp_path / "sheet.json"
    assert main.main([*arguments, str(sheet)]) == 1 and main.main([*arguments, str(sheet)]) == 1


def test_figures_that_are_no_numbers_are_figures(grade, student):
    """A Rand whose scores are all the same has correlations of NaN, and a sheet."""
    spec = student(
        "...", "class Rand(Base):\n    def compute(self, *_):\n        return [p * 0 + 1 for p in self.parameters]\n"
    )
    graded = grade(f"{spec.rpartition(':')[0]}:Rand", "--checks scores")
    assert graded.code == 1
    assert by_name(graded.sheet)["tensors are drawn independently"]["figures"] == {"deviations": "nan"}


def test_the_place_of_the_sheet_is_tried_before_anything_runs(student, tmp_path, capsys):
    spec = student("...", f"open('{tmp_path}/ran', 'w').close()")
    (tmp_path / "file").write_text("x", encoding="utf-8")
    words = ["--experiment", "grade", "--pruner-file", spec, "--sheet", str(tmp_path / "file" / "sheet.json")]
    assert main.main(words) == 2
    assert capsys.readouterr().err.startswith("error: cannot write") and not (tmp_path / "ran").exists()


def test_the_sheet_says_what_a_human_would_see_and_how_it_was_isolated(grade, student):
    graded = grade(student("..."), "--checks interface")
    assert graded.sheet["isolation"] == "none" and graded.sheet["draw"] == "the same for everyone"
    assert graded.sheet["flags"] == ["imports our Mag", "imports os, sys"]
    assert "A human who grades would see: imports our Mag\n" in graded.out


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_nothing_outlives_the_command_however_it_ends(student, tmp_path, root, number):
    """Neither its child, nor what the class has started, nor a folder."""
    body = (
        f"import subprocess\nsubprocess.Popen(['sleep', '600'])\nopen('{tmp_path}/there', 'w').close()\ntime.sleep(600)"
    )
    (tmp_path / "tmp").mkdir()
    words = f"--experiment grade --pruner-file {student(body)} --checks scores --result-dir {tmp_path}/results"
    command = subprocess.Popen(
        [sys.executable, str(root / "main.py"), *words.split()],
        cwd=root,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
        stdout=subprocess.DEVNULL,
    )
    until(lambda: (tmp_path / "there").exists())
    family = set(box.tree(command.pid)) - {command.pid}
    assert len(family) == 3 and list((tmp_path / "tmp").iterdir())
    command.send_signal(number)
    command.wait()
    until(lambda: not any(map(running, family)) and not list((tmp_path / "tmp").iterdir()))


def until(true) -> None:
    for _ in range(2400):
        if true():
            return
        time.sleep(0.025)
    raise AssertionError("it did not come to that")
