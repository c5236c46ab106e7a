"""Data sets, one per file: the description, how raw files are read, and the generated sample."""
