"""The test time of finished runs: measured once, from the stored model, and stored with the run."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from Experiments import finished, measure
from Experiments.handout.entries import Absent
from Experiments.handout.questions import Profile
from Utils import console, load
from Utils.data import corpus
from Utils.errors import UserError
from Utils.store import files, provenance, weights
from Utils.study.runs import Run

if TYPE_CHECKING:
    import torch

FILE = "test_time.json"
NO_MODEL, NOT_MEASURED = "model file not kept", "not measured"
NAMES = ("forward", "loader")


class Times:
    """The test times of runs, measured and stored: with the run if it is in --result-dir, else beside the handouts."""

    def __init__(self, args: Namespace, profile: Profile) -> None:
        self.args, self.profile = args, profile
        self.folder = Path(args.result_dir) / "assignment" / "test_time"
        self.corpora: dict[str, corpus.Corpus] = {}

    @cached_property
    def device(self) -> torch.device:
        """Return the device of the measurements, after setting torch's threads."""
        import torch

        if self.args.threads:
            torch.set_num_threads(self.args.threads)
        return load.device(self.args.gpu, self.args.no_cuda)

    @cached_property
    def machine(self) -> dict[str, object]:
        """Return the machine on which times are measured now."""
        return {**provenance.machine(self.device), "processor": provenance.processor()}

    def _file(self, run: Run) -> Path:
        own = Path(self.args.result_dir).resolve() in run.path.resolve().parents
        return (run.path if own else self.folder / run.name) / FILE

    def of(self, run: Run) -> Mapping[str, Any]:
        """Return the measurement of a run. Raises Absent, with the reason, if there is none."""
        try:
            measured = files.read_json(self._file(run))
            if all(measured[name]["median"] > 0.0 for name in NAMES):
                return measured
        except FileNotFoundError:
            if not (run.path / "model.safetensors").is_file():
                raise Absent(NO_MODEL) from None
        except (OSError, ValueError, KeyError, TypeError):
            console.warn(f"{self._file(run)} is damaged; it is left out")
        raise Absent(NOT_MEASURED)

    def seconds(self, run: Run, name: str = "forward") -> float:
        """Return the median seconds of a pass over the test data: the forward passes, or the loader."""
        return self.of(run)[name]["median"]

    def extent(self, runs: Iterable[Run]) -> tuple[float, float]:
        """Return the shortest and the longest seconds of the forward passes of those runs that are measured."""
        taken = [self.of(run)["forward"] for run in runs if not self.absence(run)]
        return min(each["lowest"] for each in taken), max(each["highest"] for each in taken)

    def take(self, runs: Iterable[Run]) -> None:
        """Measure each run whose model is stored, unless it has been measured on this machine.

        With --stored-only a measurement of another machine stays.
        """
        waiting = [run for run in {run.path: run for run in runs}.values() if self._missing(run)]
        for number, run in enumerate(waiting, start=1):
            print(f"Test time {number}/{len(waiting)}: {run.name}", flush=True)
            try:
                files.write_json(self._file(run), self._measure(run))
            except UserError as error:
                console.warn(f"no test time of {run.name}: {error}")

    def _missing(self, run: Run) -> bool:
        if absence := self.absence(run):
            return absence == NOT_MEASURED
        here = self.args.stored_only or self.of(run).get("machine") == self.machine
        return not here and (run.path / "model.safetensors").is_file()

    def absence(self, run: Run) -> str:
        """Return why a run has no measurement; "" if it has one."""
        try:
            self.of(run)
        except Absent as error:
            return str(error)
        return ""

    def _measure(self, run: Run) -> dict[str, Any]:
        from Utils import testtime
        from Utils.data.loader import Loader

        device, config = self.device, finished.settings(str(run.path))
        data = self._corpus(config)
        model = finished.model(config, data, weights.find("--run", str(run.path))).to(device)
        loader = Loader(data.test, config.test_batch_size)
        return {
            **testtime.measure(model, loader, device, self.profile.repeats, self.profile.seconds),
            "machine": self.machine,
            "versions": provenance.versions(),
            "commit": provenance.commit(),
        }

    def _corpus(self, config: Namespace) -> corpus.Corpus:
        if config.data_key not in self.corpora:
            self.corpora[config.data_key] = corpus.load(finished.locate(config, Path(self.args.data_dir)))
        return self.corpora[config.data_key]

    def exported(self, run: Run) -> Mapping[str, Any] | None:
        """Return the figures of the run's masked model and its exports, measured now if necessary.

        None if the model is not stored, or cannot be exported or measured here.
        """
        if run.measurement is None:
            own = Path(self.args.result_dir).resolve() in run.path.resolve().parents
            if not own or not (run.path / "model.safetensors").is_file():
                return None
            words = Namespace(run=str(run.path), data_dir=self.args.data_dir, data_path=None, model_path=None)
            words.threads, words.repeats = self.args.threads, self.profile.repeats
            try:
                measure.run(words)
            except UserError as error:
                console.warn(f"no measurement of {run.name}'s exports: {error}")
                return None
            run.__dict__.pop("measurement", None)
        return run.measurement
