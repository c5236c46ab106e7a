"""The command line in this process, for experiments that do not train."""

import contextlib
import io
import shlex
from unittest import mock

import main


def ask(arguments: str, data, given: str = "") -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of one call, `given` on standard input."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), mock.patch("sys.stdin", io.StringIO(given)):
        code = main.main([*shlex.split(arguments), "--data-dir", str(data)])
    return code, out.getvalue(), err.getvalue()
