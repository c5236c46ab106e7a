"""An audit of the masks of any model: whether each acts in the forward pass, by changing it and looking at the output.

A mask is a buffer, or a parameter that is not trained, of zeros and ones, of the shape of a parameter beside it: one of
this project, of torch.nn.utils.prune, or what someone's own layer multiplies its weight by. A mask may be ignored
because its layer is never called: torch.nn's attention reads the weight of its output projection, and a fused encoder
those of all its layers, but only in eval mode without gradients. So each mask is tried in every mode.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from Layers.attached import attach
from Pruners import dead
from Pruners.untouched import untouched

ACTS, LEAKS, IGNORED, UNREACHED = "acts", "leaks", "ignored", "not reached"
FAULTS = (LEAKS, IGNORED)
# Largest change of an output that says nothing, as shares of how much examples differ and of the largest output. A deep
# network's outputs may differ by a billionth alone, beside its last bias.
ROUNDING = {torch.float64: (1e-11, 1e-14), torch.float32: (0.0, 1e-5)}
MODES = {"train": (True, True), "eval": (False, True), "inference": (False, False)}  # training, with gradients
PRUNED = "_orig"  # the end of a parameter's name in torch.nn.utils.prune


@dataclass(frozen=True, eq=False)
class Found:
    """A mask and its parameter."""

    path: str  # of the layer
    module: nn.Module
    mask: Tensor
    parameter: Tensor
    attribute: str  # where the layer has what it reads

    @property
    def name(self) -> str:
        """Return the dotted name of what is masked."""
        return f"{self.path}.{self.attribute}".lstrip(".")


@dataclass(frozen=True)
class Entry:
    """The verdicts on one mask."""

    name: str
    kept: int
    size: int
    verdicts: dict[str, str]  # mode: one of the four above

    @property
    def fault(self) -> bool:
        """Return whether the mask does not hold in some mode."""
        return any(verdict in FAULTS for verdict in self.verdicts.values())


def masks(model: nn.Module, call: Callable[[nn.Module], Any] | None = None) -> Iterator[Found]:
    """Yield each mask of a model once, with the parameter beside it, or else the only one of its shape further below.

    It has zeros and ones alone. Its name says that it is a mask, or it is a buffer of two dimensions at least. That of
    a layer below is named like the layer, or acts as a mask: what attention may see can have a weight's shape as well.
    call: as of `audit`, to see what acts.
    """
    for path, module in model.named_modules():
        frozen = [(key, p) for key, p in module._parameters.items() if p is not None and not p.requires_grad]
        for key, buffer in (*module.named_buffers(recurse=False), *frozen):
            said = "mask" in key.lower()
            is_one = said or (buffer.dim() > 1 and not isinstance(buffer, nn.Parameter))
            if not is_one or not ((buffer == 0) | (buffer == 1)).all():
                continue
            fits = [(path, module, name) for name, p in module._parameters.items() if _same(p, buffer)]
            named = [fit for fit in fits if key == f"{fit[2].removesuffix(PRUNED)}_mask"]
            below = [
                (f"{path}.{inner}".lstrip("."), part, name)
                for inner, part in module.named_modules()
                for name, p in part._parameters.items()
                if _same(p, buffer)
            ]
            for where, holder, name in (named or fits or (below if len(below) == 1 else []))[:1]:
                found = Found(where, holder, buffer, holder._parameters[name], name.removesuffix(PRUNED))
                like = said and where.rpartition(".")[2] in key.split("_")
                if named or fits or like or (call and _acts(model, call, found)):
                    yield found


def _same(parameter: Tensor | None, buffer: Tensor) -> bool:
    return parameter is not None and parameter is not buffer and parameter.shape == buffer.shape


def _acts(model: nn.Module, call: Callable[[nn.Module], Any], found: Found) -> bool:
    """Return whether the output changes with this mask and does not with the weights under its zeros."""
    with _moved(model, [found]):
        try:
            return Trial(model, call).verdict(found, "eval") == ACTS
        except ValueError:  # the model cannot be tried
            return False


@contextmanager
def _with(*changes: tuple[Tensor, Tensor]) -> Iterator[None]:
    """Let each tensor have another value in the body."""
    before = [tensor.detach().clone() for tensor, _ in changes]
    try:
        with torch.no_grad():
            for tensor, value in changes:
                tensor.copy_(value)
        yield
    finally:
        with torch.no_grad():
            for (tensor, _), value in zip(changes, before, strict=True):
                tensor.copy_(value)


@contextmanager
def _moved(model: nn.Module, found: Sequence[Found]) -> Iterator[None]:
    """Let every weight but these masks be a little larger or smaller in the body, so that none is zero."""
    draw, fixed, moved = torch.Generator().manual_seed(0), {id(each.mask) for each in found}, []
    for parameter in model.parameters():
        if parameter.is_floating_point() and id(parameter) not in fixed:
            noise = torch.randn(parameter.shape, generator=draw).to(parameter)
            least = 0.1 if parameter.dim() == 1 else 1e-3
            moved.append((parameter, parameter.detach() + noise * (0.1 * parameter.detach().abs().mean() + least)))
    with _with(*moved):
        yield


@contextmanager
def _attributes_kept(model: nn.Module) -> Iterator[None]:
    """Restore tensors that are plain attributes, which the hooks of torch.nn.utils.prune replace in each call."""
    before = [(module, name, value) for module in model.modules() for name, value in _plain(module).items()]
    try:
        yield
    finally:
        for module, name, value in before:
            module.__dict__[name] = value


def _plain(module: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in module.__dict__.items() if isinstance(value, Tensor)}


class Trial:
    """Runs of a model on one batch, which leave it as it was.

    Raises ValueError if the output is no finite tensor, or another one each time.
    """

    def __init__(self, model: nn.Module, call: Callable[[nn.Module], Any]) -> None:
        self.model, self.call = model, call
        self.usual = {mode: self.run(mode) for mode in MODES}
        for mode, output in self.usual.items():
            if not output.isfinite().all():
                raise ValueError(f"its outputs are not finite in mode {mode}")
            if self.changes(mode):
                raise ValueError(f"its outputs differ from call to call in mode {mode}")

    def run(self, mode: str) -> Tensor:
        """Return the output in this mode."""
        training, gradients = MODES[mode]
        floating = [parameter for parameter in self.model.parameters() if parameter.is_floating_point()]
        with untouched(self.model, floating), _attributes_kept(self.model), torch.set_grad_enabled(gradients):
            self.model.train(training)
            torch.manual_seed(0)  # dropout draws the same every time
            output = self.call(self.model)
        if not isinstance(output, Tensor):
            raise ValueError(f"it returns a {type(output).__name__}, not one tensor")
        return output.detach()

    def changes(self, mode: str, *changes: tuple[Tensor, Tensor]) -> bool:
        """Return whether the output changes, by more than rounding, if these tensors have these values."""
        usual = self.usual[mode]
        with _with(*changes):
            moved = (self.run(mode) - usual).abs().max()
        of_spread, of_largest = ROUNDING.get(usual.dtype, ROUNDING[torch.float32])
        spread = (usual.double() - usual.double().mean(0)).abs().max()
        return not moved <= of_spread * spread + of_largest * usual.abs().max()

    def verdict(self, found: Found, mode: str) -> str:
        """Return what becomes of a mask in this mode."""
        mask, kept = found.mask, found.mask != 0
        if self.changes(mode, (mask, kept.logical_not().to(mask.dtype))):
            noise = torch.where(kept, found.parameter, found.parameter + 1)
            return LEAKS if not kept.all() and self.changes(mode, (found.parameter, noise)) else ACTS
        # Would the same change of the weight be seen?
        held = _plain(found.module).get(found.attribute)
        for tensor in (found.parameter, *([] if held is None else [held])):
            if self.changes(mode, (tensor, tensor * kept.logical_not() if kept.any() else torch.zeros_like(tensor))):
                return IGNORED
        return UNREACHED


def _wide(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def _twin(model: nn.Module) -> nn.Module:
    """Return a copy in float64, which takes inputs of any floating type."""
    plain = [value for module in model.modules() for value in _plain(module).values()]  # torch copies leaves alone
    twin = copy.deepcopy(model, {id(value): _wide(value.detach().clone()) for value in plain})
    twin.register_forward_pre_hook(lambda _, inputs: tree_map(_wide, inputs))
    return twin.double()


def audit(model: nn.Module, call: Callable[[nn.Module], Any]) -> list[Entry]:
    """Try each mask of a model in each mode.

    call: calls the model on a batch, and returns its output, a tensor.
    The trial is of a copy in float64, unless the model computes in another type alone. There every weight is moved a
    little, so that none is zero. A mask `acts` if the output changes with it. It `leaks` if moreover what it has set to
    zero reaches the output, is `ignored` if only its weight changes the output, and `not reached` if neither does.
    Raises ValueError as `Trial` does.
    """
    try:
        return _audit(_twin(model), call)
    except Exception:  # the model's own code may raise anything at another type
        return _audit(model, call)


def _audit(model: nn.Module, call: Callable[[nn.Module], Any]) -> list[Entry]:
    found = list(masks(model, call))
    with _moved(model, found):
        trial = Trial(model, call)
        return [
            Entry(
                each.name,
                int(each.mask.count_nonzero()),
                each.mask.numel(),
                {mode: trial.verdict(each, mode) for mode in MODES},
            )
            for each in found
        ]


def disconnected(model: nn.Module, shape: Sequence[int], call: Callable[[nn.Module], Any] | None = None) -> dead.Dead:
    """Find what the masks of any model disconnect (see `Pruners.dead.find`). The model is not changed.

    call: as of `masks`.
    The search is made in a copy, in which the masks lie where those of this project do.
    """
    twin = _twin(model)
    known = list(masks(model, call))
    if any(not hasattr(type(found.module), "reading") for found in known):
        attach(twin)
    for found in known:
        module = twin.get_submodule(found.path)
        if (mask := getattr(module, f"{found.attribute}_mask", None)) is not None:
            mask.copy_(found.mask)
        else:
            module.register_buffer(f"{found.attribute}_mask", found.mask.detach().clone())
    return dead.find(twin.eval(), shape)
