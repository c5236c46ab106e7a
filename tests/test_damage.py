"""Damage to what a run has stored: each kind is noticed, named in one line, and mended by the next command or said how."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from stores import add

from Experiments import checkpoint
from Utils.data import corpus, download
from Utils.errors import UserError
from Utils.store import schema, seal
from Utils.store import run as store

FC = "--dataset mnist --model fc --pruner mag --compression 1 --threads 1"
STORED = ("config.json", "epochs.jsonl", "model.safetensors", "report.txt", "result.json")


def flip(path: Path, byte: int = -3) -> None:
    """Change one bit of a file that can still be read afterwards: of a digit or a tensor."""
    content = bytearray(path.read_bytes())
    content[byte] ^= 1
    path.write_bytes(content)


def edit(path: Path) -> None:
    """A slip in a figure."""
    result = json.loads(path.read_text(encoding="utf-8"))
    result["final"]["test_top1"] += 1.0
    path.write_text(json.dumps(result), encoding="utf-8")


@pytest.fixture
def run(cli):
    """A finished run of the smallest kind."""
    return cli(f"{FC} --post-epochs 1").path


def one_line(err: str, *words: str) -> None:
    (line,) = (line for line in err.splitlines() if "is damaged" in line)
    assert all(word in line for word in (*words, "restore it, or make the run again with --force")), line


# What is stored.
def test_a_run_seals_all_that_it_stores(run):
    assert json.loads((run / seal.FILE).read_text(encoding="utf-8")).keys() == set(STORED)


@pytest.mark.parametrize("name", [name for name in STORED if name != "model.safetensors"])
def test_a_changed_file_is_named_and_the_run_made_again_if_asked(cli, run, name):
    flip(run / name)
    asked = f"{FC} --post-epochs 1"
    refused = cli(asked)
    assert refused.code == 2 and refused.err.startswith("error: ") and refused.err.count("\n") == 1
    one_line(refused.err, str(run / name))
    assert cli(f"{asked} --force").code == 0 and cli(asked).code == 0


@pytest.mark.parametrize("word", ["", "{", "[]", "null", '{"result.json": 1}'])
def test_a_damaged_seal_is_damage_too(cli, run, word):
    (run / seal.FILE).write_text(word, encoding="utf-8")
    refused = cli(f"{FC} --post-epochs 1")
    assert refused.code == 2
    one_line(refused.err, str(run))


@pytest.mark.parametrize("asked", ["export --format dense", "measure --repeats 1", "singleshot --pretrained"])
def test_a_bit_flipped_in_the_weights_is_noticed_by_who_reads_them(cli, run, asked):
    flip(run / "model.safetensors")
    recipe, _, flags = asked.partition(" ")
    words = f"{FC} {flags} {run}" if recipe == "singleshot" else f"{flags} --run {run}"
    base = [] if recipe == "singleshot" else ["--experiment", recipe]
    done = cli(" ".join([*base, words])) if not base else None
    if done is None:
        import contextlib
        import io

        import main

        err = io.StringIO()
        with contextlib.redirect_stderr(err):
            assert main.main([*base, *words.split(), "--data-dir", str(run.parents[2] / "data")]) == 2
        one_line(err.getvalue(), str(run / "model.safetensors"))
    else:
        assert done.code == 2
        one_line(done.err, str(run / "model.safetensors"))
