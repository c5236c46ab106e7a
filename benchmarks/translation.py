"""Training and decoding of the translation model against a tutorial's form of it, on Multi30k.

    python -m benchmarks.translation [--rounds 6] [--steps 4] [--run RUN] [--source auto]

The tutorial's form: torch.nn.Transformer, random batches padded to their longest sentence, logits at every position and
CrossEntropyLoss(ignore_index), torch.optim.Adam; sentences are translated one by one, and every step runs the decoder
over all that is written so far. It is given token numbers, so that its tokenizing is not counted. All ways start from
the same weights; rounds of steps are timed in turn. Speed is in real tokens, padding not counted.

--run: a finished run whose weights the decoding is timed with; else it is what the timed steps have trained.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from typing import cast

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from benchmarks import pairs
from Layers.pairs import BOS, EOS, PAD
from Utils import generator, load
from Utils.commandline import arguments as commandline
from Utils.data import corpus
from Utils.data.examples import Sentences
from Utils.machine import memory
from Utils.store import weights
from Utils.training import decode
from Utils.training.adam import Adam
from Utils.training.evaluate import evaluate
from Utils.training.loss import CrossEntropy
from Utils.training.train import train_epoch

CPU = torch.device("cpu")
BATCH = 128
WAYS = {"fp32": None, "bf16": torch.bfloat16}


class Tutorial(nn.Module):
    """The tutorial's network."""

    def __init__(self, source_words: int, target_words: int) -> None:
        super().__init__()
        self.transformer = nn.Transformer(512, 8, 3, 3, 512, 0.1, batch_first=True)
        self.generator = nn.Linear(512, target_words)
        self.src_tok_emb = nn.ModuleDict({"embedding": nn.Embedding(source_words, 512)})
        self.tgt_tok_emb = nn.ModuleDict({"embedding": nn.Embedding(target_words, 512)})
        frequencies = torch.exp(-torch.arange(0, 512, 2) * math.log(10_000) / 512)
        angles = torch.arange(1000).unsqueeze(1) * frequencies
        self.register_buffer("positions", torch.stack([angles.sin(), angles.cos()], 2).flatten(1), persistent=False)
        self.dropout = nn.Dropout(0.1)

    def embed(self, table: nn.ModuleDict, tokens):
        return self.dropout(table["embedding"](tokens) * math.sqrt(512) + self.positions[: tokens.shape[1]])

    def forward(self, source, target):
        hidden = self.transformer(
            self.embed(self.src_tok_emb, source),
            self.embed(self.tgt_tok_emb, target),
            tgt_mask=ahead(target.shape[1]),
            src_key_padding_mask=source == PAD,
            tgt_key_padding_mask=target == PAD,
            memory_key_padding_mask=source == PAD,
        )
        return self.generator(hidden)

    @torch.no_grad()
    def greedy(self, source) -> list[int]:
        memory = self.transformer.encoder(self.embed(self.src_tok_emb, source))
        written = torch.full((1, 1), BOS)
        for _ in range(source.shape[1] + decode.LONGER - 1):
            hidden = self.transformer.decoder(self.embed(self.tgt_tok_emb, written), memory, ahead(written.shape[1]))
            token = self.generator(hidden[:, -1]).argmax(1)
            if token == EOS:
                break
            written = torch.cat([written, token.unsqueeze(1)], dim=1)
        return written[0, 1:].tolist()


def ahead(length: int):
    """True where a position must not look."""
    return torch.ones(length, length, dtype=torch.bool).triu(1)


def rows(examples) -> list[tuple]:
    """(source, target) of each pair, <bos> words <eos> in both."""
    sides = []
    for ids, offsets in (
        (examples.source_ids, examples.source_offsets),
        (examples.target_ids, examples.target_offsets),
    ):
        sides.append([part.long() for part in ids.split(offsets.diff().tolist())])
    return list(zip(*sides, strict=True))


