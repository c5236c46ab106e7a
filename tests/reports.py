"""A report with all that one can show, for the tests of its files and of its page."""

import csv

from stores import add, fill

import main

EVIL = "<script>alert('x')</script> & \"<img src=https://example.org/x.png>\" | `a` *b*"
ACCURACIES = {"grasp": {0.0: [90.0, 91.0, 92.0], 1.0: [88.0, 89.5, 90.0]}, "rand": {1.0: [80.0]}}


def make(store):
    """One store with all that a report shows, and a name and a sentence that would be code in a careless page."""
    fill(store, "agnews", ACCURACIES)
    fill(store, "agnews", {"grasp": {1.0: [70.0]}}, shuffle=True)
    example = {"source": EVIL, "reference": EVIL, "output": EVIL}
    add(store, "multi30k", "rand", 0.0, 1, 20.0, post_epochs=3, examples=[example])
    add(store, "multi30k", "rand", 1.0, 1, 5.0, post_epochs=3, examples=[example], name="<b onclick=x>&amp;")
    add(store, "agnews", "../$x^$/<i>.py:Best", 0.5, 1, 60.0, pruner_sha256="0123456789", name="from-a-file")
    broken = add(store, "agnews", "rand", 2.0, 1, 50.0)
    (broken / "result.json").write_text("{")


def contents(place):
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def report(store, place):
    assert main.main(["--experiment", "report", "--store", str(store), "--report-dir", str(place)]) == 0
    return contents(place)


def rows(files, name):
    return list(csv.DictReader(files[f"tables/{name}.csv"].decode().splitlines()))
