"""Corpora: what is published, how it is read, prepared and kept, and batches of it."""
