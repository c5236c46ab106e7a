"""The result store: one directory for one set of settings, whole or not there, and nothing in it that runs code."""

import argparse
import ast
import errno
import json
import math
import os
import re

import pytest
import torch
from safetensors.numpy import load_file
from stores import RESULT

from Layers import layers
from Utils import settings
from Utils.commandline import arguments as commandline
from Utils.errors import UserError
from Utils.store import run as store

# What may differ between two calls that mean the same run. All other flags are part of what is run.
OPERATIONAL = {"data_dir", "result_dir", "expid", "force", "gpu", "no_cuda", "workers", "threads", "verbose"}
OPERATIONAL |= {"plain", "share_pretraining", "data_path", "model_path", "mask_scope_path"}


def arguments(*more: str) -> argparse.Namespace:
    return commandline.parse(["--dataset", "agnews", *more])


def another(value: object) -> object:
    """A value of the same kind that differs."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return [*value, 1] if isinstance(value, list) else f"{value}-another"


OTHER = {key: another(value) for key, value in vars(arguments()).items()}


LATER = {row.name: row.since for row in settings.ROWS if row.since is not settings.ALWAYS}


def config(**changed) -> dict:
    """The settings of a run on the sample, some of them changed."""
    args = arguments()
    unknown = changed.keys() - vars(args).keys() - {"source", "data_key"}
    assert not unknown
    for key, value in changed.items():
        setattr(args, key, value)
    return settings.identity({**vars(args), "source": "sample", "data_key": "0123", **changed})


@pytest.fixture
def run(tmp_path):
    """run(changed settings): the place of a run, in a result directory of this test."""
    return lambda expid="", **changed: store.RunDirectory(str(tmp_path), "singleshot", config(**changed), expid)


def finish(place: store.RunDirectory, result: dict | None = None, replace: bool = False) -> None:
    with place.writing(replace) as stage:
        assert stage is not None
        stage.json("result.json", {**RESULT, **(result or {"value": 1})})
        stage.text("report.txt", "In words.\n")


def files_below(path) -> list[str]:
    return sorted(found.relative_to(path).as_posix() for found in path.rglob("*"))


def test_only_operational_settings_are_left_out_of_a_run():
    assert {row.name for row in settings.ROWS if row.operational and row.group != "study"} == OPERATIONAL
    assert OTHER.keys() >= OPERATIONAL
    said = {key for key in LATER if vars(arguments())[key] not in (None, LATER[key])}
    assert said == {"ties"}  # the one later setting whose default for AG News is not the old value
    assert config().keys() == OTHER.keys() - OPERATIONAL - LATER.keys() | said | {"data_key"}


def test_a_later_setting_is_named_only_where_it_says_something_new():
    """So that a run from before that setting keeps its name, and every other value has one of its own."""
    neutral = config(**LATER)
    assert not neutral.keys() & LATER.keys()
    assert neutral == {key: value for key, value in config().items() if key != "ties"}
    names = {store.name(config(**{**LATER, key: OTHER[key]})) for key in LATER}
    assert len(names) == len(LATER) and store.name(neutral) not in names


@pytest.mark.parametrize("key", sorted(OTHER.keys() - OPERATIONAL))
def test_another_setting_is_another_name(key):
    assert store.name(config(**{key: OTHER[key]})) != store.name(config())


@pytest.mark.parametrize("key", sorted(OPERATIONAL))
def test_where_and_how_a_run_is_made_is_no_part_of_its_name(key):
    assert config(**{key: OTHER[key]}) == config()
    assert key not in config()


def test_other_data_is_another_name():
    assert store.name(config(data_key="4567")) != store.name(config())
    assert store.name(config(source="auto")) != store.name(config())


@pytest.mark.parametrize("same", [(), ("--seed", "1"), ("--lr", "1e-3"), ("--pruner", "rand", "--force", "no")])
def test_the_same_settings_said_otherwise_are_the_same_name(same):
    """A default written out changes nothing; nor does the order of the flags."""
    resolved = {"source": "sample", "data_key": "0123"}
    assert store.name(settings.identity(vars(arguments(*same)) | resolved)) == store.name(config())
    backwards = dict(reversed(config().items()))
    assert store.name(backwards) == store.name(config())


def test_a_name_can_be_read():
    name = store.name(config(pruner="snip", compression=1.5, seed=7))
    assert re.fullmatch(r"agnews-sample-text-classification-snip-c1\.5-s7-[0-9a-f]{10}", name)
    assert store.name(config(source="real", compression=2.0)).startswith("agnews-text-classification-rand-c2-s1-")


def test_a_run_that_is_not_there_is_not_stored(run, tmp_path):
    assert run().stored() is None
    assert files_below(tmp_path) == []  # asking leaves no trace


def test_a_finished_run_is_stored_for_its_settings_alone(run, tmp_path):
    finish(run())
    assert run().stored() == {**RESULT, "value": 1} and run().report() == "In words.\n"
    assert run(workers=3, force=True, verbose=True).stored() == {**RESULT, "value": 1}
    assert run(compression=1.0).stored() is None and run(seed=2).stored() is None
    assert run().path.parent == tmp_path / "singleshot"
    assert json.loads((run().path / "config.json").read_text()) == config()


def test_an_expid_names_the_directory_and_holds_one_set_of_settings(run, tmp_path):
    finish(run("mine"))
    assert run("mine").path == tmp_path / "singleshot/mine" and run("mine").stored() == {**RESULT, "value": 1}
    with pytest.raises(UserError) as caught:
        run("mine", pruner="mag", lr=0.5).stored()
    message = str(caught.value)
    assert str(run("mine").path) in message and "other settings" in message and "\n" not in message
    assert "lr 0.001, not 0.5" in message or "pruner rand, not mag" in message


def test_a_setting_of_several_values_is_recognised_again(run):
    finish(run("mine", lr_drops=[1, 2]))
    assert run("mine", lr_drops=[1, 2]).stored() == {**RESULT, "value": 1}
    with pytest.raises(UserError, match=r"lr_drops \[1, 2\], not \[1\]"):
        run("mine", lr_drops=[1]).stored()


@pytest.mark.parametrize("expid", ["", "a", "run-1.2_x+y", "Übung", "_x", "1"])
def test_good_names(run, tmp_path, expid):
    assert run(expid).path.parent == tmp_path / "singleshot"


HIDDEN = [".hidden", "..x"]  # the store keeps runs in the making under such names


@pytest.mark.parametrize(
    "expid", [".", "..", "...", "a/b", "/a", "../a", "a b", "a\nb", "a\\b", "*", "a\x00b", " ", *HIDDEN]
)
def test_a_name_that_leads_elsewhere_is_refused(run, expid):
    with pytest.raises(UserError) as caught:
        run(expid)
    assert "\n" not in str(caught.value) and "--expid" in str(caught.value)


def test_a_name_too_long_for_the_file_system_is_the_users_to_mend(run):
    finish(run())  # so that the directory above is there, and the length is what is wrong
    with pytest.raises(UserError) as caught:
        run("x" * 300).stored()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["config.json", "result.json"])
@pytest.mark.parametrize("text", [None, "", "{", "null", "[]", '"x"', b"\xff\xfe"])
def test_a_directory_that_holds_no_whole_run_is_refused(run, name, text):
    """Neither overwritten, nor taken for a result, nor a traceback."""
    finish(run())
    path = run().path / name
    if text is None:
        path.unlink()
    else:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as caught:
        run().stored()
    assert str(run().path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_lost_report_is_made_up_from_the_result(run):
    finish(run())
    (run().path / "report.txt").unlink()
    assert json.loads(run().report()) == {**RESULT, "value": 1}


@pytest.mark.parametrize("error", [UserError("no"), FloatingPointError("nan"), KeyboardInterrupt()])
def test_a_run_that_breaks_off_leaves_nothing(run, tmp_path, error):
    with pytest.raises(type(error)), run().writing(replace=False) as stage:
        stage.epoch({"epoch": 1})
        raise error
    assert files_below(tmp_path) == ["singleshot"]


def test_a_repeated_run_that_breaks_off_leaves_the_old_result(run, tmp_path, monkeypatch):
    finish(run())
    before = {path: path.read_bytes() for path in run().path.iterdir()}

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left"):
        finish(run(), {"value": 2}, replace=True)
    assert {path: path.read_bytes() for path in run().path.iterdir()} == before
    assert [path.name for path in (tmp_path / "singleshot").iterdir()] == [run().path.name]


def test_a_repeated_run_replaces_the_old_result(run):
    finish(run())
    finish(run(), {"value": 2}, replace=True)
    assert run().stored() == {**RESULT, "value": 2}


def test_epochs_are_lines_of_json(run):
    with run().writing(replace=False) as stage:
        stage.epoch({"epoch": 1, "loss": 0.5})
        assert (stage.path / "epochs.jsonl").read_text() == '{"epoch": 1, "loss": 0.5}\n'  # there while it runs
        stage.epoch({"epoch": 2, "loss": 0.25})
    lines = (run().path / "epochs.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_no_record_holds_a_number_that_json_does_not_know(run, value):
    for write in (lambda stage: stage.epoch({"loss": value}), lambda stage: stage.json("result.json", {"x": value})):
        with pytest.raises(ValueError, match="JSON"), run().writing(replace=False) as stage:
            write(stage)


def test_a_model_is_stored_with_its_masks(run):
    model = torch.nn.Sequential(layers.Linear(3, 2), torch.nn.ReLU(), torch.nn.Linear(2, 2, bias=False))
    model[0].weight_mask[0, 1] = 0
    with run().writing(replace=False) as stage:
        stage.model("model.safetensors", model)
    held = load_file(run().path / "model.safetensors")
    assert held.keys() == {"0.weight", "0.bias", "0.weight_mask", "0.bias_mask", "2.weight"}
    for name, tensor in model.state_dict().items():
        assert (held[name] == tensor.numpy()).all() and held[name].dtype == "float32"


def test_nothing_is_pickled_anywhere(root):
    """A pickle runs code when it is read. Neither the modules that write one nor torch's and others' ways to it.

    The standard library's pickletools, which takes a pickle apart into opcodes, runs nothing.
    """
    modules = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
    calls = {("torch", "load"), ("torch", "save"), ("np", "load"), ("numpy", "load"), ("np", "save")}
    calls |= {("pd", "read_pickle"), ("pandas", "read_pickle"), ("jit", "load"), ("jit", "save")}
    sources = [root / "main.py"]
    for folder in ("Experiments", "Layers", "Models", "Pruners", "Utils"):
        sources += (root / folder).rglob("*.py")
    assert len(sources) > 25
    found = []
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if isinstance(node, ast.ImportFrom):
                imported.append(node.module or "")
                imported += [".".join(pair) for pair in calls if (node.module, pair[1]) == pair and pair[1] in imported]
            if any(name.partition(".")[0] in modules or tuple(name.split(".")) in calls for name in imported):
                found.append(f"{source.name}:{node.lineno}")
            if isinstance(node, ast.Attribute):
                owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
                if (owner, node.attr) in calls or node.attr in ("to_pickle", "allow_pickle"):
                    found.append(f"{source.name}:{node.lineno}")
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                found.append(f"{source.name}:{node.value.lineno}")
    assert found == []
