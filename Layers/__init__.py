"""Masked layers. This package imports nothing else of the project."""
