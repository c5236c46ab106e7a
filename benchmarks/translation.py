"""Training and decoding of the translation model against a tutorial's form of it, on Multi30k.

    python -m benchmarks.translation [--rounds 6] [--steps 4] [--run RUN] [--source auto]

The tutorial's form: torch.nn.Transformer, random batches padded to their longest sentence, logits at every position and
CrossEntropyLoss(ignore_index), torch.optim.Adam; sentences are translated one by one, and every step runs the decoder
over all that is written so far. It is given token numbers, so that its tokenizing is not counted. All ways start from
the same weights; rounds of steps are timed in turn. Speed is in real tokens, padding not counted.

--run: a finished run whose weights the decoding is timed with; else it is what the timed steps have trained.
"""

import json
import math
import statistics
from argparse import Namespace
from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from benchmarks import scaffold
from Layers.pairs import BOS, EOS, PAD
from Utils import generator, load
from Utils.data import corpus
from Utils.data.examples import Sentences
from Utils.machine import memory
from Utils.store import weights
from Utils.training import decode
from Utils.training.adam import Adam
from Utils.training.evaluate import evaluate
from Utils.training.loss import CrossEntropy
from Utils.training.train import train_epoch

BATCH = 128
PARTS = 5  # of the sentences, which the tutorial's form translates one after the other
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


def rows(examples: Sentences) -> list[tuple[Tensor, Tensor]]:
    """(source, target) of each pair, <bos> words <eos> in both."""
    return [(examples.source(k), examples.target(k)) for k in range(len(examples))]


class Plain:
    """Training as a tutorial does it."""

    def __init__(self, data: corpus.Corpus, state: dict) -> None:
        self.rows, self.model = rows(cast(Sentences, data.train)), Tutorial(data.shape[0], data.num_classes)
        self.model.load_state_dict(state)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-4, betas=(0.9, 0.98), eps=1e-9)
        self.order = torch.randperm(len(self.rows), generator=torch.Generator().manual_seed(1)).tolist()
        self.tokens = 0

    def batches(self, steps: int) -> Iterator[tuple[Tensor, ...]]:
        for _ in range(steps):
            batch, self.order = self.order[:BATCH], self.order[BATCH:]
            source, target = (
                pad_sequence(list(side), batch_first=True, padding_value=PAD)
                for side in zip(*(self.rows[k] for k in batch), strict=True)
            )
            yield source, target[:, :-1], target[:, 1:]
            self.tokens += int((source != PAD).sum() + (target[:, 1:] != PAD).sum())

    def train(self, steps: int) -> None:
        loss = nn.CrossEntropyLoss(ignore_index=PAD)

        def flat(logits: Tensor, target: Tensor) -> Tensor:
            return loss(logits.flatten(0, 1), target.flatten())

        scaffold.plain_steps(self.model, flat, self.optimizer, self.batches(steps))


def network(data: corpus.Corpus, state: dict | None = None) -> nn.Module:
    """Return our network, with these weights or those that it draws."""
    model = load.model("seq2seq", "nlp")(data.shape, data.num_classes)
    model.load_state_dict(state or {}, strict=False)
    return model


class Ours:
    """The same through this project's routines."""

    def __init__(self, data: corpus.Corpus, state: dict, amp: torch.dtype | None) -> None:
        self.model, self.amp = network(data, state), amp
        self.optimizer = Adam(generator.parameters(self.model), lr=1e-4, betas=(0.9, 0.98), eps=1e-9)
        self.optimizer.attach(self.model)
        self.batches = iter(load.dataloader(data, BATCH, True, seed=1))
        self.tokens = 0

    def train(self, steps: int) -> None:
        batches = [next(self.batches) for _ in range(steps)]
        train_epoch(self.model, CrossEntropy(), self.optimizer, batches, scaffold.CPU, amp=self.amp)
        self.tokens += sum(int((data.source != PAD).sum()) + len(target) for data, target in batches)


def weights_of(model: nn.Module) -> dict:
    return {name: value.clone() for name, value in model.state_dict().items() if not name.endswith("_mask")}


def begin(data: corpus.Corpus) -> dict:
    torch.manual_seed(1)
    return weights_of(network(data))


def validation_loss(data: corpus.Corpus, state: dict) -> float:
    loader = load.dataloader(data, BATCH, False)
    return evaluate(network(data, state), nn.CrossEntropyLoss(), loader, scaffold.CPU)["loss"]


