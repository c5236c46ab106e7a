"""The settings that say how a network is pruned, one row each: see Utils/settings.py."""

from collections.abc import Container, Mapping
from typing import Any

from Utils.setting import Setting, switch, trains


def _by_scope(run: Mapping[str, Any], has: Container[str]) -> bool:
    return run["pattern"] == "none" and ("layers" in has or run["prune_bias"] or run["prune_embedding"])


def _rigl(run: Mapping[str, Any], has: Container[str]) -> bool:
    return run["dynamic"] == "rigl" and trains(run, has)


def _gradual(run: Mapping[str, Any], has: Container[str]) -> bool:
    return run["dynamic"] == "gradual"


def _dynamic(run: Mapping[str, Any], has: Container[str]) -> bool:
    return _rigl(run, has) or _gradual(run, has)


# fmt: off
ROWS = (
    Setting(
        "pruner", "pruning", "text",
        "how weights are scored; path/to/file.py:Class takes a class of your own. A round costs no training step with "
        "rand and mag, one of a single example with synflow and synflow-l2, and on all examples for scoring one with "
        "snip, snip-iter and force, 2 with ntk-sap, 3 (of several batches 4) with grasp, grasp-abs and grasp-log",
        "rand",
        choices=("pruner", "PRUNERS"), original=True, axis=True, dense=False, cost="scoring",
    ),
    Setting(
        "masks", "pruning", "path",
        "instead of scoring, take the masks of this finished run (its directory), and with them its settings of "
        "pruning",
        metavar="RUN", since=None, dense=False,
    ),
    Setting("pruner_sha256", "pruning", "", since=None, axis=True),  # hash of the file that defines the pruner's class
    Setting(
        "compression", "pruning", "number",
        "power-of-ten exponent: the fraction 10^-C of the prunable weights is kept; 0 is dense", 0.0,
        metavar="C", original=True, axis=True,
    ),
    Setting(
        "prune_epochs", "pruning", "positive count",
        "rounds of scoring and pruning on the way there (default: 1; as its authors have it, snip-iter: 7, force: 60, "
        "synflow-l2: 100, ntk-sap: 20)", 1,
        original=True, dense=False, cost="scoring",
    ),
    Setting(
        "compression_schedule", "pruning", "text", "density over those rounds", "exponential",
        choices=("compression schedule", "SCHEDULES"), original=True, dense=False,
        acts=lambda run, has: run["prune_epochs"] > 1,
    ),
    Setting(
        "mask_scope", "pruning", "text",
        "rank all weights together (global), or each tensor by itself: at one density (local), at those of an "
        "Erdos-Renyi kernel (erk), or at those of a .toml or .json FILE of names or patterns of tensors and densities, "
        "scaled to --compression by one factor, none above 1", "global",
        choices=("mask scope", "MASK_SCOPES"), original=True, dense=False, acts=_by_scope,
    ),
    Setting("mask_scope_path", "pruning", "", operational=True),  # of that file
    Setting("layer_densities", "pruning", "", since=None, dense=False, acts=_by_scope),  # in its order
    switch(
        "pruning", "never_empty",
        "keep the best weight of each unit first (an output of a layer, a word), as far as the compression allows",
        since=False, dense=False, acts=lambda run, has: run["pattern"] == "none",
    ),
    Setting(
        "pattern", "pruning", "pattern",
        "N:M keeps the best N of every M weights along a layer's input (of a convolution its input channels), at "
        "density N/M; the kernels of GPUs take 2:4", "none", metavar="N:M", since="none", dense=False,
    ),
    Setting(
        "ties", "pruning", "text", "which of equal scores stay: drawn by --prune-seed, or the first by position",
        "seeded", choices=("way with ties", "TIES"), since="position", dense=False,
    ),
    Setting(
        "prune_dataset_ratio", "pruning", "positive count",
        "examples for scoring: this number times the classes, drawn at random from all",
        original=True, own=True, dense=False, cost="scoring",
        acts=lambda run, has: "examples" in has and not run["prune_dataset_size"],
    ),
    Setting(
        "prune_dataset_size", "pruning", "positive count", "examples for scoring, in all",
        by_data=True, since=None, dense=False, cost="scoring", acts=lambda run, has: "examples" in has,
    ),
    Setting(
        "prune_dataset_balanced", "pruning", "switch",
        "draw equally many examples of each class for scoring, as far as there are so many", metavar="BOOL", own=True,
        since=False, dense=False, acts=lambda run, has: "examples" in has or not run["prune_dataset_balanced"],
    ),
    Setting(
        "prune_batch_size", "pruning", "positive count", "examples a batch in scoring", 256,
        original=True, by_data=True, dense=False,
    ),
    Setting(
        "prune_augment", "pruning", "switch", "score on varied examples, as the training loader gives them",
        metavar="BOOL", own=True, since=False, dense=False,
    ),
    Setting(
        "prune_attention", "pruning", "text",
        "which weights of an attention are prunable: its output projection, all four, none", "out",
        choices=("attention to prune", "ATTENTION"), since="out", dense=False,
        acts=lambda run, has: "attention" in has,
    ),
    Setting(
        "ignore_masks", "pruning", "text",
        "an ablation: train and measure attention's projections, or all layers, as if they had no masks, what was "
        "pruned starting from zero, as torch.nn's Transformer does with masked projections", "none",
        choices=("masks to ignore", "IGNORED"), since="none", dense=False,
        acts=lambda run, has: "attention" in has or run["ignore_masks"] == "all",
    ),
    switch("pruning", "prune_bias", "prune biases too", original=True, dense=False),
    switch(
        "pruning", "prune_batchnorm", "prune BatchNorm scales too, in a network of others those of every norm",
        original=True, dense=False, acts=lambda run, has: "batchnorm" in has,
    ),
    switch(
        "pruning", "prune_residual", "prune residual connections too", original=True, dense=False,
        acts=lambda run, has: "residual" in has,
    ),
    switch(
        "pruning", "prune_embedding",
        "prune what turns the input into vectors too: embeddings of words, and of image patches",
        since=False, dense=False, acts=lambda run, has: "embedding" in has,
    ),
    switch(
        "pruning", "prune_train_mode", "score in train mode: batch statistics, dropout", original=True,
        acts=lambda run, has: "examples" in has,
    ),
    switch("pruning", "reinitialize", "draw new initial weights after pruning", original=True),
    switch("pruning", "shuffle", "permute each mask within its tensor after pruning", original=True, dense=False),
    switch("pruning", "invert", "reverse the order of the scores", original=True, dense=False),
    # Masks that change in training
    Setting(
        "dynamic", "dynamic masks", "text",
        "gradual (Zhu and Gupta 2017) prunes in training, by magnitude, along a cubic curve; rigl (Evci et al. 2020) "
        "moves weights within each tensor, from the smallest to where the gradient is largest, beginning with the "
        "masks of --pruner", "none",
        choices=("way to change masks", "DYNAMIC"), since="none", dense=False, acts=_dynamic, cost="scoring",
    ),
    Setting(
        "dynamic_interval", "dynamic masks", "positive count", "training steps from one change to the next", 100,
        metavar="STEPS", since=100, dense=False, acts=_dynamic, cost="scoring",
    ),
    Setting(
        "dynamic_end", "dynamic masks", "share", "fraction of the training's steps after which the masks stay", 0.75,
        metavar="FRACTION", since=0.75, dense=False, acts=_dynamic,
    ),
    Setting(
        "dynamic_start", "dynamic masks", "share", "density to which gradual prunes at once, before it begins", 1.0,
        metavar="DENSITY", since=1.0, dense=False, acts=_gradual,
    ),
    Setting(
        "drop_fraction", "dynamic masks", "fraction",
        "fraction of a tensor's kept weights that rigl moves at first; it falls to 0 along a cosine", 0.3,
        metavar="FRACTION", since=0.3, dense=False, acts=_rigl,
    ),
)
# fmt: on
