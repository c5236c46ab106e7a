"""Counts in words."""

import pytest

from Utils.wording import counted, listed


@pytest.mark.parametrize(("number", "words"), [(0, "0 runs"), (1, "1 run"), (2, "2 runs"), (1_000, "1,000 runs")])
def test_a_count_has_its_noun_in_the_right_number(number, words):
    assert counted(number, "run") == words


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], ""),
        (["a", "b c"], "a, b c"),
        (["a, b", "c"], "'a, b', c"),
        (["a", "b, c"], "a, 'b, c'"),
        ([",", "x"], "',', x"),
        (list("abcdefghij"), "a, b, c, d, e, f, g, h, i, j"),
        (list("abcdefghijk"), "a, b, c, d, e, f, g, h, i, j, ..."),
    ],
)
def test_names_are_listed_so_that_they_can_be_told_apart(names, words):
    assert listed(names) == words
    assert listed(names, 1) == words if len(names) < 2 else listed(names, 1).endswith(", ...")
