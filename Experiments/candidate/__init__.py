"""The process that holds a class under test. It builds networks, scores and masks, and a judge checks its answers.

This package, `Layers`, the networks of `Models` and the pruners' base class are all of the project that is in its box.
"""
