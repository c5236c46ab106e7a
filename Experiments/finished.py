"""Loading of a finished run: its settings, its data, and its trained model with the masks."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from Utils import load
from Utils import settings as rows
from Utils.commandline.parser import Parser
from Utils.data import corpus
from Utils.errors import UserError
from Utils.store import files, seal, weights

if TYPE_CHECKING:
    from torch import nn


def flags(top: Parser, title: str) -> None:
    """Add the flag that names the run, in a group called `title`."""
    top.add_argument_group(title).add_argument(
        "--run", required=True, metavar="DIR", help="the run's directory, which holds its model.safetensors"
    )


def settings(run: str) -> Namespace:
    """Return the settings of the run. Raises UserError if the directory holds no run, or if they have changed since."""
    path = Path(run) / "config.json"
    seal.check(path.parent, path.name)
    try:
        config = Namespace(**rows.complete(files.read_json(path)))
        load.dataset(config.dataset)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"--run {run}: no config.json of a run there; name a finished run's directory") from error
    return config


def locate(config: Namespace, data_dir: Path) -> corpus.Located:
    """Find the corpus that the run was trained on. Raises UserError if the data directory holds other files."""
    located = corpus.locate(load.configured(config), data_dir, config.source)
    if located.key != config.data_key:
        raise UserError(f"{data_dir} holds other {located.dataset.title} files than the run was made with")
    return located


def take_up(args: Namespace) -> tuple[Namespace, corpus.Corpus, nn.Module]:
    """Return (settings, data, model) of the run that `args` name, and set torch's number of threads.

    Raises UserError if a file of the run is missing, before torch is imported.
    """
    config = settings(args.run)
    file = weights.find("--run", args.run)
    data = corpus.load(locate(config, Path(args.data_dir)))

    import torch

    if args.threads:
        torch.set_num_threads(args.threads)
    return config, data, model(config, data, file)


def model(config: Namespace, data: corpus.Corpus, file: Path) -> nn.Module:
    """Return the trained model with its masks, in eval mode, on the CPU."""
    from Utils import generator

    network = load.network(config, data.shape, data.num_classes)
    weights.load(network, file, masks=True, name=config.model)
    generator.ignore_masks(network, config.ignore_masks)
    return network.eval()
