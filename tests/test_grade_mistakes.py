"""The corpus of honest submissions: each has a sheet, and fails the rows of its mistake, named, and no other."""

import json
import math
import tomllib
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from Experiments.grading import FORMULAS, judge, local
from Experiments.grading.draws import Draw
from Experiments.grading.remote import Candidate
from Experiments.grading.sheet import Sheet
from Utils import plugin
from Utils.errors import UserError
from Utils.store import files

MISTAKES = tomllib.loads((Path(__file__).parent / "students" / "mistakes.toml").read_text(encoding="utf-8"))
BEFORE = MISTAKES.pop("before")
GROUPS = ("scores", "counts", "rounds", "effects")


def test_there_are_forty():
    assert sum("fails" in entry or "refused" in entry for entry in MISTAKES.values()) > 40


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_fails_its_own_rows_and_a_right_class_none(name, tmp_path):
    entry = MISTAKES[name]
    source = plugin.Plugin(tmp_path / f"{name}.py", entry["class"], (BEFORE + entry["code"]).encode())
    truth = entry["class"].lower()
    checks = ["interface", *GROUPS] if "checks" not in entry else ["interface", *entry["checks"].split()]
    request = judge.Request(
        str(source.path), entry["class"], source.sha256, truth if truth in FORMULAS else None, checks
    )
    request = replace(request, draw=Draw.of(b"a secret", source.sha256))
    facts: dict = {"isolation": "none"}
    candidate = Candidate(lambda: local.Local(source.load), math.inf)
    if "refused" in entry:
        with candidate, pytest.raises(UserError, match=entry["refused"]):
            judge.rows(request, candidate, facts)
        return
    sheet = Sheet(source.path.name, entry["class"], source.sha256, truth, checks, facts)
    with candidate:
        sheet.rows = judge.rows(request, candidate, facts)
    patterns = entry.get("fails", [])
    failed = [row for row in sheet.rows if not row["ok"]]
    should = [row["name"] for row in sheet.rows if any(fnmatchcase(row["name"], pattern) for pattern in patterns)]
    assert [row["name"] for row in failed] == should, [(row["name"], row["found"]) for row in failed]
    assert not patterns or entry.get("found", "") in failed[0]["found"]
    files.write_json(tmp_path / "sheet.json", sheet.content())
    assert json.loads((tmp_path / "sheet.json").read_text(encoding="utf-8"))["holds"] == (not patterns)
