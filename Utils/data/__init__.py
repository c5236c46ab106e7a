"""Data sets: how the published files are read, prepared and cached, and how batches are made."""
