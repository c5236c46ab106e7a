"""Translate text with the model of a finished run."""

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from Experiments import finished
from Utils import console, load
from Utils.commandline.kinds import positive_count
from Utils.commandline.parser import Parser, names
from Utils.data import corpus, reading
from Utils.errors import UserError
from Utils.export.formats import FORMATS, ONNX, graph_file, onnx_missing
from Utils.store import weights

# torch is imported only after the run and the text have been found.


def flags(top: Parser) -> None:
    """Add the flags of this experiment to the parser."""
    add = finished.flags(top, "translate")
    words = "what to translate; may be given again; left out: the lines of standard input"
    add("--text", action="append", metavar="SENTENCE", help=words)
    add("--beam", type=positive_count, metavar="K", help="hypotheses kept in decoding (default: the run's)")
    words = "translate with what --experiment export has made of the run (default: with the run's own model)"
    add("--export", metavar=names((*FORMATS, *ONNX)), help=words)


def check(args: Namespace) -> Namespace:
    """Check the arguments."""
    if args.export is not None:
        load.known("export", args.export, (*FORMATS, *ONNX))
    if args.export in ONNX and (missing := onnx_missing()):
        raise UserError(f"--export {args.export}: {missing}")
    return args


def run(args: Namespace) -> list[str]:
    """Print one translation per line, an empty line for an empty line; return the translations."""
    config = settings(args.run, args.data_path, args.model_path)
    model_file = find(args)
    lines = _given() if args.text is None else [_sentence(text) for text in args.text]
    data = corpus.load(finished.locate(config, Path(args.data_dir)))
    translations = translate(args, config, model_file, data, lines)
    for line in translations:
        print(line)
    return translations


def _given() -> list[str]:
    """Return the lines of standard input. Raises UserError with the line for bytes that are not UTF-8."""
    if not (stream := getattr(sys.stdin, "buffer", None)):  # text that another program puts in its place
        return [_plain(line) for line in sys.stdin]
    return [_plain(line) for _, line in reading.decoded_lines("standard input", stream)]


def _sentence(text: str) -> str:
    """Return the text after --text. Raises UserError for several lines, which have one translation each."""
    if len((plain := _plain(text)).splitlines()) > 1:
        raise UserError(f"--text {plain.splitlines()[0]!r}...: more than one line; give each a --text of its own")
    return plain


def _plain(line: str) -> str:
    """Return a line without surrounding white space, its letters composed, as they are in the corpora."""
    return reading.composed(line.removeprefix("\ufeff")).strip()


def settings(run: str, data_path: str | None = None, model_path: str | None = None) -> Namespace:
    """Return the settings of the run, see `finished.settings`. Raises UserError if it is none of translation."""
    config = finished.settings(run, data_path, model_path)
    if load.dataset(config.dataset).kind != "translation":
        raise UserError(f"--run {run}: a run on {config.dataset}, which translates nothing")
    return config


def find(args: Namespace) -> Path:
    """Return the file to translate with: the run's model, or its export. Raises UserError if there is none."""
    if args.export is None:
        return weights.find("--run", args.run)
    path = Path(args.run) / f"model.{args.export}.json"
    of_graphs = [path.parent / graph_file(args.export, part) for part in ("encoder", "decoder")]
    beside = of_graphs if args.export in ONNX else [path.with_suffix(".safetensors")]
    if not all(file.is_file() for file in (path, *beside)):
        command = f"python main.py --experiment export --run {args.run} --format {args.export}"
        raise UserError(f"--run {args.run}: no {path.name} with what belongs to it there; make it with: {command}")
    return path


def translate(args: Namespace, config: Namespace, model_file: Path, data: corpus.Corpus, lines: list[str]) -> list[str]:
    """Return the translations of `lines`."""
    import torch

    from Utils import exported
    from Utils.data import text
    from Utils.data.examples import framed
    from Utils.training import decode

    if args.threads:
        torch.set_num_threads(args.threads)
    device = load.device(args.gpu, args.no_cuda)
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
    beam = args.beam or config.beam
    if args.export is None:
        model = finished.model(config, data, model_file).to(device)
    elif args.export in ONNX:
        from Utils.export.graphs import session

        device, model = torch.device("cpu"), session.load(model_file)
    else:
        model = exported.load(model_file, max(1, min(len(sources) * beam, decode.batch_size(device))), device)
    found: Any = iter(decode.translate(model, sources, device, beam))
    words = data.words[config.tgt]
    return [text.detokenize([words[k] for k in next(found)], config.tgt) if row else "" for row in tokens]
