"""Training, pruning and evaluation of a model."""
