"""Checks of a pruner class: the rows of a grade sheet, the process that runs them, and reference scores."""

# group -> the module whose rows(truth) returns its checks. "interface" is always checked. Modules are named and not
# imported, so that the command line needs no torch.
CHECKS = {
    "interface": "Experiments.grading.interface",
    "scores": "Experiments.grading.scores",
    "counts": "Experiments.grading.counts",
    "rounds": "Experiments.grading.rounds",
    "effects": "Experiments.grading.effects",
    "cost": "Experiments.grading.cost",
    "training": "Experiments.grading.training",
}
# pruner -> formula of its scores. A class that is graded as one of these is compared with the formula.
FORMULAS = {
    "rand": "uniform draws, independent of each other",
    "mag": "|theta|",
    "snip": "|dL/dmask|, L summed over the batches",
    "grasp": "theta * (H g) at logits / 200, L summed over the batches",
    "synflow": "|theta| * dR/d|theta|, R the output of the absolute network at ones",
    "grasp-abs": "|theta * (H g)| at logits / 200, L summed over the batches",
    "grasp-log": "s * S / C, s = |theta * (H g)|, S the sum of a unit's s, C that of those no smaller than s",
    "snip-iter": "|dL/dmask|, L summed over the batches",
    "force": "|dL/dmask|, also where the mask is 0, L summed over the batches",
    "synflow-l2": "theta^2 * dR/d(theta^2), R the output of the squared network at ones",
    "ntk-sap": "|d/dmask ||f(theta * mask) - f((theta + 0.01 * noise) * mask)||^2|, drawn from the seed in our order",
}
RETURNING = ("force",)  # a weight that an earlier round has pruned may come back
DRAWING = ("rand", "ntk-sap")  # each scoring has draws of its own
