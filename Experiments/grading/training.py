"""Checks by short training runs, which the judge makes: the class only scores and masks."""

import contextlib
import functools
import io
import tempfile
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from Experiments import runs, singleshot
from Experiments.candidate.networks import BUILDERS
from Experiments.grading.bench import Bench, Check, Trial, Verdict, check
from Experiments.grading.counts import not_binary
from Experiments.grading.remote import Raised
from Experiments.workshop import Workshop
from Pruners.base import Pruner
from Utils import load
from Utils.commandline import arguments
from Utils.data.dataset import Dataset

KINDS = ("image", "text")  # kinds of data whose models are judged by accuracy
STAND_IN = "rand"  # our pruner to compare with if the class has no reference
COMPRESSION, EPOCHS = 0.5, 3
MARGIN = 6.0  # points of accuracy; eight random masks lay within 3.3 (MNIST) and 1.3 (AG News)
FLOOR = 0.5  # of the way from guessing to no error; on the two samples our five pruners reach 0.61 to 0.86 of it


class Away(Pruner):
    """A pruner whose scores and masks come from the candidate's process."""

    def __init__(self, bench: Bench, shop: Workshop) -> None:
        super().__init__(shop.pruner.masked_parameters)
        self.bench, self.shop = bench, shop

    def score(self, model: nn.Module, loss: Callable, dataloader: Iterable, device: torch.device) -> None:
        shop, batches = self.shop, list(dataloader)
        self.bench.candidate.begin()  # training is not the class's time
        described = (tuple(shop.data.shape), shop.data.num_classes)
        self.trial = Trial(self.bench.candidate, shop.args.model, described, model, batches, False, seed=1)
        self.scores = dict(zip(self.names, self.trial.score(), strict=True))

    def mask(self, density: float, scope: Any = "global") -> None:
        found = self.trial.mask(density, scope)
        if (other := not_binary(found)) is not None:
            raise Raised(f"a mask holds {other:g}")
        for (mask, _), values in zip(self.masked_parameters, found, strict=True):
            mask.copy_(values)


def _run(dataset: str, pruner: str, data_dir: str, threads: int, bench: Bench | None = None) -> dict[str, Any]:
    """Run on the data set's sample and return the result, which is not stored. bench: its class prunes instead."""
    scratch = None if bench is None else bench.candidate.scratch

    def make(shop: Workshop) -> tuple[dict[str, Any], str]:
        if bench is not None:
            shop.pruner = Away(bench, shop)
        return singleshot.make(shop)

    quiet = io.StringIO()
    with (
        tempfile.TemporaryDirectory(prefix="grade-", dir=scratch, ignore_cleanup_errors=True) as directory,
        contextlib.redirect_stdout(quiet),
        contextlib.redirect_stderr(quiet),
    ):
        flags = {
            "--dataset": dataset, "--source": "sample", "--data-dir": data_dir, "--result-dir": directory,
            "--pruner": pruner, "--compression": COMPRESSION, "--post-epochs": EPOCHS, "--threads": threads,
        }  # fmt: skip
        return runs.once(arguments.parse([str(word) for pair in flags.items() for word in pair]), make)


@functools.lru_cache(maxsize=32)
def _ours(dataset: str, pruner: str, data_dir: str, threads: int) -> tuple[float, int]:
    """Return (test accuracy, number of weights that stay) with our pruner, the same for every class."""
    result = _run(dataset, pruner, data_dir, threads)
    return result["final"]["test_top1"], result["parameters"]["prunable_kept"]


def _trained(bench: Bench, dataset: str) -> Verdict:
    name = bench.truth or STAND_IN
    our_accuracy, our_kept = _ours(dataset, name, bench.data_dir, bench.threads)
    theirs = _run(dataset, name, bench.data_dir, bench.threads, bench)
    accuracy, kept = theirs["final"]["test_top1"], theirs["parameters"]["prunable_kept"]
    guess = 100.0 / theirs["dead"]["classes"]["total"]
    floor = guess + FLOOR * (100.0 - guess)
    figures = {"beside": name, "test_top1": accuracy, "our_test_top1": our_accuracy}
    figures |= {"kept": kept, "our_kept": our_kept, "floor": floor}
    words = f"test accuracy {accuracy:.2f} %, our {name} {our_accuracy:.2f} %; {kept} weights stay, ours {our_kept}"
    return Verdict(kept == our_kept and accuracy >= max(our_accuracy - MARGIN, floor), words, figures)


def rows(truth: str | None) -> list[Check]:
    """Return the checks of this group."""
    chosen: dict[str, Dataset] = {}
    for data in map(load.dataset, load.DATASETS):
        if data.sample and data.model in BUILDERS:
            chosen.setdefault(data.kind, data)
    words = {"epochs": EPOCHS, "beside": truth or STAND_IN, "compression": COMPRESSION, "margin": MARGIN}
    return [
        check("trained", _trained, {**words, "title": chosen[kind].title}, dataset=chosen[kind].name) for kind in KINDS
    ]
