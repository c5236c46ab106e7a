"""Greedy translation by exported models and by CTranslate2.

The paper's network with Multi30k's vocabularies, pruned at random with --prune-attention all. Its weights are
untrained, which costs the same: sources have 15 tokens, no translation may end before its 15th, and all end there. The
networks of CTranslate2 are the same weights with zeros at their places, in float32 and in its int8.
"""

import tempfile
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import scaffold
from benchmarks.exported_translation import STEPS, WORDS, pruned, sentences
from Layers.layers import masked
from Layers.pairs import BOS, EOS
from Utils import exported
from Utils.export import package, translation
from Utils.export.formats import FORMATS, INT8, REFERENCE, VALUES
from Utils.training import decode

COMPRESSIONS = (0, 1, 2)
EACH = {1: 3, 250: 1}  # batch size: calls a round
ENGINES = {"ctranslate2": "float32", "ctranslate2 int8": "int8"}


def spoken(model: nn.Module) -> nn.Module:
    """Return the model so that it never ends a sentence."""
    with torch.no_grad():
        model.generator.bias[EOS] = -1e4
    return model


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


def case(compression: float, args: Namespace) -> dict[str, Any]:
    """Return the seconds of all by batch size, and how many sentences each says as our dense form does."""
    model = spoken(pruned(compression))
    draft, source = translation.draft(model), sentences(max(EACH))
    engines, found = theirs(model, args.threads), {}
    for batch, calls in EACH.items():
        ways: dict[str, Callable[[], list[list[int]]]] = {}
        for name in (*FORMATS, INT8):
            format, values = (REFERENCE, INT8) if name == INT8 else (name, VALUES[0])
            made = package.reduced(draft, format, translation)
            about, tensors = package.package(made, format, {batch: partial(ours, source=source[:batch])}, values)
            ways[name] = partial(ours, exported.build(about, tensors, batch), source[:batch])
        ways |= {name: partial(way, source[:batch]) for name, way in engines.items()}
        said = {name: way() for name, way in ways.items()}
        same = {name: sum(map(list.__eq__, each, said["dense"])) for name, each in said.items()}
        seconds = scaffold.beside(ways, args.rounds * calls, "sparse")
        found[str(batch)] = {"seconds": seconds, "sentences_as_dense": same}
    return found


def figures(args: Namespace) -> dict[str, Any]:
    """Return the figures of each compression."""
    return {"steps": STEPS, **{f"compression_{c:g}": case(c, args) for c in COMPRESSIONS}}
