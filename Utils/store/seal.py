"""The seal of a run: the SHA-256 of each of its files, in seal.json beside them.

A flipped bit, a copy that was cut off and a slip in an editor leave a file that can still be read. The seal shows them.
It finds accidents, not forgers: whoever changes a file on purpose can write a new seal as well. A file that is missing
is not damaged, because weights are often not kept.
"""

from collections.abc import Iterable
from pathlib import Path

from Utils.errors import UserError
from Utils.store import files

FILE = "seal.json"
REMEDY = "restore it, or make the run again with --force"


def put(folder: Path, names: Iterable[str]) -> None:
    """Write the seal of those of these files that the directory holds."""
    there = sorted(name for name in names if (folder / name).is_file())
    files.write_json(folder / FILE, {name: files.sha256(folder / name) for name in there})


def check(folder: Path, name: str = "") -> None:
    """Raise UserError if a file has changed since the run ended: `name`, or any but the weights, which take long.

    A run without a seal, made before there were seals, passes.
    """
    try:
        sums = files.read_json(folder / FILE)
        wanted = {
            key: str(value) for key, value in sums.items() if name == key or not (name or key.endswith(".safetensors"))
        }
    except FileNotFoundError:
        return
    except (OSError, ValueError, AttributeError) as error:
        raise damaged(folder / FILE, error) from error
    for key, value in wanted.items():
        try:
            same = files.sha256(folder / key) == value
        except FileNotFoundError:
            continue
        except OSError as error:
            raise damaged(folder / key, error) from error
        if not same:
            raise damaged(folder / key, f"it has changed since {FILE} was written")


def damaged(path: Path, why: object) -> UserError:
    """Return the error of a damaged file."""
    return UserError(f"{path} is damaged ({why}); {REMEDY}")
