"""Masks of many seeds: what a record says beside the run of the same settings, and the table and picture of them."""

import csv

import pytest
from safetensors.numpy import load_file

import main
from Experiments import reach


def _call(data, out, arguments):
    base = f"--experiment reach --source sample --data-dir {data} --report-dir {out}"
    return main.main([*base.split(), *arguments.split()])


def _records(out, name):
    (path,) = (out / "reach").glob(f"{name}-*.csv")
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_record_is_what_the_run_of_that_seed_finds(cli, sample_data, tmp_path):
    """Classes, emptied tensors, signal and ties of singleshot without training, whatever was pruned before it."""
    names = ("grasp", "mag", "rand")
    assert _call(sample_data, tmp_path, f"--dataset mnist --seeds 2 --seed 3 --pruner-list {' '.join(names)}") == 0
    records = _records(tmp_path, "mnist-sample-fc")
    assert len(records) == 2 * len(names) * 3
    for record in records:
        if record["compression"] != "1.5":
            outcome = cli(f"--dataset mnist --pruner {record['pruner']} --seed {record['seed']} "
                          f"--compression {record['compression']}")  # fmt: skip
            result = outcome.result
            assert int(record["classes"]) == len(result["dead"]["classes"]["alive"])
            assert int(record["emptied"]) == len(result["dead"]["tensors"])
            kept = result["signal"]["after"] / result["signal"]["before"]
            assert float(record["signal"]) == pytest.approx(kept, rel=1e-5, abs=1e-5)
            assert float(record["flop_sparsity"]) == result["flops"]["kept"] / result["flops"]["total"]
            assert float(record["kept_by_tie"]) == pytest.approx(result["kept_by_tie"])


def test_classes_in_reach_are_the_rows_with_a_weight_on_a_network_of_one_layer(cli, sample_data, tmp_path):
    assert _call(sample_data, tmp_path, "--dataset agnews --seeds 3 --pruner-list rand --compression-list 2") == 0
    for record in _records(tmp_path, "agnews-sample-text-classification"):
        path = cli(f"--dataset agnews --pruner rand --compression 2 --seed {record['seed']}").path
        mask = load_file(path / "model.safetensors")["fc.weight_mask"]
        assert int(record["classes"]) == int(mask.any(axis=1).sum())


def test_the_table_counts_seeds(tmp_path):
    records = [
        {"seed": k, "pruner": "rand", "compression": 2.0, "classes": classes, "emptied": 0, "signal": signal}
        | {"kept_by_tie": 0.5, "flop_sparsity": 0.25}
        for k, (classes, signal) in enumerate([(1, 0.1), (2, 0.3), (2, 0.2), (4, None)])
    ]
    (row,) = reach.summary("x", "X", records).rows
    assert row == ["Rand", "2", "4", "1: 25 %, 2: 50 %, 4: 25 %", "0.00", "0.25", "0.2", "50 %"]


def test_a_call_that_is_stopped_goes_on_to_the_same_files(sample_data, tmp_path, capsys, monkeypatch):
    """Not from a line that is cut off, nor from one that is damaged, nor from what other code has drawn."""
    asked = "--dataset mnist --seeds 2 --pruner-list rand mag --compression-list 1"
    assert _call(sample_data, tmp_path / "whole", asked) == 0
    wanted = {path.name: path.read_bytes() for path in (tmp_path / "whole" / "reach").glob("*.[cm]*")}
    draw, calls = reach.drawn, []

    def stopping(*given):
        calls.append(given)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return draw(*given)

    monkeypatch.setattr(reach, "drawn", stopping)
    assert _call(sample_data, tmp_path, asked) == 130 and len(calls) == 4
    (kept,) = (tmp_path / "reach").glob(".*.jsonl")
    text = kept.read_text(encoding="utf-8")
    _, first, second, third = text.splitlines()
    for content, left in (
        (text, 1),
        (text[:-9], 2),
        (f"\n{first}\n{second.replace('classes', 'klasses')}\n{third}", 2),
        (text, 4),
    ):
        if left == 4:
            monkeypatch.setattr(reach.provenance, "bearing", lambda _: {"commit": "another"})
        kept.write_text(content, encoding="utf-8")
        calls[:] = [None] * 4
        capsys.readouterr()
        assert _call(sample_data, tmp_path, asked) == 0 and len(calls) == 4 + left
        assert ("going on from" in capsys.readouterr().err) == (left < 4)
        found = {path.name: path.read_bytes() for path in (tmp_path / "reach").glob("*.[cm]*")}
        assert found == wanted and not kept.exists()


def test_the_files_and_what_is_refused(sample_data, tmp_path, capsys):
    assert _call(sample_data, tmp_path, "--dataset mnist --seeds 1 --pruner-list rand --compression-list 1") == 0
    assert {path.suffix for path in (tmp_path / "reach").iterdir()} == {".md", ".csv", ".svg", ".png"}
    assert "What masks reach" in capsys.readouterr().out
    table = "--dataset mnist --seeds 1 --pruner-list rand rand --compression-list 1 1 --prune-bias"
    assert _call(sample_data, tmp_path, table) == 0  # other settings: other files, which name them; nothing twice
    assert "prune bias True" in (out := capsys.readouterr().out) and "| Rand | 1 | 1 |" in out
    assert len([*(tmp_path / "reach").iterdir()]) == 8
    refused = {
        "--post-epochs 3": "--post-epochs",
        "--pruner-list rnd": "rand",
        "--seeds 0": "--seeds",
        "--compression-list 40": "no weight",
    }
    for wrong, word in refused.items():
        assert _call(sample_data, tmp_path, f"--dataset mnist {wrong}") == 2
        err = capsys.readouterr().err
        assert word in err and err.count("\n") == 1


def test_shares_are_fractions_of_the_seeds():
    shares = reach._shares([{"classes": 3}, {"classes": 1}, {"classes": 3}])
    assert [*shares] == [1, 3] and shares == {1: pytest.approx(1 / 3), 3: pytest.approx(2 / 3)}
