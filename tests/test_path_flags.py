"""Flags that name a path: ~ is the home directory in each of them."""

from pathlib import Path

import pytest

from Utils import load
from Utils.commandline import arguments
from Utils.commandline.kinds import path


@pytest.mark.parametrize("experiment", load.EXPERIMENTS)
def test_a_tilde_is_the_home_directory_in_every_path_flag(experiment):
    actions = [action for action in arguments.parser(experiment)._actions if action.metavar in ("DIR", "PATH", "RUN")]
    assert actions
    for action in actions:
        assert action.type("~/some/place") == str(Path.home() / "some/place"), action.option_strings


def test_other_paths_are_taken_as_they_are():
    assert [path(text) for text in ("a/~", "./a", "/a", "a~")] == ["a/~", "./a", "/a", "a~"]
