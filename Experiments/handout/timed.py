"""The test time of finished runs: measured once, from the stored model, and stored with the run."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from Experiments import finished, measure
from Experiments.handout.entries import Absent
from Experiments.handout.questions import Profile
from Utils import console, load
from Utils.data import corpus
from Utils.errors import UserError
from Utils.store import files, provenance
from Utils.study.runs import Run

FILE = "test_time.json"
NO_MODEL, NOT_MEASURED = "model file not kept", "not measured"
NAMES = ("forward", "loader")


class Times:
    """The test times of runs, measured and stored. If a store is outside --result-dir, they are stored in `folder`."""

    def __init__(self, args: Namespace, profile: Profile, folder: Path) -> None:
        self.args, self.profile, self.folder = args, profile, folder
        self.corpora: dict[str, corpus.Corpus] = {}

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

    def take(self, runs: Iterable[Run]) -> None:
        """Measure each run that has no measurement and whose model is stored."""
        waiting = [run for run in {run.path: run for run in runs}.values() if self._missing(run)]
        for number, run in enumerate(waiting, start=1):
            print(f"Test time {number}/{len(waiting)}: {run.name}", flush=True)
            try:
                files.write_json(self._file(run), self._measure(run))
            except UserError as error:
                console.warn(f"no test time of {run.name}: {error}")

    def _missing(self, run: Run) -> bool:
        try:
            self.of(run)
        except Absent as error:
            return str(error) == NOT_MEASURED
        return False

    def _measure(self, run: Run) -> dict[str, Any]:
        import torch

        from Utils import testtime
        from Utils.data.loader import Loader

        if self.args.threads:
            torch.set_num_threads(self.args.threads)
        device = load.device(self.args.gpu, self.args.no_cuda)
        config = finished.settings(str(run.path))
        data = self._corpus(config)
        model = finished.model(config, data, run.path / "model.safetensors").to(device)
        loader = Loader(data.test, config.test_batch_size)
        return {
            **testtime.measure(model, loader, device, self.profile.repeats, self.profile.seconds),
            "machine": provenance.machine(device),
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
            words = Namespace(run=str(run.path), data_dir=self.args.data_dir, threads=self.args.threads)
            words.repeats = self.profile.repeats
            try:
                measure.run(words)
            except UserError as error:
                console.warn(f"no measurement of {run.name}'s exports: {error}")
                return None
            run.__dict__.pop("measurement", None)
        return run.measurement
