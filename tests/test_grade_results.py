"""Written results: what cannot be, what is unlikely, and what no public solution has, cell by cell."""

import pytest

import main
from Experiments.grading import FORMULAS
from Experiments.handout import filled
from Experiments.handout.filled import IMPOSSIBLE, OUTSIDE, UNLIKELY, UNREADABLE
from Experiments.handout.questions import COMPRESSIONS, PROFILES, PRUNERS, VGG16
from Utils.study import solutions

ACCURACY = "## Question 1: test accuracy (top-1, %) at compression 1"
TUNED = "## Question 2a: test accuracy (top-1, %): VGG16 on CIFAR-10"
FLOP = "## Question 2c: fraction of the FLOP that remains: VGG16 on CIFAR-10"
HEADER = "| compression | Rand | Mag | SNIP | GraSP | SynFlow |\n| --- | --- | --- | --- | --- | --- |\n"


def page(tmp_path, *parts: str):
    path = tmp_path / "handout.md"
    path.write_text("# Assignment one\n\n" + "\n\n".join(parts), encoding="utf-8")
    return path


def said(path, profile: str = "full") -> list[tuple[str, str, float, str]]:
    found = filled.findings(filled.read(path), PROFILES[profile], solutions.read())
    return [(one.cell.pruner, one.cell.text, one.cell.compression, one.kind) for one in found]


def test_the_template_is_read_and_is_empty(tmp_path, capsys):
    """As the assignment writes it when there is no run."""
    words = f"--experiment assignment --profile full --stored-only --result-dir {tmp_path} --store {tmp_path}"
    assert main.main(words.split()) == 0
    path = tmp_path / "assignment" / "full" / "handout.md"
    assert filled.read(path) == []
    capsys.readouterr()
    assert main.main(["--experiment", "grade", "--results", str(path)]) == 2
    assert capsys.readouterr().err == f"error: --results {path}: no cell of its tables is filled in\n"
    text = path.read_text(encoding="utf-8").replace("– (not run yet)", "10.00")
    path.write_text(text, encoding="utf-8")
    cells = filled.read(path)
    places = {(cell.table, cell.network.title, cell.pruner, cell.trained_first, cell.compression) for cell in cells}
    assert len(places) == len(cells) == 2 * 6 + 2 * 5 * 6
    capsys.readouterr()
    assert main.main(["--experiment", "grade", "--results", str(path)]) == 1  # the page says its profile
    out = capsys.readouterr().out
    line = "cannot be: question 1, FC on MNIST, SNIP, compression 1: 10.00: it is what guessing gives"
    assert line in out and "72 cells read, taken to be of 100 epochs, 200 before for Mag" in out


def test_accuracies_that_cannot_be_or_are_not_of_a_hundred_epochs(tmp_path):
    rows = "| 0.5 | 79.90 | 80.10 | 79.00 | 79.50 | 87.7 |\n| 1 | 10.00 | 101.2 | 81.5 | 27,1 | -3 |\n| x | 1 | 2 |\n"
    found = said(page(tmp_path, TUNED, HEADER + rows))
    kinds = {kind: {(pruner, text) for pruner, text, _, one in found if one == kind} for kind in (IMPOSSIBLE, UNLIKELY)}
    assert kinds[IMPOSSIBLE] == {("mag", "101.2"), ("synflow", "-3")}
    assert kinds[UNLIKELY] == {("rand", "79.90"), ("mag", "80.10"), ("snip", "79.00")}
    assert UNLIKELY not in {kind for *_, kind in said(page(tmp_path, TUNED, HEADER + rows), "colab")}


