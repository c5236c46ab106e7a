"""Training on AG News, ten epochs with 64 numbers a word, beside fastText: the same tokens.

fastText's time includes reading them; both include testing. Its updates are plain gradient steps with one text each,
at its usual learning rate; ours are those of dense Adam.
"""

import tempfile
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from benchmarks import scaffold
from benchmarks.agnews_job import Ours
from Utils.data import corpus
from Utils.data.examples import Texts

EPOCHS, BATCHES = 10, (64, 256)


def write(texts: Any, path: Path) -> None:
    """Write a split as fastText reads it: a line a text, its label first."""
    assert isinstance(texts, Texts)
    words, ends = [f"w{number}" for number in texts.ids.tolist()], texts.offsets.tolist()
    rows = zip(texts.targets.tolist(), ends, ends[1:], strict=False)
    lines = (f"__label__{label} {' '.join(words[begin:end])}\n" for label, begin, end in rows)
    path.write_text("".join(lines), encoding="utf-8")


def figures(args: Namespace) -> dict[str, Any]:
    """Return seconds and test accuracy of fastText and of ours with two sizes of batches."""
    located = scaffold.located("agnews", args)
    accuracy: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        files = {split: Path(folder, split) for split in ("train", "test")}
        for split, path in files.items():
            write(corpus.load(located).splits[split], path)

        def engine() -> None:
            import fasttext

            how = {"dim": 64, "epoch": EPOCHS, "thread": torch.get_num_threads(), "verbose": 0}
            model = fasttext.train_supervised(str(files["train"]), **how)
            accuracy["fasttext"] = 100 * model.test(str(files["test"]))[1]

        def ours(batch: int) -> None:
            way = Ours(located, batch)
            for _ in range(EPOCHS):
                way.epoch()
            accuracy[f"ours_{batch}"] = way.accuracy()

        ways: dict[str, Callable[[], None]] = {f"ours_{batch}": partial(ours, batch) for batch in BATCHES}
        ways |= {"fasttext": engine} if find_spec("fasttext") else {}
        seconds = scaffold.beside(ways, args.rounds, f"ours_{BATCHES[0]}")
    return {"source": located.source, "epochs": EPOCHS, "seconds": seconds, "test_accuracy": accuracy}
