"""Rows of an embedding under Adam, of which only those in the batch are updated, with the values of dense Adam.

Under Adam (Kingma & Ba 2015, algorithm 1) a row without gradient still moves: its momentum m decays and keeps moving
it. Let m and s = sqrt(v) be its moments at the start of step t, decayed but without a gradient of step t. If no
gradient ever comes, the steps t, t + 1, ... together move the row by -lr * m * G_t(s), where

    G_t(s) = sum_{j >= 0} a_j / (b_j s + eps),  a_j = beta1^j / (1 - beta1^(t+j)),  b_j^2 = beta2^j / (1 - beta2^(t+j)).

So each row has a limit L, which it would reach if it never got a gradient again. L does not change until the next
gradient, so it is enough to store L. When the row is needed in step t, its value is L + lr * m * G_t(s). A gradient g
then changes the moments to m' = m + (1 - beta1) g and v' = v + (1 - beta2) g^2, and the limit to that value minus
lr * m' * G_t(s'). No step is ever replayed. G is needed only at the present step, where it is a function of one
number, the same function for every row.

G_t sums a function that is smooth in b over a positive measure (weights a_j at points b_j). Gauss quadrature of this
measure reindices hundreds of terms by n, computed in float64 ahead of time. The relative error grows as the pole -eps/s
approaches the points, so it is largest at eps = 0. n is chosen for that worst case.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from Layers.embedding import Embedding, EmbeddingBag
from Layers.reading import Over, Reading

TOLERANCE = 1e-7  # relative, of G: a row's way to its limit is some 30 lr, float32 rounds its value to 6e-8 of it
MOST_NODES = 12


def gauss(points: np.ndarray, weights: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the Gauss quadrature of discrete measures: points, weights [T, J] -> nodes, weights [T, order], float64.

    The recurrence coefficients come from the Stieltjes procedure, and the rule from the eigenvalues of the Jacobi
    matrix (Golub & Welsch 1969).
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
    """A quadrature rule with few terms for G_t(s) at every step t >= 1."""

    def __init__(self, beta1: float, beta2: float) -> None:
        self.beta1, self.beta2 = beta1, beta2
        # After `length` steps beta1^j is too small to change the sum in float64.
        self.length = 1 if beta1 == 0.0 else min(math.ceil(math.log(1e-18) / math.log(beta1)), 20_000)
        self.rules: list[tuple[tuple[float, float], ...]] = [()]

    def rule(self, step: int) -> tuple[tuple[float, float], ...]:
        """Return the rule of a step, ((node, weight), ...)."""
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


class Rows:
    """The rows of one embedding weight [V, d] under Adam, on the CPU.

    `average`, `square` and `limit` [V, d] hold m, v and L of each row as of the step `last` [V] in which it was last
    updated. `weight` itself is correct only after `catch_up`.
    """

    def __init__(self, parameter: Tensor, state: dict, group: dict) -> None:
        self.parameter, self.weight = parameter, parameter.detach()
        self.position = torch.zeros(parameter.shape[0], dtype=torch.int64)
        self.begin_at(state, group)

    def begin_at(self, state: dict, group: dict) -> None:
        """Continue from `state`, which torch.optim.Adam has for this parameter ({} for none), and its settings `group`.

        Both are kept.
        """
        self.group = group
        self.tail = Tail(*group["betas"])
        self.eps = torch.tensor(group["eps"], dtype=self.weight.dtype)
        for name in ("exp_avg", "exp_avg_sq"):
            state.setdefault(name, torch.zeros_like(self.weight))
        self.average, self.square = state["exp_avg"], state["exp_avg_sq"]
        self.step = int(state.get("step", 0))
        self.limit = torch.empty_like(self.weight)
        self.last = torch.empty(self.weight.shape[0], dtype=torch.int64)
        self.pending: list[tuple[Tensor, ...]] = []  # results of `begin` for lookups since the last step
        self.current = True  # every row is up to date with the present step
        self.anchored = False  # the limits agree with the weight and with the learning rate `lr`
        self.lr = 0.0
        beta1 = self.tail.beta1
        steps = torch.arange(math.ceil(math.log(1e-17) / math.log(beta1)) + 1 if beta1 else 2)
        # For large k, beta1^k is below float32's normal range, where arithmetic is slow. It is set to zero there.
        self.decay1 = (beta1 ** steps.double()).to(self.weight)
        self.decay1[-1] = 0.0
        self.began = self.step
        self._tabulate(256)

    def _tabulate(self, count: int) -> None:
        """Prepare the decay of squares by fewer than `count` steps."""
        self.decay2 = torch.pow(self.tail.beta2, torch.arange(count).double()).to(self.weight)

    def _decay(self, average: Tensor, square: Tensor, rest: Tensor) -> None:
        """Decay the moments [U, d] by `rest` [U] steps without a gradient, in place."""
        average.mul_(self.decay1[rest.clamp_max(self.decay1.numel() - 1)].unsqueeze(1))
        square.mul_(self.decay2[rest].unsqueeze(1))

    def _move(self, start: Tensor, average: Tensor, square: Tensor, step: int, sign: float) -> Tensor:
        """Return start + sign * lr * m * G_step(s), elementwise."""
        root = square.sqrt()
        scale = torch.empty_like(root)
        end = torch.empty_like(root)
        for node, weight in self.tail.rule(step):
            torch.add(self.eps, root, alpha=node, out=scale)
            start = torch.addcdiv(start, average, scale, value=sign * self.lr * weight, out=end)
        return end

    @torch.no_grad()
    def begin(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Return (rows [U], average, square, value [U, d]) at the start of the next step; nothing is written.

        A subclass may leave out the moments.
        """
        average, square, limit = (kept.index_select(0, rows) for kept in (self.average, self.square, self.limit))
        self._decay(average, square, self.step + 1 - self.last.index_select(0, rows))
        return rows, average, square, self._move(limit, average, square, self.step + 1, 1.0)

    def look_up(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (rows [U], table [U, d], indices) for the rows that `ids` name.

        rows: their numbers, without repeats.
        table: the rows, as a leaf tensor that collects their gradient.
        indices: the row of the table for each id, shaped like `ids`.
        """
        if not self.anchored:
            self.anchor()
        rows, indices = self._distinct(ids.flatten())
        self.pending.append(self.begin(rows))
        return rows, self.pending[-1][-1].requires_grad_(), indices.view_as(ids)

    def _distinct(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return (rows, indices): `ids` [N] without repeats, and the index in `rows` of each id. Nothing is sorted."""
        positions = torch.arange(ids.numel())
        self.position[ids] = positions  # of a repeated id, one position remains and represents it
        owner = self.position[ids]
        standing = owner == positions
        return ids[standing], (standing.cumsum(0) - 1)[owner]

    @torch.no_grad()
    def anchor(self) -> None:
        """Recompute all limits from weight and moments, which must be up to date."""
        self.lr = self.group["lr"]
        self.last.fill_(self.step)
        self._begin_all(self.weight, -1.0, self.limit)
        self.anchored = True

    def _begin_all(self, start: Tensor, sign: float, out: Tensor) -> None:
        """Write start + sign * lr * m * G(s) of all rows [V, d] at the start of the next step to `out`."""
        average, square = self.average.clone(), self.square.clone()
        self._decay(average, square, self.step + 1 - self.last)
        out.copy_(self._move(start, average, square, self.step + 1, sign))

    @torch.no_grad()
    def catch_up(self) -> None:
        """Bring every row to the end of the present step. This must be called before the weight is written to."""
        if not self.current:
            self._begin_all(self.limit, 1.0, self.weight)
            self._decay(self.average, self.square, self.step - self.last)
            self.last.fill_(self.step)
            self.current = True
        self.anchored = False

    def forget(self) -> None:
        """Drop all lookups since the last step, with their gradients."""
        self.pending = []

    def _collect(self) -> tuple[tuple[Tensor, ...], Tensor] | None:
        """Return what `begin` gave, and the gradient [U, d], for all differentiated lookups since the last step."""
        lookups = [(lookup, lookup[-1].grad) for lookup in self.pending if lookup[-1].grad is not None]
        self.pending = []
        if len(lookups) < 2:
            return lookups[0] if lookups else None
        rows, indices = self._distinct(torch.cat([lookup[0] for lookup, _ in lookups]))
        gradient = self.weight.new_zeros(rows.numel(), self.weight.shape[1])
        gradient.index_add_(0, indices, torch.cat([part for _, part in lookups]))
        return self.begin(rows), gradient

    def gathered(self) -> Tensor | None:
        """Return a tensor [U, d] of the rows looked up since the last step, whose `.grad` is their whole gradient."""
        collected = self._collect()
        if collected is None:
            return None
        (*before, value), gradient = collected
        value = value.detach()
        value.grad = gradient
        self.pending = [(*before, value)]
        return value

    def update(self) -> None:
        """Do one Adam step with the gradients of the lookups since the last one."""
        collected = self._collect()
        if collected is None:
            return
        (*before, value), gradient = collected
        if not self.anchored or self.group["lr"] != self.lr:
            before = [*self._kept(*before)]
            self.catch_up()
            self.anchor()
        value.requires_grad_(False)
        self.step += 1
        if self.step + 1 - self.began == len(self.decay2):  # the longest rest at the next step
            self._tabulate(2 * len(self.decay2))
        self._finish(gradient, value, *before)
        self.current = False

    def _kept(self, rows: Tensor, *moments: Tensor) -> Sequence[Tensor]:
        """Return (rows, average, square), which stay as they are while all rows catch up, of what `begin` gave."""
        return rows, *moments

    def _finish(self, gradient: Tensor, value: Tensor, rows: Tensor, average: Tensor, square: Tensor) -> None:
        """Do the present step of rows of which `begin` gave the rest, with their gradient [U, d]."""
        average.add_(gradient, alpha=1 - self.tail.beta1)
        square.addcmul_(gradient, gradient, value=1 - self.tail.beta2)
        limit = self._move(value, average, square, self.step, -1.0)
        where = rows.numpy()  # numpy writes rows at twice the speed of index_copy_
        for kept, new in ((self.average, average), (self.square, square), (self.limit, limit)):
            kept.numpy()[where] = new.numpy()
        self.last.index_fill_(0, rows, self.step)

    def bag(self, ids: Tensor, table: Tensor, offsets: Tensor | None, mode: str) -> Tensor:
        """Return the bags [B, d] of the rows of `table` that `ids` [N] name, as torch's embedding_bag.

        Maxima are left to torch.
        """
        known = offsets is not None and offsets.dtype == torch.int64 and offsets.numel() and ids.numel()
        if not known or ids.dim() != 1 or mode == "max":
            return F.embedding_bag(ids, table, offsets, mode=mode)
        return _Bags.apply(table, self, ids, offsets, mode)

    def _bags(self, ids: Tensor, table: Tensor, offsets: Tensor, mode: str) -> tuple[Tensor, Tensor]:
        """Return the sums or means [B, d], and what an entry counts in its bag [B]."""
        bags = F.embedding_bag(ids, table, offsets, mode=mode)
        lengths = _lengths(offsets, ids).to(bags.dtype)
        return bags, 1 / lengths.clamp_min(1) if mode == "mean" else torch.ones_like(lengths)

    def _spread(self, ids: Tensor, offsets: Tensor, slopes: Tensor, rows: int) -> Tensor:
        """Return the gradient of the rows [rows, d]: each is the sum of its entries' slopes, in their order.

        slopes: of an entry in each bag, [B, d].
        """
        owner = torch.repeat_interleave(_lengths(offsets, ids))[ids.sort(stable=True).indices]
        return torch.segment_reduce(slopes[owner], "sum", lengths=ids.bincount(minlength=rows))


class _Bags(torch.autograd.Function):
    """Sum the rows of each bag: (table [U, d], Rows, ids [N], offsets [B], mode) -> [B, d]."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Rows, ids: Tensor, offsets: Tensor, mode: str) -> Tensor:
        bags, scale = rows._bags(ids, table, offsets, mode)
        ctx.of, ctx.scale, ctx.height, ctx.spread = (ids, offsets), scale, len(table), rows._spread
        return bags

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.spread(*ctx.of, slopes * ctx.scale.unsqueeze(1), ctx.height), None, None, None, None


def _lengths(offsets: Tensor, ids: Tensor) -> Tensor:
    return F.pad(offsets, (0, 1), value=ids.numel()).diff()


class ByRows(Over):
    """A way of reading that serves lookups with gradients from `rows`.

    Others use the whole weight, brought up to date.
    """

    def __init__(self, rows: Rows, before: Reading) -> None:
        super().__init__(before)
        self.rows = rows
        self.served: Tensor | None = None  # the latest table of rows

    def table(self, module: Any, ids: Tensor) -> tuple[Tensor, Tensor]:
        replaced = self.rows.parameter is not module.weight  # by functional_call
        if not replaced and torch.is_grad_enabled() and module.weight.requires_grad:
            rows, table, indices = self.rows.look_up(ids)
            mask = self.mask(module, "weight")
            self.served = table if mask is None else table * mask[rows]
            return self.served, indices
        self.settle()
        return self.before.table(module, ids)

    def bag(self, ids: Tensor, table: Tensor, offsets: Tensor | None, mode: str) -> Tensor:
        if table is not self.served:
            return super().bag(ids, table, offsets, mode)
        self.served = None
        return self.rows.bag(ids, table, offsets, mode)

    def whole_table(self) -> Reading:
        return self.before

    def settle(self) -> None:
        self.rows.catch_up()


def attach(optimizer: torch.optim.Adam, model: nn.Module) -> dict[Tensor, Rows]:
    """Let the embeddings of `model` be read by rows, where `optimizer` may update them so; return the rows by weight.

    An embedding's earlier rows are settled and detached.
    """
    holders: dict[int, int] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            holders[id(parameter)] = holders.get(id(parameter), 0) + 1
    groups = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    from Utils.training import compiled

    attached = {}
    for module in model.modules():
        if not isinstance(module, (Embedding, EmbeddingBag)):
            continue
        module.reading.settle()
        module.reading = module.reading.whole_table()
        group = groups.get(id(module.weight))
        if group is None or group["weight_decay"] != 0 or holders[id(module.weight)] > 1:
            continue
        if not group["betas"][1]:  # the square of the latest gradient alone: a row at rest divides by zero
            continue
        kind = compiled.kind(module.weight)
        attached[module.weight] = kind(module.weight, optimizer.state[module.weight], group)
        module.reading = ByRows(attached[module.weight], module.reading)
    return attached
