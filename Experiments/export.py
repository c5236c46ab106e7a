"""Write a finished run's model in a form that needs no masks and no training code, and less space."""

from argparse import Namespace
from pathlib import Path

from Experiments import finished
from Utils import load
from Utils.commandline.kinds import path
from Utils.commandline.parser import Parser, names
from Utils.export.formats import FORMATS, VALUES

# torch is imported only after the run has been found.


def flags(top: Parser) -> None:
    """Add the flags of this experiment to the parser."""
    finished.flags(top, "export")
    add = top._action_groups[-1].add_argument
    add(
        "--format",
        required=True,
        metavar=names(FORMATS),
        help="; ".join(f"{name}: {format.help}" for name, format in FORMATS.items()),
    )
    add(
        "--values",
        default=VALUES[0],
        metavar=names(VALUES),
        help="type of the stored numbers: float16 takes half the room and rounds each to 11 significant bits; the "
        "loaded model computes in float32 all the same (default: float32)",
    )
    add("--export-dir", type=path, metavar="DIR", help="where to write (default: the run's directory)")


def check(args: Namespace) -> Namespace:
    """Check the arguments."""
    load.known("format", args.format, FORMATS)
    load.known("type of values", args.values, VALUES)
    return args


def run(args: Namespace) -> list[Path]:
    """Write model.<format>.safetensors and model.<format>.json (see Utils.exported); return their paths."""
    config, data, model = finished.take_up(args)

    import torch

    from Utils.export import measured, package

    exporter = load.exporter(data.dataset)
    whole = exporter.draft(model)
    draft = package.reduced(whole, args.format, exporter, data)
    uses = {size: exporter.use(data, size, torch.device("cpu")) for size in measured.SIZES}
    about, tensors = package.package(draft, args.format, uses, args.values)
    difference = package.difference(model, about, tensors, data)
    about |= {"run": Path(args.run).resolve().name, "dataset": config.dataset, "largest_difference": difference}
    about |= {"shape": list(data.shape), "classes": list(data.classes)}
    about |= {"threads": torch.get_num_threads(), "torch": torch.__version__}
    written = package.write(Path(args.export_dir or args.run), about, tensors)
    print(package.words(about, tensors, whole), end="")
    print(f"Saved {written[0]} and {written[1].name}; the folder Utils/exported loads them.")
    return written
