"""Masked layers: the ground floor, which imports nothing else of the project."""
