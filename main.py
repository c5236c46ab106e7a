"""The command line: `python main.py --help`."""

import sys

# Everything else is imported inside `main`, so that Ctrl-C is caught from the first moment.


def main(arguments: list[str] | None = None) -> int:
    """Run one experiment and return the exit code: 0 if it went well, 2 if the user has to correct something.

    Errors of the user are printed on standard error, one line each. A recipe that returns an integer decides the exit
    code itself. After Ctrl-C the code is 130.
    """
    try:
        from Utils import console
        from Utils.machine import interrupts

        console.print_anything()
        with interrupts.after_imports():
            return _main(arguments)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def _main(arguments: list[str] | None) -> int:
    from Utils.commandline import arguments as commandline
    from Utils.errors import UserError

    try:
        result = _run(commandline.parse(arguments))
    except (UserError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a path that is too long, a disk that fails
        print(f"error: {error.filename or 'input or output'}: {error.strerror or error}", file=sys.stderr)
        return 2
    return result if isinstance(result, int) else 0


def _run(args) -> object:
    """Run the experiment; raise UserError where code of the user's own ends the process, as sys.exit() does."""
    from Utils import load
    from Utils.errors import UserError

    try:
        return load.recipe(args.experiment).run(args)
    except SystemExit as error:
        raise UserError(
            f"SystemExit({error.code!r}) was raised in the run, by a file of your own; nothing is saved"
        ) from error


if __name__ == "__main__":
    import os

    if sys.getfilesystemencoding() == "ascii" and os.environ.get("PYTHONUTF8") != "1":
        # LC_ALL=C with PYTHONUTF8=0: names of files could not be written down. Python's UTF-8 mode begins with it.
        os.execve(sys.executable, sys.orig_argv, {**os.environ, "PYTHONUTF8": "1"})
    sys.exit(main())
