"""Layer normalisation with a linear form."""

from torch import Tensor, nn

from Layers.reading import PLAIN


class LayerNorm(nn.LayerNorm):
    """An nn.LayerNorm. In a linear flow it computes weight * input + bias, as with mean 0 and variance 1."""

    reading = PLAIN

    def forward(self, input: Tensor) -> Tensor:
        return input * self.weight + self.bias if self.reading.flow else super().forward(input)
