"""BLEU (Papineni et al. 2002) of a test set, and what it is made of. All figures in percent."""

from __future__ import annotations

from collections.abc import Sequence


def bleu(outputs: Sequence[Sequence[str]], references: Sequence[Sequence[str]], weights: Sequence[float]) -> dict:
    """{bleu, bleu_1 ... bleu_4, precisions, brevity_penalty} of tokenised sentences, one reference each.

    bleu: with `weights` for the n-gram orders 1, 2, ... (scaled to sum to one); bleu_n: with equal weights up to n;
    precisions: of n = 1 to 4, clipped; brevity_penalty: in (0, 1], or 0 where there is no output.
    """
    from torchmetrics.text import BLEUScore

    lines = [" ".join(tokens) for tokens in outputs]
    wanted = [[" ".join(tokens)] for tokens in references]

    def measured(weights: Sequence[float]) -> BLEUScore:
        metric = BLEUScore(n_gram=len(weights), weights=[w / sum(weights) for w in weights])
        metric.update(lines, wanted)
        return metric

    found = {"bleu": 100.0 * float(measured(weights).compute())}
    by_order = [measured([1.0 / n] * n) for n in range(1, 5)]
    found |= {f"bleu_{n}": 100.0 * float(metric.compute()) for n, metric in enumerate(by_order, 1)}
    counts = by_order[-1]
    hits, tries = counts.numerator.tolist(), counts.denominator.tolist()
    ours, theirs = float(counts.preds_len), float(counts.target_len)
    found["precisions"] = [100.0 * hit / all_ if all_ else 0.0 for hit, all_ in zip(hits, tries, strict=True)]
    found["brevity_penalty"] = _brevity(ours, theirs)
    return found


def _brevity(ours: float, theirs: float) -> float:
    """exp(1 - r / c) for an output of length c shorter than its reference's r, else 1."""
    import math

    if ours == 0.0:
        return 0.0
    return 1.0 if ours >= theirs else math.exp(1.0 - theirs / ours)


def sacrebleu(outputs: Sequence[str], references: Sequence[str]) -> float:
    """BLEU of running text under sacreBLEU's own tokenizer 13a (Post 2018), comparable across papers."""
    from torchmetrics.text import SacreBLEUScore

    return 100.0 * float(SacreBLEUScore()(list(outputs), [[line] for line in references]))
