"""Training, pruning and measuring a model."""
