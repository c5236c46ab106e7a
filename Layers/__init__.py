"""Masked layers, and masks for layers of others. This package imports nothing else of the project."""

from Layers.attached import attach as attach
