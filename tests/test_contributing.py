"""The recipes of CONTRIBUTING.md, each followed in a copy of the project: what it promises comes true."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import recipes
import torch

from Experiments import finished
from Utils import exported, load

PAGE = recipes.recipes()
TITLES = ["A pruner", "A data set", "A model", "A metric", "An export format", "An experiment"]
TABLES = {"Utils/load.py", "Utils/quality.py", "Utils/export/formats.py"}  # where the one line goes
LINES = """
import shlex, sys, main
for line in sys.argv[1:]:
    if code := main.main(shlex.split(line)):
        sys.exit(code)
"""
HELP = """
import sys
from Utils.commandline import arguments
print(arguments.parser(sys.argv[1]).format_help())
"""


@dataclass
class Followed:
    """A copy of the project with a recipe in it."""

    tree: Path

    def run(self, *commands: str) -> str:
        """Run these lines of the page, one after the other in one process; what they print. Each ends with code 0."""
        done = self.call(*commands)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def call(self, *commands: str) -> subprocess.CompletedProcess:
        words = [command.removeprefix("python main.py ") for command in commands]
        return subprocess.run(
            [sys.executable, "-c", LINES, *words],
            cwd=self.tree, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, encoding="utf-8",
        )  # fmt: skip

    def results(self) -> list[dict]:
        """Return what the runs of the commands came to, in order of their directories."""
        found = sorted((self.tree / "Results" / "data").glob("*/*/result.json"))
        return [json.loads(path.read_text(encoding="utf-8")) for path in found]

    def help(self, experiment: str = "singleshot") -> str:
        return subprocess.run(
            [sys.executable, "-c", HELP, experiment], cwd=self.tree, capture_output=True, encoding="utf-8", check=True
        ).stdout


@pytest.fixture
def follow(tmp_path, sample_data):
    """follow("A model"): that recipe in a copy of the project, in which the samples are prepared."""

    def make(title: str) -> Followed:
        tree = recipes.copy(tmp_path)
        shutil.copytree(sample_data / "prepared", tree / "Data" / "prepared")
        PAGE[title].follow(tree)
        return Followed(tree)

    return make


def test_the_page_has_the_recipes_and_each_is_one_file_and_one_line():
    assert list(PAGE) == TITLES
    for recipe in PAGE.values():
        assert sum(not name.startswith("Data/") for name in recipe.files) == (recipe.title != "An export format")
        ((file, diff),) = recipe.lines
        assert file in TABLES and sum(line.startswith("+") for line in diff.splitlines()) == 1
        assert recipe.commands and all(line.startswith("python main.py --") for line in recipe.commands)


def test_all_recipes_fit_into_one_tree(tmp_path):
    tree = recipes.copy(tmp_path)
    for recipe in PAGE.values():
        recipe.follow(tree)
    for place in (tree / "Utils" / "load.py", *(tree / name for recipe in PAGE.values() for name in recipe.files)):
        if place.suffix == ".py":
            compile(place.read_text(encoding="utf-8"), place, "exec")


@pytest.mark.parametrize(
    "diff",
    [
        " no such line\n+new\n",
        "+new\n",
        ' "image"\n',
        "-import torch\n+import numpy\n",
        " }\n+new\n",  # several places
    ],
)
def test_a_line_without_one_place_is_refused(diff):
    with pytest.raises(ValueError, match="no one place"):
        recipes.patched((recipes.ROOT / "Utils" / "load.py").read_text(encoding="utf-8"), diff)


def test_a_pruner(follow):
    made = follow("A pruner")
    assert "{" + ",".join([*load.PRUNERS, "gradient"]) + "}" in made.help()
    out = made.run(*PAGE["A pruner"].commands)
    (result,) = made.results()
    assert result["parameters"]["prunable_kept"] == 11_940 and "Pruning with gradient" in out
    (sheet,) = (
        json.loads(path.read_text()) for path in (made.tree / "Results" / "data" / "grade").glob("*/sheet.json")
    )
    assert sheet["holds"] and sheet["graded_as"] == "gradient" and sheet["reference"] is None
    assert "graded as gradient: its scores have no reference" in out


def test_a_data_set(follow):
    made = follow("A data set")
    assert "reviews" in made.help()
    out = made.run(*PAGE["A data set"].commands, "--experiment report")
    (result,) = made.results()
    assert result["source"] == "real" and result["data"]["rows"] == {"train": 8, "test": 4}
    assert "Data: REAL reviews" in out and "1 run, 1 task." in out
    assert "Canteen reviews" in (made.tree / "Results" / "report" / "report.html").read_text(encoding="utf-8")
    refused = made.call("--dataset reviews --source sample")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "error: Canteen reviews has no generated sample; leave --source out\n"


def test_a_model(follow):
    made = follow("A model")
    out = made.run(*PAGE["A model"].commands)
    (result,) = made.results()
    assert "Creating default-gated model." in out and result["parameters"]["total"] == 2 * (784 + 1) * 64 + 65 * 10
    assert "default: fc, conv, gated;" in " ".join(made.help().split())
    assert "{fc,conv,gated}" in made.call("--dataset mnist --model-class nlp").stderr
    (run,) = (made.tree / "Results" / "data" / "singleshot").iterdir()
    refused = made.call(f"--experiment export --run {run} --format sparse")
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1
    assert refused.stderr.startswith("error: export does not know the step sigmoid; ")


def test_a_metric(follow):
    """It is the mean over the examples, of either split, which the saved model gives too; the report has its table."""
    made = follow("A metric")
    out = made.run(*PAGE["A metric"].commands)
    (result,) = made.results()
    assert "test certainty" in out and "train_certainty" in out
    assert result["init"]["test_certainty"] + 5 < result["final"]["test_certainty"] < 100
    (run,) = (made.tree / "Results" / "data" / "singleshot").iterdir()
    data = load.corpus("mnist", str(made.tree / "Data"), "sample")
    model = finished.model(finished.settings(str(run)), data, run / "model.safetensors")
    ((batch, target),) = load.dataloader(data, 1_000, train=False)
    with torch.no_grad():
        right = model(batch).double().softmax(1)[torch.arange(1_000), target]
    assert result["final"]["test_certainty"] == pytest.approx(100 * float(right.mean()), rel=1e-5)
    report = made.tree / "Results" / "data" / "report"
    lines = (report / "tables" / "further.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2 and repr(result["final"]["test_certainty"]) in lines[1]
    assert "<td>certainty</td>" in (report / "report.html").read_text(encoding="utf-8")
    assert "final_test_certainty" in (report / "tables" / "settings.csv").read_text(encoding="utf-8")


def test_an_export_format(follow):
    made = follow("An export format")
    assert "{sparse,compact,dense,small," in made.help("export")
    out = made.run(*PAGE["An export format"].commands)
    run = made.tree / "Results" / "data" / "singleshot" / "thin"
    formats = json.loads((run / "measurement.json").read_text(encoding="utf-8"))["formats"]
    assert list(formats)[:5] == ["masked", "sparse", "compact", "dense", "small"] and "small: " in out
    assert formats["small"]["file_bytes"] < min(formats[name]["file_bytes"] for name in ("sparse", "compact"))
    data = load.corpus("mnist", str(made.tree / "Data"), "sample")
    model = finished.model(finished.settings(str(run)), data, run / "model.safetensors")
    batch, _ = next(iter(load.dataloader(data, 64, train=False)))
    with torch.no_grad():
        wanted, found = model(batch), exported.load(run / "model.small.json", 64)(batch)
    assert (found - wanted).abs().max() <= 1e-5 * max(1.0, float(wanted.abs().max()))


def test_an_experiment(follow):
    made = follow("An experiment")
    assert "Prune a little, train a little" in made.help("gradual")
    assert ",gradual," in "".join(made.help().split())
    out = made.run(*PAGE["An experiment"].commands)
    (result,) = made.results()
    assert [line["phase"] for line in result["epochs"]] == ["round 1", "round 2", "round 3"]
    assert result["parameters"]["prunable_kept"] == 11_940 and "1 run, 1 task." in out
