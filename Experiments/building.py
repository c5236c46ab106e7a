"""Functions that build the data, the loaders, the model and the pruner of a run from its settings."""

import copy
import fnmatch
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from Experiments import networks
from Layers import fast
from Pruners import SCOPES
from Pruners.base import Pruner
from Pruners.layout import Scope
from Utils import console, generator, load
from Utils.commandline import layout
from Utils.data import corpus
from Utils.data.corpus import Corpus
from Utils.data.examples import Examples, Part, resident
from Utils.data.loader import Loader
from Utils.errors import UserError, guess
from Utils.machine import seeds
from Utils.training.prune import prune_loop, reinitialize
from Utils.wording import listed


def data(located: corpus.Located, args: Namespace, device: torch.device) -> Corpus:
    """Load the data set; its examples are kept on the device if they fit.

    With `validation_size`, so many training examples become the split "validation"; with `train_size`, no more than so
    many of the others are used. Raises UserError if there are too few.
    """
    loaded = corpus.load(located)
    splits = {name: resident(examples, device) for name, examples in loaded.splits.items()}
    if args.validation_size or args.train_size:
        splits |= _divided(splits["train"], args)
    rows = {name: len(examples) for name, examples in splits.items()}
    return replace(loaded, splits=splits, rows=rows)


def _divided(train: Examples, args: Namespace) -> dict[str, Examples]:
    held, used, count = args.validation_size, args.train_size, len(train)
    if held + max(1, used) > count:
        asked = {"--validation-size": held, "--train-size": used}
        words = " and ".join(f"{name} {value}" for name, value in asked.items() if value)
        raise UserError(f"{words}: there are only {count:,} training examples")
    draw = torch.Generator().manual_seed(seeds.derive(args.data_seed, "validation"))
    numbers = torch.randperm(count, generator=draw)
    divided: dict[str, Examples] = {"train": Part(train, numbers[held : held + used if used else count])}
    return divided | ({"validation": Part(train, numbers[:held])} if held else {})


def train_loader(loaded: Corpus, args: Namespace) -> Loader:
    """Make the loader of the training batches."""
    seed = seeds.derive(args.data_seed, "train")
    return load.dataloader(loaded, args.train_batch_size, True, args.workers, seed=seed)


def prune_loader(loaded: Corpus, args: Namespace) -> Loader:
    """Make the loader of the scoring batches: some training examples, the same in every pruning round."""
    return load.dataloader(
        loaded,
        args.prune_batch_size,
        True,
        args.workers,
        length=args.prune_dataset_size or args.prune_dataset_ratio * loaded.num_classes,
        seed=seeds.derive(args.data_seed, "prune"),
        shuffle=False,
        augment=args.prune_augment,
        balanced=bool(args.prune_dataset_balanced),
    )


def model_and_pruner(loaded: Corpus, args: Namespace, device: torch.device) -> tuple[nn.Module, Any]:
    """Build the model with its initial weights on the device, and the pruner of its prunable weights.

    The states of torch's random generators are restored afterwards. Raises UserError if nothing is prunable.
    """
    with torch.random.fork_rng([device.index] if device.type == "cuda" else []):
        torch.manual_seed(seeds.derive(args.init_seed, "init"))
        model = _model(loaded, args, device)
        return model, _pruner(model, args)


def _model(loaded: Corpus, args: Namespace, device: torch.device) -> nn.Module:
    options = {} if args.init is None else {"init": args.init}
    model: Any = networks.network(args, loaded.shape, loaded.num_classes, **options)
    if args.pretrained:
        from Models.guest import last_matrix
        from Utils.store import weights  # not needed by other runs

        weights.load(model, weights.find("--pretrained", args.pretrained), False, args.model, last_matrix(model)[0])
    layout = getattr(model, "memory_format", None) if device.type == "cpu" and fast.used() else None
    model.to(device, memory_format=layout)
    generator.ignore_masks(model, args.ignore_masks)
    return model


