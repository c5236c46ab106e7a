"""The whole AG News job, training and evaluation, against a tutorial's pipeline on the same batches.

    python -m benchmarks.agnews_job [--epochs 10] [--source auto]

The tutorial's way: rows of text in a list, tokenised and looked up in `collate_fn`, a DataLoader, an embedding with
dense gradients under torch.optim.Adam. Both ways start from the same weights and see the same batches in order; epochs
are timed in turn, each with its evaluation on the test set, so that the results can be compared number by number.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import cast

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from benchmarks import pairs
from Utils import load
from Utils.data import corpus, text
from Utils.data.sets import agnews
from Utils.training.adam import Adam
from Utils.training.evaluate import evaluate
from Utils.training.train import train_epoch

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
        words = text.vocabulary((self.tokenize(line) for _, line in self.rows["train"]), [text.UNKNOWN])
        self.number = {word: k for k, word in enumerate(words)}
        self.model = Plain(len(words))
        self.loss = nn.CrossEntropyLoss()

    def begin(self, state: dict) -> None:
        self.model.load_state_dict(state)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)

    def collate(self, batch: list[tuple[int, str]]):
        targets, ids, offsets = [], [], [0]
        for label, line in batch:
            targets.append(label - 1)
            numbers = torch.tensor([self.number.get(token, 0) for token in self.tokenize(line)], dtype=torch.int64)
            ids.append(numbers)
            offsets.append(numbers.size(0))
        return torch.tensor(targets), torch.cat(ids), torch.tensor(offsets[:-1]).cumsum(0)

    def epoch(self, order: list[int]) -> None:
        self.model.train()
        loader = DataLoader(cast(Dataset, self.rows["train"]), batch_size=64, sampler=order, collate_fn=self.collate)
        for target, ids, offsets in loader:
            self.optimizer.zero_grad()
            self.loss(self.model(ids, offsets), target).backward()
            self.optimizer.step()

    @torch.no_grad()
    def accuracy(self) -> float:
        self.model.eval()
        loader = DataLoader(cast(Dataset, self.rows["test"]), batch_size=256, collate_fn=self.collate)
        hits = sum(int((self.model(i, o).argmax(1) == target).sum()) for target, i, o in loader)
        return 100.0 * hits / len(self.rows["test"])


class Ours:
    """The same through this project's routines."""

    def __init__(self, located: corpus.Located) -> None:
        data = corpus.load(located)
        self.train = load.dataloader(data, 64, True, seed=1)
        self.test = load.dataloader(data, 256, False)
        torch.manual_seed(1)
        self.model = load.model("text-classification", "nlp")(data.shape, data.num_classes)
        self.loss = nn.CrossEntropyLoss()
        self.optimizer = Adam(self.model.parameters(), lr=1e-3)
        self.optimizer.attach(self.model)

    def orders(self, epochs: int) -> list[list[int]]:
        """The order of the examples in each epoch to come."""
        return [torch.cat(self.train.batches(epoch)).tolist() for epoch in range(epochs)]

    def epoch(self) -> None:
        train_epoch(self.model, self.loss, self.optimizer, self.train, torch.device("cpu"))

    def accuracy(self) -> float:
        return evaluate(self.model, self.loss, self.test, torch.device("cpu"))["top1"]


def difference(ours: Ours, plain: Tutorial) -> float:
    mine, theirs = ours.model.state_dict(), plain.model.state_dict()
    return max((mine[name] - theirs[name]).abs().max().item() for name in theirs)


def weights(ours: Ours) -> dict:
    return {name: value.clone() for name, value in ours.model.state_dict().items() if not name.endswith("_mask")}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--epochs", type=int, default=10)
    arguments.add_argument("--source", default="auto", choices=corpus.SOURCES)
    args = arguments.parse_args()
    # Each at its best: the dense step gains from every core, ours from none beyond the data set's own number.
    threads = {"plain": torch.get_num_threads(), "ours": load.dataset("agnews").defaults["threads"]}
    located = corpus.locate(load.dataset("agnews"), Path("Data"), args.source)
    corpus.load(located)  # the first run of all prepares; every other finds its data prepared, as here

    made: dict = {}
    prepare = {
        "plain": pairs.timed(lambda: made.update(plain=Tutorial(located))),
        "ours": pairs.timed(lambda: made.update(ours=Ours(located))),
    }
    plain, ours = made["plain"], made["ours"]
    plain.begin(weights(ours))
    orders = ours.orders(args.epochs)

    seconds: dict[str, list[float]] = {"plain": [], "ours": []}
    accuracy: dict[str, list[float]] = {"plain": [], "ours": []}
    apart = []
    for epoch, order in enumerate(orders):

        def of_plain(order=order):
            plain.epoch(order)
            accuracy["plain"].append(plain.accuracy())

        def of_ours():
            ours.epoch()
            accuracy["ours"].append(ours.accuracy())

        for name, body in (("plain", of_plain), ("ours", of_ours))[:: 1 if epoch % 2 == 0 else -1]:
            torch.set_num_threads(threads[name])
            seconds[name].append(pairs.timed(body))
        apart.append(difference(ours, plain))
        print(
            f"epoch {epoch + 1}: {seconds['plain'][-1]:.1f} s against {seconds['ours'][-1]:.1f} s, "
            f"test {accuracy['plain'][-1]:.2f} and {accuracy['ours'][-1]:.2f} %, weights apart {apart[-1]:.1e}",
            flush=True,
        )
    whole = {name: prepare[name] + sum(seconds[name]) for name in seconds}
    pairs.save(
        "agnews_job" if located.source == "real" else f"agnews_job_{located.source}",
        {
            "source": located.source,
            "epochs": args.epochs,
            "threads": threads,
            "epoch": pairs.summary(seconds["plain"], seconds["ours"]),
            "prepare_seconds": prepare,
            "whole_job_seconds": whole,
            "whole_job_ratio": whole["plain"] / whole["ours"],
            "test_accuracy": accuracy,
            "largest_weight_difference_by_epoch": apart,
            f"largest_weight_difference_after_{EARLY}_steps": early_difference(located),
        },
    )


def early_difference(located: corpus.Located) -> float:
    """Largest difference of any parameter after the first `EARLY` steps from the same weights on the same batches."""
    plain, ours = Tutorial(located), Ours(located)
    plain.begin(weights(ours))
    (order,) = ours.orders(1)
    plain.epoch(order[: EARLY * 64])
    batches = [batch for batch, _ in zip(ours.train, range(EARLY), strict=False)]
    train_epoch(ours.model, ours.loss, ours.optimizer, batches, torch.device("cpu"))
    return difference(ours, plain)


if __name__ == "__main__":
    main()
