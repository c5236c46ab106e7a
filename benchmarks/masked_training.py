"""Training a masked network: what the masks leave, against all of it.

    python -m benchmarks.masked_training [--rounds 6] [--threads 2] [--only MODEL]

Both ways train equal copies of a network pruned at initialisation on the same drawn batches, in turn. The plain way
multiplies masks into weights, computes every product whole and steps with torch's Adam; ours is the training of every
run: channels that masks cut off and units that reach no output are left out, matrices of few weights are multiplied
sparse (Layers/fast/fixed.py), and Adam takes no roots of zeros; where a case says so, with --sparse-convolutions.
Embeddings are stepped by rows on both sides. Beside the ratio stands how far the losses of the first steps are apart:
rounding.
"""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks import scaffold
from Layers import fast
from Layers.fast import fixed_masks, unread
from Layers.pairs import BOS, EOS, Pairs
from Layers.reading import of
from Pruners import dead
from Utils import generator, load
from Utils.machine import memory
from Utils.training import convolution
from Utils.training.adam import Adam
from Utils.training.loss import CrossEntropy
from Utils.training.train import train_epoch

WORDS = 12  # of every drawn sentence
Batches = list[tuple[Any, Tensor]]


class Task(NamedTuple):
    shape: tuple[int, ...]
    classes: int
    batch: int
    steps: int  # batches a round

    def drawn(self, count: int, seed: int) -> Batches:
        draw = torch.Generator().manual_seed(seed)
        return [self._batch(draw) for _ in range(count)]

    def _batch(self, draw: torch.Generator) -> tuple[Any, Tensor]:
        if len(self.shape) == 3:
            pixels = torch.randn(self.batch, *self.shape, generator=draw)
            return pixels, torch.randint(self.classes, (self.batch,), generator=draw)
        source, target = (
            torch.randint(EOS + 1, words, (self.batch, WORDS), generator=draw) for words in (*self.shape, self.classes)
        )
        first, last = torch.full((self.batch, 1), BOS), torch.full((self.batch, 1), EOS)
        data = Pairs(torch.cat([first, source, last], 1), torch.cat([first, target], 1))
        return data, torch.cat([target, last], 1).flatten()


CIFAR, MNIST = Task((3, 32, 32), 10, 64, 4), Task((1, 28, 28), 10, 64, 20)
LONGER = Task((3, 32, 32), 10, 256, 8)  # for what arranges its weights before the first step of an epoch
MULTI30K = Task((19214,), 10837, 128, 2)


class Case(NamedTuple):
    task: Task
    model_class: str
    model: str
    pruner: str
    rounds: int
    compression: float
    attention: str = "out"
    sparse_convolutions: bool = False


CASES = (
    Case(CIFAR, "lottery", "vgg16-bn", "synflow", 100, 1.0),
    Case(CIFAR, "lottery", "vgg16-bn", "synflow", 100, 2.0),
    Case(CIFAR, "lottery", "vgg16-bn", "rand", 1, 1.0),
    Case(LONGER, "lottery", "vgg16", "rand", 1, 1.0, sparse_convolutions=True),
    Case(LONGER, "lottery", "vgg16", "rand", 1, 2.0, sparse_convolutions=True),
    Case(CIFAR, "lottery", "resnet20", "rand", 1, 1.0),
    Case(MNIST, "default", "fc", "rand", 1, 1.0),
    Case(MNIST, "default", "conv", "rand", 1, 2.0),
    Case(MNIST, "default", "conv", "mag", 1, 2.0),
    Case(MULTI30K, "nlp", "seq2seq", "grasp", 1, 1.0),
    Case(MULTI30K, "nlp", "seq2seq", "rand", 1, 1.0),
    Case(MULTI30K, "nlp", "seq2seq", "rand", 1, 2.0),
    Case(MULTI30K, "nlp", "seq2seq", "rand", 1, 2.0, "all"),
)


def pruned(case: Case) -> nn.Module:
    torch.manual_seed(0)
    model = load.model(case.model, case.model_class)(case.task.shape, case.task.classes)
    model.to(memory_format=getattr(model, "memory_format", torch.preserve_format))
    pruner = load.pruner(case.pruner)(list(generator.masked_parameters(model, attention=case.attention)), seed=0)
    scaffold.prune(model, pruner, case.task.drawn(2, 0), case.compression, case.rounds)
    unread.note(model, dead.find(model, case.task.shape).no_way_out)
    return model


class TorchsAdam(Adam):
    """torch's step for all but the attached embeddings."""

    def step(self, closure=None):
        torch.optim.Adam.step(self, closure)
        with torch.no_grad():
            for rows in self._rows.values():
                rows.update()


def plain(model: nn.Module, optimizer: Adam, batches: Batches) -> float:
    """Return the mean loss."""
    loss = scaffold.plain_steps(model, CrossEntropy(), optimizer, batches)
    optimizer.catch_up()
    return loss


def ours(model: nn.Module, optimizer: torch.optim.Optimizer, batches: Batches) -> float:
    return train_epoch(model, CrossEntropy(), optimizer, batches, scaffold.CPU)


def in_part(model: nn.Module) -> dict[str, int]:
    """How many of the layers with matrices are not computed whole."""
    with fixed_masks(model):
        parts = [part for module in model.modules() if (part := getattr(of(module), "part", None)) is not None]
    return {"layers": len(parts), "in_part": sum(part is not None for part in parts)}


def measured(case: Case, rounds: int) -> dict[str, Any]:
    model = pruned(case)
    fast.use(True, convolution.part if case.sparse_convolutions else None)
    batches = case.task.drawn(case.task.steps, 1)
    ways: dict[str, Callable[[], float]] = {}
    for name, train, kind in (("plain", plain, TorchsAdam), ("ours", ours, Adam)):
        own = copy.deepcopy(model)
        optimizer = kind(generator.parameters(own), lr=1e-4)
        optimizer.attach(own)
        ways[name] = partial(train, own, optimizer, batches)
    first = {}
    for name, body in ways.items():
        torch.manual_seed(2)  # dropout
        first[name] = body()
    return {
        **{name: value for name, value in case._asdict().items() if name != "task"},
        "batch": case.task.batch,
        **in_part(model),
        "first_losses_apart": abs(first["ours"] - first["plain"]) / first["plain"],
        **scaffold.compare(ways["plain"], ways["ours"], rounds, 1),
    }


def main() -> None:
    flags = scaffold.Flags(__doc__, rounds=6, threads=2)
    flags.add_argument("--only", metavar="MODEL", help="this model's cases alone; nothing is saved")
    args = flags.begin()
    memory.keep_freed()
    found = []
    for case in CASES:
        if args.only in (None, case.model):
            found.append(measured(case, args.rounds))
            print({k: v for k, v in found[-1].items() if k in ("model", "pruner", "compression", "ratio")}, flush=True)
    if not args.only:
        scaffold.save("masked_training", {"threads": args.threads, "cases": found})


if __name__ == "__main__":
    main()