def test_a_filled_cell_that_is_no_number_is_named(tmp_path, capsys):
    rows = "| 0.5 | abc | nan | – | - |  |\n| 1 | 81.5 | – (not run yet) | ninety | 98.3 % | 97,5 |\n"
    path = page(tmp_path, TUNED, HEADER + rows)
    bad = [one for one in said(path) if one[3] == UNREADABLE]
    assert bad == [
        ("rand", "abc", 0.5, UNREADABLE),
        ("mag", "nan", 0.5, UNREADABLE),
        ("snip", "ninety", 1.0, UNREADABLE),
    ]
    assert main.main(["--experiment", "grade", "--results", str(path)]) == 1
    assert "6 cells read, taken to be of 100 epochs" in capsys.readouterr().out


def test_a_percentage_of_mnist_tells_whether_it_is_mnist(tmp_path):
    header = "| network | Rand | Mag | Mag, untrained | SNIP |\n| --- | --- | --- | --- | --- |\n"
    rows = "| FC on MNIST | 10.00 | 11.35 ± 0.2 (3) | 96.6 | – |\n| VGG16 on CIFAR-10 | 10.00 | 87.1 | | |\n"
    cells = filled.read(page(tmp_path, ACCURACY, header + rows))
    assert [(cell.pruner, cell.trained_first, cell.value) for cell in cells] == [
        ("rand", False, 10.0), ("mag", True, 11.35), ("mag", False, 96.6), ("rand", False, 10.0), ("mag", True, 87.1),
    ]  # fmt: skip
    impossible = [one for one in said(tmp_path / "handout.md") if one[3] == IMPOSSIBLE]
    assert impossible == [("rand", "10.00", 1.0, IMPOSSIBLE)]


def test_fractions_of_the_flop_tell_how_it_was_pruned(tmp_path):
    rows = "| 0.5 | 0.3170 | 0.4633 | 0.5 | 0.5 | 0.363 |\n| 1 | 0.161 | 0.21 | 1.5 | 0.3 | 0.1 |\n"
    assert said(page(tmp_path, FLOP, HEADER + rows)) == [
        ("mag", "0.4633", 0.5, UNLIKELY),  # of an untrained network
        ("rand", "0.161", 1.0, IMPOSSIBLE),  # of SynFlow
        ("snip", "1.5", 1.0, IMPOSSIBLE),
        ("synflow", "0.1", 1.0, IMPOSSIBLE),  # of Rand, or of many rounds
    ]


def test_the_public_range_counts_at_equal_epochs_and_from_three_solutions_on(tmp_path):
    """By the public figures themselves: their median lies inside, what is beyond them outside."""
    for (task, pruner, compression, pre, post), cell in solutions.read().items():
        if task == VGG16.name and post == 100 and pre == 0 and pruner == "grasp" and compression in COMPRESSIONS:
            for value, outside in ((cell.median, False), (cell.high + 1, True), (cell.low - 1, True)):
                text = f"| {compression:g} | – | – | – | {value:.3f} | – |\n"
                found = said(page(tmp_path, TUNED, HEADER + text))
                assert [kind for *_, kind in found] == [OUTSIDE] * (outside and cell.solutions >= 3), (cell, value)


def test_the_fractions_that_were_measured_are_whole():
    known = filled.fractions()
    assert set(known) == {(pruner, c) for pruner in ("rand", "mag", "synflow") for c in COMPRESSIONS}
    assert all(0 <= high - low < 0.0006 for low, high in known.values())
    for pruner in ("rand", "mag", "synflow"):  # less remains where more is pruned
        lows = [known[pruner, compression][0] for compression in COMPRESSIONS]
        assert lows == sorted(lows, reverse=True)
    assert all(abs(known["rand", c][0] - 10**-c) < 0.002 for c in COMPRESSIONS)
    assert set(PRUNERS) <= set(FORMULAS)


@pytest.mark.parametrize("text", ["", "## Question 3a: x\n| a |\n", "\xff"])
def test_a_file_without_the_tables_is_an_error(tmp_path, capsys, text):
    path = tmp_path / "x.md"
    path.write_bytes(text.encode("latin-1"))
    assert main.main(["--experiment", "grade", "--results", str(path)]) == 2
    assert capsys.readouterr().err.startswith(f"error: --results {path}")
