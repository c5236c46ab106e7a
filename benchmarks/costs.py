"""The cost of each pruner, beside that of a training step on the same examples.

A step is forward, backward and Adam, in the way a run of the command line trains. Peak memory is what a process of its
own has resident at most, above what it has before it begins.
"""

import json
import statistics
from argparse import Namespace
from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from benchmarks import scaffold
from Utils import generator, load
from Utils.machine import memory
from Utils.training.adam import Adam
from Utils.training.loss import CrossEntropy
from Utils.training.train import train_epoch

STEP = "training step"
COMPRESSION = 1.0
Bodies = dict[str, Callable[[], dict[str, float]]]  # by name; each returns {"seconds": ..., and those of its parts}


def seconds(body: Callable[[], object]) -> dict[str, float]:
    return {"seconds": scaffold.timed(body)}


def bodies(model: nn.Module, batch: tuple[Tensor, Tensor], masking: bool) -> Bodies:
    """Return what is timed: the training step, and each pruner's `score`.

    masking: and then its `mask`, from masks of all ones.
    """
    optimizer = Adam(generator.parameters(model), lr=1e-12)  # so that all are measured at the same weights
    masked = list(generator.masked_parameters(model))

    def pruning(name: str) -> Callable[[], dict[str, float]]:
        pruner = load.pruner(name)(masked)

        def body() -> dict[str, float]:
            model.eval()
            score = scaffold.timed(lambda: pruner.score(model, CrossEntropy(), [batch], scaffold.CPU))
            if not masking:
                return {"seconds": score}
            mask = scaffold.timed(lambda: pruner.mask(10.0**-COMPRESSION, "global"))
            for ones, _ in masked:
                ones.fill_(1.0)
            return {"score_seconds": score, "mask_seconds": mask, "seconds": score + mask}

        return body

    step = partial(train_epoch, model, CrossEntropy(), optimizer, [batch], scaffold.CPU)
    return {STEP: partial(seconds, step), **{name: pruning(name) for name in load.PRUNERS}}


def measured(module: str, args: Namespace, case: str, bodies: Bodies) -> dict[str, dict[str, float]]:
    """Return what each body costs: the medians of its seconds, by part, multiples of the step's, and its peak memory.

    All are timed in turn; "steps" are ratios within a round. The peak is that of `module --peak case name`.
    """
    rows = scaffold.in_turn(bodies, args.rounds)
    found: dict[str, dict[str, float]] = {}
    for name, each in rows.items():
        found[name] = {part: statistics.median(row[part] for row in each) for part in each[0]}
        found[name] |= scaffold.spread("steps", *([row["seconds"] for row in rows[key]] for key in (name, STEP)))
        found[name]["peak_mib"] = scaffold.peak(module, args, case, name)
        shown = "{seconds:.4f} s, {steps:.2f} steps, {peak_mib:.0f} MiB".format(**found[name])
        print(f"{case}, {name}: {shown}", flush=True)
    return found


def print_peak(body: Callable[[], object]) -> None:
    """Print the MiB that a body needs at its peak, beyond those before it."""
    print(json.dumps(memory.added(body) / 2**20))
