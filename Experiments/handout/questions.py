"""The handout's questions: its networks, pruners and compressions, and the runs that each question needs."""

from collections.abc import Iterator
from dataclasses import dataclass

from Utils.study.tasks import pruner_title

COMPRESSIONS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
PRUNERS = ("rand", "mag", "snip", "grasp", "synflow")
ARCHITECTURE_COMPRESSION = 1.0  # the compression of the question on architectures
TRAINED_FIRST = ("mag",)  # pruners that score a trained network
PRECISION_PRUNER = "rand"  # the pruner of the question on mixed precision
PRECISIONS = ("off", "bf16")


@dataclass(frozen=True)
class Network:
    """A network with its data."""

    name: str  # the task's name among the public solutions
    title: str
    dataset: str
    model_class: str
    model: str


VGG16 = Network("cifar10-vgg16", "VGG16 on CIFAR-10", "cifar10", "lottery", "vgg16")
FC = Network("mnist-fc", "FC on MNIST", "mnist", "default", "fc")
SMALL = Network("cifar10-fc", "FC on CIFAR-10", "cifar10", "default", "fc")  # replaces VGG16 if time is short


@dataclass(frozen=True)
class Column:
    """A column of a table: a pruner, with or without training before it."""

    pruner: str
    trained_first: bool
    title: str


@dataclass(frozen=True)
class Cell:
    """The runs of one cell, which differ only in their seeds."""

    network: Network
    pruner: str
    compression: float
    pre_epochs: int
    post_epochs: int
    amp: str | None = None  # precision; None if any will do


@dataclass(frozen=True)
class Profile:
    """The scale of the handout's runs: how long they train, and how exactly their test time is measured."""

    name: str
    pre_epochs: int  # for the pruners in TRAINED_FIRST; the others have none
    post_epochs: int
    network: Network = VGG16  # for questions 2 to 4
    compressions: tuple[float, ...] = COMPRESSIONS  # for questions 2 to 4
    source: str = "auto"
    shown: float = 0.5  # the compression whose weights are drawn
    repeats: int = 7  # timings of each model
    seconds: float = 20.0  # approximate time of all timings of a model
    reduced: str = ""  # a sentence that says what is less than the handout asks for

    @property
    def networks(self) -> tuple[Network, ...]:
        """Return the networks of question 1."""
        return self.network, FC

    def cell(self, network: Network, column: Column, compression: float) -> Cell:
        """Return the cell of a network, column and compression."""
        pre = self.pre_epochs if column.trained_first else 0
        return Cell(network, column.pruner, compression, pre, self.post_epochs)

    def columns(self, untrained: bool = False) -> list[Column]:
        """Return the pruners in the handout's order; untrained: add those of TRAINED_FIRST without training."""
        columns = []
        for pruner in PRUNERS:
            title = pruner_title(pruner)
            columns.append(Column(pruner, pruner in TRAINED_FIRST, title))
            if untrained and pruner in TRAINED_FIRST:
                columns.append(Column(pruner, False, f"{title}, untrained"))
        return columns

    def cells(self) -> Iterator[Cell]:
        """Yield the cells of all questions, each once, in the order in which they are made."""
        seen = set()
        for cell in self._in_turn():
            if cell not in seen:
                seen.add(cell)
                yield cell

    def _in_turn(self) -> Iterator[Cell]:
        for network in reversed(self.networks):  # the quicker one first
            for column in self.columns(untrained=True):
                yield self.cell(network, column, ARCHITECTURE_COMPRESSION)
        for compression in self.compressions:
            for column in self.columns():
                yield self.cell(self.network, column, compression)
        for compression in self.compressions:
            for amp in PRECISIONS:
                yield self.precision_cell(compression, amp)

    def precision_cell(self, compression: float, amp: str) -> Cell:
        """Return the cell of the question on mixed precision."""
        return Cell(self.network, PRECISION_PRUNER, compression, 0, self.post_epochs, amp)


PROFILES = {
    "colab": Profile("colab", 10, 10),
    "full": Profile("full", 200, 100),
    "smoke": Profile(
        "smoke", 1, 1, SMALL, (0.5, 1.0, 2.0), "sample", repeats=3, seconds=0.3,
        reduced="Reduced: generated sample data, one epoch before pruning (Mag alone) and one after, three "
        "compressions, and the fully connected network in VGG16's place. The figures say nothing about real data.",
    ),
}  # fmt: skip
