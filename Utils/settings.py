"""The settings of a run, one row each: the flag, its meaning, and what the setting affects.

The rows of pruning are in Utils/pruning_settings.py. These modules import nothing else of the project. The command
line, the name of a run, the sweep, its time estimate and the study all read the rows. So a new setting is one new row.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from Utils import pruning_settings
from Utils.setting import ALWAYS, Setting, operational, switch, trains


def _seed(name: str, text: str, **more: Any) -> Setting:
    return Setting(name, "run", "count", f"seed of the {text} (default: --seed)", None, axis=True, **more)


# fmt: off
ROWS = (
    # Where and how
    Setting(
        "experiment", "experiment", "text", "the recipe; with --help: its flags", "singleshot",
        choices=("experiment", "EXPERIMENTS"), original=True,
    ),
    operational("experiment", "data_dir", "path", "where data is kept", "Data", metavar="DIR"),
    operational("experiment", "gpu", "count", "number of the GPU to use where there is one", 0, original=True),
    switch("experiment", "no_cuda", "use the CPU even if there is a GPU", operational=True, original=True),
    operational(
        "experiment", "threads", "count", "threads of torch's arithmetic; 0: torch's own choice", 0, by_data=True,
    ),
    switch(
        "experiment", "plain",
        "compute every layer whole, as a textbook would: slower, the same results up to rounding", operational=True,
    ),
    operational(
        "run", "expid", "text", "name of the result's directory (default: made from all settings)", "",
        metavar="NAME", original=True,
    ),
    operational("run", "result_dir", "path", "where results are kept", "Results/data", metavar="DIR", original=True),
    switch("run", "force", "run again and replace the run that is stored under its name", operational=True),
    operational(
        "run", "workers", "count",
        "threads of the loader, which put batches together ahead of use (of a sweep: processes that make runs)", 0,
        original=True,
    ),
    Setting("seed", "run", "count", "random seed of everything", 1, original=True, axis=True),
    _seed("init_seed", "initial weights"),
    _seed("data_seed", "data order"),
    _seed(
        "prune_seed", "pruner's random draws", dense=False, late=True,
        acts=lambda run, has: not run["masks"] and ("draws" in has or run["shuffle"] or run["ties"] == "seeded"),
    ),
    switch("run", "verbose", "print the loss every 64 batches", operational=True, original=True),
    # Data
    Setting(
        "dataset", "data", "text",
        "data set, or the path of your own: a .csv, .tsv or .jsonl file of texts with labels (or its .gz), a folder of "
        "class folders with images, a folder with train.de and train.en (any two languages)",
        "mnist", choices=("data set", "DATASETS"),
        original=True, axis=True, cost="run",
    ),
    Setting(
        "source", "data", "text",
        "real: the corpus or an error; sample: a small generated stand-in; auto: the corpus if it is there or can be "
        "fetched, else the sample if there is one, with a warning",
        "auto", choices=("source", "SOURCES"), axis=True, cost="run",
    ),
    operational("data", "data_path", "", "", None),  # of the user's own data
    Setting(
        "label_column", "data", "text", "column of the labels in a table of your own (default: found by its name)",
        metavar="NAME", own=True, since=None,
    ),
    Setting(
        "text_columns", "data", "text", "columns that are joined to the text (default: found by their names)",
        metavar="NAME", words="+", own=True, since=None,
    ),
    Setting(
        "image_size", "data", "positive count",
        "width and height to which images of your own are cut and scaled (default: as they are, or 32 if they differ)",
        own=True, since=None, cost="run",
    ),
    Setting(
        "split_seed", "data", "count",
        "seed by which a tenth of your own data is held out as test, if it has no test split; it is the same for runs "
        "of all seeds (default: 1)",
        own=True, since=None,
    ),
    Setting("src", "translation", "text", "language to translate from", metavar="LANG", own=True, since=None),
    Setting("tgt", "translation", "text", "language to translate into", metavar="LANG", own=True, since=None),
    Setting("test_set", "translation", "text", "test set to measure on", metavar="NAME", own=True, since=None),
    Setting(
        "beam", "translation", "positive count", "hypotheses kept in decoding; 1 is greedy",
        metavar="K", own=True, since=None, cost="run",
    ),
    Setting(
        "bleu_every", "translation", "count", "epochs between two BLEUs in training; 0: none",
        own=True, since=None, axis=True, cost="run",
    ),
    Setting(
        "bleu_weights", "translation", "number", "weights of the n-gram orders 1, 2, ... in BLEU",
        metavar="W", words="+", own=True, since=None,
    ),
    Setting(
        "train_size", "data", "count", "training examples to use, drawn by --data-seed; 0: all that are there", 0,
        since=0, cost="run",
    ),
    Setting(
        "validation_size", "data", "count",
        "training examples to hold out, drawn by --data-seed and measured after every epoch; 0: none", 0, since=0,
    ),
    # Training
    Setting(
        "model_class", "training", "text", "family of models", choices=("model class", "MODELS"),
        original=True, cost="run",
    ),
    Setting(
        "model", "training", "text",
        "path/to/file.py:Class for a class of your own, torchvision:NAME for a classifier of torchvision with fresh "
        "weights, or a network",
        metavar="NAME", families="MODELS", original=True, axis=True, cost="run",
    ),
    Setting("model_sha256", "training", "", since=None),  # hash of the file that defines the model's class
    operational("training", "model_path", "", "", None),  # that file and the class
    Setting(
        "width", "training", "positive", "factor of the hidden widths, of networks that have one width to choose", 1.0,
        metavar="X", since=1.0, cost="run",
    ),
    Setting(
        "init", "training", "text",
        "initial weights of lottery networks: the assignment's (He's normal by fan in), or those of this project's "
        "earlier runs",
        "assignment", choices=("kind of initial weights", "INITS"), since="fan-out",
    ),
    Setting(
        "pretrained", "training", "run or switch",
        "start from the weights of a finished run (its directory), or of a .safetensors, .pt or .pth file",
        metavar="RUN", original=True,
    ),
    switch("training", "dense_classifier", "leave the last layer out of pruning", original=True),
    Setting(
        "optimizer", "training", "text", "optimizer", "adam", choices=("optimizer", "OPTIMIZERS"),
        original=True, by_data=True,
    ),
    Setting(
        "train_batch_size", "training", "positive count", "examples a batch in training", 256,
        original=True, by_data=True, cost="run",
    ),
    Setting(
        "test_batch_size", "training", "positive count", "examples a batch in evaluation", 256,
        original=True, by_data=True,
    ),
    Setting("pre_epochs", "training", "count", "epochs to train before pruning", 0, original=True, cost="run"),
    Setting(
        "post_epochs", "training", "count", "epochs to train after pruning", 10,
        original=True, by_data=True, late=True, cost="run",
    ),
    Setting("lr", "training", "positive", "learning rate", 1e-3, metavar="X", original=True, by_data=True),
    Setting(
        "adam_betas", "training", "fraction", "Adam's decay rates", [0.9, 0.999],
        metavar="B", words=2, by_data=True, optimizer=("adam adamw", "betas"), since=[0.9, 0.999],
    ),
    Setting(
        "adam_eps", "training", "positive", "Adam's term against division by zero", 1e-8,
        metavar="X", by_data=True, optimizer=("adam adamw", "eps"), since=1e-8,
    ),
    Setting(
        "lr_scheduler", "training", "text",
        "learning rate over the epochs: multistep falls at --lr-drops; cosine falls to 0 in each training, the one "
        "before pruning and the one after it", "multistep",
        choices=("learning rate scheduler", "LR_SCHEDULERS"), since="multistep",
        acts=lambda run, has: max(run["pre_epochs"], run["post_epochs"]) > 1,
    ),
    Setting(
        "lr_drops", "training", "positive count", "epochs after which the learning rate drops (default: none)", [],
        words="*", original=True, acts=lambda run, has: run["lr_scheduler"] == "multistep",
    ),
    Setting(
        "lr_drop_rate", "training", "positive", "factor of such a drop", 0.1, metavar="X", original=True,
        acts=lambda run, has: bool(run["lr_drops"]) and run["lr_scheduler"] == "multistep",
    ),
    Setting(
        "warmup_steps", "training", "count",
        "batches at the beginning of each training over which the learning rate rises linearly to its value", 0,
        since=0, acts=lambda run, has: trains(run, has) and run["warmup_steps"] > 1,
    ),
    Setting(
        "weight_decay", "training", "number", "L2 penalty; of adamw the decoupled decay (default: 0; adamw: 0.01)", 0.0,
        metavar="X", original=True,
    ),
    Setting(
        "clip_grad_norm", "training", "number", "largest norm of all gradients together in a step; 0: any", 0.0,
        metavar="X", since=0.0, acts=trains,
    ),
    Setting(
        "label_smoothing", "training", "fraction",
        "share of the target that is spread over all classes, in the loss of training alone", 0.0,
        metavar="X", since=0.0, acts=trains,
    ),
    Setting(
        "patience", "training", "count",
        "early stopping: a training ends after so many epochs without a lower loss on the validation examples, and "
        "goes back to the weights of its best epoch; 0: it never does", 0,
        since=0, acts=trains, cost="run",
    ),
    Setting(
        "amp", "training", "text",
        "number type of the products in training; scores and figures are always float32", "off",
        choices=("precision", "PRECISIONS"), alias=("quantization", "bf16"), since="off", cost="run",
    ),
    switch(
        "training", "sparse_convolutions",
        "compute convolutions of stride 1 that keep a fifth of their weights or less from these alone, in training and "
        "evaluation (on a CPU, in float32; needs a C compiler)",
        since=False, axis=True, dense=False, late=True, acts=lambda run, has: "convolutions" in has, cost="run",
    ),
    switch(
        "training", "compile", "compile the model for training (torch.compile; needs a C++ compiler)",
        since=False, cost="run",
    ),
    *pruning_settings.ROWS,
    # The studies, not a run
    operational(
        "study", "store", "path",
        "result directories to read (default: Results/study and Results/data, those that exist)", None,
        metavar="DIR", words="+",
    ),
    operational("study", "report_dir", "path", "where to write", "Results/report", metavar="DIR"),
    # A single run, beside others that train alike
    switch(
        "sharing", "share_pretraining",
        "keep the state after the epochs before pruning in --result-dir, and begin from one that a run with the same "
        "training has kept", operational=True,
    ),
    # Levels of multishot
    Setting(
        "rewind_epochs", "levels", "count",
        "each level goes back to the weights after N epochs of the first; 0: the initial ones", 0,
    ),
)
# fmt: on


def by_name() -> dict[str, Setting]:
    """Return all rows by the name of the setting."""
    return {row.name: row for row in ROWS}


def of(group: str) -> Iterator[Setting]:
    """Yield the rows of a group that have a flag."""
    return (row for row in ROWS if row.group == group and row.kind)


def identity(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a run's result depends on, sorted by name: all except where and how to run.

    A setting that was added later is left out if it has the value that earlier runs used. So earlier runs keep their
    names.
    """
    rows = by_name()
    kept = {}
    for name, value in sorted(values.items()):
        row = rows.get(name)
        if row is None or not (row.operational or (row.since is not ALWAYS and value in (None, row.since))):
            kept[name] = value
    return kept


