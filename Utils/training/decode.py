"""Translation with a trained model: greedy decoding and beam search, for whole test sets in batches.

The model has `begin(source, room) -> state`, `step(tokens, state) -> logits` and `likeliest_step(tokens, state) ->
tokens`. Its states have `keep(rows)`. So each step computes one position only (see Models.seq2seq).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from Layers import fast
from Layers.modes import modes_kept
from Layers.pairs import BOS, EOS, PAD

LONGER = 5  # a translation has at most this many tokens more than its source, both with <bos> and <eos>
BATCH = 256  # sentences decoded together
GPU_BATCH = 2048  # the same on a GPU, which takes hardly longer for more
MANY = 64  # sentences, and more, for which a model is compiled first
WORTH_IT = 0.75  # finished sentences are removed from the batch when at most this share is unfinished


def batch_size(device: torch.device) -> int:
    """Return how many sentences are decoded together at most; with a beam, each hypothesis counts as one."""
    return BATCH if device.type == "cpu" else GPU_BATCH


@torch.no_grad()
def translate(model: nn.Module, sources: Sequence[Tensor], device: torch.device, beam: int = 1) -> list[list[int]]:
    """Translate `sources` (each [S], <bos> words <eos>); return token numbers without <bos> and <eos>, in order.

    beam: 1 takes the likeliest token at each step; K > 1 keeps the K likeliest hypotheses, see `beam_search`.
    """
    translations: list[list[int]] = [[] for _ in sources]
    order = sorted(range(len(sources)), key=lambda k: len(sources[k]))
    size = max(1, batch_size(device) // beam)
    with modes_kept(model), fast.products_kept(model):
        model.eval()
        if fast.used() and device.type == "cpu" and len(sources) >= MANY:
            from Utils.export import translation  # which imports this module

            model = translation.translator(model) or model
        for a in range(0, len(order), size):
            numbers = order[a : a + size]
            source = pad_sequence([sources[k] for k in numbers], batch_first=True, padding_value=PAD).to(device)
            limits = torch.tensor([len(sources[k]) + LONGER - 1 for k in numbers], device=device)
            rows = greedy(model, source, limits) if beam == 1 else beam_search(model, source, limits, beam)
            for k, row in zip(numbers, rows, strict=True):
                translations[k] = row
    return translations


def greedy(model: nn.Module, source: Tensor, limits: Tensor) -> list[list[int]]:
    """Translate `source` [B, S], taking the likeliest token at each step; return token numbers without <eos>.

    limits: [B] the most tokens of each translation, including <eos>.
    """
    most: list[int] = limits.tolist()
    said: list[list[int]] = [[] for _ in most]
    state = model.begin(source, max(most))
    rows, tokens = list(range(len(source))), torch.full((len(source),), BOS, device=source.device)
    while True:
        tokens = model.likeliest_step(tokens, state)
        for row, token in zip(rows, tokens.tolist(), strict=True):
            if _unfinished(said[row], most[row]):
                said[row].append(token)
        going = [k for k, row in enumerate(rows) if _unfinished(said[row], most[row])]
        if not going:
            return [_to_end(row) for row in said]
        if len(going) <= WORTH_IT * len(rows):
            kept = torch.tensor(going, device=source.device)
            state.keep(kept)
            rows, tokens = [rows[k] for k in going], tokens[kept]


def _unfinished(tokens: list[int], most: int) -> bool:
    return len(tokens) < most and tokens[-1:] != [EOS]


def _to_end(tokens: list[int]) -> list[int]:
    return tokens[: tokens.index(EOS)] if EOS in tokens else tokens


def beam_search(model: nn.Module, source: Tensor, limits: Tensor, beam: int) -> list[list[int]]:
    """Do the same as `greedy`, with the `beam` likeliest hypotheses of each sentence at each step.

    A hypothesis that ends with <eos> or reaches its limit is complete and leaves the beam. The translation is the
    complete hypothesis with the highest mean log-probability per token, including <eos>.
    """
    count, length = len(source), int(limits.max())
    state = model.begin(source, length)
    state.keep(torch.arange(count, device=source.device).repeat_interleave(beam))
    total = torch.full((count, beam), -torch.inf, device=source.device)
    total[:, 0] = 0.0  # all hypotheses are the same at first
    begun = torch.full((count, beam, length), EOS, device=source.device)
    tokens = torch.full((count * beam,), BOS, device=source.device)
    best, best_mean = begun[:, 0].clone(), torch.full((count,), -torch.inf, device=source.device)
    first = torch.arange(count, device=source.device).unsqueeze(1) * beam
    for position in range(length):
        gain = model.step(tokens, state).log_softmax(1).unflatten(0, (count, beam))
        total, indices = (total.unsqueeze(2) + gain).flatten(1).topk(beam, dim=1)
        parents, tokens = indices // gain.shape[2], indices % gain.shape[2]
        begun = begun.gather(1, parents.unsqueeze(2).expand_as(begun))
        begun[:, :, position] = tokens
        over = (tokens == EOS) | (limits.unsqueeze(1) <= position + 1)
        mean, which = torch.where(over, total / (position + 1), -torch.inf).max(1)
        better = mean > best_mean
        best_mean = torch.where(better, mean, best_mean)
        best[better] = begun[better, which[better]]
        total = total.masked_fill(over, -torch.inf)
        if total.isneginf().all():
            break
        state.keep((first + parents).flatten())
        tokens = tokens.flatten()
    return [_to_end(row[:limit]) for row, limit in zip(best.tolist(), limits.tolist(), strict=True)]
