"""Files of torch.save read without unpickling: torch's own values, and nothing runs, whatever the file says."""

import encodings.cp437  # noqa: F401 (zipfile imports it when it needs it)
import os
import pickle
import random
import struct
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from Utils.errors import UserError
from Utils.store import torchfile

FORMS = [{}, {"_use_new_zipfile_serialization": False}, *({"pickle_protocol": k} for k in (3, 4, 5))]
FORMS.append({"pickle_protocol": 4, "_use_new_zipfile_serialization": False})
HEAD = b"".join(pickle.dumps(value, 2) for value in (torchfile.MAGIC, torchfile.PROTOCOL, {"little_endian": True}))
WATCHED = ("os.", "subprocess.", "socket.", "exec", "compile", "import", "pickle.", "shutil.", "ctypes.")
told: list[str] | None = None  # what Python has reported while a file was read


def hook(event: str, what) -> None:
    if told is not None and event.startswith(WATCHED):
        told.append(f"{event} {what}"[:80])


sys.addaudithook(hook)


@pytest.fixture
def read(monkeypatch):
    """torchfile.read, with every call of a function that the file may hope for reported by Python itself."""

    def watched(path: Path):
        global told
        told = []
        try:
            return torchfile.read(path)
        finally:
            events, told = told, None
            assert events == [], events

    return watched


def refusal(read, path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message and "torch.save(model.state_dict(), FILE)" in message
    return message


def tensors() -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    base = torch.randn(6, 5, generator=draw)
    kinds = ("float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
    return {
        "plain": base,
        "view": base.t()[1:3],  # of the same storage
        "parameter": torch.nn.Parameter(base[2]),
        "scalar": torch.tensor(3.5),
        "empty": torch.empty(0, 3),
        **{kind: (4 * base.abs()).to(getattr(torch, kind)) for kind in kinds},
    }


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("under", [None, "state_dict", "anything"])
def test_tensors_are_those_that_were_saved(tmp_path, read, form, under):
    """Of every kind, as torch itself reads them; beside a checkpoint's other entries."""
    path, saved = tmp_path / "model.pt", tensors()
    content = {"epoch": 3, under: saved, "optimizer": {"state": {0: {"step": saved["plain"]}}, "lr": [0.1, None, True]}}
    torch.save(content if under else saved, path, **form)
    found, theirs = read(path), torch.load(path, weights_only=False)  # it knows fewer protocols otherwise
    assert list(found) == list(saved)
    for name, value in (theirs[under] if under else theirs).items():
        assert found[name].dtype == value.dtype and torch.equal(found[name], value), name


def test_a_state_dict_of_modules_is_read(tmp_path, read, capsys):
    """An OrderedDict with version numbers beside it; of two, a note says which."""
    model = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3))
    torch.save({"model": model.state_dict(), "ema": model.state_dict()}, tmp_path / "x.pt")
    found = read(tmp_path / "x.pt")
    assert all(torch.equal(found[name], value) for name, value in model.state_dict().items())
    assert capsys.readouterr().err == f"note: {tmp_path / 'x.pt'}: of its sets of tensors (model, ema), model is read\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (torch.nn.Linear(2, 2), "'torch.nn.modules.linear.Linear'"),
        (torch.ones(2), "without a name"),
        ({}, "no tensors"),
        ({"a": torch.ones(1), "b": 2}, "'b'"),
        ({"a": {"w": torch.ones(1)}, "b": {"w": torch.ones(1)}}, "several sets of tensors (a, b)"),
        (
            {name: {"w": torch.ones(1)} for name in ("model", "state_dict")},
            "several sets of tensors (model, state_dict)",
        ),
        ([torch.ones(1)], "list"),
        ({"a": torch.ones(1).to_sparse()}, "_rebuild_sparse_tensor"),
    ],
)
def test_what_is_no_state_dict_is_named(tmp_path, read, content, words):
    torch.save(content, tmp_path / "x.pt")
    assert words in refusal(read, tmp_path / "x.pt")


