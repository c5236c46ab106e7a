"""The public solutions: their file against a second reading of it, and verdicts against cells made by hand."""

import csv

import pytest

from Utils.study import solutions
from Utils.study.solutions import INSIDE, NOT_COMPARABLE, OUTSIDE, Public

HEADER = "task,pruner,compression,pre_epochs,post_epochs,median,min,max,solutions\n"
LINE = "mnist-fc,rand,1.0,0.0,10.0,94.0,93.0,95.0,4\n"


def test_every_line_of_the_file_is_a_cell():
    found = solutions.read()
    with solutions.CSV.open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))[1:]
    assert len(found) == len(lines) > 90
    for task, pruner, compression, pre, post, median, low, high, count in lines:
        cell = found[task, pruner, float(compression), int(float(pre)), int(float(post))]
        wanted = (float(median), float(low), float(high), int(count))
        assert (cell.median, cell.low, cell.high, cell.solutions) == wanted


def test_a_few_cells_are_as_they_were_published():
    found = solutions.read()
    assert found["cifar10-vgg16", "mag", 1.0, 10, 10].median == 84.17
    assert found["cifar10-vgg16", "rand", 1.0, 0, 10] == Public(10.0, 10.0, 10.0, 3)
    assert found["cifar10-vgg16", "grasp", 0.5, 0, 100].solutions == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + LINE + LINE, "line 3 .* repeats"),
        (HEADER + LINE.replace("93.0", "96.0"), "line 2 .* out of order"),
        (HEADER + LINE.replace(",4\n", ",0\n"), "line 2 .* out of order"),
        (HEADER + LINE.replace("10.0,94.0", "9.5,94.0"), "line 2 .* out of order"),
        (HEADER + LINE.replace("94.0", "good"), "line 2 .*good"),
        (HEADER.replace("solutions", "count") + LINE, "line 2 .*solutions"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_with_its_line(text, message):
    with pytest.raises(ValueError, match=message):
        solutions.parse(text)


RANGE = Public(78.0, 76.0, 80.0, 3)


@pytest.mark.parametrize(
    ("ours", "public", "obstacle", "half", "word", "why"),
    [
        (78.0, RANGE, "", None, INSIDE, ""),
        (76.0, RANGE, "", None, INSIDE, ""),
        (80.0, RANGE, "", 0.1, INSIDE, ""),
        (80.004, RANGE, "", None, INSIDE, ""),  # as it is shown, 80.00
        (80.5, RANGE, "", None, OUTSIDE, "+0.50"),
        (75.0, RANGE, "", 0.9, OUTSIDE, "-1.00"),
        (75.0, RANGE, "", 1.1, OUTSIDE, "-1.00, but our interval reaches the range"),
        (78.0, Public(78.0, 76.0, 80.0, 2), "", None, NOT_COMPARABLE, "too few: 2"),
        (78.0, None, "", None, NOT_COMPARABLE, "no public solution at these epochs"),
        (None, RANGE, "", None, NOT_COMPARABLE, "no figure of ours"),
        (float("nan"), RANGE, "", None, NOT_COMPARABLE, "no figure of ours"),
        (78.0, RANGE, "sample data", None, NOT_COMPARABLE, "sample data"),
    ],
)
def test_verdict(ours, public, obstacle, half, word, why):
    found = solutions.verdict(ours, public, obstacle, half)
    assert (found.word, found.why) == (word, why)
