"""Scores and masks. A pruner sees (mask, parameter) pairs, a model to call and batches; it knows no task."""

SCOPES = ("global", "local")  # of a ranking: all tensors together, or each by itself
TIES = ("seeded", "position")  # who stays of equal scores at the threshold: drawn by the seed, or the first
