"""Settings without effect on a run: its model or pruner lacks what they are about, or another setting rules it out.

The rows of Utils/settings.py say when a setting acts. Here is what the models and pruners lack, so that this is known
before torch is imported. What is not listed, such as a model of your own, counts as having everything.
"""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from Utils import load, settings

# layers: more than one that is prunable
OF_MODELS = {"attention", "batchnorm", "residual", "embedding", "convolutions", "layers"}
OF_PRUNERS = {"draws", "examples"}  # own random draws; scores that depend on training examples
LACKS: dict[str, set[str]] = {  # pattern of the module:function of models and pruners; the first that fits counts
    "Models.mlp:fc": {"attention", "batchnorm", "residual", "embedding", "convolutions"},
    "Models.mlp:*": {"attention", "batchnorm", "residual", "embedding"},
    "Models.*:vgg*_bn": {"attention", "residual", "embedding"},
    "Models.*:vgg*": {"attention", "batchnorm", "residual", "embedding"},
    "Models.*:*resnet*": {"attention", "embedding"},
    "Models.matched:MatchedTransformer": {"batchnorm", "residual", "convolutions"},
    "Models.matched:MatchedMLP": {"attention", "batchnorm", "residual", "convolutions"},
    "Models.text:TextClassificationModel": {"attention", "batchnorm", "residual", "convolutions", "layers"},
    "Models.seq2seq:Seq2SeqTransformer": {"batchnorm", "residual", "convolutions"},
    "Pruners.pruners:Rand": {"examples"},
    "Pruners.pruners:Mag": {"draws", "examples"},
    "Pruners.pruners:SNIP": {"draws"},
    "Pruners.pruners:GraSP": {"draws"},
    "Pruners.pruners:SynFlow": {"draws", "examples"},
    "Pruners.grasp:*": {"draws"},
    "Pruners.iterative:*": {"draws"},
    "Pruners.pathnorm:SynFlowL2": {"draws", "examples"},
}


def traits(model_class: str, model: str, pruners: Iterable[str]) -> set[str]:
    """Return what the model has of OF_MODELS, and at least one of the pruners of OF_PRUNERS."""
    _, address = load.MODELS.get(model_class, {}).get(model, ("", ""))
    found = OF_MODELS - _lacking(address)
    for pruner in pruners:
        found |= OF_PRUNERS - _lacking(load.PRUNERS.get(pruner, ""))
    return found


def _lacking(address: str) -> set[str]:
    return next((traits for pattern, traits in LACKS.items() if fnmatchcase(address, pattern)), set())


def idle(values: Mapping[str, Any], usual: Mapping[str, Any], pruners: Iterable[str] = ()) -> list[str]:
    """Return the names of the settings that are not as usual and have no effect.

    usual: their defaults.
    pruners: those that are compared, if it is not one alone.
    """
    has = traits(values["model_class"], values["model"], pruners or [values["pruner"]])
    return [
        row.name
        for row in settings.ROWS
        if row.name in values and values[row.name] != usual[row.name]
        if row.acts is not None and not row.acts(values, has)
    ]
