"""What is measured of a translation model: token loss and accuracy, and BLEU of what it really writes."""

from __future__ import annotations

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
    """Loss and accuracy a token on the validation and the test split, BLEU on the test split.

    The corpus's vocabularies are in the order source, target; its lines hold the raw "test_source" and "test_target".
    BLEU compares the output's tokens with those of the raw reference: a word outside the vocabulary is never matched.
    `bleu_raw` takes the raw reference's words as they stand between spaces, "dog." among them, as the paper's example.
    """

    splits = ("val", "test")

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
        """Translate the test split; BLEU and its parts. Keeps the first translations as examples."""
        numbers = decode.translate(model, self.sources, self.device, self.args.beam)
        tokens = [[self.target_words[k] for k in row] for row in numbers]
        lines = [text.detokenize(row, self.args.tgt) for row in tokens]
        rows = list(zip(self.source_lines, self.target_lines, lines, strict=True))[:EXAMPLES]
        self.examples = [dict(zip(("source", "reference", "output"), row, strict=True)) for row in rows]
        found = bleu.bleu(tokens, self.references, self.args.bleu_weights)
        raw = bleu.bleu(tokens, [line.split() for line in self.target_lines], self.args.bleu_weights)["bleu"]
        return {**found, "bleu_raw": raw, "sacrebleu": bleu.sacrebleu(lines, self.target_lines)}

    def measure(
        self, model: nn.Module, loss: Callable, point: str, known: Mapping[str, float] = MappingProxyType({})
    ) -> dict[str, float]:
        figures = super().measure(model, loss, point, known)
        if point != "init" and not known:  # an untrained network translates nothing
            self.found[point] = self.score(model)
            figures["bleu"] = self.found[point]["bleu"]
        return figures

    def after_epoch(self, model: nn.Module, loss: Callable, epoch: int) -> dict[str, float]:
        figures = super().after_epoch(model, loss, epoch)
        if self.args.bleu_every and epoch % self.args.bleu_every == 0:
            figures["bleu"] = self.score(model)["bleu"]
        return figures

    def inputs(self) -> Iterable[Any]:
        """Test sources, each with the first test sentence's reference: what differs is the source alone."""
        test = cast(Sentences, self.loaders["test"].examples)
        prefix = test.target(0)[:-1].unsqueeze(0)
        return (Pairs(data.source, prefix.to(data.source.device).expand(len(data), -1)) for data in super().inputs())

    def state(self) -> dict[str, Any]:
        return {"found": self.found, "examples": self.examples}

    def restore(self, state: dict[str, Any]) -> None:
        self.found, self.examples = state["found"], state["examples"]

    def findings(self) -> dict[str, Any]:
        """BLEU and its parts at each point, and the last example translations."""
        settings = {key: getattr(self.args, key) for key in ("src", "tgt", "test_set", "beam", "bleu_weights")}
        last = {"final": self.found["post_prune"]} if "post_prune" in self.found else {}  # where nothing came after it
        return {"translation": {**settings, **last, **self.found, "examples": self.examples}}

    def words(self) -> str:
        lines = []
        for point, found in self.found.items():
            parts = ", ".join(f"BLEU-{n} {found[f'bleu_{n}']:.2f}" for n in range(1, 5))
            precisions = " / ".join(f"{value:.1f}" for value in found["precisions"])
            lines.append(
                f"BLEU {point}: {found['bleu']:.2f} ({parts}; precisions {precisions}; "
                f"brevity penalty {found['brevity_penalty']:.3f}; sacreBLEU {found['sacrebleu']:.2f})"
            )
        for example in self.examples[:SHOWN]:
            lines += [f"{key.capitalize():>9}: {line}" for key, line in example.items()]
        return "".join(f"{line}\n" for line in lines)
