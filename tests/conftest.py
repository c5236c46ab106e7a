"""What the tests share: prepared sample data, the real corpora where they are, the command line in this process."""

import contextlib
import io
import json
import re
import shlex
import signal
import socket
from dataclasses import dataclass
from pathlib import Path

import pytest
import reports
import torch
from hypothesis import settings as hypothesis_settings
from safetensors.numpy import load_file

import main
from Utils import load
from Utils.data import corpus

# The same examples on every machine, on every day; and a slow machine is no failure.
hypothesis_settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
hypothesis_settings.load_profile("fixed")

ROOT = Path(__file__).resolve().parent.parent
REAL = (ROOT / "Data", ROOT.parent / "shared" / "data")
AG_NEWS = ("AG_NEWS/train.csv", "AG_NEWS/test.csv")
MULTI30K = tuple(
    f"multi30k/{part}.{language}.gz"
    for part in ("train", "val", "test_2016_flickr", "test_2017_flickr", "test_2017_mscoco", "test_2018_flickr")
    for language in ("de", "en", "fr", "cs")
    if language != "cs" or "2017" not in part
)
MNIST = tuple(
    f"MNIST/raw/{name}-ubyte.gz"
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
)


@dataclass(frozen=True)
class Outcome:
    """What one call of the command line came to."""

    code: int
    out: str
    err: str
    results: Path

    @property
    def path(self) -> Path:
        """The directory of the run that was made."""
        assert self.code == 0, self.err
        found = re.search(r"^Saved to (.+)$", self.out, re.MULTILINE)
        assert found, self.out
        return Path(found[1])

    @property
    def result(self) -> dict:
        return json.loads((self.path / "result.json").read_text())

    @property
    def config(self) -> dict:
        return json.loads((self.path / "config.json").read_text())

    @property
    def epochs(self) -> list[dict]:
        return [json.loads(line) for line in (self.path / "epochs.jsonl").read_text().splitlines()]

    @property
    def tensors(self) -> dict:
        """The saved model as numpy arrays by name."""
        return load_file(self.path / "model.safetensors")

    @property
    def masks(self) -> dict:
        return {name: value for name, value in self.tensors.items() if name.endswith("_mask")}


def invoke(arguments: str, results: Path, data: Path) -> Outcome:
    """main.main in this process, on the sample and without training unless `arguments` say otherwise."""
    out, err = io.StringIO(), io.StringIO()
    base = ["--source", "sample", "--data-dir", str(data), "--result-dir", str(results), "--post-epochs", "0"]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main.main([*base, *shlex.split(arguments)])
    return Outcome(code, out.getvalue(), err.getvalue(), results)


torch.set_num_threads(1)
# A shell's background job ignores Ctrl-C, and so would the processes that tests start in order to stop them.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def one_thread():
    """Sums in one order, whatever the test before has set: equality is claimed for one number of threads."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """No test leaves this machine, whatever the machine can reach."""
    look_up = socket.getaddrinfo

    def here_only(host, *rest, **more):
        if host not in ("127.0.0.1", "localhost"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return look_up(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", here_only)
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def sample_data(tmp_path_factory) -> Path:
    """A data directory with all samples prepared. Shared: a test that damages it takes a copy."""
    directory = tmp_path_factory.mktemp("data")
    for data in map(load.dataset, load.DATASETS):
        if data.sample:
            corpus.load(corpus.locate(data, directory, "sample"))
    return directory


@pytest.fixture
def cli(tmp_path, sample_data):
    """cli("--dataset agnews --lr 1"): one call, results in a directory of this test."""
    return lambda arguments, results=tmp_path / "results", data=sample_data: invoke(arguments, results, data)


@pytest.fixture(scope="session")
def ran(tmp_path_factory, sample_data):
    """Like `cli`, but each command runs once a session: for tests that only look at what came out."""
    known: dict[str, Outcome] = {}

    def run(arguments: str) -> Outcome:
        if arguments not in known:
            known[arguments] = invoke(arguments, tmp_path_factory.mktemp("results"), sample_data)
        return known[arguments]

    return run


@pytest.fixture(scope="session")
def reported(tmp_path_factory) -> tuple[Path, dict[str, bytes], dict[str, bytes]]:
    """A report with all that one can show: (the store, its files before, the report's files)."""
    top = tmp_path_factory.mktemp("study")
    reports.make(top / "store")
    before = reports.contents(top / "store")
    return top / "store", before, reports.report(top / "store", top / "report")


def _real(paths: tuple[str, ...]) -> Path:
    for directory in REAL:
        if all((directory / path).is_file() for path in paths):
            return directory
    pytest.skip(f"the real corpus ({paths[0]}, ...) is neither in Data nor in ../shared/data")


@pytest.fixture(scope="session")
def real_agnews() -> Path:
    """A directory that holds AG_NEWS/train.csv and test.csv; to be read only."""
    return _real(AG_NEWS)


@pytest.fixture(scope="session")
def real_mnist() -> Path:
    """A directory that holds MNIST/raw/*.gz; to be read only."""
    return _real(MNIST)


@pytest.fixture(scope="session")
def real_multi30k() -> Path:
    """A directory that holds multi30k/{train,val,test_...}.{de,en,fr,cs}.gz; to be read only."""
    return _real(MULTI30K)
