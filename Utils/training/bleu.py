"""BLEU (Papineni et al. 2002) of a test set, and its parts, in percent."""

import math
from collections.abc import Sequence

from torchmetrics.text import BLEUScore, SacreBLEUScore


def bleu(outputs: Sequence[Sequence[str]], references: Sequence[Sequence[str]], weights: Sequence[float]) -> dict:
    """Return {bleu, bleu_1 ... bleu_4, precisions, brevity_penalty} of tokenised sentences, one reference each.

    bleu: with `weights` for the n-gram orders 1, 2, ... (scaled to sum to one).
    bleu_n: with equal weights up to order n.
    precisions: clipped, for n = 1 to 4.
    brevity_penalty: in [0, 1], not in percent; 0 if there is no output.
    """
    lines = [" ".join(tokens) for tokens in outputs]
    wanted = [[" ".join(tokens)] for tokens in references]

    def measured(weights: Sequence[float]) -> BLEUScore:
        metric = BLEUScore(n_gram=len(weights), weights=[w / sum(weights) for w in weights])
        metric.update(lines, wanted)
        return metric

    chosen = measured(weights)
    # torchmetrics returns 0 if any order has no match, even an order of weight 0.
    value = float(chosen.compute()) if all(weights) else _geometric(chosen, weights)
    by_order = [measured([1.0 / n] * n) for n in range(1, 5)]
    return {
        "bleu": 100.0 * value,
        **{f"bleu_{n}": 100.0 * float(metric.compute()) for n, metric in enumerate(by_order, 1)},
        "precisions": [100.0 * share for share in _precisions(by_order[-1])],
        "brevity_penalty": _brevity(by_order[-1]),
    }


def _precisions(counts: BLEUScore) -> list[float]:
    pairs = zip(counts.numerator.tolist(), counts.denominator.tolist(), strict=True)
    return [hits / tries if tries else 0.0 for hits, tries in pairs]


def _brevity(counts: BLEUScore) -> float:
    """Return exp(1 - r / c) if the output's length c is below the reference's length r, else 1."""
    ours, theirs = float(counts.preds_len), float(counts.target_len)
    if ours == 0.0:
        return 0.0
    return 1.0 if ours >= theirs else math.exp(1.0 - theirs / ours)


def _geometric(counts: BLEUScore, weights: Sequence[float]) -> float:
    """Return the weighted geometric mean of the precisions times the brevity penalty.

    Orders of weight 0 do not count.
    """
    terms = [(w, share) for w, share in zip(weights, _precisions(counts), strict=True) if w]
    if not all(share for _, share in terms):
        return 0.0
    return _brevity(counts) * math.exp(sum(w * math.log(share) for w, share in terms) / sum(weights))


def sacrebleu(outputs: Sequence[str], references: Sequence[str]) -> float:
    """Return BLEU of running text with sacreBLEU's own tokenizer 13a (Post 2018), which is comparable across papers."""
    return 100.0 * float(SacreBLEUScore()(list(outputs), [[line] for line in references]))
