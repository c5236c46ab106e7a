"""From names to objects: the one registry. Imports nothing heavy until a name is asked for, so the help is instant."""

from __future__ import annotations

import difflib
import functools
from argparse import Namespace
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from Pruners import SCOPES as SCOPES
from Pruners import TIES as TIES
from Utils import plugin
from Utils import settings as rows
from Utils.data import corpus as corpora
from Utils.data.corpus import SOURCES as SOURCES
from Utils.data.dataset import Dataset
from Utils.errors import UserError
from Utils.export.formats import FORMATS as FORMATS
from Utils.study.quality import METRICS as METRICS

if TYPE_CHECKING:
    import torch
    from torch import nn

    from Utils.data.loader import Loader

DATASETS = {
    "mnist": "Utils.data.sets.mnist:DATASET",
    "cifar10": "Utils.data.sets.cifar10:DATASET",
    "cifar100": "Utils.data.sets.cifar100:DATASET",
    "agnews": "Utils.data.sets.agnews:DATASET",
    "multi30k": "Utils.data.sets.multi30k:DATASET",
}
# class -> name -> (kind of data it takes, where it is)
MODELS = {
    "default": {
        "fc": ("image", "Models.mlp:fc"),
        "conv": ("image", "Models.mlp:conv"),
    },
    "lottery": {
        **{
            f"vgg{depth}{bn}": ("image", f"Models.vgg:vgg{depth}{bn.replace('-', '_')}")
            for depth in (11, 13, 16, 19)
            for bn in ("", "-bn")
        },
        **{
            f"{wide}resnet{depth}": ("image", f"Models.resnet:{wide.replace('-', '_')}resnet{depth}")
            for depth in (20, 32, 44, 56, 110)
            for wide in ("", "wide-")
        },
    },
    "nlp": {
        "text-classification": ("text", "Models.text:TextClassificationModel"),
        "seq2seq": ("translation", "Models.seq2seq:Seq2SeqTransformer"),
    },
}
# initial weights -> the model classes that have them to choose from; a class's first is its default
INITS = {"assignment": ("lottery",), "fan-out": ("lottery",)}
PRUNERS = {
    "rand": "Pruners.pruners:Rand",
    "mag": "Pruners.pruners:Mag",
    "snip": "Pruners.pruners:SNIP",
    "grasp": "Pruners.pruners:GraSP",
    "synflow": "Pruners.pruners:SynFlow",
}
OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("torch.optim:SGD", {}),
    "momentum": ("torch.optim:SGD", {"momentum": 0.9, "nesterov": True}),
    "adam": ("Utils.training.adam:Adam", {}),
    "rms": ("torch.optim:RMSprop", {}),
}
EXPERIMENTS = {
    "singleshot": "Experiments.singleshot",
    "multishot": "Experiments.multishot",
    "sweep": "Experiments.sweep",
    "translate": "Experiments.translate",
    "report": "Experiments.report",
    "compare": "Experiments.report",  # that part of the report alone
    "grade": "Experiments.grade",
    "export": "Experiments.export",
    "measure": "Experiments.measure",
    "assignment": "Experiments.assignment",
}
# kind of data -> the module that exports models for it: draft(model), compact(draft, data), use(data, size, device)
EXPORTERS = {
    "image": "Utils.export.classifier",
    "text": "Utils.export.classifier",
    "translation": "Utils.export.translation",
}
SCHEDULES = ("exponential", "linear")
ATTENTION = ("out", "all", "none")
IGNORED = ("none", "attention", "all")  # layers that are trained and measured as if they had no masks
PRECISIONS = {"off": None, "bf16": "bfloat16"}  # -> torch's name of the type


def known(what: str, name: str, names: Iterable[str]) -> str:
    """`name`, or a UserError that lists `names` and guesses at what was meant."""
    names = list(names)
    if name in names:
        return name
    near = difflib.get_close_matches(name, names, n=1)
    guess = f" (did you mean {near[0]}?)" if near else ""
    raise UserError(f"no {what} is called {name!r}{guess}; there are: {', '.join(names)}")


def _find(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)


def dataset(name: str) -> Dataset:
    return _find(DATASETS[known("data set", name, DATASETS)])


def configured(settings: Namespace) -> Dataset:
    """The data set of these settings, with those that are its own."""
    data = dataset(settings.dataset)
    return data.configure(vars(settings)) if data.configure else data


def recipe(name: str) -> Any:
    """The experiment's module: flags(parser) adds its flags, check(args) completes them, run(args) does it."""
    return import_module(EXPERIMENTS[known("experiment", name, EXPERIMENTS)])


def exporter(data: Dataset) -> Any:
    """The module that exports what is trained on `data`."""
    return import_module(EXPORTERS[data.kind])


def evaluation(data: Dataset) -> Any:
    """The class that measures a model on `data`."""
    return _find(data.evaluation)


def measures() -> dict[str, Any]:
    """Return the functions of the metrics that are means over examples, by what a split's figure is called."""
    return {metric.key.removeprefix("test_"): _find(metric.of_each) for metric in METRICS if metric.of_each}


