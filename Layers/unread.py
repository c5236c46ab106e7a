"""Units that nothing reads, kept with the model for as long as its masks are those under which they were found."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from Layers import layers


def _masks(model: nn.Module) -> dict[str, Tensor | None]:
    """By name, as flags; None for one that its layer ignores."""
    found = {}
    for path, module in model.named_modules():
        for name, _ in layers.own_masks(module):
            mask = layers.mask_of(module, name)
            found[f"{path}.{name}"] = None if mask is None else mask != 0
    return found


def note(model: nn.Module, flags: Mapping[str, Tensor]) -> None:
    """Remember of `model` which units of a layer, by its name, reach no output under the masks that it has now.

    flags: boolean, [units] each; see Pruners/dead.py, which finds them.
    """
    flags = {name: flag for name, flag in flags.items() if flag.any()}
    model.unread = (flags, _masks(model)) if flags else None


def of(model: nn.Module) -> dict[nn.Module, Tensor]:
    """Flags [units] of the layers that have such units; none if a mask has changed since they were noted."""
    noted = getattr(model, "unread", None)
    if noted is None:
        return {}
    flags, then = noted
    now = _masks(model)
    same = now.keys() == then.keys() and all(
        (a is None) == (b is None) and (a is None or (a.device == b.device and a.equal(b)))
        for a, b in ((now[name], then[name]) for name in now)
    )
    return {model.get_submodule(name): flag for name, flag in flags.items()} if same else {}
