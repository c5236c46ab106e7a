"""Generators of samples that replace the real corpora if those are not available."""
