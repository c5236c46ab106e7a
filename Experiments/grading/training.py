"""Checks by short training runs that prune with the class instead of our pruner."""

import tempfile
from typing import Any

from Experiments import singleshot
from Experiments.grading.bench import Bench, Check, Verdict, check
from Utils import load
from Utils.commandline import arguments
from Utils.data.dataset import Dataset

KINDS = ("image", "text")  # kinds of data whose models are judged by accuracy
STAND_IN = "rand"  # our pruner to compare with if the class has no reference
COMPRESSION, EPOCHS = 0.5, 3
MARGIN = 6.0  # points of accuracy; eight random masks lay within 3.3 (MNIST) and 1.3 (AG News)


def _run(bench: Bench, dataset: str, pruner: str) -> dict[str, Any]:
    """Run on the data set's sample and return the result, which is not stored."""
    with tempfile.TemporaryDirectory() as directory:
        flags = {
            "--dataset": dataset,
            "--source": "sample",
            "--data-dir": bench.request["data_dir"],
            "--result-dir": directory,
            "--pruner": pruner,
            "--compression": COMPRESSION,
            "--post-epochs": EPOCHS,
            "--threads": bench.request["threads"],
        }
        return singleshot.run(arguments.parse([str(word) for pair in flags.items() for word in pair]))


def _trained(bench: Bench, dataset: str) -> Verdict:
    name = bench.truth or STAND_IN
    ours = _run(bench, dataset, name)
    theirs = _run(bench, dataset, f"{bench.request['file']}:{bench.request['class']}")
    accuracy, our_accuracy = (run["final"]["test_top1"] for run in (theirs, ours))
    kept, our_kept = (run["parameters"]["prunable_kept"] for run in (theirs, ours))
    figures = {"beside": name, "test_top1": accuracy, "our_test_top1": our_accuracy, "kept": kept, "our_kept": our_kept}
    words = f"test accuracy {accuracy:.2f} %, our {name} {our_accuracy:.2f} %; {kept} weights stay, ours {our_kept}"
    return Verdict(kept == our_kept and accuracy >= our_accuracy - MARGIN, words, figures)


def rows(truth: str | None) -> list[Check]:
    """Return the checks of this group."""
    chosen: dict[str, Dataset] = {}
    for data in map(load.dataset, load.DATASETS):
        if data.sample:
            chosen.setdefault(data.kind, data)
    words = {"epochs": EPOCHS, "beside": truth or STAND_IN, "compression": COMPRESSION, "margin": MARGIN}
    return [
        check("trained", _trained, {**words, "title": chosen[kind].title}, dataset=chosen[kind].name) for kind in KINDS
    ]
