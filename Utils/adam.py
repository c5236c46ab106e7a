"""Adam whose cost for an embedding is that of the rows a batch touches, with the parameters that dense Adam gives.

Under Adam (Kingma & Ba 2015, algorithm 1) a row without gradient does not rest: its momentum m decays and goes on
moving it. With m and s = sqrt(v) after step t, the row's displacement at step t + j is

    -lr * m * a_j / (b_j * s + eps),   a_j = beta1^j / (1 - beta1^(t+j)),   b_j = sqrt(beta2^j / (1 - beta2^(t+j))).

So each row has a limit L = p - lr * m * F_t(s), F_t(s) = sum_j a_j / (b_j s + eps), to which it would come if it were
never touched again, and L does not change while it rests. It is enough to keep L: whenever the row is needed, k steps
later, its value is L + lr * m' * F_(t+k)(s') with m' = beta1^k m and s' = beta2^(k/2) s. No step is replayed, and F is
needed only at the current step, where it is one function of one number for every row.

F_t is a sum over a positive measure (weights a_j at points b_j), of a function smooth in b. Gauss quadrature of that
measure replaces its hundreds of terms by n of them, computed in float64 ahead of time. The relative error grows
as the pole -eps/s nears the points, so it is largest at eps = 0: n is chosen by that, the case that bounds all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

TOLERANCE = 1e-8  # relative, of F; float32 has 6e-8
MOST_NODES = 12


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
    """F_t(s) as a rule of few terms, for every step t >= 1: `rule(t)` gives ((node, weight), ...)."""

    def __init__(self, beta1: float, beta2: float) -> None:
        self.beta1, self.beta2 = beta1, beta2
        # Past `length` steps beta1^j is below what float64 can add to the sum.
        self.length = 0 if beta1 == 0.0 else min(math.ceil(math.log(1e-18) / math.log(beta1)), 20_000)
        self.rules: list[tuple[tuple[float, float], ...]] = [()]

    def rule(self, step: int) -> tuple[tuple[float, float], ...]:
        while step >= len(self.rules):
            first = len(self.rules)
            self.rules += self._rules(np.arange(first, first + min(first, 256)))
        return self.rules[step]

    def _rules(self, steps: np.ndarray) -> list[tuple[tuple[float, float], ...]]:
        if self.length == 0:
            return [()] * len(steps)
        j = np.arange(1, self.length + 1)
        later = steps[:, None] + j
        # 1 - beta^n by expm1: exact also where beta^n is close to one.
        weights = self.beta1**j / -np.expm1(later * math.log(self.beta1))
        points = np.sqrt(self.beta2**j / -np.expm1(later * math.log(self.beta2)))
        exact = (weights / points).sum(1)
        for order in range(1, MOST_NODES + 1):
            nodes, masses = gauss(points, weights, order)
            if np.abs((masses / nodes).sum(1) / exact - 1).max() < TOLERANCE:
                break
        return [tuple(zip(n, w, strict=True)) for n, w in zip(nodes.tolist(), masses.tolist(), strict=True)]


class _Rows:
    """The rows of one embedding weight [V, d] under Adam.

    `memory` [V, 3, d] holds m, v and the limit of each row as of the step `last` [V] at which it was written; `weight`
    is right for the rows brought to the present step and stale for the others. One tensor for the three, so that a
    batch costs one gather and one scatter.
    """

    def __init__(self, weight: Tensor, state: dict, tail: Tail, eps: float) -> None:
        self.weight, self.state, self.tail, self.eps = weight, state, tail, eps
        self.memory = torch.zeros(weight.shape[0], 3, weight.shape[1], dtype=weight.dtype, device=weight.device)
        if state:
            self.memory[:, 0] = state["exp_avg"]
            self.memory[:, 1] = state["exp_avg_sq"]
        self.step = int(state.get("step", 0))
        # What torch.optim.Adam keeps under these names, so that a state_dict fits either.
        state["step"] = torch.tensor(float(self.step))
        state["exp_avg"], state["exp_avg_sq"] = self.memory[:, 0], self.memory[:, 1]
        self.last = torch.empty(weight.shape[0], dtype=torch.int64, device=weight.device)
        self.current = True  # every row stands at the present step
        self.anchored = False  # the limits agree with the weight
        self.ready: tuple[Tensor, Tensor, Tensor] | None = None  # what `present` found for the batch under way
        self.lr = 0.0
        steps = torch.arange(self.tail.length + 1, dtype=torch.float64, device=weight.device)
        # beta1^k falls out of float32's normal range long before k ends, where arithmetic is slow: zero it there.
        decay = tail.beta1**steps if tail.beta1 else (steps == 0).double()
        self.decay1 = torch.where(decay < 1e-17, 0.0, decay).to(weight.dtype)

    def _displace(self, start: Tensor, average: Tensor, root: Tensor, sign: float) -> Tensor:
        """start += sign * lr * m * F_t(s), elementwise, t the present step."""
        for node, weight in self.tail.rule(self.step):
            start.addcdiv_(average, root.mul(node).add_(self.eps), value=sign * self.lr * weight)
        return start

    def present(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(memory [U, 3, d], value [U, d]) of `rows` [U] at the present step; nothing is written."""
        rest = self.step - self.last.index_select(0, rows)
        memory = self.memory.index_select(0, rows)
        average, square, limit = memory.unbind(1)
        average.mul_(self.decay1[rest.clamp_max(self.decay1.numel() - 1)].unsqueeze(1))
        square.mul_(torch.pow(self.tail.beta2, rest.double()).to(square.dtype).unsqueeze(1))
        return memory, self._displace(limit.clone(), average, square.sqrt(), 1.0)

    def look_up(self, ids: Tensor) -> None:
        """Bring the rows that `ids` name to the present step, for the forward pass."""
        rows = torch.unique(ids)
        memory, value = self.present(rows)
        self.weight.index_copy_(0, rows, value)
        self.ready = rows, memory, value

    def anchor(self, lr: float) -> None:
        """Take weight and state as they stand, all at the present step, for the new beginning of every row."""
        self.lr = lr
        self.last.fill_(self.step)
        average, square, limit = self.memory.unbind(1)
        limit.copy_(self.weight)
        self._displace(limit, average, square.sqrt(), -1.0)
        self.ready = None
        self.anchored = True

    def catch_up(self) -> None:
        """Bring every row to the present step. Whoever writes to the weight does so after this."""
        if not self.current:
            memory, value = self.present(torch.arange(self.weight.shape[0], device=self.weight.device))
            self.weight.copy_(value)
            self.memory.copy_(memory)
            self.last.fill_(self.step)
            self.current = True
        self.anchored = False
        self.ready = None

    def update(self, gradient: Tensor, lr: float) -> None:
        """One Adam step with a sparse gradient."""
        if lr != self.lr or not self.anchored:
            self.catch_up()
            self.anchor(lr)
        gradient = gradient.coalesce()
        rows, values = gradient.indices()[0], gradient.values()
        if self.ready is not None and torch.equal(self.ready[0], rows):
            _, memory, value = self.ready
        else:
            memory, value = self.present(rows)
        self.step += 1
        self.state["step"] += 1
        beta1, beta2 = self.tail.beta1, self.tail.beta2
        average, square, limit = memory.unbind(1)
        average.lerp_(values, 1 - beta1)
        root = square.mul_(beta2).addcmul_(values, values, value=1 - beta2).sqrt()
        correction = math.sqrt(1 - beta2**self.step)
        value.addcdiv_(average, (root / correction).add_(self.eps), value=-lr / (1 - beta1**self.step))
        self.weight.index_copy_(0, rows, value)
        limit.copy_(value)
        self._displace(limit, average, root, -1.0)
        self.memory.index_copy_(0, rows, memory)
        self.last.index_fill_(0, rows, self.step)
        self.current = False
        self.ready = None


