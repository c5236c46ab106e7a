"""Train a little, prune once, train, measure: on images and on text."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from Utils import console, corpus, load, pretrained, settings, store
from Utils.flags import Parser, add_data, add_pruning, add_run, add_training

# The workshop, and torch with it, is imported after the store has been asked: a stored result is reported at once.


def flags(top: Parser) -> None:
    for add in (add_run, add_data, add_training, add_pruning):
        add(top)


def check(args: Namespace) -> Namespace:
    return settings.resolve(args)


def run(args: Namespace) -> dict[str, Any]:
    """Make the result that `args` describe, or report it if it is stored; returns what result.json holds."""
    located = corpus.locate(load.configured(args), Path(args.data_dir), args.source)
    weights = pretrained.fingerprint(args.pretrained)
    config = store.settings(args, source=located.source, data_key=located.key, pretrained=weights)
    place = store.Run(args.result_dir, args.experiment, config, args.expid)
    if not args.force and (result := place.stored()) is not None:
        console.note(f"stored result of {place.path}; --force runs it again")
        print(place.report(), end="")
        return result
    with place.writing(replace=args.force) as stage:
        result, text = make(args, located, stage)
        stage.json("result.json", result)
        stage.text("report.txt", text)
    print(text, end="")
    print(f"Saved to {place.path}")
    return result


def make(args: Namespace, located: corpus.Located, stage: store.Stage) -> tuple[dict[str, Any], str]:
    """The run itself: (what result.json holds, what the console shows)."""
    from Experiments.results import dead_lines
    from Experiments.workshop import Workshop

    shop = Workshop(args, located, stage)
    points = {"init": shop.measure("init")}
    print(f"Pre-Train for {args.pre_epochs} epochs.")
    shop.fit("pre", args.pre_epochs)
    points["pre_prune"] = shop.measure("pre_prune") if args.pre_epochs else points["init"]

    print(f"Pruning with {args.pruner} for {args.prune_epochs} epochs.")
    shop.prune()
    points["post_prune"] = shop.measure("post_prune")
    cut_off = shop.cut_off()
    print(dead_lines(cut_off, shop.data.classes), end="")

    print(f"Post-Training for {args.post_epochs} epochs.")
    shop.fit("post", args.post_epochs)
    points["final"] = shop.measure("final") if args.post_epochs else points["post_prune"]
    return shop.result(points, cut_off)