class Plain:
    """Training as a tutorial does it."""

    def __init__(self, data: corpus.Corpus, state: dict) -> None:
        self.rows, self.model = rows(data.train), Tutorial(data.shape[0], data.num_classes)
        self.model.load_state_dict(state)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-4, betas=(0.9, 0.98), eps=1e-9)
        self.loss = nn.CrossEntropyLoss(ignore_index=PAD)
        self.order = torch.randperm(len(self.rows), generator=torch.Generator().manual_seed(1)).tolist()
        self.tokens = 0

    def train(self, steps: int) -> None:
        self.model.train()
        for _ in range(steps):
            batch, self.order = self.order[:BATCH], self.order[BATCH:]
            source, target = (
                pad_sequence(list(side), batch_first=True, padding_value=PAD)
                for side in zip(*(self.rows[k] for k in batch), strict=True)
            )
            self.optimizer.zero_grad()
            logits = self.model(source, target[:, :-1])
            self.loss(logits.flatten(0, 1), target[:, 1:].flatten()).backward()
            self.optimizer.step()
            self.tokens += int((source != PAD).sum() + (target[:, 1:] != PAD).sum())


class Ours:
    """The same through this project's routines."""

    def __init__(self, data: corpus.Corpus, state: dict, amp: torch.dtype | None) -> None:
        self.model, self.amp = load.model("seq2seq", "nlp")(data.shape, data.num_classes), amp
        self.model.load_state_dict(state, strict=False)
        self.optimizer = Adam(generator.parameters(self.model), lr=1e-4, betas=(0.9, 0.98), eps=1e-9)
        self.optimizer.attach(self.model)
        self.batches = iter(load.dataloader(data, BATCH, True, seed=1))
        self.tokens = 0

    def train(self, steps: int) -> None:
        batches = [next(self.batches) for _ in range(steps)]
        train_epoch(self.model, CrossEntropy(), self.optimizer, batches, CPU, amp=self.amp)
        self.tokens += sum(int((data.source != PAD).sum()) + len(target) for data, target in batches)


def weights_of(model: nn.Module) -> dict:
    return {name: value.clone() for name, value in model.state_dict().items() if not name.endswith("_mask")}


def begin(data: corpus.Corpus) -> dict:
    torch.manual_seed(1)
    return weights_of(load.model("seq2seq", "nlp")(data.shape, data.num_classes))


def validation_loss(data: corpus.Corpus, state: dict) -> float:
    model = load.model("seq2seq", "nlp")(data.shape, data.num_classes)
    model.load_state_dict(state, strict=False)
    loader = load.dataloader(data, BATCH, False)
    return evaluate(model, nn.CrossEntropyLoss(), loader, CPU)["loss"]


def training(data: corpus.Corpus, rounds: int, steps: int) -> tuple[dict, dict]:
    """(figures, the weights that bf16 has trained)."""
    state = begin(data)
    ways: dict[str, Plain | Ours] = {
        "plain": Plain(data, state),
        **{name: Ours(data, state, amp) for name, amp in WAYS.items()},
    }
    speed: dict[str, list[float]] = {name: [] for name in ways}
    for k in range(rounds + 1):
        for name in list(ways) if k % 2 == 0 else reversed(ways):
            before = ways[name].tokens
            seconds = pairs.timed(functools.partial(ways[name].train, steps))
            speed[name].append((ways[name].tokens - before) / seconds)
        print(", ".join(f"{name} {found[-1]:.0f} tokens/s" for name, found in speed.items()), flush=True)
    speed = {name: found[1:] for name, found in speed.items()}  # the first round warms up
    ratios = {name: [ours / plain for ours, plain in zip(speed[name], speed["plain"], strict=True)] for name in WAYS}
    figures = {
        "rounds": rounds,
        "steps_a_round": steps,
        "tokens_per_second": {name: statistics.median(found) for name, found in speed.items()},
        "ratio": {name: statistics.median(found) for name, found in ratios.items()},
        "ratio_lowest": {name: min(found) for name, found in ratios.items()},
        "ratio_highest": {name: max(found) for name, found in ratios.items()},
        "test_loss_after_all_steps": {name: validation_loss(data, weights_of(way.model)) for name, way in ways.items()},
        "steps": (rounds + 1) * steps,
    }
    return figures, weights_of(ways["bf16"].model)


