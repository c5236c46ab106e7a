"""Files and directories that are whole or not there, whatever goes wrong on the way."""

import contextlib
import errno
import hashlib
import itertools
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from Utils.errors import UserError
from Utils.store import files

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def refuse(monkeypatch):
    """refuse(where, name, error): the n-th call of where.name raises; without n, every call."""

    def plant(where, name, error, nth=None):
        original = getattr(where, name)
        calls = []

        def call(*arguments, **more):
            calls.append(arguments)
            if nth is None or len(calls) == nth:
                raise error
            return original(*arguments, **more)

        monkeypatch.setattr(where, name, call)
        return calls

    return plant


def names(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*"))


@pytest.mark.parametrize("content", [b"", b"abc", bytes(range(256)) * 5_000])
def test_hashes_are_hashlibs(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    assert files.md5(path) == hashlib.md5(content).hexdigest()
    assert files.sha256(path) == hashlib.sha256(content).hexdigest()


def test_write_bytes_makes_the_file_and_the_directories_above(tmp_path):
    files.write_bytes(tmp_path / "a" / "b" / "file", b"one")
    files.write_bytes(tmp_path / "a" / "b" / "file", b"two")
    assert (tmp_path / "a/b/file").read_bytes() == b"two"
    assert names(tmp_path) == ["a", "a/b", "a/b/file"]
    assert (tmp_path / "a/b/file").stat().st_mode & 0o777 == 0o644  # others may read a result


def test_a_reader_never_sees_half_a_file(tmp_path, monkeypatch):
    """All is on the disk before the name changes hands."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    seen = []
    sync = os.fsync

    def fsync(handle):
        (part,) = (other for other in tmp_path.iterdir() if other != path)
        seen.append((path.read_bytes(), part.read_bytes()))
        sync(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    files.write_bytes(path, b"the new content")
    assert seen == [(b"old", b"the new content")]


@pytest.mark.parametrize(("where", "name"), [(os, "fsync"), (os, "replace"), (os, "chmod")])
@pytest.mark.parametrize("old", [b"old", None])
def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path, refuse, where, name, old):
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)
    refuse(where, name, FULL)
    with pytest.raises(UserError) as caught:
        files.write_bytes(path, b"new")
    assert str(path) in str(caught.value) and "No space left on device" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == ([] if old is None else ["file"])
    assert old is None or path.read_bytes() == old


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, refuse):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    refuse(os, "fsync", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        files.write_bytes(path, b"new")
    assert names(tmp_path) == ["file"] and path.read_bytes() == b"old"


def test_a_place_that_cannot_be_is_a_user_error(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "below", tmp_path / "file" / "further" / "below", tmp_path / ("x" * 300)):
        with pytest.raises(UserError, match="cannot write"):
            files.write_bytes(path, b"new")
        with pytest.raises(UserError, match="cannot write"), files.staged(path / "target"):
            pytest.fail("there is no room to fill")
    (tmp_path / "directory").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*directory"):
        files.write_bytes(tmp_path / "directory", b"new")
    assert names(tmp_path) == ["directory", "file"]


def test_json_is_read_back_and_is_text(tmp_path):
    value = {"b": [1, 2.5, None, True], "a": {"é": "猫"}}
    files.write_json(tmp_path / "file", value)
    raw = (tmp_path / "file").read_bytes().decode("utf-8")
    assert json.loads(raw) == value and "猫" in raw and raw.endswith("\n")


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": -float("inf")}, object()])
def test_what_is_no_json_is_refused_before_anything_is_written(tmp_path, value):
    with pytest.raises((ValueError, TypeError)):
        files.write_json(tmp_path / "file", value)
    assert names(tmp_path) == []


def fill(target: Path, text: str, replace: bool = False) -> None:
    with files.staged(target, replace) as part:
        assert part.parent == target.parent  # on the same disk, where a rename is one step
        (part / "inside").write_text(text)


def test_a_staged_directory_appears_when_its_body_ends(tmp_path):
    target = tmp_path / "a" / "target"
    with files.staged(target) as part:
        (part / "inside").write_text("text")
        assert not target.exists()
    assert names(tmp_path) == ["a", "a/target", "a/target/inside"]
    assert target.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("error", [UserError("no"), FloatingPointError("nan"), KeyboardInterrupt(), FULL])
@pytest.mark.parametrize("replace", [False, True])
def test_a_staged_directory_vanishes_when_its_body_raises(tmp_path, error, replace):
    """And the body's error comes out as it is; an old directory stays."""
    target = tmp_path / "target"
    if replace:
        fill(target, "old")
    with pytest.raises(type(error)) as caught, files.staged(target, replace) as part:
        (part / "inside").write_text("half")
        raise error
    assert caught.value is error
    assert names(tmp_path) == (["target", "target/inside"] if replace else [])
    assert not replace or (target / "inside").read_text() == "old"


def test_a_directory_that_was_there_first_stays_unless_replaced(tmp_path):
    target = tmp_path / "target"
    fill(target, "first")
    fill(target, "second")
    assert (target / "inside").read_text() == "first"
    fill(target, "third", replace=True)
    assert (target / "inside").read_text() == "third"
    assert names(tmp_path) == ["target", "target/inside"]


def test_a_directory_that_comes_meanwhile_stays(tmp_path):
    """Another process was faster with the same content."""
    target = tmp_path / "target"
    with files.staged(target) as part:
        (part / "inside").write_text("slow")
        fill(target, "fast")
    assert names(tmp_path) == ["target", "target/inside"] and (target / "inside").read_text() == "fast"


def test_replacing_what_is_not_there_makes_it(tmp_path):
    fill(tmp_path / "target", "new", replace=True)
    assert names(tmp_path) == ["target", "target/inside"]


@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()])
def test_a_replacement_that_breaks_off_leaves_the_old_directory_and_nothing_else(tmp_path, monkeypatch, error):
    """At whichever of its renames: the old result is still there under its name."""
    target = tmp_path / "target"
    rename = os.rename
    for nth in itertools.count(1):
        fill(target, "old", replace=True)
        calls = []

        def failing(*arguments, calls=calls, nth=nth):
            calls.append(arguments)
            if len(calls) == nth:
                raise error
            return rename(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(os, "rename", failing)
            if nth > 1:  # the first rename may be one that is expected to fail
                with contextlib.suppress(UserError, KeyboardInterrupt):
                    fill(target, "new", replace=True)
            else:
                with pytest.raises((UserError, KeyboardInterrupt)):
                    fill(target, "new", replace=True)
        assert names(tmp_path) == ["target", "target/inside"]
        if len(calls) < nth:  # nothing was in the way this time
            assert (target / "inside").read_text() == "new"
            break
        assert (target / "inside").read_text() == "old"
    assert nth > 2


def test_a_replacement_on_a_disk_that_fails_for_good_destroys_nothing(tmp_path, monkeypatch):
    """From the moment the old directory has been moved no rename works, so it cannot be moved back either."""
    target = tmp_path / "target"
    fill(target, "old")
    rename = os.rename
    moved = []

    def failing(source, destination):
        if moved:
            raise FULL
        rename(source, destination)
        if Path(source) == target:
            moved.append(destination)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(UserError, match="No space left on device"):
        fill(target, "new", replace=True)
    assert "old" in [path.read_text() for path in tmp_path.rglob("inside")]


def test_a_first_write_that_fails_leaves_nothing(tmp_path, refuse):
    refuse(os, "rename", FULL)
    with pytest.raises(UserError, match="No space left on device"):
        fill(tmp_path / "target", "new")
    assert names(tmp_path) == []


def test_two_that_replace_at_once_leave_one_whole_directory_and_no_leftovers(tmp_path, monkeypatch):
    """The other one's whole replacement falls between the renames of this one, the worst moment."""
    target = tmp_path / "target"
    fill(target, "old")
    rename = os.rename
    calls = []

    def interleaved(*arguments, **more):
        rename(*arguments, **more)
        calls.append(arguments)
        if len(calls) == 1:
            fill(target, "theirs", replace=True)

    monkeypatch.setattr(os, "rename", interleaved)
    with contextlib.suppress(UserError):  # to give way with an error is allowed, to leave a mess is not
        fill(target, "ours", replace=True)
    assert len(calls) > 1 and names(tmp_path) == ["target", "target/inside"]
    assert (target / "inside").read_text() in ("ours", "theirs")


def test_json_holds_the_value_with_lists_of_numbers_in_a_line(tmp_path):
    value = {
        "a": [1, -2.5, 1e-07],
        "b": [],
        "c": [[1, 2], "[ 1,\n 2 ]"],
        "d": {"e": [True, None, 3]},
        "f": list(range(999)),
    }
    files.write_json(tmp_path / "x.json", value)
    text = (tmp_path / "x.json").read_text()
    assert json.loads(text) == value
    assert '"a": [1, -2.5, 1e-07]' in text and "[1, 2]" in text and r"[ 1,\n 2 ]" in text
    assert text.count("\n") < 25 and text.endswith("}\n")


def test_a_run_is_the_same_whatever_the_locale(cli, root, tmp_path):
    """Its name, its files and what it prints, with an ASCII locale that Python is told to keep."""
    table = tmp_path / "täglich.csv"
    rows = [f"{label},Grüße 猫 {text}" for label, text in (("schön", "gut"), ("übel", "müde")) for _ in range(8)]
    table.write_text("\n".join(["label,text", *rows]) + "\n", encoding="utf-8")
    ascii_only = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    line = ["--dataset", str(table), "--post-epochs", "1", "--compression", "0.5"]
    where = ["--source", "real", "--data-dir", str(tmp_path / "däta"), "--result-dir", str(tmp_path / "ergebnis-ä")]
    ended = subprocess.run(
        [sys.executable, "main.py", *line, *where], cwd=root, env=ascii_only, capture_output=True, encoding="utf-8"
    )
    assert ended.returncode == 0, ended.stderr
    assert "2 classes (schön, übel)" in ended.stderr and "täglich.csv" in ended.stdout
    again = cli(shlex.join([*line, *where]))
    assert again.err.startswith("note: stored result of ") and "ergebnis-ä" in again.err
