"""Attacks on the grading of a class: none earns a point, none gets out of its box. Skipped where there is no box."""

import hashlib
import json
import os
import re
import socket
import threading
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

import boxes
import pytest

from Experiments.grading import box, judge, plain
from Experiments.grading.draws import Draw
from Experiments.grading.remote import Candidate
from Experiments.grading.rubric import Rubric
from Utils.errors import UserError

ATTACKS = tomllib.loads((Path(__file__).parent / "students" / "attacks.toml").read_text(encoding="utf-8"))
BEFORE = ATTACKS.pop("before")
GROUPS = ["interface", "scores", "effects"]
SHORT = 6.0  # seconds for a row that is meant not to end
MARK = "31415926"  # seconds that a process sleeps which should not be there


@dataclass(frozen=True)
class Graded:
    """What one attack came to."""

    rows: list[dict]
    refused: str  # why there is no class, if that ended it

    @property
    def points(self) -> float:
        return Rubric().earned({"rows": self.rows}) if self.rows else 0.0

    @property
    def state(self) -> str:
        return "graded" if any(row["ok"] for row in self.rows) else "student error"

    @property
    def found(self) -> str:
        return self.refused or next((row["found"] for row in self.rows if not row["ok"]), "")


class Teacher:
    """What must not be read, written or reached."""

    def __init__(self, folder: Path) -> None:
        self.canary = folder / "canary"
        self.canary.mkdir()
        (self.canary / "secret.txt").write_text("a secret of the teacher's", encoding="utf-8")
        (self.canary / "sheet.json").write_text('{"points": 3}', encoding="utf-8")
        self.token = f"T{os.getpid()}x{time.time_ns()}"
        os.environ["TEACHER"] = self.token
        self.reached: list[str] = []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.abstract = socket.socket(socket.AF_UNIX)
        self.abstract.bind(f"\0{self.token}")
        self.abstract.listen()
        for one in (self.server, self.abstract):
            threading.Thread(target=self._listen, args=(one,), daemon=True).start()

    def _listen(self, one: socket.socket) -> None:
        try:
            while True:
                one.accept()
                self.reached.append(str(one))
        except OSError:
            return

    def unharmed(self) -> bool:
        files = {path.name: path.read_text(encoding="utf-8") for path in self.canary.iterdir()}
        return not self.reached and files == {
            "secret.txt": "a secret of the teacher's",
            "sheet.json": '{"points": 3}',
        }

    def filled(self, code: str) -> bytes:
        for word, value in (("CANARY", str(self.canary)), ("PORT", str(self.server.getsockname()[1]))):
            code = re.sub(rf"\b{word}\b", value, code)
        return code.replace("TOKEN", self.token).replace("MARK", MARK).encode()

    def close(self) -> None:
        del os.environ["TEACHER"]
        for one in (self.server, self.abstract):
            one.shutdown(socket.SHUT_RDWR)
            one.close()


def alive() -> list[str]:
    """The processes on this machine that an attack has left."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if MARK.encode() in (entry / "cmdline").read_bytes():
                    found.append(entry.name)
            except OSError:
                pass
    return found


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    one = Teacher(tmp_path_factory.mktemp("teacher"))
    yield one
    one.close()


@pytest.fixture(scope="module")
def attack(teacher):
    """attack(name): its outcome, with few rows that wait long, in a box that sound attacks share."""
    boxes.isolation()
    files = {f"{name}.py": teacher.filled(BEFORE + entry["code"]) for name, entry in ATTACKS.items()}
    start, known = boxes.Boxes(files), dict[str, Graded]()
    usual, most = judge.GIVE_UP, box.MEMORY
    judge.GIVE_UP, box.MEMORY = 1, 1 << 30

    def call(name: str) -> Graded:
        if name not in known:
            digest = hashlib.sha256(files[f"{name}.py"]).hexdigest()
            draw = Draw.of(b"s" * 32, digest)
            request = judge.Request(f"{box.SUBMISSION}/{name}.py", "SNIP", digest, "snip", GROUPS, draw)
            try:
                with Candidate(start, SHORT if ATTACKS[name].get("waits") else 120.0) as candidate:
                    known[name] = Graded(judge.rows(request, candidate, {}), "")
            except UserError as error:
                known[name] = Graded([], str(error))
        return known[name]

    yield call
    judge.GIVE_UP, box.MEMORY = usual, most
    start.end()


def test_there_are_forty():
    assert len(ATTACKS) > 40


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_earns_nothing_and_stays_in_its_box(name, attack, teacher):
    """Not a point more than worthless work, nothing read, written or reached, and an orderly outcome."""
    control, graded = attack("control"), attack(name)
    assert 0 < control.points < 0.3 and not any(row["ok"] for row in control.rows if row["group"] == "scores")
    assert graded.points <= control.points
    assert graded.state == ATTACKS[name]["state"]
    assert ATTACKS[name].get("found", "") in graded.found
    text = json.dumps(graded.rows) + graded.refused
    assert "a secret" not in text and "seen " not in text and "found /" not in text and "root:" not in text
    assert teacher.unharmed()


def test_without_a_box_the_same_file_reads_the_secret(teacher, tmp_path):
    """So the canary is one: what keeps it is the box."""
    file = tmp_path / "student.py"
    file.write_bytes(teacher.filled(BEFORE + ATTACKS["read_the_teachers_files"]["code"]))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    request = judge.Request(str(file), "SNIP", digest, "snip", ["interface", "scores"])
    with Candidate(lambda: plain.Plain(1), 60.0) as candidate:
        rows = judge.rows(request, candidate, {}, only="scores of the MLP")
    assert "a secret of the teacher's" in rows[0]["found"]


def test_nothing_is_left_alive(attack):
    """Here after the attacks that try; each of them is over, and its box is gone."""
    for name in ("a_process_left_behind", "processes_without_end"):
        attack(name)
    for _ in range(100):
        if not alive():
            break
        time.sleep(0.05)
    assert alive() == []