def decoding(data: corpus.Corpus, state: dict, sentences: int, parts: int = 5) -> dict:
    ours, plain = load.model("seq2seq", "nlp")(data.shape, data.num_classes), Tutorial(data.shape[0], data.num_classes)
    ours.load_state_dict(state, strict=False)
    plain.load_state_dict(state)
    plain.eval()
    test = cast(Sentences, data.test)
    sources = [test.source(k) for k in range(min(sentences, len(test)))]
    part = -(-len(sources) // parts)
    seconds: dict[str, list[float]] = {"plain": [], "ours": []}
    theirs: list[list[int]] = []
    mine: list[list[list[int]]] = []
    for a in range(0, len(sources), part):
        begun = len(theirs)
        some = (plain.greedy(source.unsqueeze(0)) for source in sources[a : a + part])  # run as they are asked for
        spent = pairs.timed(functools.partial(theirs.extend, some))
        seconds["plain"].append(spent * len(sources) / (len(theirs) - begun))
        seconds["ours"].append(pairs.timed(lambda: mine.append(decode.translate(ours, sources, CPU))))
        print(f"decoding: {seconds['plain'][-1]:.0f} s against {seconds['ours'][-1]:.1f} s", flush=True)
    return {
        "sentences": len(sources),
        "tokens_written": sum(map(len, theirs)),
        "sentences_identical": sum(a == b for a, b in zip(theirs, mine[-1], strict=True)),
        **pairs.summary(seconds["plain"], seconds["ours"]),
    }


def peak(args: argparse.Namespace, data: corpus.Corpus) -> None:
    """Print the peak memory of this process, in MiB, after some training in one way."""
    state = begin(data)
    way = Plain(data, state) if args.peak == "plain" else Ours(data, state, WAYS[args.peak])
    del state
    way.train(args.steps * 2)
    print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=6)
    arguments.add_argument("--steps", type=int, default=4)
    arguments.add_argument("--sentences", type=int, default=1000)
    arguments.add_argument("--run", help="finished run to decode with")
    arguments.add_argument("--source", default="auto", choices=corpus.SOURCES)
    arguments.add_argument("--peak", choices=("plain", *WAYS), help=argparse.SUPPRESS)
    args = arguments.parse_args()
    memory.keep_freed()
    chosen = commandline.parse(["--dataset", "multi30k", "--source", args.source])
    data = corpus.load(corpus.locate(load.configured(chosen), Path(chosen.data_dir), args.source))
    if args.peak:
        peak(args, data)
        return
    command = [sys.executable, "-m", "benchmarks.translation", "--source", data.source, "--steps", str(args.steps)]
    peaks = {
        way: json.loads(
            subprocess.run([*command, "--peak", way], check=True, capture_output=True).stdout.splitlines()[-1]
        )
        for way in ("plain", *WAYS)
    }
    print("peak MiB:", peaks, flush=True)
    trained, state = training(data, args.rounds, args.steps)
    if args.run:
        model = load.model("seq2seq", "nlp")(data.shape, data.num_classes)
        weights.load(model, weights.find("--run", args.run))
        state = weights_of(model)
    pairs.save(
        "translation" if data.source == "real" else f"translation_{data.source}",
        {
            "source": data.source,
            "training": trained,
            "decoding": decoding(data, state, args.sentences),
            "decoded_with": "a finished run" if args.run else f"the weights after {trained['steps']} steps",
            "peak_mib": peaks,
        },
    )


if __name__ == "__main__":
    main()
