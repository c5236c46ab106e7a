"""Units that nothing reads, kept with the model for as long as its masks are those under which they were found."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from Layers import layers


def _masks(model: nn.Module) -> dict[str, Tensor]:
    """Those that their layers do not ignore, by name, as flags."""
    return {
        f"{path}.{name}": mask != 0
        for path, module in model.named_modules()
        for name, _ in layers.own_masks(module)
        if (mask := layers.mask_of(module, name)) is not None
    }


def note(model: nn.Module, flags: Mapping[str, Tensor]) -> None:
    """Remember of `model` which units of a layer, by its name, reach no output under the masks that it has now.

    flags: boolean, [units] each; see Pruners/dead.py, which finds them.
    """
    flags = {name: flag for name, flag in flags.items() if flag.any()}
    # torch declares that attributes set from outside are tensors or modules.
    model.unread = (flags, _masks(model)) if flags else None  # type: ignore[assignment]


def noted(model: nn.Module) -> dict[str, Tensor]:
    """Return the flags [units] by layer name, as `note` was given them; none if a mask has changed since."""
    found = getattr(model, "unread", None)
    if found is None:
        return {}
    flags, then = found
    now = _masks(model)
    same = now.keys() == then.keys() and all(
        mask.device == then[name].device and mask.equal(then[name]) for name, mask in now.items()
    )
    return flags if same else {}


def of(model: nn.Module) -> dict[nn.Module, Tensor]:
    """Return the flags of `noted` by the layer itself."""
    return {model.get_submodule(name): flag for name, flag in noted(model).items()}