class Call:
    """Unpickled, it calls a function."""

    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def tensor(size, stride, offset=0, key="0", count=4) -> bytes:
    """The opcodes of one tensor."""
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + pickled(count) + b"tQ"
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"".join(map(pickled, (offset, size, stride))) + b"\x89NtR"
    )


def pickled(value) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


MARKER = "touched"
SHELL = text(f"touch {MARKER}")
BAD = {
    "reduce": pickle.dumps(Call(os.system, f"touch {MARKER}"), 2),
    "reduce of protocol 0": pickle.dumps(Call(os.system, f"touch {MARKER}"), 0),
    "reduce of protocol 5": pickle.dumps({"w": Call(exec, "import os; os.mkdir('touched')")}, 5),
    "global": b"cos\nsystem\n" + SHELL + b"\x85R.",
    "inst": b"(" + SHELL + b"ios\nsystem\n.",
    "obj": b"(cos\nsystem\n" + SHELL + b"o.",
    "newobj": b"\x80\x02cos\nsystem\n" + SHELL + b"\x85\x81.",
    "stack global": b"\x80\x04" + text("os") + text("system") + b"\x93" + SHELL + b"\x85R.",
    "a name with dots": b"\x80\x04" + text("torch") + text("os.system") + b"\x93" + SHELL + b"\x85R.",
    "getattr": b"cbuiltins\ngetattr\n.",
    "extension": b"\x80\x02\x82\x01.",
    "persistent id": b"(" + SHELL + b"tQ.",
    "persistent id that is no tuple": SHELL + b"Q.",
    "persistent id of protocol 0": b"Ptouch\n.",
    "persistent id of another class": b"(" + text("storage") + b"cos\nsystem\n" + text("0") + text("cpu") + b"K\x01tQ.",
    "build of a class": b"ccollections\nOrderedDict\n}" + text("__setstate__") + b"cos\nsystem\nsb.",
    "build of a storage": b"ctorch\nFloatStorage\n}" + text("__call__") + b"K\x01sb.",
    "call of a storage": b"ctorch\nFloatStorage\n)R.",
    "call of a number": b"K\x01)R.",
    "a tuple as a key": b"}K\x01\x85K\x02s.",
    "deep": b"}" + b"N" + b"\x85" * 200_000 + b"K\x02s.",
    "huge text": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"x.",
    "huge bytes": b"B" + struct.pack("<I", 2**32 - 1) + b".",
    "huge number": b"\x8b" + struct.pack("<i", 2**31 - 1) + b".",
    "no end": b"}",
    "nothing": b"",
    "no opcode": b"\xff",
    "empty stack": b"a.",
    "no memo": b"h\x05.",
    "buffer": b"\x80\x05\x97.",
    "huge tensor": b"}" + text("w") + tensor((2**40,), (0,)) + b"s.",
    "too many numbers": b"}" + text("w") + tensor((3, 3), (1, 1)) + b"s.",
    "behind the end": b"}" + text("w") + tensor((4,), (1,), offset=1) + b"s.",
    "before the beginning": b"}" + text("w") + tensor((1,), (1,), offset=-1) + b"s.",
    "backwards": b"}" + text("w") + tensor((4,), (-1,), offset=3) + b"s.",
    "many dimensions": b"}" + text("w") + tensor((1,) * 1000, (1,) * 1000) + b"s.",
    "endless stride": b"}" + text("w") + tensor((1,), (2**70,)) + b"s.",
    "endless dimension": b"}" + text("w") + tensor((0, 2**70), (1, 1)) + b"s.",
    "no such storage": b"}" + text("w") + tensor((4,), (1,), key="../data.pkl") + b"s.",
    "endless storage": b"}" + text("w") + tensor((4,), (1,), count=2**60) + b"s.",
}
GOOD = b"}" + text("w") + tensor((2, 2), (2, 1)) + b"s."
NUMBERS = struct.pack("<4f", 1, 2, 3, 4)


