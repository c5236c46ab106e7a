"""Search for files near the place of a missing one that cannot be used, so that a message can name them."""

import re
from pathlib import Path

from Utils import load
from Utils.data.dataset import Dataset, RawFile

MOST = 3  # that are named
OURS = ("prepared",)  # entries of the data directory that are made here


def _letters(name: str) -> str:
    """Return a name's lower-case letters and digits."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _like(folder: Path, wanted: set[str], known: set[Path]) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return []
    visible = [entry for entry in entries if entry.name[0] != "." and entry.name not in OURS and entry not in known]
    return [entry for entry in visible if any(word and word in _letters(entry.name) for word in wanted)]


def words(dataset: Dataset, data_dir: Path, missing: RawFile) -> str:
    """Return what is near the missing file, as the end of a sentence; "" if there is nothing.

    That is, in its folder, what has its name with another ending; in the data directory, what has the name of the data
    set or of its folder, but not the longer one of another data set.
    """
    known = {data_dir / path for raw in dataset.raw for path in (raw.path, *raw.others)}
    known |= {parent for path in known for parent in path.parents if parent != data_dir}
    place = data_dir / missing.path
    found = _like(place.parent, {_letters(place.name.split(".")[0])}, known) if place.parent != data_dir else []
    top = {_letters(name) for name in (dataset.name, dataset.title, Path(missing.path).parts[0])}
    longer = {_letters(name) for name in load.DATASETS if any(word in _letters(name) for word in top)} - top
    found += [
        entry for entry in _like(data_dir, top, known) if not any(name in _letters(entry.name) for name in longer)
    ]
    if not found:
        return ""
    named = ", ".join(str(path) for path in found[:MOST])
    return f"; {named} is near, but not the published file or not in a form that is read: unpack, rename or remove it"
