"""Masks for layers of torch.nn, in a model of anyone's, in place.

A masked layer of this project reads its weight in its own `forward`. A layer of someone else's may never be called: an
attention of torch.nn reads the weight of its output projection, and a fused encoder those of all its layers. So an
attached layer masks where the weight is read, not where it is used. Its class is a subclass of its own class in which
`weight` is a property: `mask * parameter`, whoever asks. The parameter stays in its place, under its name, with the
buffer `weight_mask` beside it, as in Layers/layers.py.

torch.nn.utils.parametrize has the same idea. It renames the parameter (parametrizations.weight.original) and gives the
mask a module of its own. Then stored weights, pruners and counts would have to know two kinds of masked layers.
"""

import functools
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import nn
from torch._guards import TracingContext
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd as CONVOLUTION
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils.prune import BasePruningMethod

from Layers import layers
from Layers.reading import PLAIN, Raw, of, replaced

TABLES = (nn.Embedding, nn.EmbeddingBag)
NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm)
KINDS: tuple[type[nn.Module], ...] = (nn.Linear, CONVOLUTION, nn.MultiheadAttention, *TABLES, *NORMS)
QUICK = {nn.Linear: layers.Linear, nn.Conv2d: layers.Conv2d}  # what the shortcuts of Layers/fast know
RESETS = ("reset_parameters", "_reset_parameters")


class Attached(nn.Module):
    """The base class of all layers that have got masks from `attach`. Copies and pickles keep them."""

    reading = PLAIN
    torchdynamo_force_dynamic = True  # else a compiler takes parameters from their dict, past the properties
    _stock: type[nn.Module]
    _masked: tuple[str, ...]  # parameters that have a mask, its own or that of a tied one
    _ties: tuple[str, ...]  # those of them whose mask lies with another layer
    _holders: dict[str, tuple[nn.Module, str]]  # these layers, and the parameter's name there

    def __reduce__(self) -> tuple:
        return _bare, (self._stock, self._masked, self._ties), dict(self.__dict__)


def _product(name: str) -> property:
    def product(self: Attached) -> Any:
        # Torch 2.3's compiler would compute what it finds read outside a layer now, and keep it as a constant. (When it
        # runs a whole layer to trace it, a mode is active.) This makes it leave the reading to Python.
        traced = torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack()
        if not traced and TracingContext.try_get() is not None:
            raise torch._dynamo.exc.Unsupported("a masked weight is read outside its layer")
        return of(self).weight(self, name)

    return property(product)


def _mask_elsewhere(name: str) -> property:
    def mask(self: Attached) -> Any:
        holder, its = self._holders[name]
        return getattr(holder, f"{its}_mask")

    return property(mask)


def _on_parameters(reset: str) -> Callable[[nn.Module], None]:
    """Return the method `reset` of a layer of torch.nn for an attached one: it writes to the parameters themselves."""

    def method(self: Any) -> None:
        with replaced({module: Raw() for module in self.modules()}):
            getattr(self._stock, reset)(self)

    return method


@functools.cache
def _kind(stock: Any, masks: tuple[str, ...], ties: tuple[str, ...]) -> type[nn.Module]:
    """Return the subclass of `stock` in which these parameters are read through their masks."""
    members: dict[str, Any] = {name: _product(name) for name in masks}
    members |= {f"{name}_mask": _mask_elsewhere(name) for name in ties}
    members |= {name: _on_parameters(name) for name in RESETS if hasattr(stock, name)}
    members |= {"_stock": stock, "_masked": masks, "_ties": ties, "__module__": __name__}
    quick = QUICK.get(stock, stock) if "weight" in masks else stock  # a hook makes the weight of others
    return type(f"Masked{stock.__name__}", (Attached, quick), members)


def _bare(stock: Any, masks: tuple[str, ...], ties: tuple[str, ...]) -> nn.Module:
    kind = _kind(stock, masks, ties)
    return kind.__new__(kind)


