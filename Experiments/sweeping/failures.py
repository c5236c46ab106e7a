"""The record of failed runs: one JSON file each in `<result-dir>/failed/`, deleted when the run succeeds."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from Utils.store import files

LINES = 40  # lines of the output's end that are kept


class Failures:
    """The recorded failures of a result directory."""

    def __init__(self, result_dir: str) -> None:
        self.folder = Path(result_dir) / "failed"

    def message(self, name: str) -> str | None:
        """Return why the run of that name failed; None if no failure is recorded."""
        try:
            return str(files.read_json(self.folder / f"{name}.json")["message"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            return "a record that cannot be read"

    def record(self, name: str, message: str, command: Sequence[str], output: str) -> None:
        """Record a failure with the command and the end of its output."""
        when = datetime.now(UTC).isoformat(timespec="seconds")
        entry = {"name": name, "message": message, "when": when, "command": list(command)}
        files.write_json(self.folder / f"{name}.json", entry | {"output": output.splitlines()[-LINES:]})

    def forget(self, name: str) -> None:
        """Delete the record of a run."""
        with files.writing(self.folder):
            (self.folder / f"{name}.json").unlink(missing_ok=True)
