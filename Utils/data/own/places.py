"""Recognition of what lies at a path given as data set: a table, class folders of images, or parallel texts.

It reads names, no content.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from Utils import console
from Utils.errors import UserError
from Utils.wording import counted, listed

TABLES = ("csv", "tsv", "jsonl")
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
# split -> what its file, its folder, or its value in a column is called
SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "eval"),
}
LANGUAGE = re.compile(r"(?P<stem>.+)\.(?P<language>[a-z]{2,3}([_-]\w+)?)")  # a parallel text, without .gz
EXTENSIONS = {"csv", "tsv", "txt", "md", "zip", "gz", "tar", "tgz", "py", "log", "xml", "ini", "bak", "pdf", "db"}
# endings of what lies beside images and is none
BESIDE = EXTENSIONS | {"json", "jsonl", "yaml", "yml", "html", "rst", "ipynb", "pt", "pth", "ckpt", "safetensors"}
# ending -> what to do with a file that is not read
OTHERS = dict.fromkeys((".xlsx", ".xls", ".ods", ".parquet"), "save it as a .csv file")
OTHERS |= {".json": "save it as .jsonl, one object a line"} | dict.fromkeys((".zip", ".tar", ".tgz"), "unpack it")
LENGTH = 40  # of a name


def split_of(name: str) -> str | None:
    """Return the split that a name stands for, or None."""
    return next((split for split, names in SPLITS.items() if name.strip().lower() in names), None)


def _unzipped(path: Path) -> Path:
    return path.with_suffix("") if path.suffix.lower() == ".gz" else path


def stem(path: Path) -> str:
    """Return the name of a file without its ending, without .gz, and without what numbers the only part of it."""
    return _unzipped(path).stem.removesuffix("-00000-of-00001")


def table_form(path: Path) -> str:
    """Return the form of the table that a file's name tells of, zipped or not; "" if it tells of none."""
    ending = _unzipped(path).suffix[1:].lower()
    return ending if ending in TABLES else ""


def by_split(paths: Iterable[Path], name: Callable[[Path], str] = stem) -> dict[str, Path]:
    """Return those of the paths that are named after a split; name: returns that part of a path.

    Without a training split there is none. Raises UserError if a split is there twice.
    """
    found: dict[str, Path] = {}
    for path in sorted(paths):
        if split := split_of(name(path)):
            if split in found:
                raise UserError(f"{path.parent}: both {found[split].name} and {path.name} are there; leave one of them")
            found[split] = path
    return found if "train" in found else {}


def _entries(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if not entry.name.startswith((".", "__")))


def _folders(path: Path) -> dict[str, Path]:
    return by_split((entry for entry in _entries(path) if entry.is_dir()), lambda entry: entry.name)


def tables(path: Path) -> dict[str, Path]:
    """Return the table at `path` as {"": path}, or those of a folder by split; empty if there is none.

    Without tables in the folder itself, folders called after splits count, each with a table and nothing else in it.
    """
    if path.is_file():
        return {"": path} if table_form(path) else {}
    if not path.is_dir():
        return {}
    if found := [entry for entry in _entries(path) if entry.is_file() and table_form(entry)]:
        return by_split(found)
    inside = {split: _entries(folder) for split, folder in _folders(path).items()}
    alone = all(len(files) == 1 and files[0].is_file() and table_form(files[0]) for files in inside.values())
    return {split: files[0] for split, files in inside.items()} if alone else {}


def _images(place: Path) -> tuple[list[Path], list[Path]]:
    """Return the images that are `place` or lie below it, and the files that may be images of another form, sorted.

    Left out are hidden files, those that end in `BESIDE`, and README, LICENSE and the like.
    """
    images, others = [], []
    for path in [place] if place.is_file() else sorted(place.rglob("*")):
        if any(part.startswith(".") for part in path.relative_to(place).parts) or not path.is_file():
            continue
        if path.suffix.lower() in IMAGES:
            images.append(path)
        elif path.suffix[1:].lower() not in BESIDE and not (path.name.isalpha() and path.name.isupper()):
            others.append(path)
    return images, others


def unread(folder: Path) -> str:
    """Return a remark on the first file in a folder that may be an image of a form that is not read, or ""."""
    others = _images(folder)[1] if folder.is_dir() else []
    return f" ({others[0].relative_to(folder).as_posix()} is no image of a known form)" if others else ""


def _note_left(folder: Path, left: list[Path], why: str) -> None:
    if left:
        words = f"{counted(len(left), 'file')} {'is' if len(left) == 1 else 'are'} not read"
        names = listed([path.relative_to(folder).as_posix() for path in left])
        console.note_once(f"{folder}: {words}: {names} ({why})")


def class_folders(folder: Path) -> dict[str, list[Path]]:
    """Return the images of each folder in `folder` that has some, by the folder's name, with notes on what has none."""
    inside = {entry: _images(entry) for entry in _entries(folder)}
    found = {entry.name: images for entry, (images, _) in inside.items() if images and entry.is_dir()}
    if found:
        if bare := [entry.name for entry in inside if entry.is_dir() and entry.name not in found]:
            console.note_once(f"{folder}: no images in {listed(bare)}, so no class")
        stray = [entry for entry, (images, _) in inside.items() if images and entry.is_file()]
        _note_left(folder, stray, "in no folder of a class")
        _note_left(folder, [path for _, others in inside.values() for path in others], "no image of a known form")
    return found


