"""The rows of a grade sheet, the processes they run in, and the truth they are held against."""

# group -> module with rows(truth): its checks, in order; "interface" is always among them. Names, so that the command
# line needs no torch.
CHECKS = {
    "interface": "Experiments.grading.interface",
    "scores": "Experiments.grading.scores",
    "counts": "Experiments.grading.counts",
    "rounds": "Experiments.grading.rounds",
    "effects": "Experiments.grading.effects",
    "cost": "Experiments.grading.cost",
    "training": "Experiments.grading.training",
}
