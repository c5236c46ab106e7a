"""The whole AG News job, training and evaluation, against a tutorial's pipeline on the same batches.

    python -m benchmarks.agnews_job [--epochs 10] [--source auto]

The tutorial's way: rows of text in a list, tokenised and looked up in `collate_fn`, a DataLoader, an embedding with
dense gradients under torch.optim.Adam. Both ways start from the same weights and see the same batches in order; epochs
are timed in turn, each with its evaluation on the test set, so that the results can be compared number by number.
"""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any, cast

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from benchmarks import scaffold
from Utils import load
from Utils.data import corpus, text
from Utils.data.sets import agnews
from Utils.training.adam import Adam
from Utils.training.evaluate import evaluate
from Utils.training.train import train_epoch

BATCH = 64
EARLY = 300  # steps after which the parameters are compared too


class Plain(nn.Module):
    """The tutorial's network."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.EmbeddingBag(vocabulary, 64, mode="mean")
        self.fc = nn.Linear(64, 4)

    def forward(self, ids, offsets):
        return self.fc(self.embedding(ids, offsets))


def rows(located: corpus.Located) -> dict[str, list[tuple[int, str]]]:
    if located.source == "sample":
        from Utils.data.samples import news

        return news.generate()
    return {path.stem: agnews.rows(path) for path in located.paths.values()}


class Tutorial:
    """Everything a tutorial does, from raw rows on."""

    def __init__(self, located: corpus.Located) -> None:
        self.rows = rows(located)
        self.tokenize = text.tokenizer("basic_english")
        counts = Counter(token for _, line in self.rows["train"] for token in self.tokenize(line))
        self.number = {word: k for k, word in enumerate([text.UNKNOWN, *sorted(counts, key=lambda w: (-counts[w], w))])}
        self.model = Plain(len(self.number))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        self.orders: Iterator[list[int]] = iter(())  # of the examples, in each epoch to come

    def collate(self, batch: list[tuple[int, str]]):
        targets, ids, offsets = [], [], [0]
        for label, line in batch:
            targets.append(label - 1)
            numbers = torch.tensor([self.number.get(token, 0) for token in self.tokenize(line)], dtype=torch.int64)
            ids.append(numbers)
            offsets.append(numbers.size(0))
        return torch.cat(ids), torch.tensor(offsets[:-1]).cumsum(0), torch.tensor(targets)

    def epoch(self) -> None:
        examples = cast(Dataset, self.rows["train"])
        loader = DataLoader(examples, batch_size=BATCH, sampler=next(self.orders), collate_fn=self.collate)
        scaffold.plain_steps(self.model, nn.CrossEntropyLoss(), self.optimizer, loader)

    @torch.no_grad()
    def accuracy(self) -> float:
        self.model.eval()
        loader = DataLoader(cast(Dataset, self.rows["test"]), batch_size=256, collate_fn=self.collate)
        hits = sum(int((self.model(i, o).argmax(1) == target).sum()) for i, o, target in loader)
        return 100.0 * hits / len(self.rows["test"])


class Ours:
    """The same through this project's routines."""

    def __init__(self, located: corpus.Located, batch: int = BATCH) -> None:
        data = corpus.load(located)
        self.train = load.dataloader(data, batch, True, seed=1)
        self.test = load.dataloader(data, 256, False)
        torch.manual_seed(1)
        self.model = load.model("text-classification", "nlp")(data.shape, data.num_classes)
        self.optimizer = Adam(self.model.parameters(), lr=1e-3)
        self.optimizer.attach(self.model)

    def epoch(self, steps: int | None = None) -> None:
        train_epoch(self.model, nn.CrossEntropyLoss(), self.optimizer, islice(self.train, steps), scaffold.CPU)

    def accuracy(self) -> float:
        return evaluate(self.model, nn.CrossEntropyLoss(), self.test, scaffold.CPU)["top1"]


def begin(plain: Tutorial, ours: Ours, epochs: int, examples: int | None = None) -> None:
    """Give the tutorial our weights, and the order of our examples in the epochs to come."""
    assert not plain.model.load_state_dict(ours.model.state_dict(), strict=False).missing_keys
    plain.orders = iter([torch.cat(ours.train.batches(epoch)).tolist()[:examples] for epoch in range(epochs)])


def early_difference(located: corpus.Located) -> float:
    """Largest difference of any parameter after the first `EARLY` steps from the same weights on the same batches."""
    plain, ours = Tutorial(located), Ours(located)
    begin(plain, ours, 1, EARLY * BATCH)
    plain.epoch()
    ours.epoch(EARLY)
    return scaffold.apart(plain.model, ours.model)


def main() -> None:
    flags = scaffold.Flags(__doc__, source=True)
    flags.add_argument("--epochs", type=int, default=10)
    args = flags.begin()
    # Each at its best: the dense step gains from every core, ours from none beyond the data set's own number.
    threads = {"plain": torch.get_num_threads(), "ours": load.dataset("agnews").defaults["threads"]}
    located = scaffold.located("agnews", args)

    ways: dict[str, Any] = {}
    prepare = {
        "plain": scaffold.timed(lambda: ways.update(plain=Tutorial(located))),
        "ours": scaffold.timed(lambda: ways.update(ours=Ours(located))),
    }
    begin(ways["plain"], ways["ours"], args.epochs)
    accuracy: dict[str, list[float]] = {name: [] for name in ways}
    apart: list[float] = []

    def epoch(name: str) -> None:
        ways[name].epoch()
        accuracy[name].append(ways[name].accuracy())

    def seconds_of(name: str) -> float:
        torch.set_num_threads(threads[name])
        return scaffold.timed(partial(epoch, name))

    def report(latest: dict[str, float]) -> None:
        apart.append(scaffold.apart(ways["plain"].model, ways["ours"].model))
        shown = {name: f"{latest[name]:.1f} s, test {accuracy[name][-1]:.2f} %" for name in ways}
        print(f"epoch {len(apart)}: {shown}, weights apart {apart[-1]:.1e}", flush=True)

    seconds = scaffold.in_turn({name: partial(seconds_of, name) for name in ways}, args.epochs, 0, report)
    whole = {name: prepare[name] + sum(seconds[name]) for name in ways}
    figures = {
        "source": located.source, "epochs": args.epochs, "threads": threads,
        "epoch": scaffold.summary(seconds["plain"], seconds["ours"]), "prepare_seconds": prepare,
        "whole_job_seconds": whole, "whole_job_ratio": whole["plain"] / whole["ours"],
        "test_accuracy": accuracy, "largest_weight_difference_by_epoch": apart,
        f"largest_weight_difference_after_{EARLY}_steps": early_difference(located),
    }  # fmt: skip
    scaffold.save("agnews_job", figures, located.source)


if __name__ == "__main__":
    main()
