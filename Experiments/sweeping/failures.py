"""The record of runs that failed: a JSON file each in `<result-dir>/failed/`, gone once the run succeeds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from Utils.store import files

LINES = 40  # of the output's end


class Failures:
    def __init__(self, result_dir: str) -> None:
        self.folder = Path(result_dir) / "failed"

    def message(self, name: str) -> str | None:
        """Why the run of that name failed; None if no failure is recorded."""
        try:
            return str(json.loads((self.folder / f"{name}.json").read_text())["message"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            return "a record that cannot be read"

    def record(self, name: str, message: str, command: Sequence[str], output: str) -> None:
        files.write_json(
            self.folder / f"{name}.json",
            {
                "name": name,
                "message": message,
                "when": datetime.now(UTC).isoformat(timespec="seconds"),
                "command": list(command),
                "output": output.splitlines()[-LINES:],
            },
        )

    def forget(self, name: str) -> None:
        with files.writing(self.folder):
            (self.folder / f"{name}.json").unlink(missing_ok=True)
