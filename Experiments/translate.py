"""Translate text with the model of a finished run."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from Utils import console, corpus, load, pretrained
from Utils.errors import UserError
from Utils.flags import Parser, positive_count

# torch is imported once the run and the text are known to be there.


def flags(top: Parser) -> None:
    add = top.add_argument_group("translation").add_argument
    add("--run", required=True, metavar="DIR", help="the run's directory, which holds its model.safetensors")
    add(
        "--text",
        action="append",
        metavar="SENTENCE",
        help="what to translate; may be given again; left out: the lines of standard input",
    )
    add("--beam", type=positive_count, metavar="K", help="hypotheses kept in decoding (default: the run's)")


def check(args: Namespace) -> Namespace:
    return args


def run(args: Namespace) -> list[str]:
    """Print a translation a line, an empty one for an empty line; returns them."""
    config = settings(args.run)
    model_file = pretrained.find("--run", args.run)
    lines = [line.strip() for line in (sys.stdin if args.text is None else args.text)]
    data = corpus.load(locate(config, Path(args.data_dir)))
    found = translate(args, config, model_file, data, lines)
    for line in found:
        print(line)
    return found


def settings(run: str) -> Namespace:
    """What the run was made with. Raises UserError if it is no run, or none of translation."""
    path = Path(run) / "config.json"
    try:
        config = Namespace(**json.loads(path.read_text()))
        kind = load.dataset(config.dataset).kind
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"--run {run}: no config.json of a run there; name a finished run's directory") from error
    if kind != "translation":
        raise UserError(f"--run {run}: a run on {config.dataset}, which translates nothing")
    return config


def locate(config: Namespace, data_dir: Path) -> corpus.Located:
    """The corpus whose vocabularies the run used."""
    located = corpus.locate(load.configured(config), data_dir, config.source)
    if located.key != config.data_key:
        raise UserError(f"{data_dir} holds other {located.dataset.title} files than the run was made with")
    return located


def translate(args: Namespace, config: Namespace, model_file: Path, data: corpus.Corpus, lines: list[str]) -> list[str]:
    """The translations of `lines`."""
    import torch

    from Utils import decode, text
    from Utils.examples import framed

    if args.threads:
        torch.set_num_threads(args.threads)
    device = load.device(args.gpu, args.no_cuda)
    model = load.model(config.model, config.model_class)(data.shape, data.num_classes, config.dense_classifier)
    pretrained.load(model, model_file)
    model.to(device)
    tokenize = text.tokenizer(f"spacy:{config.src}")
    tokens = [tokenize(line) for line in lines]
    unknown = sorted({token for row in tokens for token in row} - set(data.words[config.src]))
    if unknown:
        console.note(f"not in the vocabulary, read as {text.UNKNOWN}: {', '.join(unknown)}")
    if not all(lines):
        console.note("an empty line has no translation")
    rows = text.encode([row for row in tokens if row], data.words[config.src])
    ids, offsets = framed(*map(torch.from_numpy, rows))
    sources = ids.long().split(offsets.diff().tolist())
    found: Any = iter(decode.translate(model, sources, device, args.beam or config.beam))
    words = data.words[config.tgt]
    return [text.detokenize([words[k] for k in next(found)], config.tgt) if row else "" for row in tokens]
