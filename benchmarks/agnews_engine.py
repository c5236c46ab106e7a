"""Training on AG News against fastText, which must be installed: ten epochs, 64 numbers a word, one thread.

    python -m benchmarks.agnews_engine [--rounds 3] [--epochs 10]

Both get the same tokens and train in turn. fastText's time includes reading them. Its updates are plain gradient steps
with one text each, at its usual learning rate; ours are those of dense Adam.
"""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import scaffold
from benchmarks.agnews_job import Ours
from Utils.data import corpus
from Utils.data.examples import Texts

BATCHES = (64, 256)


def write(texts: Any, path: Path) -> None:
    """Write a split as fastText reads it: a line a text, its label first."""
    assert isinstance(texts, Texts)
    words, ends = [f"w{number}" for number in texts.ids.tolist()], texts.offsets.tolist()
    rows = zip(texts.targets.tolist(), ends, ends[1:], strict=False)
    lines = (f"__label__{label} {' '.join(words[begin:end])}\n" for label, begin, end in rows)
    path.write_text("".join(lines), encoding="utf-8")


def main() -> None:
    flags = scaffold.Flags(__doc__, rounds=3, threads=1, source=True)
    flags.add_argument("--epochs", type=int, default=10)
    args = flags.begin()
    import fasttext  # type: ignore[import-not-found]

    located = scaffold.located("agnews", args)
    accuracy: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        files = {split: Path(folder, split) for split in ("train", "test")}
        for split, path in files.items():
            write(corpus.load(located).splits[split], path)

        def engine() -> float:
            made: dict[str, Any] = {}
            how = {"dim": 64, "epoch": args.epochs, "thread": torch.get_num_threads(), "verbose": 0}
            seconds = scaffold.timed(lambda: made.update(model=fasttext.train_supervised(str(files["train"]), **how)))
            accuracy["fasttext"] = 100 * made["model"].test(str(files["test"]))[1]
            return seconds

        def ours(batch: int) -> float:
            way = Ours(located, batch)
            seconds = sum(scaffold.timed(way.epoch) for _ in range(args.epochs))
            accuracy[f"ours_{batch}"] = way.accuracy()
            return seconds

        ways: dict[str, Callable[[], float]] = {
            "fasttext": engine,
            **{f"ours_{batch}": partial(ours, batch) for batch in BATCHES},
        }
        seconds = scaffold.in_turn(ways, args.rounds, 0, lambda latest: print(latest, flush=True))
    figures = {f"batch_{batch}": scaffold.summary(seconds["fasttext"], seconds[f"ours_{batch}"]) for batch in BATCHES}
    about = {"epochs": args.epochs, "threads": args.threads}
    scaffold.save("agnews_engine", {**about, **figures, "test_accuracy": accuracy}, located.source)


if __name__ == "__main__":
    main()
