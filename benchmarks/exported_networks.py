"""What pruning saves in the exported formats: file, memory and measured speed of four networks, ratios within one run.

    python -m benchmarks.exported_networks [--repeats 9] [--threads 2] [--data-dir Data] [--case NAME ...]

Networks are pruned as they are drawn, without training, which changes no cost; the examples are of the test split.
Times are of one call with 1 and with 64 examples, all formats in turn within one process. "machine_at_best" says what
no format can exceed: the bytes read and the multiply-adds done in a second, as measured in the same run.
"""

from argparse import Namespace
from typing import Any

import torch
from torch import nn

from benchmarks import scaffold
from Utils import generator, load
from Utils.commandline import arguments as commandline
from Utils.data import corpus
from Utils.data.corpus import Corpus
from Utils.export import measured
from Utils.export.formats import REFERENCE
from Utils.machine import seeds, timing

CASES = {
    "agnews-rand-c2": "--dataset agnews --pruner rand --compression 2",
    "agnews-grasp-c2": "--dataset agnews --pruner grasp --compression 2",
    "fc-synflow-c1": "--dataset mnist --model fc --pruner synflow --prune-epochs 100 --compression 1",
    "fc-synflow-c2": "--dataset mnist --model fc --pruner synflow --prune-epochs 100 --compression 2",
    "fc-rand-c1": "--dataset mnist --model fc --pruner rand --compression 1",
    "fc-rand-c2": "--dataset mnist --model fc --pruner rand --compression 2",
    "vgg16-bn-rand-c1": "--dataset cifar10 --model-class lottery --model vgg16-bn --pruner rand --compression 1",
    "vgg16-bn-synflow-c2": "--dataset cifar10 --model-class lottery --model vgg16-bn --pruner synflow "
    "--prune-epochs 100 --compression 2",
}


def pruned(command: str, given: Namespace) -> tuple[nn.Module, Corpus, Any]:
    """Return (the network that a command line prunes, in eval mode; its data; its pruner)."""
    args = commandline.parse([*command.split(), f"--data-dir={given.data_dir}", f"--source={given.source}"])
    data = corpus.load(corpus.locate(load.configured(args), given.data_dir, given.source))
    torch.manual_seed(seeds.derive(args.init_seed, "init"))
    model = load.model(args.model, args.model_class)(data.shape, data.num_classes).eval()
    pruner = load.pruner(args.pruner)(list(generator.masked_parameters(model)), seed=1)
    examples = load.dataloader(data, args.prune_batch_size, True, length=args.prune_dataset_ratio * data.num_classes)
    scaffold.prune(model, pruner, examples, args.compression, args.prune_epochs)
    return model, data, pruner


def case(command: str, given: Namespace) -> dict[str, Any]:
    """Return the formats' figures of one network, with their ratios to the dense format."""
    model, data, pruner = pruned(command, given)
    found, _ = measured.formats(model, load.exporter(data.dataset), data, given.repeats)
    dense = found[REFERENCE]
    for figures in found.values():
        figures["file_of_dense"] = figures["file_bytes"] / dense["file_bytes"]
        seconds = figures["seconds"].items()
        figures["times_dense"] = {size: dense["seconds"][size]["median"] / taken["median"] for size, taken in seconds}
        figures.pop("forms", None)
    return {"command": command, "source": data.source, "weights": pruner.stats(), "formats": found}


def roofline(threads: int) -> dict[str, float]:
    """What this machine can do at best: bytes read a second, multiply-adds a second of a large matrix product."""
    large = torch.ones(64 * 1024 * 1024)
    square = torch.ones(2048, 2048)
    read, product = (
        timing.timer(body).blocked_autorange(min_run_time=1.0).median for body in (large.sum, lambda: square @ square)
    )
    best = {"bytes_per_second": 4 * large.numel() / read, "multiply_adds_per_second": 2048**3 / product}
    return {"threads": threads, **best}


def main() -> None:
    flags = scaffold.Flags(__doc__, threads=2, source=True)
    flags.add_argument("--repeats", type=int, default=9)
    flags.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    args = flags.begin()
    figures: dict[str, Any] = {"machine_at_best": roofline(args.threads), "repeats": args.repeats}
    scaffold.save("exported_networks", figures | {name: case(CASES[name], args) for name in args.case})


if __name__ == "__main__":
    main()
