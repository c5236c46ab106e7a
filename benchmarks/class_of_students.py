"""How long a class takes to be graded, killed in the middle and resumed, and whether every sheet says what it should.

    python -m benchmarks.class_of_students [--class GraSP] [--students 200] [--workers 2] [--folder FOLDER]

The submissions are those of tests/students/mistakes.toml in turn, right ones and wrong ones, each with a comment of its
own, so that no two are the same file and each is graded on networks of its own. The grader is killed with SIGKILL once
half of the sheets are written; the second command grades the others.
"""

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from benchmarks import scaffold
from Experiments.grading import CHECKS
from Utils.store import files

CORPUS = Path("tests/students/mistakes.toml")


def write(place: Path, name: str, students: int) -> list[dict[str, Any]]:
    """Write the submissions; return the corpus entry of each, in the order of their names."""
    corpus = tomllib.loads(CORPUS.read_text(encoding="utf-8"))
    before = corpus.pop("before")
    entries = [one for one in corpus.values() if one["class"] == name and "refused" not in one]
    given = [entries[k % len(entries)] for k in range(students)]
    for k, entry in enumerate(given):
        files.save_text(place / f"student{k:03d}.py", f"{before}{entry['code']}\n# Student {k}\n")
    return given


def graded(command: list[str], out: Path, until: int) -> float:
    """Grade until so many sheets are there, then kill the grader, whose processes end with it; return the seconds."""
    begun = time.monotonic()
    with subprocess.Popen([sys.executable, "main.py", *command], start_new_session=True) as process:
        while process.poll() is None:
            if len(list(out.glob("*/sheet.json"))) >= until:
                process.kill()
                break
            time.sleep(0.5)
    return time.monotonic() - begun


def unexpected(out: Path, given: list[dict[str, Any]]) -> list[str]:
    """Return what sheets say of a row that the corpus says otherwise, for rows whose outcome it says."""
    odd = []
    for k, entry in enumerate(given):
        sheet = files.read_json(out / f"student{k:03d}" / "sheet.json")
        groups = ["interface", *entry["checks"].split()] if "checks" in entry else list(CHECKS)
        rows = [row for one in sheet["classes"] for row in one["rows"] if row["group"] in groups]
        for row in rows:
            if row["ok"] == any(fnmatchcase(row["name"], pattern) for pattern in entry.get("fails", [])):
                odd.append(f"student{k:03d}: {row['name']}: {row['found']}")
    return odd


def main() -> None:
    flags = scaffold.Flags(__doc__)
    flags.add_argument("--class", dest="graded_class", default="GraSP", help="class that is graded")
    flags.add_argument("--students", type=int, default=200, help="number of submissions")
    flags.add_argument("--workers", type=int, default=2, help="processes that grade")
    flags.add_argument("--folder", type=Path, help="where the sheets stay (default: nowhere)")
    args = flags.begin()
    folder = args.folder or Path(tempfile.mkdtemp(prefix="class-"))
    given, out = write(folder / "class", args.graded_class, args.students), folder / "out"
    command = ["--experiment", "grade", "--submissions", str(folder / "class"), "--class", args.graded_class]
    command += ["--grade-dir", str(out), "--workers", str(args.workers)]
    seconds = [graded(command, out, args.students // 2)]
    kept = {path: path.stat().st_mtime_ns for path in out.glob("*/sheet.json")}
    seconds.append(graded(command, out, args.students + 1))
    times = [files.read_json(path)["seconds"] for path in out.glob("*/sheet.json")]
    odd = unexpected(out, given)
    figures = {"class": args.graded_class, "students": args.students, "workers": args.workers}
    figures |= {"minutes": sum(seconds) / 60.0, "killed_after_sheets": len(kept)}
    figures["sheets_made_again"] = sum(path.stat().st_mtime_ns != moment for path, moment in kept.items())
    figures |= {"median_seconds_a_student": statistics.median(times), "unexpected": odd}
    scaffold.save("class_of_students", figures)
    if args.folder is None:
        shutil.rmtree(folder)
    sys.exit(1 if odd else 0)


if __name__ == "__main__":
    main()
