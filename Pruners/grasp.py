"""Variants of GraSP."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from Pruners.pruners import GraSP


class GraSPAbs(GraSP):
    """Gradient signal preservation by size: |theta * (H g)|, the highest stay.

    To first order, removing weights changes the squared gradient norm by -2 * sum theta * (H g) (Wang et al. 2020,
    arXiv 2002.07376, eq. 6 and 7). Signed scores keep the weights whose removal would lower the norm most. So they
    raise it. Absolute scores keep those whose removal would change it most. So they preserve it.
    """

    def compute(self, model: nn.Module, loss: Callable, dataloader: Iterable, device: torch.device) -> list[Tensor]:
        return [score.abs() for score in super().compute(model, loss, dataloader, device)]


class GraSPLog(GraSPAbs):
    """Gradient signal preservation in every unit: the sum over units of S log C is to be highest, by greedy choice.

    A unit is what has a weight row of its own: an output of a Linear, an output channel of a convolution, a word. S is
    the sum of |theta * (H g)| over its weights, and C that over the weights that stay. A sum over all weights, as
    GraSPAbs has it, can be large while some units keep nothing. The logarithm forbids that: a unit's first weight is
    worth the whole S, and a further one of size s about s * S / C.
    """

    def compute(self, model: nn.Module, loss: Callable, dataloader: Iterable, device: torch.device) -> list[Tensor]:
        return [_gains(size) if size.dim() > 1 else size for size in super().compute(model, loss, dataloader, device)]


def _gains(sizes: Tensor) -> Tensor:
    """Return s * S / C for each size s, C being the sum of the sizes in its row from the largest to s itself."""
    rows = sizes.flatten(1)
    falling, order = rows.sort(dim=1, descending=True, stable=True)
    sums = falling.cumsum(1)
    gains = falling * sums[:, -1:] / sums.clamp_min(torch.finfo(sums.dtype).tiny)
    return torch.empty_like(rows).scatter_(1, order, gains).view_as(sizes)
