"""Adam whose cost for an embedding is that of the rows a batch touches, with the parameters that dense Adam gives.

Under Adam (Kingma & Ba 2015, algorithm 1) a row without gradient does not rest: its momentum m decays and goes on
moving it. Write m and s = sqrt(v) for its moments in step t as that step begins, decayed but without a gradient of
step t. If no gradient ever comes, the steps t, t + 1, ... move the row by -lr * m * G_t(s) in all, where

    G_t(s) = sum_{j >= 0} a_j / (b_j s + eps),  a_j = beta1^j / (1 - beta1^(t+j)),  b_j^2 = beta2^j / (1 - beta2^(t+j)).

So each row has a limit L, to which it would come if it were never touched again, and L does not change while the row
rests. It is enough to keep L: when the row is needed in step t, its value is L + lr * m * G_t(s). The gradient g then
turns the moments into m' = m + (1 - beta1) g and v' = v + (1 - beta2) g^2 and the limit into that value minus
lr * m' * G_t(s'). No step is ever replayed, and G is needed only at the present step, where it is one function of one
number for every row.

G_t is a sum over a positive measure (weights a_j at points b_j), of a function smooth in b. Gauss quadrature of that
measure replaces its hundreds of terms by n of them, computed in float64 ahead of time. The relative error grows
as the pole -eps/s nears the points, so it is largest at eps = 0: n is chosen by that, the case that bounds all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from Layers.embedding import Embedding, EmbeddingBag
from Layers.fast.rows import ByRows
from Layers.reading import PLAIN

TOLERANCE = 1e-7  # relative, of G: a row's way to its limit is some 30 lr, float32 rounds its value to 6e-8 of it
MOST_NODES = 12
TOGETHER = 1 << 17  # numbers of parameters that are stepped by one call an operation: more would leave the cache


def gauss(points: np.ndarray, weights: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss quadrature of discrete measures: points, weights [T, J] -> nodes, weights [T, order], all float64.

    The recurrence coefficients come from the Stieltjes procedure and the rule from the eigenvalues of the Jacobi matrix
    (Golub & Welsch 1969).
    """
    count = points.shape[0]
    jacobi = np.zeros((count, order, order))
    before, current = np.zeros_like(points), np.ones_like(points)
    norm_before = np.ones(count)
    for k in range(order):
        norm = (weights * current**2).sum(1)
        alpha = (weights * points * current**2).sum(1) / norm
        jacobi[:, k, k] = alpha
        beta = norm / norm_before if k else np.zeros(count)
        if k:
            jacobi[:, k, k - 1] = jacobi[:, k - 1, k] = np.sqrt(beta)
        before, current = current, (points - alpha[:, None]) * current - beta[:, None] * before
        norm_before = norm
    nodes, vectors = np.linalg.eigh(jacobi)
    return nodes, vectors[:, 0, :] ** 2 * weights.sum(1, keepdims=True)


class Tail:
    """G_t(s) as a rule of few terms, for every step t >= 1: `rule(t)` gives ((node, weight), ...)."""

    def __init__(self, beta1: float, beta2: float) -> None:
        self.beta1, self.beta2 = beta1, beta2
        # Past `length` steps beta1^j is below what float64 can add to the sum.
        self.length = 1 if beta1 == 0.0 else min(math.ceil(math.log(1e-18) / math.log(beta1)), 20_000)
        self.rules: list[tuple[tuple[float, float], ...]] = [()]

    def rule(self, step: int) -> tuple[tuple[float, float], ...]:
        while step >= len(self.rules):
            first = len(self.rules)
            self.rules += self._rules(np.arange(first, first + min(first, 256)))
        return self.rules[step]

    def _rules(self, steps: np.ndarray) -> list[tuple[tuple[float, float], ...]]:
        j = np.arange(self.length)
        later = steps[:, None] + j
        weights = self.beta1**j / (1 - self.beta1**later)
        points = np.sqrt(self.beta2**j / -np.expm1(later * math.log(self.beta2)))
        exact = (weights / points).sum(1)
        for order in range(1, min(MOST_NODES, self.length) + 1):
            nodes, masses = gauss(points, weights, order)
            if np.abs((masses / nodes).sum(1) / exact - 1).max() < TOLERANCE:
                break
        return [tuple(zip(n, w, strict=True)) for n, w in zip(nodes.tolist(), masses.tolist(), strict=True)]


