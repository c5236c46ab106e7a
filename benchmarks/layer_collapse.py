"""Does SynFlow keep every layer of vgg16 alive? In one round and in a hundred, by compression.

    python -m benchmarks.layer_collapse [--model vgg16] [--rounds 100]

The claim of Tanaka et al. 2020 (sections 4 to 6): pruned in one round a network collapses, whole layers lose their last
weight; pruned in a hundred it does not. The figures are counts, no times: the weights that each layer keeps.
"""

import torch

from benchmarks import scaffold
from Pruners.pruners import SynFlow
from Utils import generator, load

SHAPE = (3, 32, 32)
COMPRESSIONS = (1.0, 1.5, 2.0, 2.5, 3.0)


def kept(name: str, rounds: int, compression: float) -> dict[str, int]:
    """Weights kept by layer."""
    torch.manual_seed(1)
    model = load.model(name, "lottery")(SHAPE, 10)
    pruner = SynFlow(generator.masked_parameters(model))
    batch = (torch.zeros(1, *SHAPE), torch.zeros(1, dtype=torch.int64))  # of which the shape alone counts
    scaffold.prune(model, pruner, [batch], compression, rounds)
    return {key: int(mask.sum()) for key, (mask, _) in zip(pruner.names, pruner.masked_parameters, strict=True)}


def main() -> None:
    flags = scaffold.Flags(__doc__, rounds=100)
    flags.add_argument("--model", default="vgg16", choices=load.MODELS["lottery"])
    args = flags.begin()
    figures: dict[str, dict] = {}
    for rounds in (1, args.rounds):
        for compression in COMPRESSIONS:
            found = kept(args.model, rounds, compression)
            dead = [name for name, count in found.items() if not count]
            figures.setdefault(f"rounds_{rounds}", {})[f"compression_{compression:g}"] = {
                "layers": len(found),
                "layers_without_a_weight": len(dead),
                "fewest_in_a_layer": min(found.values()),
                "kept": found,
            }
            print(f"{rounds} rounds, compression {compression:g}: {len(dead)} of {len(found)} layers dead", flush=True)
    scaffold.save(f"layer_collapse_{args.model}", {"model": args.model, **figures})


if __name__ == "__main__":
    main()
