"""Measured speed in the report: the figures of measurement.json, each traced to its run."""

import csv
import json
from xml.etree import ElementTree

import pytest
from stores import add

import main

FORMATS = {
    "masked": (1000, 4000, 5000, 100, 2.0, 20.0),
    "dense": (1000, 2000, 2500, 100, 1.0, 10.0),
    "sparse": (100, 500, 2500, 100, 0.8, 12.5),
    "compact": (200, 800, 1000, 40, 0.25, 5.0),
}


def measurement():
    return {
        "formats": {
            name: {
                "parameters": kept,
                "file_bytes": file,
                "memory_bytes": memory,
                "multiply_adds": work,
                "seconds": {
                    size: {"median": ms / 1e3, "lowest": 0.9 * ms / 1e3, "highest": 1.1 * ms / 1e3}
                    for size, ms in (("1", one), ("64", many))
                },
            }
            for name, (kept, file, memory, work, one, many) in FORMATS.items()
        },
        "repeats": 9,
    }


def report(store, place):
    assert main.main(["--experiment", "report", "--store", str(store), "--report-dir", str(place)]) == 0
    return place


@pytest.fixture
def store(tmp_path):
    run = add(tmp_path / "store", "mnist", "grasp", 1.0, 1, 93.0, model="fc")
    (run / "measurement.json").write_text(json.dumps(measurement()))
    add(tmp_path / "store", "mnist", "rand", 1.0, 1, 91.0, model="fc")
    return tmp_path / "store"


def test_every_format_of_a_measured_run_has_a_line(store, tmp_path):
    place = report(store, tmp_path / "report")
    found = {row["format"]: row for row in csv.DictReader((place / "tables" / "speed.csv").read_text().splitlines())}
    assert list(found) == list(FORMATS), "of the one run that was measured"
    for name, (kept, file, memory, work, one, many) in FORMATS.items():
        row = found[name]
        counted = ("parameters", "file_bytes", "memory_bytes", "multiply_adds")
        assert tuple(int(row[key]) for key in counted) == (kept, file, memory, work)
        assert float(row["seconds_median_1"]) == one / 1e3 and float(row["seconds_median_64"]) == many / 1e3
        assert float(row["times_dense_1"]) == pytest.approx(1.0 / one)
        assert float(row["times_dense_64"]) == pytest.approx(10.0 / many)
        assert row["metric"] == "93.0" and row["run"].startswith(str(store))
    shown = (place / "tables" / "speed.md").read_text()
    assert "| compact | 200 | 0.8 | 1.0 | 40 | 0.250 (4.00) | 5.000 (2.00) |" in shown


def test_speed_is_drawn_and_on_the_page(store, tmp_path):
    place = report(store, tmp_path / "report")
    for size in ("1", "64"):
        svg = (place / "figures" / f"speed-mnist-fc-{size}.svg").read_text()
        ElementTree.fromstring(svg)
        assert "times as fast as dense" in svg
    page = (place / "report.html").read_text()
    assert '<section id="speed">' in page and "0.250 (4.00)" in page


def test_without_a_measurement_there_is_no_such_section(tmp_path):
    add(tmp_path / "store", "mnist", "rand", 1.0, 1, 91.0, model="fc")
    place = report(tmp_path / "store", tmp_path / "report")
    assert 'id="speed"' not in (place / "report.html").read_text()
    assert not (place / "tables" / "speed.csv").exists()


@pytest.mark.parametrize("damage", ["{", "[]", '{"formats": {"dense": {}}}', '{"formats": 3}'])
def test_a_damaged_measurement_is_named_and_left_out(store, tmp_path, capsys, damage):
    (path,) = store.rglob("measurement.json")
    path.write_text(damage)
    place = report(store, tmp_path / "report")
    assert "measurement.json is left out" in capsys.readouterr().err
    assert 'id="speed"' not in (place / "report.html").read_text()
