"""Counts in words."""

import pytest

from Utils.wording import counted


@pytest.mark.parametrize(("number", "words"), [(0, "0 runs"), (1, "1 run"), (2, "2 runs"), (1_000, "1,000 runs")])
def test_a_count_has_its_noun_in_the_right_number(number, words):
    assert counted(number, "run") == words
