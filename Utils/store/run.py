"""The result store: one directory per run, named by its settings, which appears when the run is complete."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from Utils import console
from Utils.data.dataset import form
from Utils.errors import UserError
from Utils.store import files, lock, schema, seal

LOCK, CHECKPOINT = "lock", "checkpoint.safetensors"  # beside the files of an unfinished run
KNOWN_BY = ("config.json", seal.FILE)  # a directory with one of them is a run's, whatever else it has lost
SHEET = "sheet.json"  # in the directory of a graded class, which lies among the runs


def digest(config: Mapping[str, Any]) -> str:
    """Return a hash of all settings, ten hexadecimal digits. It does not depend on what a user's file is called."""
    return hashlib.sha256(json.dumps(_content(config), sort_keys=True).encode()).hexdigest()[:10]


def _content(config: Mapping[str, Any]) -> dict[str, Any]:
    return {**config, "dataset": form(config["dataset"])} if "dataset" in config else dict(config)


def name(config: Mapping[str, Any]) -> str:
    """Return the name of a run: a readable prefix and a hash of all settings.

    So a command finds its own results again.
    """
    parts = [config["dataset"]]
    if config["source"] == "sample":
        parts.append("sample")
    # A user's class becomes file.py-Class:
    model, pruner = (re.sub(r"[^\w.+-]", "-", config[key].rpartition("/")[2]) for key in ("model", "pruner"))
    parts += [model, pruner, f"c{config['compression']:g}"]
    if "levels" in config:
        parts.append(f"l{config['levels']}")
    parts += [f"s{config['seed']}", digest(config)]
    return "-".join(parts)


def read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (settings, result) of the complete run in a directory.

    Raises UserError, which names the file, if one is missing, has changed since the run ended, or has another content
    than such a file has.
    """
    seal.check(path)
    found = []
    for file in (path / "config.json", path / "result.json"):
        try:
            found.append(files.read_json(file))
            if not isinstance(found[-1], dict):
                raise ValueError("no table")
        except FileNotFoundError:
            raise UserError(f"{path} holds no complete run: no {file.name}; {seal.REMEDY}") from None
        except (OSError, ValueError) as error:
            raise seal.damaged(file, error) from None
    config, result = found
    try:
        schema.check(result)
    except ValueError as error:
        raise seal.damaged(path / "result.json", error) from None
    return config, result


def _place(folder: Path, config: Mapping[str, Any]) -> Path:
    """Return where the run with these settings is, or will be; the user's file may have had another name."""
    place = folder / name(config)
    if place.exists() or form(config["dataset"]) == config["dataset"]:
        return place
    return min(folder.glob(f"*-{digest(config)}"), default=place)


class RunDirectory:
    """The directory of one run, `<result_dir>/<experiment>/<name>`."""

    def __init__(self, result_dir: str, experiment: str, config: Mapping[str, Any], expid: str = "") -> None:
        if expid and not re.fullmatch(r"[\w+-][\w.+-]*", expid):
            raise UserError(f"--expid {expid!r} names no directory; use letters, digits, '_', '+', '-' and inside '.'")
        self.config = dict(config)
        folder = Path(result_dir) / experiment
        self.path = folder / expid if expid else _place(folder, config)
        self.warned = False

    def stored(self) -> dict[str, Any] | None:
        """Return the complete result with exactly these settings, or None.

        Raises UserError if the directory holds a run with other settings (possible with --expid) or a damaged one.
        """
        with files.writing(self.path):
            if not self.path.exists():
                return None
        config, result = read(self.path)
        there, wanted = _content(config), _content(self.config)
        differing = [key for key in sorted(there.keys() | wanted.keys()) if there.get(key) != wanted.get(key)]
        if differing:
            key = differing[0]
            raise UserError(
                f"{self.path} holds a run with other settings ({key} {config.get(key)}, not {self.config.get(key)}); "
                f"choose another --expid or remove it"
            )
        return result

    def whole(self) -> dict[str, Any] | None:
        """Return what `stored` returns, or None with one warning where that raises: one bad run stops no other."""
        try:
            return self.stored()
        except UserError as error:
            if not self.warned:
                console.warn(str(error))
            self.warned = True
            return None

    def report(self) -> str:
        """Return the stored report, or result.json as text if there is none."""
        try:
            return (self.path / "report.txt").read_text(encoding="utf-8")
        except OSError:
            return json.dumps(files.read_json(self.path / "result.json"), indent=1)

    @contextlib.contextmanager
    def writing(self, replace: bool) -> Iterator[Stage | None]:
        """Yield a stage for the files of the run; they become the run when the body succeeds.

        Only one process at a time makes the run. A second process waits, and gets None if the first has made it. After
        an interruption, a checkpoint is kept for the next process. All files are deleted if there is no checkpoint,
        after a FloatingPointError (which would occur again), and with `replace` (which starts anew).
        """
        part = self.path.parent / f".{self.path.name}.part"
        if replace and self.path.exists() and not any((self.path / name).is_file() for name in KNOWN_BY):
            raise UserError(f"{self.path} is no run; --force replaces runs alone: remove it or choose another --expid")
        with contextlib.ExitStack() as stack:
            with files.writing(self.path):
                stack.enter_context(lock.held(part / LOCK, self._tell_of_waiting))
            if self.path.exists() and not replace:
                shutil.rmtree(part)
                yield None
                return
            stage = Stage(part)
            try:
                with files.writing(self.path):
                    stage.prepare(self.config, afresh=replace)
                yield stage
                with files.writing(self.path):
                    stage.close()
                    files.put(part, self.path, replace)
                    (self.path / LOCK).unlink(missing_ok=True)
            except BaseException as error:
                stage.abandon(keep=not (replace or isinstance(error, FloatingPointError)))
                raise

    def _tell_of_waiting(self) -> None:
        console.note(f"another process is making {self.path}; waiting for it")