def image_folders(path: Path) -> dict[str, Path]:
    """Return the folders of class folders by split; {"": path} if the class folders lie in `path` itself.

    Raises UserError if the training split has class folders and another split has none, and for folders of folders
    that are called nearly like splits, such as seg_train and seg_test.
    """
    if not path.is_dir():
        return {}
    folders = _folders(path)
    if folders and class_folders(folders["train"]):
        for folder in [folder for folder in folders.values() if not class_folders(folder)]:
            words = "no folder of a class with images is in it, as in train; fill or remove it"
            raise UserError(f"{folder}: {words}{unread(folder)}")
        beside = [entry for entry in _entries(path) if entry not in folders.values()]
        left = [file for entry in beside for files in _images(entry) for file in files]
        _note_left(path, left, f"beside {listed([folder.name for folder in folders.values()])}")
        return folders
    found = class_folders(path)
    like = {split: name for name in found for word in re.split("[^a-z]+", name.lower()) if (split := split_of(word))}
    train = like.get("train", "")
    if train and len(like) > 1 and path / train not in {image.parent for image in found[train]}:
        words = "look like splits, not classes; call them train and test, with the folders of the classes right in them"
        raise UserError(f"--dataset {path}: {listed(sorted(like.values()))} {words}")
    return {"": path} if found else {}


def languages(path: Path) -> dict[str, dict[str, Path]]:
    """Return the parallel texts by split and language. `path` is their folder, or what their names begin with.

    The split is "" if the names give none. Raises UserError if a folder holds several texts, and none for training, or
    half of a split.
    """
    folder, prefix = (path, None) if path.is_dir() else (path.parent, path.name)
    texts: dict[str, dict[str, Path]] = {}
    for entry in _entries(folder) if folder.is_dir() else ():
        match = LANGUAGE.fullmatch(entry.name.removesuffix(".gz"))
        if match and match["language"] not in EXTENSIONS and entry.is_file():
            texts.setdefault(match["stem"], {}).setdefault(match["language"], entry)
    halves = [half for stem, files in texts.items() if len(files) == 1 and split_of(stem) for half in files.items()]
    texts = {stem: files for stem, files in texts.items() if len(files) > 1}
    if prefix is not None:
        return {"": texts[prefix]} if prefix in texts else {}
    for language, half in halves:
        if any(language in files for files in texts.values()):
            raise UserError(f"{half}: has no counterpart in another language; add it, or remove this file")
    splits = by_split(map(Path, texts))
    if splits:
        return {split: texts[named.name] for split, named in splits.items()}
    if len(texts) > 1:
        raise UserError(
            f"--dataset {path}: {', '.join(sorted(texts))} are parallel texts, and none is called train; name one of "
            f"them: {path / min(texts)}"
        )
    return {"": next(iter(texts.values()))} if texts else {}


def form(path: Path) -> str | None:
    """Return the form of the data at a path, a key of Utils.load.FORMS; None if nothing usable lies there."""
    if found := tables(path):
        forms = {table_form(table) for table in found.values()}
        if len(forms) > 1:
            raise UserError(f"--dataset {path}: its splits are {' and '.join(sorted(forms))} files; make them one kind")
        return forms.pop()
    if path.is_dir() and image_folders(path):
        return "images"
    return "pairs" if not path.is_file() and languages(path) else None


def hint(path: Path) -> str:
    """Return what to do about a file or folder that holds no data of a known form, if names tell it; else ""."""
    if not path.is_dir():
        both = _unzipped(path).with_suffix("")
        if path.is_file() and languages(both):
            return f"one half of a translation; give both as --dataset {path.parent if split_of(both.name) else both}"
        return OTHERS.get(path.suffix.lower(), "") if path.is_file() else ""
    inside = [entry for entry in _entries(path) if entry.is_file()]
    if any(entry.suffix.lower() in IMAGES for entry in inside):
        return "has images but no folder per class; put those of each class into one"
    if found := [entry for entry in inside if table_form(entry)]:
        ending = table_form(found[0])
        names = listed([entry.name for entry in found])
        if all(split_of(stem(entry)) for entry in found):
            return f"has {names} and no train.{ending} to train on; add it, or name one of them"
        return f"has {names}; call them train.{ending} and test.{ending}, or name one of them"
    if folders := _folders(path):
        names = listed([folder.name for folder in folders.values()])
        return f"has folders {names}; each needs class folders with images, or one table and nothing else{unread(path)}"
    within = [entry for entry in _entries(path) if entry.is_dir()]
    return f"its data lies deeper; give --dataset {within[0]}" if len(within) == 1 and form(within[0]) else ""


def find(text: str) -> tuple[str, str] | None:
    """Return (name, absolute path) of the user's data, or None if nothing usable is there.

    The name is short and ends in its form. Raises UserError for data that is ambiguous or cannot be read.
    """
    path = Path(text).expanduser().absolute()
    try:
        kind = form(path) if text else None
        words = hint(path) if text and kind is None else ""
    except OSError as error:
        raise UserError(f"--dataset {text}: cannot read {error.filename}: {error.strerror}") from error
    if words:
        raise UserError(f"--dataset {text}: {words}")
    if kind is None:
        return None
    called = stem(path) if path.is_file() else path.name
    if split_of(called):
        called = path.parent.name
    short = re.sub(r"[^\w+-]+", "-", called)[:LENGTH].strip("-") or "data"
    return f"{short}.{kind}", str(path)


def root(path: str | None) -> Path | None:
    """Return the folder that the files of the data at `path` are named in."""
    return None if path is None else Path(path) if Path(path).is_dir() else Path(path).parent