def attach(
    model: nn.Module, kinds: tuple[type[nn.Module], ...] = KINDS, without: Collection[nn.Module] = ()
) -> nn.Module:
    """Give the layers of `model` masks of ones, in place, and return the model.

    kinds: classes of the layers that get masks, for each parameter whose name ends in "weight" or "bias".
    without: layers that get none, such as a classifier.
    Layers of this project keep their masks. Those of torch.nn.utils.prune are taken over. A weight that several layers
    share has one mask, which lies with the first of them; all others use it.
    The masks hold in train and eval mode, compiled or not, in copies, and wherever the weight is read. `layer.weight`
    is the product from then on, a new tensor, so that writing to it changes nothing; `model.named_parameters()` gives
    the parameters. Recurrent and bilinear layers, and weights that torch.nn.utils.parametrize or a hook (such as that
    of spectral_norm) makes, get no masks. Raises TypeError for what is no module, and ValueError, before anything is
    changed, for a layer without a shape yet and for a script.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"attach takes an instance of torch.nn.Module, not {model!r}")
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise ValueError(f"{path or 'the model'} is a script, whose layers cannot be changed; attach before")
        if any(isinstance(parameter, UninitializedParameter) for parameter in module._parameters.values()):
            raise ValueError(f"{path or 'the model'} has no shape yet; call the model once before")
    holders: dict[int, tuple[nn.Module, str]] = {}
    for module in model.modules():
        wanted = isinstance(module, kinds) and not isinstance(module, Attached) and module not in without
        if wanted:
            _take_over(module)
        masked = {name for name, _ in layers.own_masks(module)}
        for name, parameter in list(module.named_parameters(recurse=False)):
            new = wanted and name.endswith(("weight", "bias")) and not hasattr(module, f"{name}_mask")
            if (new or name in masked) and id(parameter) not in holders:
                holders[id(parameter)] = module, name
                if new:
                    module.register_buffer(f"{name}_mask", torch.ones_like(parameter))
    for module in model.modules():
        if not isinstance(module, Attached):
            _change(module, holders)
    return model


@torch.no_grad()
def release(model: nn.Module) -> nn.Module:
    """Multiply the masks of `attach` into the weights, in place, give the layers their own classes back, and return it.

    The state dict then has the names of a model without masks, so that it loads wherever that one does. Layers of this
    project keep their masks.
    """
    found: list[Any] = [module for module in model.modules() if isinstance(module, Attached)]
    strangers = [module for module in found if not hasattr(module._stock, "reading")]
    for module in strangers:
        for name in set(module._masked) - set(module._ties):
            module._parameters[name].mul_(module._buffers[f"{name}_mask"])
    for module in strangers:
        for name in module._masked:
            module._buffers.pop(f"{name}_mask", None)
        module.__dict__.pop("_holders", None)
        module.__class__ = module._stock
    return model


def attached(model: nn.Module) -> bool:
    """Return whether a layer of the model has got its masks from `attach`."""
    return any(isinstance(module, Attached) for module in model.modules())


def _change(module: Any, holders: dict[int, tuple[nn.Module, str]]) -> None:
    """Make a layer of another's, or one that shares the weight of another layer, an attached one."""
    found = {name: holders[id(p)] for name, p in module._parameters.items() if p is not None and id(p) in holders}
    tied = {name: holder for name, holder in found.items() if holder != (module, name)}
    if not found or (hasattr(type(module), "reading") and not tied):
        return
    for name in tied:
        module._buffers.pop(f"{name}_mask", None)
    module.__dict__["_holders"] = tied
    stock: Any = type(module)
    module.__class__ = _kind(stock, tuple(found), tuple(tied))


def _take_over(module: nn.Module) -> None:
    """Turn a parameter that torch.nn.utils.prune has masked back into `name` with the buffer `name_mask`."""
    for key, hook in list(module._forward_pre_hooks.items()):
        if isinstance(hook, BasePruningMethod):
            name = hook._tensor_name
            del module._forward_pre_hooks[key]
            parameter = module._parameters.pop(f"{name}_orig")
            module.__dict__.pop(name, None)
            module.register_parameter(name, parameter)
