"""Units that nothing reads, stored with the model and valid as long as its masks do not change."""

from collections.abc import Mapping

from torch import Tensor, nn

from Layers import layers
from Layers.attached import attached


def _masks(model: nn.Module) -> dict[str, Tensor]:
    """Return the masks that layers do not ignore, by name, as flags."""
    return {
        f"{path}.{name}": mask != 0
        for path, module in model.named_modules()
        for name, _ in layers.own_masks(module)
        if (mask := layers.mask_of(module, name)) is not None
    }


def note(model: nn.Module, flags: Mapping[str, Tensor]) -> None:
    """Store which units of each layer, by its name, reach no output under the model's present masks.

    flags: boolean, [units] each, as found by Pruners/dead.py. Of a model with layers of others nothing is stored: what
    such a model does with a unit is not known for certain.
    """
    flags = {} if attached(model) else {name: flag for name, flag in flags.items() if flag.any()}
    # torch declares that attributes set from outside are tensors or modules.
    model.unread = (flags, _masks(model)) if flags else None  # type: ignore[assignment]


def noted(model: nn.Module) -> dict[str, Tensor]:
    """Return the flags [units] by layer name that `note` stored; none if a mask has changed since."""
    stored = getattr(model, "unread", None)
    if stored is None:
        return {}
    flags, then = stored
    now = _masks(model)
    same = now.keys() == then.keys() and all(
        mask.device == then[name].device and mask.equal(then[name]) for name, mask in now.items()
    )
    return flags if same else {}


def of(model: nn.Module) -> dict[nn.Module, Tensor]:
    """Return the flags of `noted` by layer."""
    return {model.get_submodule(name): flag for name, flag in noted(model).items()}
