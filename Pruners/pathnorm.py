"""Synaptic flow of squared weights."""

import torch

from Pruners.pruners import SynFlow


class SynFlowL2(SynFlow):
    """Path norm theta^2 * dR/d(theta^2), R = 1^T prod theta^2 1 (Gebhart et al. 2021, arXiv 2101.10552, SynFlow-L2).

    R is the sum over all paths of the product of their squared weights. It is computed as SynFlow computes its own,
    with squares in place of absolute values; the scale of a BatchNorm is squared as well. A score costs one training
    step of one example.
    """

    size = staticmethod(torch.square)
