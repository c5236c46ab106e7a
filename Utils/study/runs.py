"""Complete runs of some stores, as objects and as one flat table."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from Utils import console, load, quality
from Utils import settings as rows
from Utils.data.dataset import form
from Utils.errors import UserError
from Utils.export.formats import MASKED, REFERENCE
from Utils.machine.seeds import STREAMS
from Utils.store import files, weights
from Utils.store import run as store

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_STORES = ("Results/study", "Results/data")


@dataclass(frozen=True)
class Run:
    """A stored run."""

    path: Path
    settings: Mapping[str, Any]  # config.json
    result: Mapping[str, Any]  # result.json

    @property
    def name(self) -> str:
        """Return the name of its directory."""
        return self.path.name

    @cached_property
    def metric(self) -> quality.Metric:
        """Return the metric by which it is judged."""
        return quality.of(self.result["final"])

    @property
    def compression(self) -> float:
        """Return its compression."""
        return float(self.settings["compression"])

    @property
    def pruner(self) -> str:
        """Return the pruner's name; for a pruner from a file, the start of the file's checksum follows."""
        name, code = self.settings["pruner"], self.settings.get("pruner_sha256")
        return f"{name} {code[:6]}" if code else name

    @property
    def seed(self) -> str:
        """Return the common seed of all random streams, or each stream's seed if they differ."""
        each = {stream: self.settings[f"{stream}_seed"] for stream in STREAMS}
        if len(set(each.values())) == 1:
            return str(each[STREAMS[0]])
        return " ".join(f"{stream}:{seed}" for stream, seed in each.items())

    @cached_property
    def figures(self) -> dict[str, float]:
        """Return the figures that are averaged over seeds. Fractions are those that remain."""
        parameters, flops, final = self.result["parameters"], self.result["flops"], self.result["final"]
        result = {
            "metric": final[self.metric.key],
            "density": parameters["prunable_kept"] / parameters["prunable"],
            "parameter_sparsity": parameters["kept"] / parameters["total"],
            "flop_sparsity": flops["kept"] / max(1, flops["total"]),
            **{f"final_{key}": value for key, value in final.items()},
        }
        if (best := self.best_epoch) is not None and self.metric.key in best:
            result["best_metric"] = best[self.metric.key]
        for point in ("pre_prune", "post_prune"):
            if "test_loss" in self.result.get(point, {}):
                result[f"{point}_loss"] = self.result[point]["test_loss"]
        result |= self.probes
        scores = self.result.get("translation", {}).get("final", {})
        result |= {key: value for key, value in scores.items() if key.startswith("bleu_")}
        return {key: float(value) for key, value in result.items()}

    @property
    def best_epoch(self) -> Mapping[str, Any] | None:
        """Return the record of the epoch after pruning with the highest validation accuracy; None without such records.

        Of equal epochs it is the first. Held-out examples count before a published validation split.
        """
        records = [record for record in self.result.get("epochs", []) if record.get("phase") == "post"]
        for key in ("validation_top1", "val_top1"):
            if records and all(key in record for record in records):
                return max(records, key=lambda record: record[key])
        return None

    def layers(self) -> dict[str, float]:
        """Return the density of each prunable tensor, in the model's order."""
        return {
            f"{row['module']}.{row['param']}".removesuffix(".weight"): row["kept"] / row["size"]
            for row in self.result["per_tensor"]
            if row["prunable"]
        }

    @cached_property
    def measurement(self) -> Mapping[str, Any] | None:
        """Return the result of `--experiment measure` by format; None if it is missing or damaged."""
        return self._beside("measurement.json", _formats)

    @cached_property
    def probes(self) -> Mapping[str, float]:
        """Return the figures of `--experiment probe`; empty if it was not made or is damaged."""
        return self._beside("probes.json", _probed) or {}

    def _beside(self, name: str, read: Callable[[Any], Mapping[str, Any] | None]) -> Mapping[str, Any] | None:
        """Return what `read` takes from a JSON file of another experiment; None if it is missing or damaged."""
        try:
            return read(files.read_json(self.path / name))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            console.warn(f"{self.path}/{name} is left out ({type(error).__name__}: {error})")
            return None

    @property
    def classes(self) -> int:
        """Return the number of classes."""
        return int(self.result["dead"]["classes"]["total"])

    def has_model(self) -> bool:
        """Return whether its weights are stored, and unchanged since."""
        try:
            return weights.find("", str(self.path)).is_file()
        except UserError:
            return False

    def check(self) -> None:
        """Raise KeyError, TypeError, ValueError or the like if a setting or figure is missing or invalid.

        Raises UserError for a complete run whose recipe did not measure the model at the end.
        """
        if "final" not in self.result:
            raise UserError('its recipe measures no point called "final"')
        if not all(math.isfinite(value) for value in self.figures.values()):
            raise ValueError("a figure that is not finite")
        if not (self.compression >= 0.0 and self.classes > 0 and self.layers()):
            raise ValueError("compression, classes or layers out of range")
        kept = self.result.get("mask_updates", {}).get("post", {}).get("kept", [])
        if kept and kept[-1] != self.result["parameters"]["prunable_kept"]:
            raise ValueError("other masks than their last update has left")
        for value in (self.seed, self.settings["dataset"], self.settings["model"], self.pruner):
            if not isinstance(value, str):
                raise TypeError("not a name")


def _formats(found: Any) -> Mapping[str, Any] | None:
    formats = found["formats"]
    counted = ["parameters", "file_bytes", "memory_bytes"]
    counted += ["multiply_adds"] if REFERENCE in formats else []  # of unknown parts nobody counts them
    for figures in formats.values():
        for key in counted:
            figures[key] + 0
        if not all(taken["median"] > 0.0 for taken in figures["seconds"].values()):
            raise ValueError("no time at all")
    return formats if MASKED in formats else None


