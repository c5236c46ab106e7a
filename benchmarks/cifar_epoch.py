"""Training resnet20 on CIFAR-10 against the straightforward form of it.

    python -m benchmarks.cifar_epoch [--rounds 6] [--steps 60] [--whole] [--threads 2] [--source auto] [--data-dir Data]

The straightforward form: torchvision's data set, its random crop, mirroring and normalisation image by image in a
DataLoader (with or without two processes, whichever is found faster), the same network of torch.nn, torch.optim.Adam
and a plain loop. Ours is timed as it is and with `--compile`, the seconds of compiling apart. All ways start from the
same weights and have batches of 64; parts of an epoch, each of `--steps` batches, or of all with `--whole`, are timed
in turn, the making of the batches included. Each has a process of its own, so that what one does to memory and threads
is not done to the others. Each draws its own windows and mirror images, so that its figures after equally many steps
are alike, not equal; on the very same batches, as Results shows beside it, they are equal up to rounding.
"""

import itertools
import multiprocessing
from argparse import Namespace
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import datasets, transforms

from benchmarks import scaffold
from Utils import generator, load
from Utils.data import corpus
from Utils.data.examples import Images
from Utils.data.loader import Loader
from Utils.machine import memory
from Utils.training.adam import Adam
from Utils.training.evaluate import evaluate
from Utils.training.loss import CrossEntropy
from Utils.training.train import train_epoch

BATCH = 64
SAME = 20  # steps on the same batches after which weights are compared
TESTED = 2000  # test images that both ways are measured on


class Drawn(Dataset):
    """The sample, as torchvision's class has the photographs."""

    def __init__(self, data: corpus.Corpus, transform) -> None:
        self.images = cast(Images, data.train).pixels.permute(0, 2, 3, 1).contiguous().numpy()
        self.targets, self.transform = data.train.targets.tolist(), transform

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, k: int):
        return self.transform(transforms.functional.to_pil_image(self.images[k])), self.targets[k]


def endless(loader) -> Iterator:
    while True:
        yield from loader


class Plain:
    """Training as a tutorial does it."""

    def __init__(self, data: corpus.Corpus, ours: nn.Module, data_dir: Path, workers: int = 0) -> None:
        images = cast(Images, data.train)
        mean, std = (part.flatten().div(255).tolist() for part in (images.mean, images.std))
        varied = [transforms.RandomCrop(32, 4), transforms.RandomHorizontalFlip()]
        transform = transforms.Compose([*varied, transforms.ToTensor(), transforms.Normalize(mean, std)])
        real = data.source == "real"
        examples = datasets.CIFAR10(str(data_dir), True, transform) if real else Drawn(data, transform)
        self.batches = endless(DataLoader(examples, BATCH, shuffle=True, num_workers=workers))
        self.model = scaffold.unmasked(ours)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)

    def train(self, steps: int, batches=None) -> None:
        some = itertools.islice(batches or self.batches, steps)
        scaffold.plain_steps(self.model, nn.CrossEntropyLoss(), self.optimizer, some)


class Ours:
    """The same through this project's routines, as a run of the command line has it."""

    def __init__(self, data: corpus.Corpus, compiled: bool = False) -> None:
        self.loader = load.dataloader(data, BATCH, True, seed=1)
        self.batches = endless(self.loader)
        torch.manual_seed(1)
        self.model = load.model("resnet20", "lottery")(data.shape, data.num_classes)
        self.model.to(memory_format=self.model.memory_format)
        self.optimizer = Adam(generator.parameters(self.model), lr=1e-3)
        self.trained = cast(nn.Module, torch.compile(self.model)) if compiled else self.model

    def train(self, steps: int, batches=None) -> None:
        batches = itertools.islice(batches or self.batches, steps)
        train_epoch(self.trained, CrossEntropy(), self.optimizer, batches, scaffold.CPU)


def difference(data: corpus.Corpus, data_dir: Path) -> float:
    """Largest difference of any parameter after `SAME` steps on the same batches."""
    ours = Ours(data)
    plain = Plain(data, ours.model, data_dir)
    batches = list(itertools.islice(ours.batches, SAME))
    for way in (ours, plain):
        way.train(SAME, iter(batches))
    return scaffold.apart(plain.model, ours.model)


here: dict[str, Any] = {}  # the way of this process, and its data


def begin(name: str, args: Namespace, workers: int) -> None:
    """Make one way in its process."""
    torch.set_num_threads(args.threads)
    if name != "plain":
        memory.keep_freed()
    data = corpus.load(scaffold.located("cifar10", args))
    way: Ours | Plain = Ours(data, name == "compiled")
    here.update(data=data, way=way if name != "plain" else Plain(data, way.model, args.data_dir, workers))


def train(steps: int) -> None:
    here["way"].train(steps)


def figures() -> dict[str, float]:
    test = Loader(here["data"].test, 250, length=TESTED)
    return evaluate(here["way"].model, nn.CrossEntropyLoss(), test, scaffold.CPU)


class Apart:
    """A way in a process of its own."""

    def __init__(self, *arguments) -> None:
        self.pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), begin, arguments)
        self.pool.submit(int).result()  # it has started

    def train(self, steps: int) -> None:
        self.pool.submit(train, steps).result()

    def end(self) -> dict[str, float]:
        with self.pool:
            return self.pool.submit(figures).result()


def main() -> None:
    flags = scaffold.Flags(__doc__, rounds=6, threads=2, source=True)
    flags.add_argument("--steps", type=int, default=60)
    flags.add_argument("--whole", action="store_true", help="a part is the whole epoch")
    args = flags.begin()
    data = corpus.load(scaffold.located("cifar10", args))
    epoch = -(-len(data.train) // BATCH)
    apart = difference(data, args.data_dir)
    print(f"weights apart after {SAME} steps on the same batches: {apart:.1e}", flush=True)

    trial: dict[int, float] = {}
    for workers in (0, 2):  # by the first steps the processes have started
        plain = Apart("plain", args, workers)
        plain.train(5)
        trial[workers] = scaffold.timed(partial(plain.train, 20)) / 20
        plain.end()
    workers = min(trial, key=trial.__getitem__)
    print(f"plain form, seconds a step by number of loading processes: {trial}", flush=True)

    plain, ours, compiled = (Apart(name, args, workers) for name in ("plain", "ours", "compiled"))
    steps = epoch if args.whole else args.steps
    first, first_compiled = (scaffold.timed(partial(way.train, SAME)) for way in (ours, compiled))
    plain.train(SAME)
    ratios = {
        name: scaffold.compare(partial(plain.train, steps), partial(way.train, steps), args.rounds, warm_up=0)
        for name, way in (("ours", ours), ("ours_compiled", compiled))
    }
    figures = {
        "source": data.source, "threads": args.threads, "batch": BATCH, "steps_a_part": steps, "steps_an_epoch": epoch,
        **ratios, "seconds_to_compile": first_compiled - first,
        "plain_loading_processes": workers, "plain_seconds_a_step_by_loading_processes": trial,
        "steps": {"plain": SAME + 2 * steps * args.rounds, "ours, ours_compiled": SAME + steps * args.rounds},
        "test_after_all_steps": {"plain": plain.end(), "ours": ours.end(), "ours_compiled": compiled.end()},
        "test_images": min(TESTED, len(data.test)),
        f"largest_weight_difference_after_{SAME}_steps_on_the_same_batches": apart,
    }  # fmt: skip
    scaffold.save("cifar_epoch", figures, data.source)


if __name__ == "__main__":
    main()
