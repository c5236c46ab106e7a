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
# pruner -> what its scores are; for each of them a class's scores have a reference to be compared with
FORMULAS = {
    "rand": "uniform draws, independent of each other",
    "mag": "|theta|",
    "snip": "|dL/dmask|, L summed over the batches",
    "grasp": "theta * (H g) at logits / 200, L summed over the batches",
    "synflow": "|theta| * dR/d|theta|, R the output of the absolute network at ones",
}
