"""Networks that settings select, with masks: of this project, of torchvision, or of a class in a file of the user's."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from Utils import console, load
from Utils.errors import UserError

if TYPE_CHECKING:
    from torch import nn

# What imports torch is imported where it is used: experiments on finished runs check their command line first.


def network(settings: Namespace, input_shape: Sequence[int], num_classes: int, **options: Any) -> nn.Module:
    """Return the network that these settings select, with fresh weights; embeddings have masks if they are pruned.

    options: further arguments of the model. Raises UserError if the model does not take inputs of this shape.
    """
    if load.guest(settings.model):
        return _masked(settings, stranger(settings, input_shape, num_classes))

    from Layers import attach
    from Utils import generator

    if settings.width != 1.0:
        options["width"] = settings.width
    make = load.model(settings.model, settings.model_class)
    try:
        made = make(input_shape, num_classes, settings.dense_classifier, **options)
    except ValueError as error:
        have = " x ".join(map(str, input_shape[:0:-1]))
        raise UserError(f"--model {settings.model} {error}; those of {settings.dataset} have {have}") from error
    if settings.prune_embedding:
        generator.mask_embeddings(made)
    return attach(made, kinds=())  # tied weights share a mask


def stranger(settings: Namespace, input_shape: Sequence[int], num_classes: int) -> nn.Module:
    """Return a network of someone else's as it is, with fresh weights. Raises UserError if it does not fit the data."""
    from Models import guest

    name, shape = settings.model, list(input_shape)
    with load.errors_of("--model", name, "as it was built"):
        if load.guest(name) == "own":
            kind = load.own_class("--model", settings.model_path, settings.model_sha256)
            arguments = {"input_shape": tuple(shape), "num_classes": num_classes}
            made = guest.of_class(kind, arguments | {"dense_classifier": settings.dense_classifier})
        else:
            own = name.removeprefix(load.TORCHVISION)
            load.known("network of torchvision", own, guest.names())
            made, words = guest.of_torchvision(own, shape, num_classes)
            drawn = "" if getattr(settings, "pretrained", None) else "; its weights are drawn, none are fetched"
            console.note_once(f"{name}: {words}{drawn}")
    batch = f"on a batch of two examples of shape {shape}"
    if len(shape) == 1:
        batch = "on two texts: forward gets an object with ids [N] and offsets [B], as nn.EmbeddingBag takes them"
    with load.errors_of("--model", name, batch):
        wrong = guest.misfit(made.eval(), shape, num_classes)
    if wrong:
        raise UserError(f"--model {name}: {wrong}")
    if len(shape) == 1:
        made.__dict__["size_of_vocabulary"] = shape[0]  # by which Layers/probe.py knows that it takes texts
    return made.train()


def _masked(settings: Namespace, made: nn.Module) -> nn.Module:
    """Give someone else's network masks. Raises UserError if it can have none."""
    from Models import guest

    with load.errors_of("--model", settings.model, "as it got masks"):
        guest.masked(made, settings.dense_classifier, settings.prune_embedding)
    if bare := guest.unmasked(made):
        console.note_once(f"{settings.model}: weights without masks, which are not pruned: {', '.join(bare[:10])}")
    return made


def code(settings: Namespace) -> bytes:
    """Return the file of the user's own model. Raises UserError if it has changed since the run began."""
    file = load.own_file("--model", settings.model_path)
    if file.sha256 != settings.model_sha256:
        raise UserError(f"{file.path} has changed since the run began; put it back, and give the command again")
    return file.content
