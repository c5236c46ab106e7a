"""Search for what masks have disconnected: empty tensors, units without inputs or outputs, classes without a path.

The search takes any model that can be called, and its masks alone: derivatives follow whatever the model does. An
exporter may remove only what is disconnected for certain, so it follows the weights of the operations that it knows
(Utils/export/reach.py). On the models of this project both say the same of each unit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils._pytree import tree_map

from Layers import calling, layers, probe
from Layers.attached import CONVOLUTION
from Layers.doubles import Doubles
from Layers.flow import linear_flow
from Pruners.untouched import untouched

CHANNELS_FIRST = (CONVOLUTION, _NormBase, nn.GroupNorm, layers.Identity2d)


def _structure(model: nn.Module) -> dict[str, Tensor]:
    """Return replacements for parameters and buffers but masks that keep only the paths: float64, by name.

    A kept weight becomes 1 / (number of kept weights of its unit), so signals neither overflow nor vanish in deep
    networks. A pruned weight and every bias become 0. A BatchNorm becomes its masked scale. A parameter without a mask
    counts as kept, and of a model's own buffers the sign does not count.
    """
    stand_ins = {}
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            stand_ins[name] = torch.zeros_like(parameter, dtype=torch.float64)
            continue
        path, _, leaf = name.rpartition(".")
        mask = layers.mask_of(model.get_submodule(path), leaf)
        kept = torch.ones_like(parameter, dtype=torch.float64) if mask is None else (mask != 0).double()
        # An embedding row is a word, not a unit: its entries are the units, each with every word as its way in.
        fan_in = kept.flatten(1).sum(1) if kept.dim() > 1 else torch.ones_like(kept)
        if isinstance(model.get_submodule(path), (nn.Embedding, nn.EmbeddingBag)):
            fan_in = torch.ones_like(fan_in)
        stand_ins[name] = kept / fan_in.clamp_min(1).reshape(-1, *[1] * (kept.dim() - 1))
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            stand_ins[name] = torch.zeros_like(buffer, dtype=torch.float64)
        elif name.endswith("running_var"):
            stand_ins[name] = torch.ones_like(buffer, dtype=torch.float64)
        elif buffer.is_floating_point() and not name.endswith("_mask"):
            stand_ins[name] = buffer.double().abs()
    return stand_ins


def _holders(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the name and the layer of all units, of nested layers with parameters the inner ones.

    An attention's output is that of its last Linear, which torch's never calls.
    """
    return [
        (f"{name}.out_proj".lstrip(".") if isinstance(module, nn.MultiheadAttention) else name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.MultiheadAttention)
        or (any(True for _ in module.parameters()) and not any(True for c in module.children() for _ in c.parameters()))
    ]


def _pass(model: nn.Module, stand_ins: dict[str, Tensor], data, lift: float) -> tuple[list, Tensor]:
    """Run the model; return ([(name, module, outputs), ...], logits) for every call of a layer with parameters.

    outputs: all tensors that it returns, first of all the one with its units: a recurrent layer adds its last states.
    lift: a number added to each of these outputs.
    """
    seen: list[tuple[str, nn.Module, list[Tensor]]] = []

    def note(name: str):
        def hook(module: nn.Module, _, output: Any) -> Any:
            outputs: list[Tensor] = []

            def lifted(part: Any) -> Any:
                if not isinstance(part, Tensor) or not part.is_floating_point() or part.dim() < 2:
                    return part
                outputs.append(part + lift)
                return outputs[-1]

            if isinstance(module, nn.MultiheadAttention):  # its second output, the weights, has no units
                output = (lifted(output[0]), *output[1:])
            else:
                output = tree_map(lifted, output)
            if outputs:
                seen.append((name, module, outputs))
            return output

        return hook

    hooks = [module.register_forward_hook(note(name)) for name, module in _holders(model)]
    try:
        return seen, calling.call(model, stand_ins, data)
    finally:
        for hook in hooks:
            hook.remove()


@dataclass
class Dead:
    """The disconnected parts of a network."""

    tensors: list[str]  # names of masked tensors without any kept entry
    no_way_in: dict[str, Tensor]  # layer: flags [units], set if no path of kept weights leads to the unit
    no_way_out: dict[str, Tensor]  # layer: flags [units], set if no path of kept weights leads on to an output
    classes: int  # number of outputs
    alive: list[int]  # indices of the outputs that a path reaches
    unsearched: list[str] = field(default_factory=list)  # layers with masks that give no output: others may read them

    def report(self) -> dict:
        """Return the counts for result.json, in three entries, and `unsearched` if there are such layers.

        tensors: the names of empty tensors.
        units: for each layer the number of its units, of those with no way in, with no way out, and with either.
        classes: `total` and `alive`.
        """
        units = {}
        for name, no_in in self.no_way_in.items():
            no_out = self.no_way_out[name]
            units[name] = {
                "units": no_in.numel(),
                "no_way_in": int(no_in.sum()),
                "no_way_out": int(no_out.sum()),
                "dead": int((no_in | no_out).sum()),
            }
        unsearched = {"unsearched": self.unsearched} if self.unsearched else {}
        classes = {"total": self.classes, "alive": self.alive}
        return {"tensors": self.tensors, "units": units, "classes": classes, **unsearched}


def _random_state(device: torch.device | str) -> Tensor:
    """Return the state of torch's generator, which changes with every number that is drawn."""
    cuda = torch.device(device).type == "cuda"
    return torch.cuda.get_rng_state(device) if cuda else torch.get_rng_state()


