"""What may be said on the command line: the flags, by group, and the types of their values."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from Utils import load
from Utils.corpus import SOURCES
from Utils.errors import UserError
from Utils.seeds import STREAMS

# The flags of assignment one's command line, which took their beginnings too: its handout says --post-epoch.
ORIGINAL = (
    *("--experiment", "--dataset", "--model", "--model-class", "--dense-classifier", "--pretrained", "--optimizer"),
    *("--train-batch-size", "--test-batch-size", "--pre-epochs", "--post-epochs", "--lr", "--lr-drops"),
    *("--lr-drop-rate", "--weight-decay", "--pruner", "--compression", "--prune-epochs", "--compression-schedule"),
    *("--mask-scope", "--prune-dataset-ratio", "--prune-batch-size", "--prune-bias", "--prune-batchnorm"),
    *("--prune-residual", "--prune-train-mode", "--reinitialize", "--shuffle", "--invert", "--pruner-list"),
    *("--prune-epoch-list", "--compression-list", "--level-list", "--expid", "--result-dir", "--gpu", "--workers"),
    *("--no-cuda", "--seed", "--verbose", "--quantization"),
)


class Parser(argparse.ArgumentParser):
    """argparse, but an error is a UserError, and of flags only those of `ORIGINAL` may be shortened."""

    def error(self, message: str):
        raise UserError(f"{message}; --help lists the flags")

    def parse_known_args(self, args=None, namespace=None):
        return super().parse_known_args([self._whole(word) for word in args or ()], namespace)

    def _whole(self, word: str) -> str:
        """The word, or the whole flag of which it is the beginning, what follows a "=" kept."""
        flag, equals, value = word.partition("=")
        if not flag.startswith("--") or len(flag) == 2 or flag in self._option_string_actions:
            return word
        meant = [name for name in ORIGINAL if name.startswith(flag) and name in self._option_string_actions]
        if len(meant) > 1:
            self.error(f"{flag} may be {' or '.join(meant)}")
        return f"{meant[0]}{equals}{value}" if meant else word


def switch(text: str) -> bool:
    """The word after a flag such as --prune-bias: assignment-one wrote True and False there."""
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return words[text.lower()]


def _number(kind: type, low: float, strict: bool, what: str, high: float = 1e36):
    def convert(text: str):
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}") from None
        if not low <= value <= high or (strict and value == low):
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
        return value

    return convert


count = _number(int, 0, False, "a whole number from 0")
positive_count = _number(int, 1, False, "a whole number from 1")
non_negative = _number(float, 0.0, False, "a number from 0 to 1e36")
fraction = _number(float, 0.0, False, "a number from 0 to below 1", 1.0 - 1e-12)
positive = _number(float, 0.0, True, "a number above 0, at most 1e36")


def new_parser(title: str) -> Parser:
    return Parser(
        prog="main.py",
        description=title,
        epilog="Defaults marked * are the data set's own, those of the paper.",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=32, width=110),
        allow_abbrev=False,
    )


def names(options: Iterable[str]) -> str:
    return "{" + ",".join(options) + "}"


def switch_flag(group: argparse._ArgumentGroup, name: str, text: str) -> None:
    """A flag that is true when named, and takes a word for true or false after it as assignment-one wrote it."""
    group.add_argument(name, nargs="?", const=True, default=False, type=switch, metavar="BOOL", help=text)


def add_experiment(top: Parser) -> None:
    """What every experiment takes: which one, where things are, on what it runs."""
    add = top.add_argument_group("experiment").add_argument
    add(
        "--experiment",
        default="singleshot",
        metavar=names(load.EXPERIMENTS),
        help="the recipe; with --help: its flags (default: singleshot)",
    )
    add("--data-dir", default="Data", metavar="DIR", help="where data is kept (default: Data)")
    add("--gpu", type=count, default=0, metavar="N", help="number of the GPU to use where there is one (default: 0)")
    switch_flag(top._action_groups[-1], "--no-cuda", "use the CPU even if there is a GPU")
    add("--threads", type=count, metavar="N", help="threads of torch's arithmetic; 0: torch's own choice (default: *)")


def add_run(top: Parser) -> None:
    """Where a run is kept, and the random streams it draws from."""
    group = top.add_argument_group("run")
    add = group.add_argument
    add("--expid", default="", metavar="NAME", help="name of the result's directory (default: made from all settings)")
    add("--result-dir", default="Results/data", metavar="DIR", help="where results are kept (default: Results/data)")
    switch_flag(group, "--force", "run again and replace the stored result of the same settings")
    add(
        "--workers",
        type=count,
        default=0,
        metavar="N",
        help="threads that put batches together ahead of use (default: 0)",
    )
    add("--seed", type=count, default=1, metavar="N", help="random seed of everything (default: 1)")
    for stream, text in zip(STREAMS, ("initial weights", "data order", "pruner's random draws"), strict=True):
        add(f"--{stream}-seed", type=count, metavar="N", help=f"seed of the {text} (default: --seed)")
    switch_flag(group, "--verbose", "print the loss every 64 batches")


def add_study(top: Parser) -> None:
    """Which stored runs to read, and where to write what comes of them."""
    add = top.add_argument_group("study").add_argument
    add(
        "--store",
        nargs="+",
        metavar="DIR",
        help="result directories to read (default: Results/study and Results/data, those that exist)",
    )
    add("--report-dir", default="Results/report", metavar="DIR", help="where to write (default: Results/report)")


def add_data(top: Parser) -> None:
    """Which data, and what only some data sets have."""
    add = top.add_argument_group("data").add_argument
    add("--dataset", default="mnist", metavar=names(load.DATASETS), help="data set (default: mnist)")
    add(
        "--source",
        default="auto",
        metavar=names(SOURCES),
        help="real: the corpus or an error; sample: a small generated stand-in; auto: the corpus if it is there or "
        "can be fetched, else the sample, with a warning (default: auto)",
    )
    add = top.add_argument_group("translation", "for data sets that are translated").add_argument
    add("--src", metavar="LANG", help="language to translate from (default: *)")
    add("--tgt", metavar="LANG", help="language to translate into (default: *)")
    add("--test-set", metavar="NAME", help="test set to measure on (default: *)")
    add("--beam", type=positive_count, metavar="K", help="hypotheses kept in decoding; 1 is greedy (default: *)")
    add("--bleu-every", type=count, metavar="N", help="epochs between two BLEUs in training; 0: none (default: *)")
    add(
        "--bleu-weights",
        type=non_negative,
        nargs="+",
        metavar="W",
        help="weights of the n-gram orders 1, 2, ... in BLEU (default: *)",
    )


def add_training(top: Parser, pre_epochs: int | None = 0) -> None:
    """pre_epochs: how many by default; None: as many as after pruning."""
    group = top.add_argument_group("training")
    add = group.add_argument
    classes = " ".join(f"{cls}: {names(models)}" for cls, models in load.MODELS.items())
    add("--model-class", metavar=names(load.MODELS), help="family of models (default: *)")
    add("--model", metavar="NAME", help=f"{classes} (default: *)")
    add("--init", metavar=names(load.INITS["lottery"]), help="initial weights of lottery networks (default: *)")
    add(
        "--pretrained",
        nargs="?",
        const="true",
        metavar="RUN",
        help="start from the weights of a finished run (its directory)",
    )
    switch_flag(group, "--dense-classifier", "leave the last layer out of pruning")
    add("--optimizer", metavar=names(load.OPTIMIZERS), help="optimizer (default: *)")
    add("--train-batch-size", type=positive_count, metavar="N", help="examples a batch in training (default: *)")
    add("--test-batch-size", type=positive_count, metavar="N", help="examples a batch in evaluation (default: *)")
    usual = "--post-epochs" if pre_epochs is None else pre_epochs
    text = f"epochs to train before pruning (default: {usual})"
    add("--pre-epochs", type=count, default=pre_epochs, metavar="N", help=text)
    add("--post-epochs", type=count, metavar="N", help="epochs to train after pruning (default: *)")
    add("--lr", type=positive, metavar="X", help="learning rate (default: *)")
    add("--adam-betas", type=fraction, nargs=2, metavar="B", help="Adam's decay rates (default: *)")
    add("--adam-eps", type=positive, metavar="X", help="Adam's term against division by zero (default: *)")
    add(
        "--lr-drops",
        type=positive_count,
        nargs="*",
        default=[],
        metavar="N",
        help="epochs after which the learning rate drops (default: none)",
    )
    add("--lr-drop-rate", type=positive, default=0.1, metavar="X", help="factor of such a drop (default: 0.1)")
    add("--weight-decay", type=non_negative, default=0.0, metavar="X", help="L2 penalty (default: 0)")
    add(
        "--amp",
        default="off",
        metavar=names(load.PRECISIONS),
        help="number type of the products in training; scores and figures are always float32 (default: off)",
    )
    add(
        "--quantization",
        dest="amp",
        nargs="?",
        const="true",
        type=lambda text: "bf16" if switch(text) else "off",
        metavar="BOOL",
        default=argparse.SUPPRESS,
        help="assignment one's name of --amp bf16",
    )
    switch_flag(group, "--compile", "compile the model for training (torch.compile; needs a C++ compiler)")


def add_pruning(top: Parser, pruner: str = "rand") -> None:
    """pruner: the default."""
    group = top.add_argument_group(
        "pruning",
        "the printed 'Parameter Sparsity' and 'FLOP Sparsity' are the fractions that REMAIN, "
        "as in the Synaptic Flow code",
    )
    add = group.add_argument
    text = f"how weights are scored; path/to/file.py:Class takes a class of your own (default: {pruner})"
    add("--pruner", default=pruner, metavar=names(load.PRUNERS), help=text)
    add(
        "--compression",
        type=non_negative,
        default=0.0,
        metavar="C",
        help="power-of-ten exponent: the fraction 10^-C of the prunable weights is kept (default: 0, dense)",
    )
    add(
        "--prune-epochs",
        type=positive_count,
        default=1,
        metavar="N",
        help="rounds of scoring and pruning on the way there (default: 1)",
    )
    add(
        "--compression-schedule",
        default="exponential",
        metavar=names(load.SCHEDULES),
        help="density over those rounds (default: exponential)",
    )
    add(
        "--mask-scope",
        default="global",
        metavar=names(load.SCOPES),
        help="rank all weights together, or each tensor by itself (default: global)",
    )
    add(
        "--ties",
        default="seeded",
        metavar=names(load.TIES),
        help="which of equal scores stay: drawn by --prune-seed, or the first by position (default: seeded)",
    )
    add(
        "--prune-dataset-ratio",
        type=positive_count,
        metavar="N",
        help="examples for scoring, a class (default: *)",
    )
    add("--prune-dataset-size", type=positive_count, metavar="N", help="examples for scoring, in all (default: *)")
    add("--prune-batch-size", type=positive_count, metavar="N", help="examples a batch in scoring (default: *)")
    group.add_argument(
        "--prune-augment",
        nargs="?",
        const=True,
        type=switch,
        metavar="BOOL",
        help="score on varied examples, as the training loader gives them (default: *)",
    )
    add(
        "--prune-attention",
        default="out",
        metavar=names(load.ATTENTION),
        help="which weights of an attention are prunable: its output projection, all four, none (default: out)",
    )
    add(
        "--ignore-masks",
        default="none",
        metavar=names(load.IGNORED),
        help="an ablation: train and measure attention's projections, or all layers, as if they had no masks, what was "
        "pruned starting from zero, as torch.nn's Transformer does with masked projections (default: none)",
    )
    switch_flag(group, "--prune-bias", "prune biases too")
    switch_flag(group, "--prune-batchnorm", "prune BatchNorm scales too")
    switch_flag(group, "--prune-residual", "prune residual connections too")
    switch_flag(group, "--prune-train-mode", "score in train mode: batch statistics, dropout")
    switch_flag(group, "--reinitialize", "draw new initial weights after pruning")
    switch_flag(group, "--shuffle", "permute each mask within its tensor after pruning")
    switch_flag(group, "--invert", "reverse the order of the scores")
