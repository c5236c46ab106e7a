"""Cross entropy that is quick for outputs as wide as a vocabulary."""

import torch
from torch import Tensor, nn

from Layers import fast

BLOCK = 1 << 20  # logits that a CPU processes at a time, so that they stay in its cache


class CrossEntropy(nn.CrossEntropyLoss):
    """The mean cross entropy of logits [n, classes] and targets [n], in float32 or a wider type.

    label_smoothing: this share of each target is spread over all classes (Szegedy et al. 2016).
    On a CPU, large inputs are computed block by block, and the gradient in the same pass. So neither log-probabilities
    nor float32 copies of all logits are written to memory. A GPU would wait for the launch of each block's kernels.
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__(label_smoothing=label_smoothing)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        if input.device.type != "cpu" or input.dim() != 2 or input.numel() <= BLOCK or not fast.used():
            return super().forward(_wide(input), target)
        return _Blocks.apply(input, target, self.label_smoothing)


def _wide(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits


class _Blocks(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits: Tensor, target: Tensor, smoothing: float) -> Tensor:
        wanted = ctx.needs_input_grad[0]
        gradient = torch.empty_like(logits) if wanted else None
        rows = max(1, BLOCK // logits.shape[1])
        each = smoothing / logits.shape[1]  # the target of every class; the right one has 1 - smoothing beside it
        total = _wide(logits.new_zeros(()))
        for a in range(0, len(logits), rows):
            here = slice(a, a + rows)
            likely = _wide(logits[here]).log_softmax(1)
            index = target[here].unsqueeze(1)
            own = likely.gather(1, index)
            total = total - own.sum() if not smoothing else total - (1 - smoothing) * own.sum() - each * likely.sum()
            if gradient is not None:  # (softmax - targets) / n
                likely.exp_().scatter_(1, index, own.exp() - (1 - smoothing))
                likely = (likely.sub_(each) if smoothing else likely).div_(len(logits))
                gradient[here] = likely
        if wanted:
            ctx.save_for_backward(logits, target)
            ctx.gradient, ctx.smoothing = gradient, smoothing
        return total / len(logits)

    @staticmethod
    def backward(ctx, slope: Tensor) -> tuple[Tensor, None, None]:
        if torch.is_grad_enabled():  # to be differentiated again: as an expression of the logits
            logits, target = ctx.saved_tensors
            share = _wide(logits).softmax(1)
            right = torch.full_like(share[:, :1], 1 - ctx.smoothing)
            share = share - ctx.smoothing / logits.shape[1] if ctx.smoothing else share
            share = share.scatter_add(1, target.unsqueeze(1), -right) / len(logits)
            return (slope * share).to(logits.dtype), None, None
        return ctx.gradient * slope.to(ctx.gradient.dtype), None, None
