"""Layer normalisation with a linear form."""

from torch import Tensor, nn


class LayerNorm(nn.LayerNorm):
    """An nn.LayerNorm. In a linear flow it computes weight * input + bias, as with mean 0 and variance 1."""

    flow = False

    def forward(self, input: Tensor) -> Tensor:
        return input * self.weight + self.bias if self.flow else super().forward(input)