class Unsteady(ValueError):
    """Error for a model whose output differs from call to call."""


def find(model: nn.Module, shape: Sequence[int], device: torch.device | str = "cpu") -> Dead:
    """Find the disconnected parts of `model`.

    The network runs on an all-ones input (`shape` is its shape without the batch) with all kept weights positive. A
    unit's activation is then zero exactly if no path of kept weights leads to it. Its gradient is zero exactly if no
    path leads on from it; for this, every unit is lifted above its ReLU's kink. Units that a LayerNorm or GroupNorm
    normalises together lead to each other, and so do those of a recurrent layer, from step to step. A unit of a layer
    that is called more than once is dead only if it is dead in every call. Raises Unsteady if the model draws numbers.
    """
    masks = {name: buffer for name, buffer in model.named_buffers() if name.endswith("_mask")}
    plain = torch.backends.cudnn.flags(enabled=False)  # cuDNN's recurrent layers have no gradients in eval mode
    with untouched(model), linear_flow(model, mixing=True), Doubles(), torch.enable_grad(), plain:
        model.eval()
        stand_ins = _structure(model)
        for name, _ in model.named_parameters():
            stand_ins[name].requires_grad_()
        data = probe.ones(model, shape, device, each=True)
        data = data.double() if isinstance(data, Tensor) and data.is_floating_point() else data
        state = _random_state(device)
        reached, logits = _pass(model, stand_ins, data, 0.0)
        again = _pass(model, stand_ins, data, 0.0)[1]  # with numbers drawn in a way of the model's own
        same = torch.allclose(again, logits, rtol=1e-6, atol=0.0, equal_nan=True)
        if not same or not _random_state(device).equal(state):
            raise Unsteady("its output differs from call to call")
        lifted, lifted_logits = _pass(model, stand_ins, data, 1.0)
        outputs = [output for _, _, several in lifted for output in several]
        slopes = torch.autograd.grad(lifted_logits.sum(), outputs, allow_unused=True) if outputs else ()
    slope_of = {id(output): slope for output, slope in zip(outputs, slopes, strict=True) if slope is not None}

    no_way_in: dict[str, Tensor] = {}
    no_way_out: dict[str, Tensor] = {}
    for (name, module, signals), (_, _, lifts) in zip(reached, lifted, strict=True):
        if any(signal.data_ptr() == logits.data_ptr() for signal in signals):
            continue  # the layer whose outputs are the classes, which are counted below
        gradients = [slope_of.get(id(output), torch.zeros_like(output)) for output in lifts]
        for flags, parts in ((no_way_in, [signal.detach() for signal in signals]), (no_way_out, gradients)):
            found = _set(module, parts)
            if isinstance(module, nn.RNNBase) and flags is no_way_out:
                found = found.any().expand_as(found)
            flags[name] = ~found & flags.get(name, True)
    alive = _any_but(logits.detach() != 0, logits.dim() - 1)
    called = {name for name, _, _ in reached}
    return Dead(
        [name.removesuffix("_mask") for name, mask in masks.items() if not mask.any()],
        no_way_in,
        no_way_out,
        alive.numel(),
        alive.nonzero().flatten().tolist(),
        [name for name, module in _holders(model) if name not in called and any(layers.own_masks(module))],
    )


def _set(module: nn.Module, outputs: Sequence[Tensor]) -> Tensor:
    """Return, for each unit of a layer, whether any of its entries in these outputs is not zero.

    An output of another size, such as the states of both directions, may stand for any unit.
    """
    found: Tensor | None = None
    for output in outputs:
        dim = 1 if isinstance(module, CHANNELS_FIRST) else output.dim() - 1
        if isinstance(module, nn.LayerNorm) and module.normalized_shape != output.shape[-1:]:
            dim = 1  # for images: of all pixels, or a subclass of torchvision's
        flags = _any_but(output != 0, dim)
        found = flags if found is None else found | (flags if flags.shape == found.shape else flags.any())
    assert found is not None
    return found


def _any_but(flags: Tensor, dim: int) -> Tensor:
    """Return, for each index of `dim`, whether any entry is set."""
    return flags.transpose(0, dim).flatten(1).any(1)


def searched(search: Callable[[], Dead], counts: Sequence[int]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return (report of a search with its `accuracy_cap`, the units of each layer with no way out).

    counts: the number of test examples of each class.
    The search calls a model in a way of its own, which one of somebody else's may not bear. Then the report has the
    reason, `not_searched`, and of the classes the total.
    """
    try:
        found = search()
    except Exception as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        unsteady = isinstance(error, Unsteady)
        reason = said if unsteady else f"the model does not run on ones in float64, without saturation ({said})"
        return {"not_searched": reason, "classes": {"total": len(counts)}}, {}
    return {**found.report(), "accuracy_cap": accuracy_cap(found.alive, counts)}, found.no_way_out


def accuracy_cap(alive: Sequence[int], class_counts: Sequence[int]) -> float:
    """Return the highest top-1 accuracy, in percent, that any weights can give if only the classes `alive` are reached.

    class_counts: the number of test examples of each class. The logit of a class without a path is constant (its bias).
    So of all those classes only one, always the same, can ever be predicted.
    """
    total = sum(class_counts)
    reached = sum(class_counts[k] for k in alive)
    constant = [count for k, count in enumerate(class_counts) if k not in set(alive)]
    return 100.0 * (reached + max(constant, default=0)) / total if total else 0.0