def _probed(found: Any) -> dict[str, float]:
    figures: dict[str, float | None] = {}
    for change, values in found["changes"].items():
        figures |= {f"{change}_top1": values["test_top1"], f"{change}_changed": values["changed"]}
    if found["by_rarity"]:
        figures |= {"commonest_top1": found["by_rarity"][0], "rarest_top1": found["by_rarity"][-1]}
    if ratios := [ratio for ratio in found["correlation"].values() if ratio is not None]:
        figures["kept_correlation"] = math.fsum(ratios) / len(ratios)
    return {key: float(value) for key, value in figures.items() if value is not None}


def read(stores: Iterable[str] | None, left_out: list[str] | None = None) -> list[Run]:
    """Read the runs `<store>/<experiment>/<name>/`, in order of stores and names; None: the default stores that exist.

    left_out: gets the directory of each run that is left out, with the reason; there is a warning of it as well.
    Runs with equal settings count once. The user's own data is called as by the first run on its content, with digits
    behind it where other content has the same name: "rev-045850.csv". Raises UserError if a store does not exist, or if
    there is no run at all.
    """
    folders = [Path(folder) for folder in (DEFAULT_STORES if stores is None else stores)]
    check_stores(stores or ())
    found: list[tuple[tuple[str, str], Run]] = []  # each with the form and the content of its data set
    for path in directories(folders):
        run = _read(path)
        if isinstance(run, Run):
            found.append((_content(run), run))
            continue
        console.warn(f"{path} is left out: {run}")
        if left_out is not None:
            left_out.append(f"{path.as_posix()}: {run}")
    if not found:
        raise UserError(f"no complete run below {', '.join(map(str, folders))}; make one, or name its --store")
    names: dict[tuple[str, str], str] = {}
    for content, run in found:
        names.setdefault(content, run.settings["dataset"])
    contents, result = Counter(names.values()), dict[tuple[str, str], Run]()
    for content, run in found:
        stem, _, kind = (name := names[content]).rpartition(".")
        called = f"{stem}-{content[1][:6]}.{kind}" if contents[name] > 1 else name
        if called != run.settings["dataset"]:  # a run that is replaced has to read its figures again
            run = replace(run, settings={**run.settings, "dataset": called})
        result.setdefault((run.settings.get("experiment", run.path.parent.name), store.digest(run.settings)), run)
    return list(result.values())


def _content(run: Run) -> tuple[str, str]:
    """Return the form of the data set and a hash of its files; of what is not the user's own, the name alone."""
    dataset = run.settings["dataset"]
    if form(dataset) == dataset:
        return dataset, ""
    return form(dataset), store.digest(run.result.get("data", {}).get("files") or {"key": run.settings.get("data_key")})


def directories(stores: Iterable[Path]) -> Iterator[Path]:
    """Yield the directories of the runs of some stores, whole or damaged, but not of those in the making."""
    for folder in stores:
        for path in sorted(folder.glob("*/*")):
            hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
            is_run = any((path / name).exists() for name in (*store.KNOWN_BY, "result.json", "model.safetensors"))
            if is_run and not hidden and not (path / store.SHEET).is_file():
                yield path


def check_stores(stores: Iterable[str]) -> None:
    """Raise UserError for the first that is no directory, or that lies below the directory to give."""
    for store_ in stores:
        if not Path(store_).is_dir():
            raise UserError(f"--store {store_}: no such directory")
        for pattern, whole in (("*/config.json", Path(store_).parent), ("config.json", Path(store_).parent.parent)):
            if any(Path(store_).glob(pattern)):
                raise UserError(f"--store {store_} is inside a store; give --store {whole}")


def _read(path: Path) -> Run | str:
    """Return the run in a directory, or the reason why it is left out."""
    try:
        run = Run(path, *store.read(path))
        run.check()
    except UserError as error:
        return str(error).removeprefix(str(path)).lstrip("/ ")
    except (ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        return f"no complete run ({type(error).__name__}: {error})"
    return run


def of_one_source(runs: list[Run]) -> list[Run]:
    """Return the runs on real data, with a warning about others; if there are none, those on samples, with an alarm."""
    real = [run for run in runs if run.result["source"] == "real"]
    if real:
        if len(real) < len(runs):
            console.warn(f"left out, beside runs on real data: {len(runs) - len(real)} on generated samples")
        return real
    console.alarm("ALL RUNS ARE ON GENERATED SAMPLES", "The figures say nothing about the real data sets.")
    return runs


def table(runs: Iterable[Run]) -> pd.DataFrame:
    """Return one row per run: its directory, all settings, all final figures, commit and seconds. Lists are JSON."""
    import pandas as pd

    rows = [
        {
            "run": run.path.as_posix(),
            **{key: json.dumps(value) if isinstance(value, list | dict) else value for key, value in settings(run)},
            **run.figures,
            "seconds": sum(run.result.get("seconds", {}).values()),
            "commit": run.result.get("commit"),
        }
        for run in runs
    ]
    return pd.DataFrame(rows)


def settings(run: Run) -> list[tuple[str, Any]]:
    """Return all settings of a run by name, including those added after it, with the value that it was made with.

    Initial weights are included only for a model class that offers a choice of them.
    """
    values = rows.complete(run.settings)
    if not any(run.settings["model_class"] in classes for classes in load.INITS.values()):
        values.pop("init", None)
    return sorted(values.items())
