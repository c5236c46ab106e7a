"""Write a finished run's model in a form that needs no masks and no training code, and less space."""

from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import Any

from Experiments import finished
from Utils import load
from Utils.commandline.kinds import path
from Utils.commandline.parser import Parser, names
from Utils.errors import UserError
from Utils.export.formats import FORMATS, GENERAL, INT8, ONNX, REFERENCE, VALUES, onnx_missing

# torch is imported only after the run has been found.


def flags(top: Parser) -> None:
    """Add the flags of this experiment to the parser."""
    add = finished.flags(top, "export")
    forms = {name: format.help for name, format in FORMATS.items()}
    forms |= {name: f"{form}, as a graph that ONNX Runtime runs" for name, form in ONNX.items()}
    words = "; ".join(f"{name}: {what}" for name, what in forms.items())
    add("--format", required=True, metavar=names(forms), help=words)
    add(
        "--values", default=VALUES[0], metavar=names(VALUES),
        help="type of the stored numbers: float16 takes half the room and rounds each to 11 significant bits, and the "
        f"loaded model computes in float32 all the same; {INT8}, for --format {REFERENCE}, takes a quarter, has a "
        "scale for each output of a matrix, and computes in whole numbers, but for convolutions (default: float32)",
    )  # fmt: skip
    add("--export-dir", type=path, metavar="DIR", help="where to write (default: the run's directory)")


def check(args: Namespace) -> Namespace:
    """Check the arguments."""
    load.known("format", args.format, (*FORMATS, *ONNX))
    load.known("type of values", args.values, VALUES)
    if args.values == INT8 and args.format != REFERENCE:
        raise UserError(f"--values {INT8} is for --format {REFERENCE}, whose matrices are whole")
    if args.format in ONNX and (missing := onnx_missing()):
        raise UserError(f"--format {args.format}: {missing}")
    return args


def run(args: Namespace) -> list[Path]:
    """Write model.<format>.json and what belongs to it (see Utils.exported, Utils.export.graphs); return the paths."""
    config, data, model = finished.take_up(args)

    import torch

    from Utils.export import package, storage

    exporter = load.exporter(data.dataset)
    whole = package.whole(model, exporter, args.format == GENERAL)
    draft = package.reduced(whole, ONNX.get(args.format, args.format), exporter, data)
    stored: Any
    write: Any
    if args.format in ONNX:
        from Utils.export.graphs import package as graphs
        from Utils.export.graphs import session

        about, stored = graphs.made(draft, args.format, data, args.values)
        export, size, write = session.KINDS[draft.kind](stored), sum(map(len, stored.values())), graphs.write
        user = "ONNX Runtime runs the graphs as the JSON says"
    else:
        from Utils import exported
        from Utils.export import measured

        uses = {size: exporter.use(data, size, torch.device("cpu")) for size in measured.SIZES}
        about, stored = package.package(draft, args.format, uses, args.values)
        export, size = exported.build(about, stored, package.CHECKED), storage.size(stored)
        write = partial(package.write, words=data.words)
        about["preparation"] = package.preparation(data)
        user = "the folder Utils/exported loads them"
    difference = package.checked(model, export, data, draft.kind, args.values)
    about |= {"run": Path(args.run).resolve().name, "dataset": config.dataset, "largest_difference": difference}
    about |= {"shape": list(data.shape), "classes": list(data.classes)}
    about |= {"threads": torch.get_num_threads(), "torch": torch.__version__}
    first, *others = write(Path(args.export_dir or args.run), about, stored)
    print(package.words(about, size, whole), end="")
    print(f"Saved {first} and {', '.join(path.name for path in others)}; {user}.")
    return [first, *others]
