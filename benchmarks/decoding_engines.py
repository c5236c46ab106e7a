"""Greedy translation by exported models and by CTranslate2, in turn, the same tokens, one thread.

    python -m benchmarks.decoding_engines [--rounds 9] [--threads 1] [--compressions 0 1 2] [--batches 1 250]

The paper's network with Multi30k's vocabularies, pruned at random with --prune-attention all. Its weights are
untrained, which costs the same: sources have 15 tokens, no translation may end before its 15th, and all end there. The
networks of CTranslate2 are the same weights with zeros at their places, in float32 and in its int8. Needs
ctranslate2; without it, our formats alone are timed. Seconds are those of the processor, in all threads, which other
work on the machine prolongs less than those of the clock; the clock's are beside them.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import scaffold
from benchmarks.exported_translation import STEPS, WORDS, pruned
from Layers.layers import masked
from Layers.pairs import BOS, EOS
from Utils import exported
from Utils.export import package, translation
from Utils.export.formats import FORMATS
from Utils.training import decode

ENGINES = {"ctranslate2": "float32", "ctranslate2 int8": "int8"}


def spoken(model: nn.Module) -> nn.Module:
    """Return the model so that it never ends a sentence."""
    with torch.no_grad():
        model.generator.bias[EOS] = -1e4
    return model


def sentences(count: int) -> Tensor:
    """[count, STEPS] random words."""
    words = torch.randint(EOS + 1, WORDS[0], (count, STEPS), generator=torch.Generator().manual_seed(1))
    words[:, 0], words[:, -1] = BOS, EOS
    return words


@torch.no_grad()
def ours(model: nn.Module, source: Tensor) -> list[list[int]]:
    return decode.greedy(model, source, torch.full((len(source),), STEPS))


def specification(model: Any) -> Any:
    """Return our network as CTranslate2 describes it."""
    from ctranslate2.specs import TransformerSpec

    layers, heads = model.transformer.encoder.layers, model.transformer.encoder.layers[0].self_attn.num_heads
    spec = TransformerSpec.from_config((len(layers), len(model.transformer.decoder.layers)), heads)
    positions = model.positional_encoding._table(2 * STEPS).numpy()

    def put(part: Any, module: nn.Module, rows: slice = slice(None), prefix: str = "") -> None:
        part.weight = masked(module, f"{prefix}weight", rows).detach().numpy()
        part.bias = masked(module, f"{prefix}bias", rows).detach().numpy()

    def norm(part: Any, module: nn.Module) -> None:
        part.gamma, part.beta = (masked(module, name).detach().numpy() for name in ("weight", "bias"))

    def attention(part: Any, module: Any, after: nn.Module, own: bool) -> None:
        width = module.embed_dim
        for k, rows in enumerate([slice(None)] if own else [slice(width), slice(width, None)]):
            put(part.linear[k], module, rows, "in_proj_")
        put(part.linear[-1], module.out_proj)
        norm(part.layer_norm, after)

    for side, table in (("encoder", model.src_tok_emb), ("decoder", model.tgt_tok_emb)):
        part, stack = getattr(spec, side), getattr(model.transformer, side)
        embeddings = part.embeddings[0] if side == "encoder" else part.embeddings
        embeddings.weight, part.scale_embeddings = masked(table.embedding, "weight").detach().numpy(), True
        part.position_encodings.encodings = positions
        part.pre_norm = False  # there is a normalisation at the end of each stack all the same
        norm(part.layer_norm, stack.norm)
        for to, layer in zip(part.layer, stack.layers, strict=True):
            attention(to.self_attention, layer.self_attn, layer.norm1, own=True)
            if side == "decoder":
                attention(to.attention, layer.multihead_attn, layer.norm2, own=False)
            put(to.ffn.linear_0, layer.linear1)
            put(to.ffn.linear_1, layer.linear2)
            norm(to.ffn.layer_norm, layer.norm3 if side == "decoder" else layer.norm2)
    put(spec.decoder.projection, model.generator)
    registers = spec.register_source_vocabulary, spec.register_target_vocabulary
    for count, register in zip(WORDS, registers, strict=True):
        register([str(n) for n in range(count)])
    spec.config.bos_token, spec.config.eos_token, spec.config.unk_token = str(BOS), str(EOS), "0"
    spec.config.add_source_bos = spec.config.add_source_eos = False
    spec.config.decoder_start_token = str(BOS)
    return spec


def theirs(model: nn.Module, threads: int) -> dict[str, Callable[[Tensor], list[list[int]]]]:
    """Return the ways of CTranslate2 to translate, of what it is there for."""
    if find_spec("ctranslate2") is None:
        print("ctranslate2 is not installed, so it is left out", flush=True)
        return {}
    import ctranslate2

    spec = specification(model)
    ways: dict[str, Callable[[Tensor], list[list[int]]]] = {}
    spec.validate()
    spec.optimize()
    with tempfile.TemporaryDirectory() as place:
        spec.save(place)
        for name, numbers in ENGINES.items():
            engine = ctranslate2.Translator(place, compute_type=numbers, inter_threads=1, intra_threads=threads)
            ways[name] = partial(_translated, engine)
    return ways


def _translated(engine: Any, source: Tensor) -> list[list[int]]:
    lengths = {"min_decoding_length": STEPS, "max_decoding_length": STEPS}
    found = engine.translate_batch([[str(n) for n in row] for row in source.tolist()], beam_size=1, **lengths)
    return [[int(word) for word in each.hypotheses[0]] for each in found]


def both(body: Callable[[], Any]) -> tuple[float, float]:
    """Return the seconds of the processor and of the clock that a call takes."""
    begun = time.process_time(), time.perf_counter()
    body()
    return time.process_time() - begun[0], time.perf_counter() - begun[1]


def measured(compression: float, batches: list[int], rounds: int, threads: int) -> dict[str, Any]:
    model = spoken(pruned(compression))
    draft, source = translation.draft(model), sentences(max(batches))
    engines, found = theirs(model, threads), {}
    for batch in batches:
        ways: dict[str, Callable[[], list[list[int]]]] = {}
        for name in FORMATS:
            made = package.reduced(draft, name, translation)
            about, tensors = package.package(made, name, {batch: partial(ours, source=source[:batch])})
            ways[name] = partial(ours, exported.build(about, tensors, batch), source[:batch])
        ways |= {name: partial(way, source[:batch]) for name, way in engines.items()}
        said = {name: way() for name, way in ways.items()}
        seconds = scaffold.in_turn({name: partial(both, way) for name, way in ways.items()}, rounds)
        figures = {name: _figures(each) for name, each in seconds.items()}
        for name, way in figures.items():
            way["sentences_as_dense"] = sum(map(list.__eq__, said[name], said["dense"]))
            way["ratios"] = {
                engine: scaffold.spread("ratio", *([s for s, _ in seconds[each]] for each in (engine, name)))
                for engine in engines
                if name in FORMATS
            }
            print(f"c = {compression:g}, {batch} sentences, {name}:", way, flush=True)
        found[f"batch_{batch}"] = figures
    return found


def _figures(seconds: list[tuple[float, float]]) -> dict[str, Any]:
    processor, clock = (statistics.median(each) for each in zip(*seconds, strict=True))
    return {"processor_seconds": processor, "clock_seconds": clock}


def main() -> None:
    flags = scaffold.Flags(__doc__, rounds=9, threads=1)
    flags.add_argument("--compressions", type=float, nargs="+", default=[0.0, 1.0, 2.0])
    flags.add_argument("--batches", type=int, nargs="+", default=[1, 250])
    args = flags.begin()
    threads = torch.get_num_threads()
    figures = {f"compression_{c:g}": measured(c, args.batches, args.rounds, threads) for c in args.compressions}
    scaffold.save("decoding_engines", {"threads": threads, "steps": STEPS, **figures})


if __name__ == "__main__":
    main()
