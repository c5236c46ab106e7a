"""The evaluation of a translation model: loss and accuracy per token, and BLEU of its translations."""

from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import nn

from Layers.pairs import Pairs
from Utils.data import text
from Utils.data.corpus import Corpus
from Utils.data.examples import Sentences
from Utils.training import bleu, decode
from Utils.training.evaluate import Accuracy

EXAMPLES, SHOWN = 10, 3  # translations in result.json, and on the console


class Translation(Accuracy):
    """The loss and accuracy per token on the validation and test splits, and BLEU on the test split.

    The corpus has vocabularies in the order source, target, and the raw lines "test_source" and "test_target". `bleu`
    compares tokens of the output with tokens of the raw reference, so a word outside the vocabulary never matches.
    `bleu_raw` splits the raw reference at spaces only ("dog." is a word), like the paper's example.
    """

    splits = ("validation", "val", "test")  # held out of the training split; published; published

    def __init__(self, data: Corpus, args: Namespace, device: torch.device) -> None:
        super().__init__(data, args, device)
        self.args = args
        self.target_words = data.words[args.tgt]
        self.source_lines, self.target_lines = data.lines["test_source"], data.lines["test_target"]
        test = cast(Sentences, data.splits["test"])
        self.sources = [test.source(k) for k in range(len(test))]
        tokenize = text.tokenizer(f"spacy:{args.tgt}")
        self.references = [tokenize(line) for line in self.target_lines]
        self.found: dict[str, dict[str, Any]] = {}
        self.examples: list[dict[str, str]] = []

    def score(self, model: nn.Module) -> dict[str, Any]:
        """Translate the test split; return BLEU and its parts. The first translations are kept as examples."""
        numbers = decode.translate(model, self.sources, self.device, self.args.beam)
        tokens = [[self.target_words[k] for k in row] for row in numbers]
        lines = [text.detokenize(row, self.args.tgt) for row in tokens]
        rows = list(zip(self.source_lines, self.target_lines, lines, strict=True))[:EXAMPLES]
        self.examples = [dict(zip(("source", "reference", "output"), row, strict=True)) for row in rows]
        scores = bleu.bleu(tokens, self.references, self.args.bleu_weights)
        raw = bleu.bleu(tokens, [line.split() for line in self.target_lines], self.args.bleu_weights)["bleu"]
        return {**scores, "bleu_raw": raw, "sacrebleu": bleu.sacrebleu(lines, self.target_lines)}

    def measure(
        self, model: nn.Module, loss: Callable, point: str, known: Mapping[str, float] = MappingProxyType({})
    ) -> dict[str, float]:
        """Evaluate the splits as `Accuracy` does, and BLEU except at "init".

        An untrained network translates nothing.
        """
        figures = super().measure(model, loss, point, known)
        if point != "init" and not known:  # an untrained network translates nothing
            self.found[point] = self.score(model)
            figures["bleu"] = self.found[point]["bleu"]
        return figures

    def after_epoch(self, model: nn.Module, loss: Callable, epoch: int) -> dict[str, float]:
        """Evaluate the validation and test splits, with BLEU of the test split every `bleu_every` epochs."""
        figures = super().after_epoch(model, loss, epoch)
        if self.args.bleu_every and epoch % self.args.bleu_every == 0:
            figures["bleu"] = self.score(model)["bleu"]
        return figures

    def inputs(self) -> Iterable[Any]:
        """Return test sources, each with the reference of the first test sentence, so that only the source differs."""
        test = cast(Sentences, self.loaders["test"].examples)
        prefix = test.target(0)[:-1].unsqueeze(0)
        return (Pairs(data.source, prefix.to(data.source.device).expand(len(data), -1)) for data in super().inputs())

    def state(self) -> dict[str, Any]:
        """Return BLEU at each point and the example translations."""
        return {"found": self.found, "examples": self.examples}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from the findings in `state`."""
        self.found, self.examples = state["found"], state["examples"]

    def findings(self) -> dict[str, Any]:
        """Return BLEU and its parts at each point, and the latest example translations."""
        settings = {key: getattr(self.args, key) for key in ("src", "tgt", "test_set", "beam", "bleu_weights")}
        last = {"final": self.found["post_prune"]} if "post_prune" in self.found else {}  # if nothing changed after it
        return {"translation": {**settings, **last, **self.found, "examples": self.examples}}

    def words(self) -> str:
        """Return lines with BLEU at each point and the first example translations."""
        lines = []
        for point, scores in self.found.items():
            parts = ", ".join(f"BLEU-{n} {scores[f'bleu_{n}']:.2f}" for n in range(1, 5))
            precisions = " / ".join(f"{value:.1f}" for value in scores["precisions"])
            lines.append(
                f"BLEU {point}: {scores['bleu']:.2f} ({parts}; precisions {precisions}; "
                f"brevity penalty {scores['brevity_penalty']:.3f}; sacreBLEU {scores['sacrebleu']:.2f})"
            )
        for example in self.examples[:SHOWN]:
            lines += [f"{key.capitalize():>9}: {line}" for key, line in example.items()]
        return "".join(f"{line}\n" for line in lines)
