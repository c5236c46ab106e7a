"""The registry, which turns names into objects. It imports nothing heavy until a name is used, so --help is instant."""

from __future__ import annotations

import contextlib
import functools
import re
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from Pruners import SCOPES as SCOPES
from Pruners import TIES as TIES
from Utils import settings as rows
from Utils.data import corpus as corpora
from Utils.data.corpus import SOURCES as SOURCES
from Utils.data.dataset import Dataset
from Utils.errors import UserError, guess
from Utils.quality import METRICS

if TYPE_CHECKING:
    import torch
    from torch import nn

    from Utils.data.loader import Loader
    from Utils.plugin import Plugin

DATASETS = {
    "mnist": "Utils.data.sets.mnist:DATASET",
    "fashionmnist": "Utils.data.sets.fashionmnist:DATASET",
    "cifar10": "Utils.data.sets.cifar10:DATASET",
    "cifar100": "Utils.data.sets.cifar100:DATASET",
    "tiny-imagenet": "Utils.data.sets.tiny_imagenet:DATASET",
    "imagenet": "Utils.data.sets.imagenet:DATASET",
    "agnews": "Utils.data.sets.agnews:DATASET",
    "multi30k": "Utils.data.sets.multi30k:DATASET",
}
# form of the user's own data, in which its name ends -> module:function (name, settings) -> data set
FORMS = {
    "csv": "Utils.data.own.tables:dataset",
    "tsv": "Utils.data.own.tables:dataset",
    "jsonl": "Utils.data.own.tables:dataset",
    "images": "Utils.data.own.folders:dataset",
    "pairs": "Utils.data.own.texts:dataset",
}


def _of_images(module: str, *names: str) -> dict[str, tuple[str, str]]:
    return {name: ("image", f"{module}:{name.replace('-', '_')}") for name in names}


