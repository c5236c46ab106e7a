"""Loading of a finished run: its settings, its data, and its trained model with the masks."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from Experiments import networks
from Utils import load
from Utils.commandline.kinds import path
from Utils.commandline.parser import Parser
from Utils.data import corpus
from Utils.errors import UserError
from Utils.store import weights

if TYPE_CHECKING:
    from torch import nn

CODE = "model.py"  # in the run's directory: the file of a model of the user's own


def flags(top: Parser, title: str) -> Callable:
    """Add the flags that name the run, its data and its model, in a group called `title`; return what adds more."""
    add = top.add_argument_group(title).add_argument
    add("--run", type=path, required=True, metavar="DIR", help="the run's directory, which holds its model.safetensors")
    add_places(add)
    return add


def add_places(add: Callable) -> None:
    """Add the flags that say where a run's own data and model lie; add: of a group of flags."""
    add(
        "--dataset", dest="data_path", type=path, metavar="PATH",
        help="where the run's data lies, for a run on data of your own that is no longer prepared in --data-dir",
    )  # fmt: skip
    add(
        "--model", dest="model_path", type=path, metavar="FILE.py:CLASS",
        help="where the run's model file lies, if it imports others beside it (default: the copy in the run)",
    )  # fmt: skip


def settings(run: str, data_path: str | None = None, model_path: str | None = None) -> Namespace:
    """Return the settings of the run. Raises UserError if the directory holds no run, or if they have changed since.

    data_path: where the user's own data lies that it was made with; None: it is prepared.
    model_path: where the file of the user's own model lies, and its class; None: the copy in the run.
    """
    config = Namespace(**weights.configuration("--run", run))
    load.dataset(config.dataset)
    if load.guest(config.model) == "own":
        config.model_path = model_path or f"{Path(run) / CODE}:{config.model.rpartition(':')[2]}"
        if load.own_model(config.model_path)[2] != config.model_sha256:
            raise UserError(
                f"--model {config.model_path}: {run} was made with another file, {config.model}, or with others than "
                "it imports now; --model FILE.py:CLASS says where it lies"
            )
    elif model_path is not None:
        raise UserError(f"--model {model_path}: {run} is a run of {config.model}, which has no file; leave it out")
    if data_path is not None:
        name, config.data_path = load.own_data(data_path)
        if name.rpartition(".")[2] != config.dataset.rpartition(".")[2]:
            raise UserError(f"--dataset {data_path}: {run} is a run on {config.dataset}")
    return config


def locate(config: Namespace, data_dir: Path) -> corpus.Located:
    """Find the corpus that the run was trained on. Raises UserError if the data directory holds other files."""
    located = corpus.locate(load.configured(config), data_dir, config.source, config.data_key)
    if located.key != config.data_key:
        place = getattr(config, "data_path", None) or data_dir
        raise UserError(f"{place} holds other {located.dataset.title} files than the run was made with")
    return located


def take_up(args: Namespace) -> tuple[Namespace, corpus.Corpus, nn.Module]:
    """Return (settings, data, model) of the run that `args` name, and set torch's number of threads.

    Raises UserError if a file of the run is missing, before torch is imported.
    """
    config = settings(args.run, args.data_path, args.model_path)
    file = weights.find("--run", args.run)
    data = corpus.load(locate(config, Path(args.data_dir)))

    import torch

    if args.threads:
        torch.set_num_threads(args.threads)
    return config, data, model(config, data, file)


def model(config: Namespace, data: corpus.Corpus, file: Path) -> nn.Module:
    """Return the trained model with its masks, in eval mode, on the CPU."""
    from Utils import generator

    network = networks.network(config, data.shape, data.num_classes)
    weights.load(network, file, masks=True, name=config.model)
    generator.ignore_masks(network, config.ignore_masks)
    return network.eval()