class _Rows:
    """The rows of one embedding weight [V, d] under Adam (see Layers.fast.rows.Rows). On the CPU.

    `average`, `square` and `limit` [V, d] hold m, v and L of each row as of the step `last` [V] in which it was last
    touched. `weight` itself is right only after `catch_up`.
    """

    def __init__(self, parameter: Tensor, state: dict, group: dict) -> None:
        self.parameter, self.weight = parameter, parameter.detach()
        self.place = torch.zeros(parameter.shape[0], dtype=torch.int64)
        self.begin_at(state, group)

    def begin_at(self, state: dict, group: dict) -> None:
        """Go on from `state`, torch.optim.Adam's of this parameter, {} for none; `group`: its settings. Keeps both."""
        self.group = group
        self.tail = Tail(*group["betas"])
        self.eps = torch.tensor(group["eps"], dtype=self.weight.dtype)
        for name in ("exp_avg", "exp_avg_sq"):
            state.setdefault(name, torch.zeros_like(self.weight))
        self.average, self.square = state["exp_avg"], state["exp_avg_sq"]
        self.step = int(state.get("step", 0))
        self.limit = torch.empty_like(self.weight)
        self.last = torch.empty(self.weight.shape[0], dtype=torch.int64)
        self.pending: list[tuple[Tensor, ...]] = []  # what `begin` found for lookups since the last step
        self.current = True  # every row stands at the end of the present step
        self.anchored = False  # the limits agree with the weight and with the learning rate `lr`
        self.lr = 0.0
        beta1 = self.tail.beta1
        steps = torch.arange(math.ceil(math.log(1e-17) / math.log(beta1)) + 1 if beta1 else 2)
        # beta1^k falls out of float32's normal range long before k ends, where arithmetic is slow: zero it there.
        self.decay1 = (beta1 ** steps.double()).to(self.weight)
        self.decay1[-1] = 0.0

    def _decay(self, average: Tensor, square: Tensor, rest: Tensor) -> None:
        """Let the moments [U, d] rest for `rest` [U] steps, in place."""
        average.mul_(self.decay1[rest.clamp_max(self.decay1.numel() - 1)].unsqueeze(1))
        square.mul_(torch.pow(self.tail.beta2, rest.double()).to(square.dtype).unsqueeze(1))

    def _move(self, start: Tensor, average: Tensor, square: Tensor, step: int, sign: float) -> Tensor:
        """start + sign * lr * m * G_step(s), elementwise."""
        root = square.sqrt()
        scale = torch.empty_like(root)
        end = torch.empty_like(root)
        for node, weight in self.tail.rule(step):
            torch.add(self.eps, root, alpha=node, out=scale)
            start = torch.addcdiv(start, average, scale, value=sign * self.lr * weight, out=end)
        return end

    def begin(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(rows [U], average, square, value [U, d]) as the step to come finds them; nothing is written."""
        average, square, limit = (kept.index_select(0, rows) for kept in (self.average, self.square, self.limit))
        self._decay(average, square, self.step + 1 - self.last.index_select(0, rows))
        return rows, average, square, self._move(limit, average, square, self.step + 1, 1.0)

    @torch.no_grad()
    def look_up(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        if not self.anchored:
            self.anchor()
        rows, places = self._distinct(ids.flatten())
        self.pending.append(self.begin(rows))
        return self.pending[-1][-1].requires_grad_(), places.view_as(ids)

    def _distinct(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """(rows, places): `ids` [N] without repeats, and where in `rows` each of them is. No sorting."""
        positions = torch.arange(ids.numel())
        self.place[ids] = positions  # of an id that repeats, one position stays: that one stands for it
        owner = self.place[ids]
        standing = owner == positions
        return ids[standing], (standing.cumsum(0) - 1)[owner]

    def anchor(self) -> None:
        """Take weight and moments as they stand at the end of the present step for the new beginning of every row."""
        self.lr = self.group["lr"]
        self.last.fill_(self.step)
        average, square = self.average.clone(), self.square.clone()
        self._decay(average, square, torch.ones_like(self.last))
        self.limit = self._move(self.weight, average, square, self.step + 1, -1.0)
        self.anchored = True

    @torch.no_grad()
    def catch_up(self) -> None:
        """Bring every row to the end of the present step. Whoever writes to the weight does so after this."""
        if not self.current:
            self.weight.copy_(self.begin(torch.arange(self.weight.shape[0]))[-1])
            self._decay(self.average, self.square, self.step - self.last)
            self.last.fill_(self.step)
            self.current = True
        self.anchored = False

    def _collect(self) -> tuple[tuple[Tensor, ...], Tensor] | None:
        """What `begin` found, and the gradient [U, d], of all lookups since the last step that were differentiated."""
        found = [(lookup, lookup[-1].grad) for lookup in self.pending if lookup[-1].grad is not None]
        self.pending = []
        if len(found) < 2:
            return found[0] if found else None
        rows, places = self._distinct(torch.cat([lookup[0] for lookup, _ in found]))
        gradient = self.weight.new_zeros(rows.numel(), self.weight.shape[1])
        gradient.index_add_(0, places, torch.cat([part for _, part in found]))
        return self.begin(rows), gradient

    def update(self) -> None:
        """One Adam step with the gradients of the lookups since the last one."""
        collected = self._collect()
        if collected is None:
            return
        (rows, average, square, value), gradient = collected
        if not self.anchored or self.group["lr"] != self.lr:
            self.catch_up()
            self.anchor()
        value.requires_grad_(False)
        self.step += 1
        average.add_(gradient, alpha=1 - self.tail.beta1)
        square.addcmul_(gradient, gradient, value=1 - self.tail.beta2)
        limit = self._move(value, average, square, self.step, -1.0)
        where = rows.numpy()  # numpy writes rows at twice the speed of index_copy_
        for kept, new in ((self.average, average), (self.square, square), (self.limit, limit)):
            kept.numpy()[where] = new.numpy()
        self.last.index_fill_(0, rows, self.step)
        self.current = False


class Adam(torch.optim.Adam):
    """torch.optim.Adam, except that embeddings handed to `attach` cost what their touched rows cost.

    The parameters are those of dense Adam up to rounding. Until another `attach` it alone trains an attached
    weight, and the weight's own `.grad` stays None. Between steps a row of an attached weight may hold an older
    value: call `catch_up()` before reading or writing such a weight other than through its module (the training
    routine does so after every epoch).
    """

    def __init__(self, params: Iterable, lr: float = 1e-3, betas=(0.9, 0.999), eps: float = 1e-8, weight_decay=0.0):
        params = list(params)
        on_gpu = all(isinstance(parameter, Tensor) and parameter.is_cuda for parameter in params)
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=on_gpu or None)
        self._rows: dict[Tensor, _Rows] = {}

    def attach(self, model: nn.Module) -> None:
        """Treat the embeddings of `model` by rows, where that is exact.

        It is not under weight decay, which gives every row a gradient, nor for a weight that another module shares.
        """
        holders: dict[int, int] = {}
        for module in model.modules():
            for parameter in module.parameters(recurse=False):
                holders[id(parameter)] = holders.get(id(parameter), 0) + 1
        groups = {id(parameter): group for group in self.param_groups for parameter in group["params"]}
        for module in model.modules():
            if not isinstance(module, (Embedding, EmbeddingBag)):
                continue
            module.reading.settle()
            module.reading = PLAIN  # no longer an earlier optimizer's
            group = groups.get(id(module.weight))
            if group is None or group["weight_decay"] != 0 or holders[id(module.weight)] > 1:
                continue
            self._rows[module.weight] = _Rows(module.weight, self.state[module.weight], group)
            module.reading = ByRows(self._rows[module.weight])

    @torch.no_grad()
    def catch_up(self) -> None:
        """Bring every row of every attached weight, and its state, to the present step."""
        for rows in self._rows.values():
            rows.catch_up()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As torch's, of which `set_to_none` needs no more than this."""
        if not set_to_none:
            super().zero_grad(set_to_none)
        for group in self.param_groups if set_to_none else ():
            for parameter in group["params"]:
                parameter.grad = None
        for rows in self._rows.values():
            rows.pending = []

    def step(self, closure=None):
        """Algorithm 1; a GPU has torch's own step, one kernel for many parameters."""
        if any(parameter.device.type != "cpu" for group in self.param_groups for parameter in group["params"]):
            value = super().step(closure)
        else:
            value = self._step(closure)
        with torch.no_grad():
            for rows in self._rows.values():
                rows.update()
        return value

    def _step(self, closure):
        """A CPU's, of all weights but the attached."""
        value = None
        if closure is not None:
            with torch.enable_grad():
                value = closure()
        with torch.no_grad():
            for group in self.param_groups:
                for parameters in self._together(group["params"]):
                    self._move(parameters, group)
        return value

    def _together(self, parameters: list[Tensor]) -> Iterator[list[Tensor]]:
        """Those with a gradient, begun, in lists of one type and number of steps; each is small or of one parameter."""
        together: list[Tensor] = []
        size, kind = 0, None
        for parameter in parameters:
            if parameter.grad is None:  # as that of an attached weight is
                continue
            state = self.state[parameter]
            if not state:
                state["step"] = torch.tensor(0.0)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
            size, before, kind = size + parameter.numel(), kind, (state["step"].item(), parameter.dtype)
            if together and (size > TOGETHER or kind != before):
                yield together
                together, size = [], parameter.numel()
            together.append(parameter)
        if together:
            yield together

    def _move(self, parameters: list[Tensor], group: dict) -> None:
        """Their step, in torch's order of operations."""
        states = [self.state[parameter] for parameter in parameters]
        averages, squares = ([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq"))
        gradients: list[Any] = [parameter.grad for parameter in parameters]  # each has one, see _together
        beta1, beta2 = group["betas"]
        step = states[0]["step"].item() + 1
        for state in states:
            state["step"].fill_(step)
        if group["weight_decay"]:
            gradients = list(torch._foreach_add(gradients, parameters, alpha=group["weight_decay"]))
        torch._foreach_lerp_(averages, gradients, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
        # A pruned weight's square is zero, and the roots of zeros and of subnormal numbers take a CPU ten to eighty
        # times as long as those of others. The smallest normal number is lost beside any eps in use.
        scales = torch._foreach_add(squares, torch.finfo(squares[0].dtype).tiny)
        torch._foreach_sqrt_(scales)
        torch._foreach_div_(scales, math.sqrt(1 - beta2**step))
        torch._foreach_add_(scales, group["eps"])
        torch._foreach_addcdiv_(parameters, averages, scales, -group["lr"] / (1 - beta1**step))

    def state_dict(self) -> dict:
        """As torch.optim.Adam's, all rows caught up."""
        self.catch_up()
        for parameter, rows in self._rows.items():
            self.state[parameter]["step"] = torch.tensor(float(rows.step))
        return super().state_dict()

    def load_state_dict(self, state_dict: dict) -> None:
        self.catch_up()
        super().load_state_dict(state_dict)
        groups = {id(parameter): group for group in self.param_groups for parameter in group["params"]}
        for parameter, rows in self._rows.items():
            rows.begin_at(self.state[parameter], groups[id(parameter)])
