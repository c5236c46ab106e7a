"""A recipe in ten lines: train, prune twice, each time going back to the mark, and train again."""

from Experiments import runs
from Experiments.singleshot import check, flags  # noqa: F401


def run(args):
    return runs.once(args, make)


def make(shop):
    shop.fit("warm", 1)
    shop.mark()
    for density in (0.5, 0.2):
        shop.fit(f"search {density}", 1)
        shop.prune(density)
        shop.rewind()
    shop.fit("end", 2)
    shop.measure("final")
    return shop.result()
