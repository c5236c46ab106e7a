"""The result store: a directory for each run, named by its settings, that appears when the run is complete."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from Utils import files
from Utils.errors import UserError

# Settings that say where and how to run, not what. Device and threads change the rounding, which training amplifies
# to a few tenths of a percent: result.json records both.
APART = {"data_dir", "result_dir", "expid", "force", "gpu", "no_cuda", "workers", "threads", "verbose"}


# Settings that came later, with the value that stands for how every run before them was made. At that value a setting
# is left out, so that a run keeps its name and is found again.
LATER = {
    "adam_betas": [0.9, 0.999],
    "adam_eps": 1e-8,
    "amp": "off",
    "beam": None,
    "bleu_every": None,
    "bleu_weights": None,
    "prune_attention": "out",
    "prune_dataset_size": None,
    "src": None,
    "test_set": None,
    "tgt": None,
}


def settings(args: Namespace, **resolved: Any) -> dict[str, Any]:
    """All that the result of a run depends on: the arguments but those of APART, and what they resolved to."""
    given = {key: value for key, value in sorted({**vars(args), **resolved}.items()) if key not in APART}
    return {key: value for key, value in given.items() if key not in LATER or value not in (None, LATER[key])}


def digest(config: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:10]


def name(config: Mapping[str, Any]) -> str:
    """Readable prefix and hash of all settings: the same command finds its own results again."""
    parts = [config["dataset"]]
    if config["source"] == "sample":
        parts.append("sample")
    parts += [config["model"], config["pruner"], f"c{config['compression']:g}", f"s{config['seed']}", digest(config)]
    return "-".join(parts)


class Run:
    """One run's directory `<result_dir>/<experiment>/<name>`, and its files while they are being made."""

    def __init__(self, result_dir: str, experiment: str, config: Mapping[str, Any], expid: str = "") -> None:
        if expid and not re.fullmatch(r"[\w+-][\w.+-]*", expid):
            raise UserError(f"--expid {expid!r} names no directory; use letters, digits, '_', '+', '-' and inside '.'")
        self.config = dict(config)
        self.path = Path(result_dir) / experiment / (expid or name(config))

    def stored(self) -> dict[str, Any] | None:
        """The complete result of exactly these settings, or None.

        Raises UserError if the directory holds a run with other settings (possible with --expid), or is not readable.
        """
        with files.writing(self.path):
            if not self.path.exists():
                return None
        try:
            config, result = (json.loads((self.path / name).read_text()) for name in ("config.json", "result.json"))
            if not (isinstance(config, dict) and isinstance(result, dict)):
                raise ValueError("not a dictionary")
        except (OSError, ValueError):
            raise UserError(f"{self.path} holds no complete run; remove it or choose another --expid") from None
        differing = [
            key for key in sorted(config.keys() | self.config.keys()) if config.get(key) != self.config.get(key)
        ]
        if differing:
            key = differing[0]
            raise UserError(
                f"{self.path} holds a run with other settings ({key} {config.get(key)}, not {self.config.get(key)}); "
                f"choose another --expid or remove it"
            )
        return result

    def report(self) -> str:
        try:
            return (self.path / "report.txt").read_text()
        except OSError:
            return json.dumps(json.loads((self.path / "result.json").read_text()), indent=1)

    @contextlib.contextmanager
    def writing(self, replace: bool) -> Iterator[Stage]:
        """Room to write the run's files in; they become the run when the body ends well, and vanish when it raises."""
        with files.staged(self.path, replace) as part:
            stage = Stage(part)
            stage.json("config.json", self.config)
            yield stage


class Stage:
    """The files of a run in the making."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.epochs: list[dict[str, Any]] = []

    def json(self, name: str, value: object) -> None:
        files.write_json(self.path / name, value)

    def text(self, name: str, value: str) -> None:
        files.write_bytes(self.path / name, value.encode())

    def epoch(self, record: dict[str, Any]) -> None:
        """Add a line to epochs.jsonl."""
        self.epochs.append(record)
        self.text("epochs.jsonl", "".join(json.dumps(line, allow_nan=False) + "\n" for line in self.epochs))

    def model(self, name: str, model: Any) -> None:
        """Weights and masks of a torch module, as safetensors."""
        from safetensors.torch import save

        tensors = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
        files.write_bytes(self.path / name, save(tensors))
