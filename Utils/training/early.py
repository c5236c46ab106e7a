"""Early stopping: a training ends when the loss on validation examples falls no more (Prechelt 1998)."""

from collections.abc import Container, Mapping
from typing import Any

from torch import nn

from Utils.errors import UserError

SPLITS = ("validation", "val")  # drawn from the training examples; published


class EarlyStopping:
    """The best epoch of the phase that is being trained, with its weights.

    patience: the number of epochs without a lower loss after which the phase ends; 0: it never does.
    splits: the names of the splits that are measured. Raises UserError if none of them is for validation.
    """

    def __init__(self, model: nn.Module, patience: int, splits: Container[str]) -> None:
        self.model, self.patience = model, patience
        self.figure = next((f"{split}_loss" for split in SPLITS if split in splits and patience), "")
        self.best: dict[str, Any] = {}
        if patience and not self.figure:
            raise UserError("--patience needs validation examples; hold some out with --validation-size N")

    def ends(self, phase: str, epoch: int, epochs: int, figures: Mapping[str, float]) -> bool:
        """Return whether the phase ends with this epoch of `epochs`; if so, the model has its best weights again.

        figures: those of this epoch, by name.
        """
        if not self.patience:
            return False
        loss = figures[self.figure]
        if self.best.get("phase") != phase or loss < self.best["loss"]:
            tensors = {k: v.clone() for k, v in self.model.state_dict().items() if not k.endswith("_mask")}
            self.best = {"phase": phase, "epoch": epoch, "loss": loss, "tensors": tensors}
        best = self.best
        if epoch < epochs and epoch - best["epoch"] < self.patience:
            return False
        if best["epoch"] != epoch:
            self.model.load_state_dict(best["tensors"], strict=False)
            print(f"  back to epoch {best['epoch']}, the best ({self.figure.replace('_', ' ')} {best['loss']:.4f})")
        self.best = {}
        return True

    def state(self) -> dict[str, Any]:
        """Return the best epoch, for `restore`."""
        return {"best": self.best}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from that state."""
        self.best = state["best"]
