"""Scores and masks. A pruner sees (mask, parameter) pairs, a model to call and batches; it knows no task."""
