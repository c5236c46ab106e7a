"""Data, training, pruning and evaluation routines, metrics, the result store, and the names of everything (load)."""
