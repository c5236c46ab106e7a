"""One row a setting: flag, default, name of a run, sweep, study and estimate all come from it."""

import dataclasses
import json
from pathlib import Path

import pytest

from Experiments.sweeping import estimate, grid
from Utils import load, settings
from Utils.commandline import arguments
from Utils.commandline.kinds import KINDS
from Utils.errors import UserError
from Utils.store import run as store
from Utils.study import tasks

ROOT = Path(__file__).resolve().parent.parent
STORED = sorted((ROOT / "Results" / "study").glob("*/*/config.json"))
NAMES = [row.name for row in settings.ROWS]


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def test_rows_are_consistent():
    assert len(set(NAMES)) == len(NAMES)
    for row in settings.ROWS:
        assert not row.kind or row.kind in KINDS
        assert not row.choices or hasattr(load, row.choices[1])
        assert not row.families or hasattr(load, row.families)
        assert not (row.operational and (row.since is not settings.ALWAYS or row.axis)), row.name
        assert not row.own or row.default is None, row.name
    for name in load.DATASETS:
        own = {row.name for row in settings.ROWS if row.by_data or row.own}
        assert load.dataset(name).defaults.keys() <= own, "a data set overrides what its row does not allow"


def test_every_setting_has_one_flag_and_every_flag_of_a_run_is_a_setting():
    actions = arguments.parser("multishot")._actions
    flags = [option for action in actions for option in action.option_strings]
    assert len(flags) == len(set(flags))
    lists = {"level_list", "compression_list", "help", "version"}
    study = {row.name for group in ("study", "sharing") for row in settings.of(group)}
    assert {action.dest for action in actions} - lists == {row.name for row in settings.ROWS if row.kind} - study


def test_committed_runs_keep_their_names():
    """Adding a setting must not rename a run that was made before it."""
    assert len(STORED) > 500
    for path in STORED:
        config = read(path)
        assert settings.identity(settings.complete(config)) == config, path
        assert store.name(config) == path.parent.name


def test_what_is_left_out_of_a_name_is_where_and_how_and_the_old_value_of_later_settings():
    resolved = vars(arguments.parse([])) | {"source": "real", "data_key": "k"}
    named = settings.identity(resolved)
    assert not named.keys() & {"data_dir", "result_dir", "expid", "force", "gpu", "no_cuda", "workers", "threads"}
    assert named["ties"] == "seeded" and "amp" not in named and "src" not in named
    old = settings.identity(resolved | {"ties": "position", "amp": "bf16", "toy": 3})
    assert "ties" not in old and old["amp"] == "bf16" and old["toy"] == 3
    assert settings.complete(old)["ties"] == "position" and settings.complete(old)["init"] == "fan-out"


@pytest.mark.parametrize("same", ["--ignore-masks=all", "--prune-epochs=3", "--invert", "--ties=position"])
def test_settings_of_pruning_alone_make_no_other_dense_run(same):
    plain, other = (vars(arguments.parse(words)) for words in (["--dataset=agnews"], ["--dataset=agnews", same]))
    assert settings.identity(plain) != settings.identity(other)
    assert settings.acting_when_dense(settings.identity(plain)) == settings.acting_when_dense(settings.identity(other))


@pytest.mark.parametrize("acting", ["--reinitialize", "--lr=0.1", "--init-seed=7", "--pre-epochs=1", "--data-seed=7"])
def test_other_settings_do(acting):
    plain, other = (settings.identity(vars(arguments.parse(words))) for words in ([], [acting]))
    assert settings.acting_when_dense(plain) != settings.acting_when_dense(other)


@pytest.fixture
def toy(monkeypatch):
    """A setting that nobody knows, added as one row."""
    row = settings.Setting(
        "toy_factor", "training", "positive", "a toy", 2.0, "X", by_data=True, since=1.0, cost="run", original=True
    )
    monkeypatch.setattr(settings, "ROWS", (*settings.ROWS, row))
    return row


def test_a_new_row_is_a_whole_setting(toy, monkeypatch, tmp_path):
    """Flag, help, prefix, default of a data set, sweep file, name of a run, older runs, study, estimate."""
    shown = " ".join(arguments.parser().format_help().split())
    assert "--toy-factor X a toy (default: 2)" in shown
    assert arguments.parse([]).toy_factor == 2.0 and arguments.parse(["--toy-f", "5"]).toy_factor == 5.0
    data = load.dataset("agnews")
    theirs = dataclasses.replace(data, defaults={**data.defaults, "toy_factor": 9.0})
    monkeypatch.setattr("Utils.data.sets.agnews.DATASET", theirs)
    assert arguments.parse(["--dataset", "agnews"]).toy_factor == 9.0
    assert "(default: 2; agnews: 9)" in " ".join(arguments.parser().format_help().split())
    with pytest.raises(UserError, match="toy-factor"):
        arguments.parse(["--toy-factor", "0"])

    file = tmp_path / "toy.toml"
    file.write_text('[settings]\ndataset = "mnist"\ntoy-factor = [1, 3]\n', encoding="utf-8")
    cells = grid.cells([str(file)], {})
    assert [cell.args.toy_factor for cell in cells] == [1.0, 3.0]

    configs = [settings.identity(vars(cell.args)) for cell in cells]
    assert "toy_factor" not in configs[0] and configs[1]["toy_factor"] == 3.0
    assert settings.complete(configs[0])["toy_factor"] == 1.0
    assert estimate._kinds(configs[0]) != estimate._kinds(configs[1])
    assert tasks.ideal_settings("mnist")["toy_factor"] == "2.0"
    assert settings.acting_when_dense(configs[1])["toy_factor"] == 3.0
