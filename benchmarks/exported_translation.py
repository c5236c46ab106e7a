"""Translating one sentence at a time with exported models: sparse and compact against dense, and the masked model.

    python -m benchmarks.exported_translation [--rounds 15] [--threads 0] [--compressions 1 2]

The paper's network with Multi30k's vocabularies, pruned at random with --prune-attention all. Its weights are
untrained, which costs the same: every translation is of a source of 15 tokens and takes 15 steps, whatever it says.
"dense" is the same loader with whole matrices, zeros and all; every other way is timed in turn with it, so the ratios
are within one run. The masked model decodes by `Utils.training.decode.translate`, masks multiplied in once a call.

Sizes of the pruned matrices are against what no code can beat where all masks are as likely: 32 bits for a weight that
is kept, and log2 of the number of masks that keep as many.
"""

import math
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import scaffold
from Layers.fast import products_kept
from Layers.pairs import BOS, EOS
from Utils import exported, generator, load
from Utils.export import package, storage, translation
from Utils.export.formats import FORMATS, MASKED, REFERENCE

WORDS = 19_214, 10_837  # of the source and of the target
STEPS = 15  # of a translation, and the tokens of its source
CSR = "csr"  # every matrix in that form, chosen or not


def pruned(compression: float) -> nn.Module:
    torch.manual_seed(1)
    model = load.model("seq2seq", "nlp")((WORDS[0],), WORDS[1]).eval()
    pruner = load.pruner("rand")(generator.masked_parameters(model, attention="all"))
    pruner.score(model, nn.CrossEntropyLoss(), [], scaffold.CPU)
    pruner.mask(10**-compression, "global")
    pruner.apply_mask()
    return model


def sentences(count: int) -> Tensor:
    """[count, STEPS] random words."""
    words = torch.randint(EOS + 1, WORDS[0], (count, STEPS), generator=torch.Generator().manual_seed(1))
    words[:, 0], words[:, -1] = BOS, EOS
    return words


@torch.no_grad()
def translate(model: nn.Module, source: Tensor) -> list[int]:
    with products_kept(model):
        state, tokens, said = model.begin(source, STEPS), torch.tensor([BOS]), []
        for _ in range(STEPS):
            tokens = model.likeliest_step(tokens, state)
            said.append(int(tokens))
    return said


def least_bytes(model: nn.Module) -> tuple[float, int]:
    """(see above, bytes of the same matrices whole)."""
    masks = [mask for mask, _ in generator.masked_parameters(model, attention="all")]
    count, kept = (sum(int(size(mask)) for mask in masks) for size in (Tensor.numel, Tensor.count_nonzero))
    choices = (math.lgamma(count + 1) - math.lgamma(kept + 1) - math.lgamma(count - kept + 1)) / math.log(2)
    return 4 * kept + choices / 8, 4 * count


def measured(compression: float, rounds: int) -> dict[str, Any]:
    model, source = pruned(compression), sentences(1)
    draft = translation.draft(model)
    least, whole = least_bytes(model)
    rest = storage.size(draft.tensors) - whole
    found: dict[str, Any] = {"bytes_that_are_not_pruned": rest, "least_bytes_of_the_pruned": least, "formats": {}}
    ways: dict[str, nn.Module] = {MASKED: model}
    for name in FORMATS:
        made = package.reduced(draft, name, translation)
        about, tensors = package.package(made, name, {1: lambda model: translate(model, source)})
        ways[name] = exported.build(about, tensors)
        size = storage.size(tensors)
        chosen = Counter(exported.nearest(kept["quickest"], 1) for kept in about["matrices"].values())
        found["formats"][name] = {"bytes": size, "pruned_to_least": (size - rest) / least, "forms": chosen}
    ways[CSR] = exported.Translator(draft.program, draft.tensors, dict.fromkeys(draft.matrices, CSR))
    runs: dict[str, Callable[[], Any]] = {name: partial(translate, way, source) for name, way in ways.items()}
    said = {name: run() for name, run in runs.items()}
    dense = runs.pop(REFERENCE)
    for name, run in runs.items():
        found[name] = scaffold.compare(dense, run, rounds)
        found[name]["says_what_the_masked_model_says"] = said[name] == said[MASKED]
        print(f"compression {compression:g}, {name}: {found[name]['ratio']:.2f} times as fast as dense", flush=True)
    found["milliseconds_to_begin"] = {
        name: 1e3 * min(scaffold.timed(partial(way.begin, source, STEPS)) for _ in range(rounds))
        for name, way in ways.items()
        if name != MASKED
    }
    return found


def main() -> None:
    flags = scaffold.Flags(__doc__, rounds=15, threads=0)
    flags.add_argument("--compressions", type=float, nargs="+", default=[1.0, 2.0])
    args = flags.begin()
    figures = {f"compression_{compression:g}": measured(compression, args.rounds) for compression in args.compressions}
    scaffold.save("exported_translation", {"threads": torch.get_num_threads(), "steps": STEPS, **figures})


if __name__ == "__main__":
    main()