def _pruner(model: nn.Module, args: Namespace) -> Any:
    masked = list(generator.masked_parameters(model, args.prune_bias, *prunable_kinds(args)))
    if not masked:
        raise UserError(f"nothing of {args.model} is prunable with these settings; leave --dense-classifier out")
    make = Pruner if args.masks else load.pruner(args.pruner, args.pruner_sha256)
    return make(masked, seed=seeds.derive(args.prune_seed, "prune"), ties=args.ties)


def no_lone_example(model: nn.Module, loader: Loader, flag: str, device: torch.device) -> None:
    """Raise UserError if a batch of `loader`, whose size `flag` sets, has one example, and a norm needs two."""
    if 1 not in loader.sizes or not any(isinstance(part, _BatchNorm) for part in model.modules()):
        return
    data, _ = loader.examples.arrange(loader.indices[:1], None)(0, 1)
    with torch.random.fork_rng([device.index] if device.type == "cuda" else []), torch.no_grad():
        try:
            copy.deepcopy(model).train()(data.to(device))
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            words = (
                f"of {len(loader.indices):,} examples the last batch would have one, which has no spread for BatchNorm"
            )
            raise UserError(f"{flag} {loader.batch_size}: {words}; take another number") from error


def prunable_kinds(args: Namespace) -> tuple[bool, bool, str, bool]:
    """Return the arguments of `generator.prunable` that say which kinds of layers are pruned."""
    return args.prune_batchnorm, args.prune_residual, args.prune_attention, args.prune_embedding


def scope(args: Namespace, names: Sequence[str]) -> str | Scope:
    """Return the scope of the masks: its name, or a `Scope` if there is more to it.

    names: the prunable tensors. Raises UserError if the file of densities has none for one of them, or an idle one.
    """
    pattern = layout.numbers(args.pattern)
    if args.mask_scope in SCOPES and not args.never_empty and not pattern:
        return args.mask_scope
    file = f"--mask-scope {getattr(args, 'mask_scope_path', None) or layout.FILE}"
    densities, idle = {}, [name for name, _ in args.layer_densities or ()]
    for name in names if args.layer_densities else ():
        found = [(key, value) for key, value in args.layer_densities if fnmatch.fnmatchcase(name, key)]
        if not found:
            raise UserError(f'{file}: no density for {name}; a last line "*" = D is of all others')
        densities[name] = found[0][1]
        idle = [key for key in idle if key != found[0][0]]
    for key in idle[:1]:
        if fnmatch.filter(names, key):
            raise UserError(f"{file}: lines before {key!r} take all that it matches; put it before them")
        raise UserError(f"{file}: {key!r} matches no prunable tensor{guess(key, names)}; there are {listed(names, 20)}")
    return Scope(args.mask_scope, densities, args.never_empty, pattern)


def prune(
    model: nn.Module, loss: Callable, pruner: Any, loader: Loader, device: torch.device, args: Namespace, density: float
) -> None:
    """Score and mask the weights down to `density`, as the settings say; or take the masks of another run."""
    reinitialize_from = seeds.derive(args.init_seed, "reinitialize") if args.reinitialize else None
    if args.masks:
        from Utils.store import weights  # not needed by other runs

        weights.load_masks(model, weights.find("--masks", args.masks), args.model)
        pruner.take_masks()
        if reinitialize_from is not None:
            reinitialize(model, reinitialize_from)
        pruner.apply_mask()
        return
    prune_loop(
        model,
        loss,
        pruner,
        loader,
        device,
        density,
        args.compression_schedule,
        scope(args, pruner.names),
        args.prune_epochs,
        reinitialize_from=reinitialize_from,
        train_mode=args.prune_train_mode,
        shuffle=args.shuffle,
        invert=args.invert,
    )


def precision(args: Namespace, device: torch.device) -> torch.dtype | None:
    """Return the number type of matrix products in training, or None for the type of the parameters.

    A note is printed if the processor emulates this type and is slow with it.
    """
    dtype = load.precision(args.amp)
    if dtype and device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        console.note(f"this processor has no arithmetic for --amp {args.amp}: training is slower with it than without")
    return dtype
