"""Flags that name a path: ~ is the home directory in each of them."""

from pathlib import Path

import pytest

from Utils import load, plugin
from Utils.commandline import arguments
from Utils.commandline.kinds import path


@pytest.mark.parametrize("experiment", load.EXPERIMENTS)
def test_a_tilde_is_the_home_directory_in_every_path_flag(experiment):
    named = ("DIR", "PATH", "RUN", "FILE", "OUT")
    actions = [action for action in arguments.parser(experiment)._actions if action.metavar in named]
    assert actions
    for action in actions:
        assert action.type("~/some/place") == str(Path.home() / "some/place"), action.option_strings


def test_a_tilde_before_a_file_of_the_users_own_is_the_home_directory(tmp_path, monkeypatch):
    """A shell leaves it alone within --pruner=~/mine.py:Mine, and so it comes here."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.py").write_text("class Mine:\n    pass\n", encoding="utf-8")
    assert plugin.read("--pruner", "~/mine.py:Mine").load().__name__ == "Mine"
    assert load.pruner_sha256("~/mine.py:Mine") == load.pruner_sha256(f"{tmp_path}/mine.py:Mine")
    (tmp_path / "words.csv").write_text("label,text\na,b\n", encoding="utf-8")
    assert load.own_data("~/words.csv") == ("words.csv", str(tmp_path / "words.csv"))


def test_other_paths_are_taken_as_they_are():
    assert [path(text) for text in ("a/~", "./a", "/a", "a~")] == ["a/~", "./a", "/a", "a~"]
