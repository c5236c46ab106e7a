"""The scaffold of every benchmark: its flags, ways of doing one thing timed in turn, their memory, the kept figures.

Ways are timed in turn within one run, so that a machine whose speed drifts favours none.
"""

import argparse
import copy
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from Layers import layers
from Utils import load
from Utils.data import corpus
from Utils.store import files, provenance
from Utils.training.loss import CrossEntropy
from Utils.training.prune import prune_loop

CPU = torch.device("cpu")
FOLDER = Path("Results/benchmarks")
Result = TypeVar("Result")


class Flags(argparse.ArgumentParser):
    """The command line of a benchmark, with the flags that most have.

    rounds, threads: their defaults; no flag without one. Threads are those of torch's arithmetic, 0 its own choice.
    source: whether data are chosen by --source and --data-dir.
    """

    def __init__(self, doc: str | None, rounds: int = 0, threads: int | None = None, source: bool = False) -> None:
        super().__init__(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
        if rounds:
            self.add_argument("--rounds", type=int, default=rounds)
        if threads is not None:
            self.add_argument("--threads", type=int, default=threads)
        if source:
            self.add_argument("--source", default="auto", choices=corpus.SOURCES)
            self.add_argument("--data-dir", type=Path, default=Path("Data"))
        self.add_argument("--peak", nargs="+", help=argparse.SUPPRESS)  # see `peak`

    def begin(self) -> argparse.Namespace:
        """Read the command line and set torch's number of threads."""
        args = self.parse_args()
        if getattr(args, "threads", 0):
            torch.set_num_threads(args.threads)
        return args


def located(name: str, args: argparse.Namespace) -> corpus.Located:
    """Find a data set by --source and --data-dir, and prepare it, as it is for all but the first run."""
    found = corpus.locate(load.dataset(name), args.data_dir, args.source)
    corpus.load(found)
    return found


def command(*words: str) -> None:
    """Run Python with these words in a process of its own. Raises CalledProcessError if that fails."""
    subprocess.run([sys.executable, *words], check=True, capture_output=True)


def recorded(results: str) -> list[dict[str, float]]:
    """Return the seconds that each run in a result directory has recorded, by phase."""
    return [files.read_json(path)["seconds"] for path in Path(results).glob("singleshot/*/result.json")]


def timed(body: Callable[[], Any]) -> float:
    """Return the wall seconds of one call."""
    begun = time.perf_counter()
    body()
    return time.perf_counter() - begun


def both(body: Callable[[], Any]) -> tuple[float, float]:
    """Return the seconds of the processor and of the clock that a call takes."""
    begun = time.process_time(), time.perf_counter()
    body()
    return time.process_time() - begun[0], time.perf_counter() - begun[1]


def beside(ways: Mapping[str, Callable[[], Any]], rounds: int, ours: str) -> dict[str, Any]:
    """Time all in turn; return medians by way, and the seconds of each as multiples of those of `ours` in its round."""
    seconds = in_turn({name: partial(both, way) for name, way in ways.items()}, rounds)
    found = {}
    for name, taken in seconds.items():
        processor, clock = (statistics.median(each) for each in zip(*taken, strict=True))
        times = spread("times", *([each for each, _ in seconds[way]] for way in (name, ours)))
        found[name] = {"processor_seconds": processor, "clock_seconds": clock, **times}
    return found


def in_turn(
    bodies: Mapping[str, Callable[[], Result]],
    rounds: int,
    warm_up: int = 1,
    report: Callable[[dict[str, Result]], None] = lambda latest: None,
) -> dict[str, list[Result]]:
    """Call all in turn, `rounds` times, every other time the last one first; return what each returned, by name.

    warm_up: rounds before these, whose results are dropped.
    report: is called after each round with its results.
    """
    for _ in range(warm_up):
        for body in bodies.values():
            body()
    found: dict[str, list[Result]] = {name: [] for name in bodies}
    for k in range(rounds):
        for name in bodies if k % 2 == 0 else reversed(list(bodies)):
            found[name].append(bodies[name]())
        report({name: values[-1] for name, values in found.items()})
    return found


def compare(plain: Callable[[], Any], ours: Callable[[], Any], rounds: int, warm_up: int = 2) -> dict[str, Any]:
    """Time both in turn; return the `summary` of their seconds."""
    seconds = in_turn({"plain": partial(timed, plain), "ours": partial(timed, ours)}, rounds, warm_up)
    return summary(seconds["plain"], seconds["ours"])


def summary(plain: Sequence[float], ours: Sequence[float]) -> dict[str, Any]:
    """Return the medians, and median, lowest and highest of the ratios plain / ours of each round."""
    return {
        "rounds": len(plain),
        "plain_seconds": statistics.median(plain),
        "ours_seconds": statistics.median(ours),
        **spread("ratio", plain, ours),
    }


def spread(name: str, above: Sequence[float], below: Sequence[float]) -> dict[str, float]:
    """Return median, lowest and highest of the ratios of each round, by name."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    return {name: statistics.median(ratios), f"{name}_lowest": min(ratios), f"{name}_highest": max(ratios)}


def prune(model: nn.Module, pruner: Any, batches: Iterable, compression: float, rounds: int = 1) -> None:
    """Prune a network as it is drawn, with the density falling exponentially and all weights ranked together."""
    prune_loop(model, CrossEntropy(), pruner, batches, CPU, 10.0**-compression, "exponential", "global", rounds)


TORCHS = (nn.Linear, nn.Conv2d, nn.BatchNorm2d)


def unmasked(model: nn.Module) -> nn.Module:
    """Return a copy of a network with the layers of torch.nn: the same weights without masks, in torch's own layout."""
    plain: Any = copy.deepcopy(model)
    plain.to(memory_format=torch.contiguous_format)
    for module in plain.modules():
        if masks := [f"{name}_mask" for name, _ in layers.own_masks(module)]:
            module.__class__ = next((kind for kind in TORCHS if isinstance(module, kind)), nn.Identity)
            for name in masks:
                delattr(module, name)
    return plain


def apart(plain: nn.Module, ours: nn.Module) -> float:
    """Return the largest difference between equal parameters of two networks."""
    mine = dict(ours.named_parameters())
    return max((mine[name] - value).abs().max().item() for name, value in plain.named_parameters())


def plain_steps(model: nn.Module, loss: Callable, optimizer: torch.optim.Optimizer, batches: Iterable) -> float:
    """Train as a tutorial does, on batches (inputs ..., target); return the mean loss."""
    model.train()
    losses = []
    for *inputs, target in batches:
        optimizer.zero_grad()
        value = loss(model(*inputs), target)
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return statistics.fmean(losses)


def peak(module: str, args: argparse.Namespace, *words: str) -> float:
    """Return the MiB that the benchmark `module` prints, in a process of its own, when called with --peak WORDS."""
    given = [
        f"--{name.replace('_', '-')}={vars(args)[name]}"
        for name in ("threads", "source", "data_dir", "steps")
        if name in args
    ]
    command = [sys.executable, "-m", module, *given, "--peak", *words]
    shown = subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout
    return json.loads(shown.splitlines()[-1])


def save(name: str, figures: dict[str, Any], source: str = "real") -> None:
    """Keep the figures, with versions and machine, as Results/benchmarks/<name>.json, and print them.

    source: that of the data; the sample's figures have a file of their own.
    """
    made = {"machine": provenance.machine(CPU), "commit": provenance.commit()}
    path = FOLDER / f"{name if source == 'real' else f'{name}_{source}'}.json"
    files.write_json(path, {**figures, "versions": provenance.versions(), **made})
    print(json.dumps({**figures, **made}, indent=1))
    print(f"Saved to {path}")