def model_names(data: Dataset, model_class: str | None, model: str | None) -> tuple[str, str]:
    """(class, model) to train on `data`: what is asked for, and for what is None the data set's own.

    Raises UserError that lists what fits where a name is unknown or the model does not take that kind of data.
    """
    fits = {cls: [name for name, (kind, _) in names.items() if kind == data.kind] for cls, names in MODELS.items()}
    fitting = "; ".join(f"--model-class {cls} --model {{{','.join(names)}}}" for cls, names in fits.items() if names)
    if model_class is not None:
        known("model class", model_class, MODELS)
    if model_class is None:
        holders = [cls for cls, names in MODELS.items() if model in names]
        model_class = data.model_class if model is None or data.model_class in holders else (holders or [None])[0]
        if model_class is None:
            known("model", model, [name for names in MODELS.values() for name in names])
    if model is None:
        if not fits[model_class]:
            raise UserError(f"no {model_class} model takes {data.name}; what fits: {fitting}")
        model = data.model if data.model in fits[model_class] else fits[model_class][0]
    if model not in MODELS[model_class]:
        raise UserError(f"no {model_class} model is called {model!r}; what fits {data.name}: {fitting}")
    if model not in fits[model_class]:
        raise UserError(f"the {model_class} model {model} does not take {data.name}; what fits: {fitting}")
    return model_class, model


def device(gpu: int = 0, no_cuda: bool = False) -> torch.device:
    """The GPU of that number, or the CPU where there is none or `no_cuda` is set."""
    import torch

    if no_cuda or not torch.cuda.is_available():
        return torch.device("cpu")
    if not 0 <= gpu < torch.cuda.device_count():
        raise UserError(f"--gpu {gpu}: this machine has GPUs 0 to {torch.cuda.device_count() - 1}")
    return torch.device(f"cuda:{gpu}")


def precision(name: str) -> torch.dtype | None:
    """The number type of the products in training; None for the parameters' own."""
    import torch

    found = PRECISIONS[known("precision", name, PRECISIONS)]
    return None if found is None else getattr(torch, found)


@functools.lru_cache(maxsize=2)
def corpus(name: str, data_dir: str = "Data", source: str = "auto") -> corpora.Corpus:
    """The data set called `name`, loaded."""
    return corpora.load(corpora.locate(dataset(name), Path(data_dir), source))


def dimension(name: str, data_dir: str = "Data", source: str = "auto") -> tuple[tuple[int, ...], int]:
    """(shape of one input, number of classes); a text's shape is the size of its vocabulary."""
    loaded = corpus(name, data_dir, source)
    return loaded.shape, loaded.num_classes


def dataloader(
    data: str | corpora.Corpus,
    batch_size: int,
    train: bool,
    workers: int = 0,
    length: int | None = None,
    seed: int = 0,
    shuffle: bool | None = None,
    augment: bool | None = None,
) -> Loader:
    """Batches (data, target) of a corpus or data set.

    train: of the training split, shuffled and augmented unless `shuffle` or `augment` say otherwise.
    """
    from Utils.data.loader import Loader

    loaded = corpus(data) if isinstance(data, str) else data
    examples = loaded.splits["train" if train else "test"]
    shuffle = train if shuffle is None else shuffle
    return Loader(examples, batch_size, shuffle, seed, length, workers, augment)


def model(name: str, model_class: str = "default") -> Any:
    """Return the callable (input_shape, num_classes, dense_classifier=False, pretrained=False) -> nn.Module.

    The fourth argument is assignment one's. Its weights are published nowhere, so that a true one is a UserError.
    A model class that INITS names takes `init` too.
    """
    known("model class", model_class, MODELS)
    make = _find(MODELS[model_class][known(f"{model_class} model", name, MODELS[model_class])][1])

    def factory(
        input_shape: Sequence[int],
        num_classes: int,
        dense_classifier: bool = False,
        pretrained: bool = False,
        **options: Any,
    ) -> nn.Module:
        if pretrained:
            raise UserError(f"{name} has no published weights; --pretrained RUN takes those of a finished run")
        return make(input_shape, num_classes, dense_classifier, **options)

    return factory


def pruner_sha256(name: str) -> str | None:
    """Of "path/to/file.py:Class" the file's sha256, None of a name of PRUNERS; UserError for any other."""
    if plugin.named(name):
        return plugin.read("--pruner", name).sha256
    known("pruner", name, PRUNERS)
    return None


def pruner(name: str, sha256: str | None = None) -> Any:
    """The pruner's class, or what makes a pruner of the class that "path/to/file.py:Class" names.

    sha256: what `pruner_sha256` said; UserError if the file has changed since, or does not run.
    """
    if not plugin.named(name):
        return _find(PRUNERS[known("pruner", name, PRUNERS)])
    found = plugin.read("--pruner", name)
    if sha256 not in (None, found.sha256):
        raise UserError(f"{found.path} has changed while the run began; start it again")
    try:
        kind = found.load()
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"--pruner {name}: {type(error).__name__} as it was imported: {error}") from error
    return functools.partial(_find("Pruners.guest:Guest"), kind)


def optimizer(name: str, settings: Namespace | None = None) -> tuple[Any, dict[str, Any]]:
    """Return (class, keyword arguments of its own), those that `settings` decide among them."""
    place, arguments = OPTIMIZERS[known("optimizer", name, OPTIMIZERS)]
    chosen = {} if settings is None else rows.taken_by(name, vars(settings))
    return _find(place), {**arguments, **chosen}
