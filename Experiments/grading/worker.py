"""A process that grades one student after the other, and otherwise works like Experiments/sweeping/worker.py."""

import json
import sys
import traceback
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

import torch

from Experiments.grading.classroom import grade
from Experiments.sweeping import worker
from Utils.errors import UserError


def perform(words: Sequence[str]) -> dict[str, Any]:
    """Grade the student of a job, given as JSON; return {} or {"error": one line}, which is the grader's error."""
    job = Namespace(**json.loads(words[0]))
    torch.set_num_threads(job.threads or torch.get_num_threads())
    try:
        grade(job)
    except Exception as error:  # any error belongs to this student; the next may go well
        if not isinstance(error, UserError):
            traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}".partition("\n")[0]}
    return {}


if __name__ == "__main__":
    sys.exit(worker.main(perform))
