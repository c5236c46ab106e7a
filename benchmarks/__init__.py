"""Measured ratios. Each module is a script that times two ways of doing one thing in one run."""
