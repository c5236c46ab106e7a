"""Probe finished runs with changed test inputs: what does a pruned network still notice?

Words are shuffled, one is swapped or dropped, and inputs are exchanged. The same is done to the tiles of images. Two
more figures are the accuracy by rarity of words, and how correlated the inputs are that a mask keeps. `report` reads
them, so that dense and pruned networks of the same seed can be compared.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from Experiments import finished
from Utils import load
from Utils.commandline.kinds import path
from Utils.commandline.parser import Parser
from Utils.data import corpus
from Utils.store import files, provenance, weights

if TYPE_CHECKING:
    from torch import Tensor, nn

    from Utils.data.examples import Examples

# torch is imported only after all runs have been found.

PROBES = "probes.json"
UNCHANGED = "unchanged"
QUARTERS = 4


def flags(top: Parser) -> None:
    """Add the flags of this experiment to the parser."""
    add = top.add_argument_group("probe").add_argument
    add(
        "--run", type=path, required=True, nargs="+", metavar="DIR",
        help="the runs' directories, each with its model.safetensors",
    )  # fmt: skip
    finished.add_places(add)


def check(args: Namespace) -> Namespace:
    """Return the arguments unchanged."""
    return args


def run(args: Namespace) -> list[dict[str, Any]]:
    """Probe the runs; print a table of each and save it as probes.json in its directory; return the findings."""
    each = [
        (one, finished.settings(one, args.data_path, args.model_path), weights.find("--run", one)) for one in args.run
    ]
    located = [finished.locate(config, Path(args.data_dir)) for _, config, _ in each]

    import torch

    if args.threads:
        torch.set_num_threads(args.threads)
    found = []
    for (one, config, file), place in zip(each, located, strict=True):
        data = corpus.load(place)
        probed = {
            **probe(finished.model(config, data, file), data, config),
            "model_sha256": files.sha256(file),
            "commit": provenance.commit(),
        }
        files.write_json(Path(one) / PROBES, probed)
        print(f"{one}\n{words(probed)}Saved {Path(one) / PROBES}")
        found.append(probed)
    return found


def probe(model: nn.Module, data: corpus.Corpus, config: Namespace) -> dict[str, Any]:
    """Return the findings on a trained model as JSON values.

    changes: the test figures for unchanged and changed inputs. "changed" is the share of predictions, in percent, that
    differ from those for the unchanged input. The changes are drawn from one fixed seed, so all runs on the same data
    meet the same inputs.
    by_rarity: the accuracy by quarter of the targets, from the commonest words to the rarest; None without words.
    correlation: see `kept_correlation`.
    """
    import torch

    from Utils.data import changes
    from Utils.training.correlation import kept_correlation
    from Utils.training.loss import CrossEntropy

    test, device = data.splits["test"], torch.device("cpu")
    config = Namespace(**{**vars(config), "workers": 0})
    splits = {name: change(test, torch.Generator().manual_seed(0)) for name, change in changes.CHANGES.items()}
    splits = {UNCHANGED: test, **splits}
    answers = {name: predictions(model, split, config.test_batch_size) for name, split in splits.items()}
    kind = load.evaluation(data.dataset)
    evaluations = {name: kind(replace(data, splits={"test": split}), config, device) for name, split in splits.items()}
    found = {}
    for name, evaluation in evaluations.items():
        moved = answers[name] != answers[UNCHANGED]
        figures = evaluation.measure(model, CrossEntropy(), "final")
        found[name] = {**figures, "changed": 100.0 * moved.double().mean().item()}
    rarity = changes.rarity(test)
    quarters = None if rarity is None else by_quarter(answers[UNCHANGED] == test.targets, rarity)
    correlation = kept_correlation(model, evaluations[UNCHANGED].inputs(), device)
    return {"changes": found, "by_rarity": quarters, "correlation": correlation}


def predictions(model: nn.Module, examples: Examples, batch_size: int) -> Tensor:
    """Return the likeliest class for each target, in the order of the examples."""
    import torch

    from Layers.fast import fixed_masks

    order = torch.arange(len(examples))
    batch = examples.arrange(order)
    with torch.no_grad(), fixed_masks(model):
        ends = [(a, min(a + batch_size, len(examples))) for a in range(0, len(examples), batch_size)]
        return torch.cat([model(batch(a, b)[0]).argmax(1) for a, b in ends])


def by_quarter(right: Tensor, rarity: Tensor) -> list[float | None]:
    """Return the share of right answers, in percent, in each quarter of the targets by rarity.

    right: boolean [n]. rarity: float64 [n]. Targets of equal rarity are in the same quarter, so one may be empty: None.
    """
    import torch

    edges = rarity.quantile(torch.arange(1, QUARTERS, dtype=torch.float64) / QUARTERS)
    quarter = torch.bucketize(rarity, edges)
    parts = [right[quarter == k] for k in range(QUARTERS)]
    return [100.0 * part.double().mean().item() if len(part) else None for part in parts]


def words(found: Mapping[str, Any]) -> str:
    """Return a table for the console, one change per line, and the accuracies by rarity of words."""
    changes = found["changes"]
    names = [name for name in next(iter(changes.values())) if name.startswith("test_top1") or name == "bleu"]
    lines = [f"{'test inputs':>12}" + "".join(f"{name:>12}" for name in (*names, "changed"))]
    for name, figures in changes.items():
        lines.append(f"{name:>12}" + "".join(f"{figures[key]:>12.2f}" for key in (*names, "changed")))
    lines.append("changed: share of predictions, in percent, that differ from those for the input as it is")
    if found["by_rarity"]:
        quarters = ", ".join("none" if value is None else f"{value:.2f}" for value in found["by_rarity"])
        lines.append(f"test_top1 by quarter of the targets, from the commonest words to the rarest: {quarters}")
    if layers := {name: ratio for name, ratio in found["correlation"].items() if ratio is not None}:
        ratios = ", ".join(f"{name} {ratio:.3f}" for name, ratio in layers.items())
        lines.append(f"correlation of the inputs that a unit keeps, relative to that of all inputs: {ratios}")
    return "".join(f"{line}\n" for line in lines)
