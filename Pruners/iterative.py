"""SNIP in many rounds."""

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor, nn

from Pruners.pruners import SNIP, at


class SNIPIter(SNIP):
    """Iterative SNIP (Verdenius et al. 2020, arXiv 2006.00896): |theta * dL/dtheta| of what is left.

    A score is SNIP's. Each round ranks what the rounds before have left, so that no score is of a network that is much
    denser than the one it decides on. A score costs one training step on the scoring examples.
    """


class FORCE(SNIP):
    """Foresight connection sensitivity |theta * dL/dw| at w = m * theta (de Jorge et al. 2021, arXiv 2006.09081).

    L is the loss of the sparse network. Its derivative by w, unlike that by theta, is not zero where m = 0. So a weight
    that an earlier round has pruned may come back. A score costs one training step on the scoring examples.
    """

    returns = True

    def compute(self, model: nn.Module, loss: Callable, dataloader: Iterable, device: torch.device) -> list[Tensor]:
        sparse = [(mask * parameter.detach()).requires_grad_() for mask, parameter in self.masked_parameters]
        call = partial(at, model, self.masked_parameters, sparse)
        return [score.abs() for score in self.sensitivity(call, sparse, loss, dataloader, device)]
