"""A candidate's process without a box: it has the rights of the user, on any system that can fork.

Crashes, endless loops, exits, and too much output or memory make a row fail. There is no protection against malice.
"""

import os
import shutil
import tempfile

from Experiments.grading.child import ROOT, Child
from Experiments.grading.remote import Fault

ISOLATION = "none"  # as it stands on the sheet


class Plain(Child):
    """The process, in a temporary directory that ends with it."""

    def __init__(self, threads: int) -> None:
        if not hasattr(os, "fork"):
            raise Fault("grading needs a system that can fork; on Windows, WSL is one")
        self.directory = tempfile.mkdtemp(prefix="grade-")
        alone = {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "PYTHONDONTWRITEBYTECODE": "1"}
        super().__init__([], [str(threads)], self.directory, {**os.environ, **alone})

    def close(self) -> None:
        super().close()
        shutil.rmtree(self.directory, ignore_errors=True)