VGGS = [f"vgg{depth}{bn}" for depth in (11, 13, 16, 19) for bn in ("", "-bn")]
SMALL = [f"{wide}resnet{depth}" for depth in (20, 32, 44, 56, 110, 1202) for wide in ("", "wide-")]
LARGE = [f"resnet{depth}" for depth in (18, 34, 50, 101, 152)]
# class -> name -> (kinds of input data, with blanks between, module:function)
MODELS = {
    "default": {
        "fc": ("image", "Models.mlp:fc"),
        "conv": ("image", "Models.mlp:conv"),
    },
    "lottery": _of_images("Models.vgg", *VGGS) | _of_images("Models.resnet", *SMALL),
    "tinyimagenet": _of_images("Models.tinyimagenet", *VGGS, *LARGE, *(f"wide-{name}" for name in LARGE)),
    "imagenet": _of_images("Models.imagenet", *VGGS, *LARGE, "wide-resnet50", "wide-resnet101"),
    "matched": {
        "transformer": ("image text", "Models.matched:MatchedTransformer"),
        "mlp": ("image text", "Models.matched:MatchedMLP"),
    },
    "nlp": {
        "text-classification": ("text", "Models.text:TextClassificationModel"),
        "seq2seq": ("translation", "Models.seq2seq:Seq2SeqTransformer"),
    },
}
# classes of models of others, which have no list of names -> kinds of input data that they take
GUESTS = {"own": "image text", "torchvision": "image"}
TORCHVISION = "torchvision:"  # what a name of the latter begins with
# initial weights -> the model classes that offer them; the first entry of a class is its default
INITS = {"assignment": ("lottery",), "fan-out": ("lottery",)}
WIDE = ("fc", "conv", "mlp", "transformer", "text-classification")  # models that take `width`
PRUNERS = {
    "rand": "Pruners.pruners:Rand",
    "mag": "Pruners.pruners:Mag",
    "snip": "Pruners.pruners:SNIP",
    "grasp": "Pruners.pruners:GraSP",
    "synflow": "Pruners.pruners:SynFlow",
    "grasp-abs": "Pruners.grasp:GraSPAbs",
    "grasp-log": "Pruners.grasp:GraSPLog",
    "snip-iter": "Pruners.iterative:SNIPIter",
    "force": "Pruners.iterative:FORCE",
    "synflow-l2": "Pruners.pathnorm:SynFlowL2",
    "ntk-sap": "Pruners.ntksap:NTKSAP",
}
# pruner -> its own default of --prune-epochs, that of its authors' code; the assignment's pruners have one round
ROUNDS = {"snip-iter": 7, "force": 60, "synflow-l2": 100, "ntk-sap": 20}
OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("torch.optim:SGD", {}),
    "momentum": ("torch.optim:SGD", {"momentum": 0.9, "nesterov": True}),
    "adam": ("Utils.training.adam:Adam", {}),
    "adamw": ("Utils.training.adam:AdamW", {}),
    "rms": ("torch.optim:RMSprop", {}),
}
DECAYS = {"adamw": 0.01}  # optimizer -> its own default of --weight-decay, as in torch
LR_SCHEDULERS = ("multistep", "cosine")
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
    "reach": "Experiments.reach",
    "probe": "Experiments.probe",
    "audit": "Experiments.audit",
    "seal": "Experiments.seal",
    "unit-conservation": "Experiments.unit_conservation",
    "layer-conservation": "Experiments.layer_conservation",
    "imp-conservation": "Experiments.imp_conservation",
    "schedule-conservation": "Experiments.schedule_conservation",
}
# kind of data -> the module that exports models for it: draft(model), compact(draft, data), use(data, size, device)
EXPORTERS = {
    "image": "Utils.export.classifier",
    "text": "Utils.export.classifier",
    "translation": "Utils.export.translation",
}
SCHEDULES = ("exponential", "linear")
MASK_SCOPES = (*SCOPES, "erk")  # or a file of densities
DYNAMIC = ("none", "gradual", "rigl")  # ways in which masks change in training
GRADUAL = "mag"  # the pruner of gradual pruning
ATTENTION = ("out", "all", "none")
IGNORED = ("none", "attention", "all")  # layers trained and evaluated as if they had no masks
PATH = re.compile(r"[/\\.~]")  # what a path has, and no name of a data set
IN_A_FILE = ".py:"  # in the name of a class of the user's own, path/to/file.py:Class
PRECISIONS = {"off": None, "bf16": "bfloat16"}  # name -> name of the type in torch


def known(what: str, name: str, names: Iterable[str]) -> str:
    """Return `name` if it is one of `names`. Otherwise raise UserError, which lists them and guesses what was meant."""
    names = list(names)
    if name in names:
        return name
    raise UserError(f"no {what} is called {name!r}{guess(name, names)}; there are: {', '.join(names)}")


def _find(spec: str) -> Any:
    module, _, attribute = spec.partition(":")
    return getattr(import_module(module), attribute)


def dataset(name: str) -> Dataset:
    """Return the data set called `name`. Raises UserError for an unknown name.

    Of the user's own data, whose name ends in its form, it knows what all data of this form have in common.
    """
    beginning, _, form = name.rpartition(".")
    if beginning and form in FORMS:
        return _find(FORMS[form])(name, {})
    return _find(DATASETS[known("data set", name, DATASETS)])


def own_data(text: str) -> tuple[str, str | None]:
    """Return (name, absolute path) of the data that `text` leads to, or (text, None) for a data set of this project.

    Raises UserError if it is neither.
    """
    if text in DATASETS:
        return text, None
    if found := _find("Utils.data.own.places:find")(text):
        return found
    if not PATH.search(text) and not Path(text).exists():
        known("data set", text, DATASETS)
    there = "no such file or folder, nor a data set's name"
    if (path := Path(text).expanduser()).exists():
        there = f"holds no data of a known form{_find('Utils.data.own.places:unread')(path)}"
    raise UserError(
        f"--dataset {text}: {there}; it takes a .csv, .tsv or .jsonl file, a folder of class folders with images, a "
        f"folder with train.de and train.en (any two languages), or one of {', '.join(DATASETS)}"
    )