class Stage:
    """The files of an unfinished run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config: Mapping[str, Any] = {}
        self.epochs: list[dict[str, Any]] = []
        self.writer = ThreadPoolExecutor(1)
        self.pending: Future | None = None

    def prepare(self, config: Mapping[str, Any], afresh: bool) -> None:
        """Keep the checkpoint that an earlier process left of a run with these settings; delete everything else."""
        same = not afresh and files.read_table(self.path / "config.json") == config
        for entry in self.path.iterdir():
            if entry.name != LOCK and not (same and entry.name == CHECKPOINT):
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        self.json("config.json", config)
        self.config = config

    @property
    def checkpoint(self) -> Path | None:
        """Return the latest complete checkpoint of this run; None if there is none."""
        path = self.path / CHECKPOINT
        return path if path.exists() else None

    def save(self, content: Callable[[], bytes]) -> None:
        """Replace the checkpoint by the bytes that `content` returns; it is called and its result written in a thread.

        The old checkpoint stays until the new one is complete. An error is raised by the next call, or by `close`.
        """
        self._written()
        self.pending = self.writer.submit(lambda: files.write_bytes(self.path / CHECKPOINT, content()))

    def _written(self) -> None:
        if self.pending is not None:
            self.pending.result()
            self.pending = None

    def abandon(self, keep: bool) -> None:
        """End an interrupted run; if `keep`, its latest checkpoint stays, else all files are deleted."""
        with contextlib.suppress(Exception):  # the error that interrupted the run is reported, not a later one
            self._written()
        if not (keep and (self.path / CHECKPOINT).exists()):
            shutil.rmtree(self.path, ignore_errors=True)

    def close(self) -> None:
        """Finish writing, delete the checkpoint and seal what is left."""
        self._written()
        self.writer.shutdown()
        (self.path / CHECKPOINT).unlink(missing_ok=True)
        seal.put(self.path, {path.name for path in self.path.iterdir()} - {LOCK})

    def json(self, name: str, value: object) -> None:
        """Write a JSON file."""
        files.write_json(self.path / name, value)

    def text(self, name: str, value: str) -> None:
        """Write a text file."""
        files.save_text(self.path / name, value)

    def epoch(self, record: dict[str, Any]) -> None:
        """Add a line to epochs.jsonl."""
        self.restore({"epochs": [*self.epochs, record]})

    def state(self) -> dict[str, Any]:
        """Return the lines of epochs.jsonl, for `restore`."""
        return {"epochs": self.epochs}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Write the lines of that state to epochs.jsonl."""
        self.epochs = state["epochs"]
        self.text("epochs.jsonl", "".join(json.dumps(line, allow_nan=False) + "\n" for line in self.epochs))

    def model(self, name: str, model: Any) -> None:
        """Write the weights and masks of a torch module as safetensors. What layers share is written for each."""
        from safetensors.torch import save

        tensors: dict[str, Any] = {}
        there: set[int] = set()
        for key, value in model.state_dict().items():
            tensors[key] = value.detach().cpu().contiguous()
            if tensors[key].data_ptr() in there:
                tensors[key] = tensors[key].clone()
            there.add(tensors[key].data_ptr())
        files.write_bytes(self.path / name, save(tensors))
