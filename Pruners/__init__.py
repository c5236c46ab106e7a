"""Scores and masks. A pruner sees (mask, parameter) pairs, a model and batches. It does not know the task."""

SCOPES = ("global", "local")  # rank all tensors together, or each by itself
TIES = ("seeded", "position")  # which of equal scores at the threshold stay: drawn from the seed, or the first