def complete(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a stored run, with those added after it set to the value that it was made with."""
    return {**{row.name: row.since for row in ROWS if row.since is not ALWAYS}, **config}


def acting_when_dense(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that affect a run at compression 0. Dense runs that agree in them have the same bits."""
    idle = {row.name for row in ROWS if not row.dense}
    return {name: value for name, value in config.items() if name not in idle}


def acting_before_pruning(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that affect a run before it prunes. Runs that agree in them have the same bits until then."""
    late = of_pruning() | {row.name for row in ROWS if row.late}
    return {name: value for name, value in config.items() if name not in late}


def of_pruning() -> set[str]:
    """Return the names of the settings that say how a network is pruned, not how it is trained."""
    return {row.name for row in pruning_settings.ROWS}


def defaults(of_data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the default of each setting; of_data: the defaults of a data set, which override the general ones."""
    return {row.name: of_data.get(row.name, row.default) for row in ROWS}


def costing(kind: str) -> list[str]:
    """Return the names of the settings that change how long something takes; kind: "run" or "scoring"."""
    return [row.name for row in ROWS if row.cost == kind]


def taken_by(optimizer: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of an optimizer's class that its own settings decide."""
    own = [row for row in ROWS if row.optimizer and optimizer in row.optimizer[0].split()]
    return {row.optimizer[1]: values[row.name] for row in own if row.optimizer}