def configured(settings: Namespace) -> Dataset:
    """Return the data set that these settings select, configured by the settings of its own."""
    data = dataset(settings.dataset)
    return data.configure(vars(settings)) if data.configure else data


def recipe(name: str) -> Any:
    """Return the experiment's module: flags(parser) adds flags, check(args) completes them, run(args) executes it."""
    return import_module(EXPERIMENTS[known("experiment", name, EXPERIMENTS)])


def exporter(data: Dataset) -> Any:
    """Return the module that exports models trained on `data`."""
    return import_module(EXPORTERS[data.kind])


def evaluation(data: Dataset) -> Any:
    """Return the class that evaluates a model on `data`."""
    return _find(data.evaluation)


def measures() -> dict[str, Any]:
    """Return the functions of the metrics that are means over examples, by what a split's figure is called."""
    return {metric.key.removeprefix("test_"): _find(metric.of_each) for metric in METRICS if metric.of_each}


def model_names(data: Dataset, model_class: str | None, model: str | None) -> tuple[str, str]:
    """Return (class, model) to train on `data`; a name that is None is chosen by the data set.

    Raises UserError, which lists what fits, if a name is unknown or the model does not take this kind of data.
    """
    fits = {
        cls: [name for name, (kinds, _) in names.items() if data.kind in kinds.split()] for cls, names in MODELS.items()
    }
    fitting = "; ".join(f"--model-class {cls} --model {{{','.join(names)}}}" for cls, names in fits.items() if names)
    if model is not None and (family := guest(model)):
        if model_class not in (None, family):
            raise UserError(f"--model-class means nothing to --model {model}; leave it out")
        if data.kind not in GUESTS[family].split():
            inputs = GUESTS[family].replace(" ", "s or ")
            raise UserError(f"--model {model} does not take {data.name}: such a network classifies {inputs}s")
        return family, model
    if model_class is not None:
        known("model class", model_class, MODELS)
    if model is not None and model.endswith(".py"):
        raise UserError(f"--model {model}: write it as path/to/file.py:Class")
    if model_class is None:
        holders = [cls for cls, names in MODELS.items() if model in names]
        if model is not None and not holders:
            known("model", model, [name for names in MODELS.values() for name in names])
        model_class = data.model_class if model is None or data.model_class in holders else holders[0]
    if model is None:
        if not fits[model_class]:
            raise UserError(f"no {model_class} model takes {data.name}; what fits: {fitting}")
        model = data.model if data.model in fits[model_class] else fits[model_class][0]
    if model not in MODELS[model_class]:
        meant = guess(model, MODELS[model_class])
        raise UserError(f"no {model_class} model is called {model!r}{meant}; what fits {data.name}: {fitting}")
    if model not in fits[model_class]:
        raise UserError(f"the {model_class} model {model} does not take {data.name}; what fits: {fitting}")
    return model_class, model


def guest(model: str) -> str | None:
    """Return the class of GUESTS that a model's name belongs to; None for a model of this project."""
    return "own" if IN_A_FILE in model else "torchvision" if model.startswith(TORCHVISION) else None


def own_model(name: str) -> tuple[str, str | None, str | None]:
    """Return (short name, "absolute/path/to/file.py:Class", sha256 of the file) of a model of the user's own.

    The latter two are None for any other. Raises UserError if the file cannot be read.
    """
    if guest(name) != "own":
        return name, None, None
    file = own_file("--model", name)
    return f"{file.path.name}:{file.attribute}", f"{file.path.absolute()}:{file.attribute}", file.sha256