def zipped(path: Path, program: bytes, compression=zipfile.ZIP_STORED, **entries: bytes) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in {"a/data.pkl": program, "a/data/0": NUMBERS, **entries}.items():
            archive.writestr(name, content)
    return path


def plain(path: Path, program: bytes, numbers: bytes = NUMBERS) -> Path:
    path.write_bytes(HEAD + program + pickle.dumps(["0"], 2) + struct.pack("<q", 4) + numbers)
    return path


@pytest.mark.parametrize("write", [zipped, plain])
@pytest.mark.parametrize("case", BAD)
def test_nothing_of_a_file_runs(tmp_path, monkeypatch, read, write, case):
    monkeypatch.chdir(tmp_path)
    refusal(read, write(tmp_path / "bad.pt", BAD[case]))
    assert [path.name for path in tmp_path.iterdir()] == ["bad.pt"]


@pytest.mark.parametrize("write", [zipped, plain])
def test_the_good_one_among_them_is_read(tmp_path, read, write):
    """So that the others are refused for what they say."""
    assert read(write(tmp_path / "x.pt", GOOD))["w"].tolist() == [[1, 2], [3, 4]]


def test_archives_that_are_none_of_torchs_are_refused(tmp_path, read):
    path = tmp_path / "x.pt"
    assert "data.pkl" in refusal(read, zipped(path, GOOD, **{"b/data.pkl": BAD["global"]}))
    inner = zipped(tmp_path / "inner.zip", BAD["global"]).read_bytes()
    assert "data.pkl" in refusal(read, zipped(path, GOOD, **{"a/data/inner/data.pkl": inner, "c/data.pkl": inner}))
    assert "compressed" in refusal(read, zipped(path, GOOD, zipfile.ZIP_DEFLATED))
    assert "little-endian" in refusal(read, zipped(path, GOOD, **{"a/byteorder": b"big"}))
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "w") as archive:
        for program in (GOOD, BAD["global"]):
            archive.writestr("a/data.pkl", program)
    assert "two of one name" in refusal(read, path)
    content = bytearray(zipped(path, GOOD).read_bytes())
    place = content.index(b"PK\x01\x02", content.index(b"PK\x01\x02") + 4)  # of a/data/0 in the directory
    content[place + 20 : place + 28] = struct.pack("<2I", 2**31, 2**31)
    path.write_bytes(content)
    assert "larger than the file" in refusal(read, path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02", b"\x93NUMPY", HEAD, pickle.dumps({"w": 1}, 2)])
def test_other_files_are_one_line(tmp_path, read, content):
    (tmp_path / "x.pt").write_bytes(content)
    refusal(read, tmp_path / "x.pt")


def test_a_file_cut_off_anywhere_is_one_line(tmp_path, read):
    path = tmp_path / "x.pt"
    for write in (zipped, plain):
        whole = write(path, GOOD).read_bytes()
        for length in range(0, len(whole) - 1, 7):
            path.write_bytes(whole[:length])
            refusal(read, path)


@pytest.mark.parametrize("form", FORMS[:2], ids=str)
def test_damaged_bytes_run_nothing(tmp_path, read, form):
    """Each ends in tensors or in one line."""
    path, draw = tmp_path / "x.pt", random.Random(1)
    torch.save({"state_dict": tensors(), "epoch": 1}, path, **form)
    whole = path.read_bytes()
    end = whole.rindex(b"PK\x01\x02") if not form else len(whole) // 2
    refused = 0
    for _ in range(600):
        content = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            content[draw.randrange(end)] = draw.choice([draw.randrange(256), *b"cR\x93io\x81bQP.t"])
        path.write_bytes(content)
        try:
            read(path)
        except UserError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 50


def test_what_runs_would_be_seen():
    """By the hook that the tests above rely on, and by the file that the command makes."""
    global told
    told = []
    try:
        pickle.loads(pickle.dumps(Call(os.system, "true"), 2))  # noqa: S301
    finally:
        events, told = told, None
    assert any(event.startswith("pickle.find_class") for event in events)
    assert any(event.startswith("os.system") for event in events)
