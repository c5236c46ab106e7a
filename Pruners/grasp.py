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
