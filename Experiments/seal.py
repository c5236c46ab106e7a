"""Add checksums to finished runs that have none, as runs of earlier versions."""

from argparse import Namespace
from pathlib import Path

from Utils import console
from Utils.commandline.parser import Parser
from Utils.errors import UserError
from Utils.store import files, seal
from Utils.store import run as store
from Utils.study import runs
from Utils.wording import counted

STORED = ("config.json", "epochs.jsonl", "model.safetensors", "report.txt", "result.json")  # others come later


def flags(top: Parser) -> None:
    """Add the flag of this experiment to the parser."""
    words = "result directories whose runs get a seal.json"
    top.add_argument_group("seal").add_argument("--store", nargs="+", required=True, metavar="DIR", help=words)


def check(args: Namespace) -> Namespace:
    """Check that the directories are there."""
    runs.check_stores(args.store)
    return args


def run(args: Namespace) -> int:
    """Seal each run that has no seal and can be read; return 1 if one cannot. A seal that is there stays."""
    sealed = kept = 0
    damaged = []
    for path in runs.directories(map(Path, args.store)):
        if (path / seal.FILE).exists():
            kept += 1
            continue
        try:
            store.read(path)
            with files.writing(path):
                seal.put(path, STORED)
            sealed += 1
        except UserError as error:
            console.warn(f"{path} is not sealed: {error}")
            damaged.append(path)
    rest = f", {len(damaged)} damaged" if damaged else ""
    print(f"Sealed {counted(sealed, 'run')}; {kept:,} had a seal{rest}")
    return 1 if damaged else 0
