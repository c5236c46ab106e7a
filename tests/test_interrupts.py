"""Ctrl-C: exit code 130 from the first moment, whatever is being imported."""

import ast
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from waiting import until

RUN = ["main.py", "--dataset", "mnist", "--source", "sample", "--threads", "1", "--post-epochs", "100"]
SWALLOWS = """
import os, signal, sys, time
sys.path.insert(0, sys.argv[2])
from Utils.machine import interrupts
try:
    with interrupts.after_imports():
        import swallowing
        print("went on", flush=True)
        time.sleep(60)
except KeyboardInterrupt:
    sys.exit(130)
"""
MODULE = """
import time
print("imports", flush=True)
try:
    {body}
except BaseException:
    print("swallowed", flush=True)
"""


@pytest.fixture
def begin(tmp_path, root):
    """begin(words): a process in the project, whose output is read; killed at the end of the test."""
    children = []

    def start(*words: str) -> subprocess.Popen:
        children.append(subprocess.Popen([sys.executable, *words], cwd=root, text=True,
                                         stdout=subprocess.PIPE, stderr=subprocess.PIPE))  # fmt: skip
        return children[-1]

    yield start
    for child in children:
        child.kill()
        child.wait()


def swallowing(begin, tmp_path, body: str) -> subprocess.Popen:
    """A process in the middle of importing a module that swallows whatever is raised in it."""
    (tmp_path / "swallowing.py").write_text(MODULE.format(body=body), encoding="utf-8")
    child = begin("-c", SWALLOWS, "", str(tmp_path))
    assert child.stdout.readline() == "imports\n"
    return child


def test_an_interrupt_waits_for_the_end_of_an_import_that_would_swallow_it(begin, tmp_path):
    child = swallowing(begin, tmp_path, "time.sleep(1)")
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate()
    assert child.returncode == 130 and "swallowed" not in out


def test_a_second_one_ends_the_process_at_once(begin, tmp_path):
    child = swallowing(begin, tmp_path, "time.sleep(600)")
    child.send_signal(signal.SIGINT)
    time.sleep(0.3)
    child.send_signal(signal.SIGINT)
    assert child.communicate() == ("", "stopped\n") and child.returncode == 130


def test_an_import_that_does_not_end_is_interrupted_after_a_while(begin, tmp_path, monkeypatch):
    (tmp_path / "swallowing.py").write_text("import time\nprint('imports', flush=True)\ntime.sleep(600)\n")
    child = begin("-c", SWALLOWS.replace("try:", "interrupts.LOOKS = 3\ntry:", 1), "", str(tmp_path))
    assert child.stdout.readline() == "imports\n"
    child.send_signal(signal.SIGINT)
    assert child.communicate() == ("", "") and child.returncode == 130


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux")
@pytest.mark.parametrize("library", ["libtorch_cpu", "libtorch_python"])
def test_a_run_that_is_interrupted_while_torch_is_imported(begin, tmp_path, library):
    child = begin(*RUN, "--result-dir", str(tmp_path))
    until(lambda: library in Path(f"/proc/{child.pid}/maps").read_text(encoding="utf-8"))
    child.send_signal(signal.SIGINT)
    assert child.communicate()[1] == "stopped\n" and child.returncode == 130
    # On a busy machine the signal may come later, and find a run that has begun.
    assert [path for path in tmp_path.rglob("*") if path.is_file() and not path.parent.name.endswith(".part")] == []


def test_main_imports_nothing_of_the_project_before_it_can_catch_an_interrupt(root):
    tree = ast.parse((root / "main.py").read_text(encoding="utf-8"))
    assert [node.names[0].name for node in tree.body if isinstance(node, ast.Import)] == ["sys"]
    assert not any(isinstance(node, ast.ImportFrom) for node in tree.body)