def device(gpu: int = 0, no_cuda: bool = False) -> torch.device:
    """Return the GPU of that number, or the CPU if there is no GPU or `no_cuda` is set.

    Raises UserError if there are GPUs but none of that number.
    """
    import torch

    if no_cuda or not torch.cuda.is_available():
        return torch.device("cpu")
    if not 0 <= gpu < torch.cuda.device_count():
        raise UserError(f"--gpu {gpu}: this machine has GPUs 0 to {torch.cuda.device_count() - 1}")
    return torch.device(f"cuda:{gpu}")


def precision(name: str) -> torch.dtype | None:
    """Return the number type of matrix products in training, or None for the type of the parameters."""
    import torch

    attribute = PRECISIONS[known("precision", name, PRECISIONS)]
    return None if attribute is None else getattr(torch, attribute)


@functools.lru_cache(maxsize=2)
def corpus(name: str, data_dir: str = "Data", source: str = "auto") -> corpora.Corpus:
    """Load the data set called `name`."""
    return corpora.load(corpora.locate(dataset(name), Path(data_dir), source))


def dimension(name: str, data_dir: str = "Data", source: str = "auto") -> tuple[tuple[int, ...], int]:
    """Return (shape of one input, number of classes). The shape of a text is the size of its vocabulary."""
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
    balanced: bool = False,
) -> Loader:
    """Return a loader of (data, target) batches of a corpus or data set.

    train: use the training split, shuffled and augmented unless `shuffle` or `augment` say otherwise. Otherwise use the
    test split. The other arguments are those of `Loader`.
    """
    from Utils.data.loader import Loader

    loaded = corpus(data) if isinstance(data, str) else data
    examples = loaded.splits["train" if train else "test"]
    shuffle = train if shuffle is None else shuffle
    return Loader(examples, batch_size, shuffle, seed, length, workers, augment, balanced)


def model(name: str, model_class: str = "default") -> Any:
    """Return the callable (input_shape, num_classes, dense_classifier=False, pretrained=False) -> nn.Module.

    The fourth argument exists for assignment one's code. Its weights are not published, so a true value raises
    UserError. A model class in INITS also takes `init`, a model in WIDE `width`.
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
    """Return the sha256 of the file in "path/to/file.py:Class", or None for a name of PRUNERS.

    Raises UserError for any other name.
    """
    if IN_A_FILE in name:
        return own_file("--pruner", name).sha256
    known("pruner", name, PRUNERS)
    return None


def pruner(name: str, sha256: str | None = None) -> Any:
    """Return the pruner's class, or a function that wraps the class which "path/to/file.py:Class" names.

    sha256: the result of `pruner_sha256`. Raises UserError if the file has changed since, or cannot be imported.
    """
    if IN_A_FILE not in name:
        return _find(PRUNERS[known("pruner", name, PRUNERS)])
    return functools.partial(_find("Pruners.guest:Guest"), own_class("--pruner", name, sha256))


def own_file(flag: str, name: str) -> Plugin:
    """Return the file of "path/to/file.py:Class", the value of a flag. Raises UserError if it cannot be read."""
    return _find("Utils.plugin:read")(flag, name)


def own_class(flag: str, name: str, sha256: str | None) -> Any:
    """Return the class of a file of the user's own, whose hash must be `sha256` if that is given."""
    file = own_file(flag, name)
    if sha256 not in (None, file.sha256):
        raise UserError(f"{file.path} has changed while the run began; start it again")
    with errors_of(flag, name, "as it was imported"):
        return file.load()


@contextlib.contextmanager
def errors_of(flag: str, name: str, when: str) -> Iterator[None]:
    """Turn errors of a user's code into a UserError of one line."""
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        raise UserError(f"{flag} {name}: {type(error).__name__} {when}: {reason}") from error


def optimizer(name: str, settings: Namespace | None = None) -> tuple[Any, dict[str, Any]]:
    """Return (class, keyword arguments), including the arguments that `settings` decide."""
    spec, arguments = OPTIMIZERS[known("optimizer", name, OPTIMIZERS)]
    chosen = {} if settings is None else rows.taken_by(name, vars(settings))
    return _find(spec), {**arguments, **chosen}
