"""Layer normalisation that also knows its linear form."""

from __future__ import annotations

from torch import Tensor, nn


class LayerNorm(nn.LayerNorm):
    """nn.LayerNorm. In a linear flow: weight * input + bias, the statistics taken as mean 0 and variance 1."""

    flow = False

    def forward(self, input: Tensor) -> Tensor:
        return input * self.weight + self.bias if self.flow else super().forward(input)