def training(data: corpus.Corpus, rounds: int, steps: int) -> tuple[dict, dict]:
    """Return (figures, the weights that bf16 has trained)."""
    state = begin(data)
    ours = {name: Ours(data, state, amp) for name, amp in WAYS.items()}
    ways: dict[str, Plain | Ours] = {"plain": Plain(data, state), **ours}

    def speed(way: Plain | Ours) -> float:
        before = way.tokens
        seconds = scaffold.timed(partial(way.train, steps))
        return (way.tokens - before) / seconds

    bodies = {name: partial(speed, way) for name, way in ways.items()}
    found = scaffold.in_turn(bodies, rounds, report=lambda latest: print("tokens a second:", latest, flush=True))
    figures: dict[str, Any] = {
        "rounds": rounds,
        "steps_a_round": steps,
        "tokens_per_second": {name: statistics.median(each) for name, each in found.items()},
        "test_loss_after_all_steps": {name: validation_loss(data, weights_of(way.model)) for name, way in ways.items()},
        "steps": (rounds + 1) * steps,
    }
    for name in WAYS:
        for key, value in scaffold.spread("ratio", found[name], found["plain"]).items():
            figures.setdefault(key, {})[name] = value
    return figures, weights_of(ways["bf16"].model)


def decoding(data: corpus.Corpus, state: dict, sentences: int) -> dict:
    ours, plain = network(data, state), Tutorial(data.shape[0], data.num_classes)
    plain.load_state_dict(state)
    plain.eval()
    test = cast(Sentences, data.test)
    sources = [test.source(k) for k in range(min(sentences, len(test)))]
    part = -(-len(sources) // PARTS)
    theirs: list[list[int]] = []
    mine: list[list[list[int]]] = []

    def of_plain() -> float:
        """Return the seconds that all sentences would take, from those of the next part of them."""
        some = sources[len(theirs) : len(theirs) + part]
        spent = scaffold.timed(lambda: theirs.extend(plain.greedy(source.unsqueeze(0)) for source in some))
        return spent * len(sources) / len(some)

    def of_ours() -> float:
        return scaffold.timed(lambda: mine.append(decode.translate(ours, sources, scaffold.CPU)))

    rounds = -(-len(sources) // part)
    ways = {"plain": of_plain, "ours": of_ours}
    seconds = scaffold.in_turn(ways, rounds, 0, lambda latest: print("decoding:", latest))
    return {
        "sentences": len(sources),
        "tokens_written": sum(map(len, theirs)),
        "sentences_identical": sum(a == b for a, b in zip(theirs, mine[-1], strict=True)),
        **scaffold.summary(seconds["plain"], seconds["ours"]),
    }


def peak(args: Namespace, data: corpus.Corpus) -> None:
    """Print the peak memory of this process, in MiB, after some training in one way."""
    state, (name,) = begin(data), args.peak
    peaks: dict[str, int] = {}
    with memory.peak(scaffold.CPU, name, peaks):
        way = Plain(data, state) if name == "plain" else Ours(data, state, WAYS[name])
        del state
        way.train(args.steps * 2)
    print(json.dumps(peaks[name] / 2**20))


def main() -> None:
    flags = scaffold.Flags(__doc__, rounds=6, source=True)
    flags.add_argument("--steps", type=int, default=4)
    flags.add_argument("--sentences", type=int, default=1000)
    flags.add_argument("--run", help="finished run to decode with")
    args = flags.begin()
    memory.keep_freed()
    data = corpus.load(scaffold.located("multi30k", args))
    if args.peak:
        peak(args, data)
        return
    peaks = {way: scaffold.peak("benchmarks.translation", args, way) for way in ("plain", *WAYS)}
    print("peak MiB:", peaks, flush=True)
    trained, state = training(data, args.rounds, args.steps)
    if args.run:
        model = network(data)
        weights.load(model, weights.find("--run", args.run))
        state = weights_of(model)
    figures = {"source": data.source, "training": trained, "decoding": decoding(data, state, args.sentences)}
    figures["decoded_with"] = "a finished run" if args.run else f"the weights after {trained['steps']} steps"
    scaffold.save("translation", {**figures, "peak_mib": peaks}, data.source)


if __name__ == "__main__":
    main()