class Adam(torch.optim.Adam):
    """torch.optim.Adam, except that embeddings handed to `attach` cost what their touched rows cost.

    The parameters are those of dense Adam up to rounding. Between steps a resting row of an attached weight holds the
    value of the step at which it was last needed: call `catch_up()` before reading such a weight other than through
    its module (the training routine does so after every epoch).
    """

    def __init__(self, params: Iterable, lr: float = 1e-3, betas=(0.9, 0.999), eps: float = 1e-8, weight_decay=0.0):
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
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
            if not isinstance(module, (nn.Embedding, nn.EmbeddingBag)) or module.max_norm is not None:
                continue
            group = groups.get(id(module.weight))
            if group is None or group["weight_decay"] != 0 or holders[id(module.weight)] > 1:
                continue
            module.sparse = True
            tail = Tail(*group["betas"])
            self._rows[module.weight] = _Rows(module.weight.detach(), self.state[module.weight], tail, group["eps"])
            module.register_forward_pre_hook(self._before_lookup)

    @torch.no_grad()
    def _before_lookup(self, module: nn.Module, inputs: tuple) -> None:
        rows = self._rows.get(module.weight)
        if rows is not None and not rows.current:
            rows.look_up(inputs[0])

    @torch.no_grad()
    def catch_up(self) -> None:
        """Bring every row of every attached weight, and its state, to the present step."""
        for rows in self._rows.values():
            rows.catch_up()

    def step(self, closure=None):
        value = None
        if closure is not None:
            with torch.enable_grad():
                value = closure()
        apart = [(parameter, parameter.grad) for parameter in self._rows if parameter.grad is not None]
        for parameter, _ in apart:
            parameter.grad = None  # torch's own step passes over a parameter without gradient
        super().step()
        with torch.no_grad():
            for group in self.param_groups:
                for parameter, gradient in apart:
                    if any(parameter is member for member in group["params"]):
                        self._rows[parameter].update(gradient, group["lr"])
        for parameter, gradient in apart:
            parameter.grad = gradient
        return value

    def state_dict(self) -> dict:
        """As torch.optim.Adam's, all rows caught up."""
        self.catch_up()
        return super().state_dict()

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        for parameter, rows in self._rows.items():
            self._rows[parameter] = _Rows(parameter.detach(), self.state[parameter], rows.tail, rows.eps)
