"""Weights and masks from elsewhere: what they are called there, what is refused, and what a run makes of them."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils import prune

from Layers import layers
from Utils.errors import UserError
from Utils.store import weights

FC = "--dataset mnist --model fc"


def ours(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(layers.Linear(4, 3), layers.BatchNorm1d(3), nn.ReLU(), layers.Linear(3, 2))


def theirs(seed: int = 1) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2))


def refusal(state: dict, path) -> str:
    torch.save(state, path)
    model = ours()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(UserError) as caught:
        weights.load(model, path, name="net")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "_orig_mod.module.", "model.", "net.backbone."])
@pytest.mark.parametrize("suffix", ["pt", "pth", "safetensors"])
def test_a_plain_model_is_taken_as_torch_calls_its_parts(tmp_path, prefix, suffix):
    """Against torch's own wrappers' names."""
    source, model, path = theirs(), ours(), tmp_path / f"x.{suffix}"
    state = {f"{prefix}{key}": value for key, value in source.state_dict().items()}
    (save_file if suffix == "safetensors" else torch.save)(state, path)
    weights.load(model, path)
    data = torch.randn(5, 4)
    assert torch.equal(model.eval()(data), source.eval()(data))
    assert all((mask == 1).all() for key, mask in model.state_dict().items() if key.endswith("_mask"))


@pytest.mark.parametrize("save", [torch.save, partial(torch.save, _use_new_zipfile_serialization=False), save_file])
@pytest.mark.parametrize("ending", ["ckpt", "bin", "safetensors"])
def test_a_file_is_read_by_what_it_begins_with(tmp_path, save, ending):
    source, model, path = theirs(), ours(), tmp_path / f"x.{ending}"
    save(source.state_dict(), path)
    weights.load(model, path)
    assert torch.equal(model[0].weight, source[0].weight)
    header = "a" * (128 - len('{"":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'))
    save_file({header: torch.ones(1)}, path)  # of a length that begins as a pickle does
    assert path.read_bytes()[:1] == b"\x80" and list(weights._read(path, ())) == [header]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not a .safetensors, .pt or .pth file; name a run"),
        (b"<!DOCTYPE html><html>not found</html>", "is not a .safetensors, .pt or .pth file; name a run"),
        (b"\x08\0\0\0\0\0\0\0{", "is not a whole safetensors file ("),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "is a pointer of Git LFS"),
    ],
)
def test_a_file_of_no_weights_is_told_what_it_is(tmp_path, content, words):
    for ending in ("ckpt", "safetensors", *(["pt"] if b"git-lfs" in content else [])):
        (path := tmp_path / f"x.{ending}").write_bytes(content)
        with pytest.raises(UserError) as caught:
            weights.load(ours(), path)
        assert str(caught.value).startswith(f"{path} {words}") and "\n" not in str(caught.value)


def test_a_model_with_such_a_name_of_its_own_keeps_it(tmp_path):
    model = nn.ModuleDict({"module": ours()})
    torch.save(nn.ModuleDict({"module": theirs()}).state_dict(), tmp_path / "x.pt")
    weights.load(model, tmp_path / "x.pt")
    assert torch.equal(model["module"][0].weight, theirs()[0].weight)


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_a_mask_beside_its_weight_is_multiplied_in(tmp_path, capsys, ending):
    """One of ours or of anybody's, over weights that are not zero under it; a buffer of other values is none."""
    state = {f"{name}.weight": torch.randn(3, 4) for name in "ab"} | {"a.weight_mask": torch.eye(3, 4).float()}
    state["b.weight_mask"] = torch.full((3, 4), 2.0)
    path = tmp_path / f"w.{ending}"
    torch.save(state, path) if ending == "pt" else save_file(state, path)
    model = nn.ModuleDict({name: nn.Linear(4, 3, bias=False) for name in "ab"})
    weights.load(model, path)
    assert model["a"].weight.equal(state["a.weight"] * state["a.weight_mask"])
    assert model["b"].weight.equal(state["b.weight"]) and "1 mask multiplied in" in capsys.readouterr().err


def test_what_torch_has_pruned_is_the_product(tmp_path):
    source = theirs()
    for module in (source[0], source[3]):
        prune.l1_unstructured(module, "weight", amount=0.5)
    source[0].weight_orig.data.add_(1.0)  # trained on, so that the hidden weights differ from zero
    source(torch.zeros(2, 4))  # its hooks make the products
    torch.save(source.state_dict(), tmp_path / "x.pt")
    model = ours()
    weights.load(model, tmp_path / "x.pt")
    assert torch.equal(model[0].weight, source[0].weight) and (model[0].weight == 0).sum() == 6
    data = torch.randn(5, 4)
    assert torch.equal(model.eval()(data), source.eval()(data))


def test_other_precisions_are_taken(tmp_path):
    for kind in (torch.float64, torch.float16, torch.bfloat16):
        source, model = theirs().to(kind), ours()
        torch.save(source.state_dict(), tmp_path / "x.pt")
        weights.load(model, tmp_path / "x.pt")
        assert torch.equal(model[0].weight, source[0].weight.float()) and model[0].weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.zeros(2, 3, dtype=torch.int8), "3.weight is int8, net has float32"),
        (torch.zeros(2, 3, dtype=torch.bool), "3.weight is bool"),
        (torch.full((2, 3), torch.nan), "3.weight has values that are no finite numbers"),
        (torch.full((2, 3), 1e300, dtype=torch.float64), "3.weight has values"),
        (torch.zeros(3, 2), "3.weight [3, 2], net has 3.weight [2, 3]"),
    ],
)
def test_what_is_no_weight_is_refused_by_name(tmp_path, value, words):
    state = theirs().state_dict()
    assert words in refusal({**state, "3.weight": value}, tmp_path / "x.pt")
    pruned = {key: part for key, part in state.items() if key != "3.weight"}
    shown = refusal({**pruned, "3.weight_orig": value, "3.weight_mask": torch.ones(value.shape)}, tmp_path / "x.pt")
    assert words in shown


def test_a_mask_of_another_shape_makes_no_product(tmp_path):
    state = theirs().state_dict()
    state["3.weight_orig"], state["3.weight_mask"] = state.pop("3.weight"), torch.ones(3)
    assert "3.weight_orig" in refusal(state, tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"net.0.weight": torch.ones(1)}, ["no 0.bias"]),
        (
            {f"net.{key}": value for key, value in theirs().state_dict().items()} | {"loss.weight": torch.ones(2)},
            ["no 0.bias (but net.0.bias)"],
        ),
        ({**theirs().state_dict(), "3.wieght": torch.ones(2)}, ["has 3.wieght [2]", "net has no 3.wieght"]),
    ],
)
def test_a_name_that_does_not_fit_comes_with_the_near_one(tmp_path, state, words):
    message = refusal(state, tmp_path / "x.pt")
    assert all(word in message for word in words), message


def test_a_file_of_old_torch_has_no_batches_counted(tmp_path):
    source, model = theirs().eval(), ours().eval()
    torch.save({k: v for k, v in source.state_dict().items() if k != "1.num_batches_tracked"}, tmp_path / "x.pt")
    weights.load(model, tmp_path / "x.pt")
    data = torch.randn(5, 4)
    assert torch.equal(model(data), source(data))


@pytest.mark.parametrize("outputs", [None, 1, 5])
def test_a_backbone_is_taken_without_its_head(tmp_path, capsys, outputs):
    """Of a file without one, or with one of other outputs: the head stays as it is, all else is the file's."""
    source, model, path = theirs(), ours(), tmp_path / "x.pt"
    state = {key: value for key, value in source.state_dict().items() if not key.startswith("3.")}
    if outputs:
        state |= {f"3.{key}": value for key, value in nn.Linear(3, outputs).state_dict().items()}
    torch.save(state, path)
    before = model[3].weight.clone()
    weights.load(model, path, name="net", head="3")
    assert torch.equal(model[3].weight, before) and torch.equal(model[0].weight, source[0].weight)
    has = f"3 with {outputs} outputs" if outputs else "no 3"
    assert capsys.readouterr().err == f"note: {path} has {has}: that of net is drawn, all else is from the file\n"
    assert "is of another model" in refusal(state, path)  # unless the head is named


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"3.bias": None}, "no 3.bias"),  # a head in part is none
        ({"3.weight": torch.ones(2, 4)}, "3.weight [2, 4]"),
        ({"0.bias": None, "3.weight": None, "3.bias": None}, "no 0.bias"),
        ({"3.weight": torch.ones(2, 3, dtype=torch.int64)}, "3.weight is int64"),
        ({"head.weight": torch.ones(5, 3), "3.weight": None, "3.bias": None}, "has head.weight [5, 3]"),
    ],
)
def test_a_file_that_differs_in_more_than_its_head_is_refused(tmp_path, capsys, change, words):
    state = {key: value for key, value in {**theirs().state_dict(), **change}.items() if value is not None}
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(UserError, match=words.replace("[", "\\[")):
        weights.load(ours(), tmp_path / "x.pt", head="3")
    assert not capsys.readouterr().err


def test_all_of_a_model_that_is_one_layer_is_no_backbone(tmp_path):
    torch.save({}, tmp_path / "x.pt")
    with pytest.raises(UserError):
        weights.load(nn.Sequential(nn.Linear(3, 2)), tmp_path / "x.pt", head="0")


def test_a_run_of_other_classes_begins_from_a_backbone(cli, tmp_path):
    """Ten classes of digits, and the head of a thousand: its weights are those of a run that begins from nothing."""
    dense = cli(f"{FC} --post-epochs 1")
    state = {key: value for key, value in dense.tensors.items() if "_mask" not in key}
    head = max({key.rpartition(".")[0] for key in state}, key=int)
    state |= {f"{head}.weight": np.zeros((1000, 100), np.float32), f"{head}.bias": np.zeros(1000, np.float32)}
    torch.save({key: torch.from_numpy(value.copy()) for key, value in state.items()}, tmp_path / "x.pt")
    run, bare = cli(f"{FC} --pretrained {tmp_path}/x.pt --post-epochs 0"), cli(f"{FC} --post-epochs 0")
    assert f"x.pt has {head} with 1,000 outputs: that of fc is drawn" in run.err
    for name, value in run.tensors.items():
        assert np.array_equal(value, (bare if name.startswith(f"{head}.") else dense).tensors[name]), name


def test_a_run_begins_from_a_file_of_torchs(cli, tmp_path):
    """Its name is that of the content, so that the file may lie anywhere."""
    dense = cli(f"{FC} --post-epochs 1")
    state = {key: value for key, value in load_file(dense.path / "model.safetensors").items() if "_mask" not in key}
    torch.save({"epoch": 1, "state_dict": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "x.pth")
    run = cli(f"{FC} --pretrained {tmp_path}/x.pth")
    assert run.result["final"] == dense.result["final"]
    shutil.copy(tmp_path / "x.pth", tmp_path / "y.pth")
    assert cli(f"{FC} --pretrained {tmp_path}/y.pth").err.startswith("note: stored result")
    (tmp_path / "z.pt").write_bytes(b"cos\nsystem\n(S'touch touched'\ntR.")
    refused = cli(f"{FC} --pretrained {tmp_path}/z.pt")
    assert refused.code == 2 and refused.err.count("\n") == 1 and "posix" not in refused.err
    assert not Path("touched").exists() and len(list(refused.results.glob("singleshot/*"))) == 2


SNIP = f"{FC} --pruner snip --compression 1 --mask-scope local --prune-bias"


def test_a_run_trains_under_the_masks_of_another(cli):
    """From its own initial weights; the settings of pruning, and so the name, are those of the masks' run."""
    source = cli(f"{SNIP} --seed 3")
    run = cli(f"{FC} --masks {source.path} --seed 5 --post-epochs 1")
    assert run.err.startswith("note: ") is False and "Pruning with the masks of" in run.out
    assert "mnist-sample-fc-snip-c1-s5-" in run.path.name
    assert all(np.array_equal(mask, run.masks[name]) for name, mask in source.masks.items())
    for key in ("parameters", "flops", "dead"):
        assert run.result[key] == source.result[key]
    assert (run.config["mask_scope"], run.config["prune_bias"], run.config["prune_seed"]) == ("local", True, 5)
    assert run.config["masks"] == weights.fingerprint("--masks", str(source.path))
    zeros = [name for name, mask in run.masks.items() if not mask.all()]
    assert zeros and all((run.tensors[name[:-5]][run.masks[name] == 0] == 0).all() for name in zeros)
    own = cli(f"{SNIP} --seed 5")
    assert any(not np.array_equal(mask, run.masks[name]) for name, mask in own.masks.items())
    assert run.result["init"] == own.result["init"]  # the weights are those of its own seed
    again = cli(f"{FC} --masks {source.path} --seed 5 --post-epochs 1 --pruner mag --compression 2 --prune-seed 9")
    assert f"stored result of {run.path}" in again.err
    assert "--compression, --pruner: without effect" in again.err and "--prune-seed: without effect" in again.err


def test_the_same_seed_and_masks_are_the_same_run(cli):
    """Trained after a pruning, and under its masks: the same bits."""
    source = cli(f"{FC} --pruner snip --compression 1 --post-epochs 2 --lr 0.01")
    run = cli(f"{FC} --masks {source.path} --post-epochs 2 --lr 0.01")
    assert all(np.array_equal(value, run.tensors[name]) for name, value in source.tensors.items())
    assert run.path != source.path and run.result["final"] == source.result["final"]
    renewed = cli(f"{FC} --masks {source.path} --reinitialize")
    assert all(np.array_equal(mask, renewed.masks[name]) for name, mask in source.masks.items())
    weight = max(renewed.tensors, key=lambda name: renewed.tensors[name].size)
    assert not np.array_equal(cli(f"{FC} --masks {source.path}").tensors[weight], renewed.tensors[weight])


def test_masks_of_a_pruner_of_the_users_own_need_no_file_of_it(cli, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("from Pruners.pruners import Mag\n\n\nclass Mine(Mag):\n    pass\n", encoding="utf-8")
    source = cli(f"{FC} --pruner {file}:Mine --compression 1")
    file.unlink()
    run = cli(f"{FC} --masks {source.path} --seed 2")
    assert run.config["pruner"].endswith("mine.py:Mine") and run.result["parameters"] == source.result["parameters"]


def test_masks_that_do_not_fit_are_one_line(cli, tmp_path):
    source = cli(f"{FC} --pruner snip --compression 1")
    (tmp_path / "empty").mkdir()
    for arguments, words in (
        (f"{FC} --masks {tmp_path}/none", "no config.json of a run there"),
        (f"{FC} --masks {tmp_path}/empty", "no config.json of a run there"),
        (f"--dataset mnist --model conv --masks {source.path}", "is of another model"),
        (f"--experiment multishot {FC} --masks {source.path}", "--masks prunes at once"),
    ):
        refused = cli(arguments)
        assert refused.code == 2 and refused.err.splitlines()[-1].startswith("error: ") and words in refused.err
    copy = tmp_path / "copy"
    shutil.copytree(source.path, copy)
    (copy / "seal.json").unlink()
    tensors = load_file(copy / "model.safetensors")
    name = next(name for name in tensors if name.endswith("weight_mask"))
    save_file({**tensors, name: tensors[name] * 0.5}, copy / "model.safetensors")
    refused = cli(f"{FC} --masks {copy}")
    assert refused.code == 2 and f"{name} has other values than 0 and 1" in refused.err


def test_a_sweep_has_masks_as_a_list(cli):
    """Each with its own compression."""
    sources = [cli(f"{FC} --pruner mag --compression {c}") for c in (1, 2)]
    file = sources[0].results / "masks.toml"
    listed = ", ".join(f'"{source.path}"' for source in sources)
    file.write_text(f'[settings]\ndataset = "mnist"\nmodel = "fc"\nmasks = [{listed}]\nseed = [7, 8]\n')
    outcome = cli(f"--experiment sweep --sweep-file {file} --dry-run")
    assert outcome.code == 0 and "4 to do" in outcome.out
    assert outcome.out.count("fc-mag-c1-s") == 2 == outcome.out.count("fc-mag-c2-s")


def test_a_model_whose_own_parameters_are_called_so_is_read_as_it_is(tmp_path):
    """Of torch's spectral_norm, whose weight_orig has no mask beside it."""
    models = [nn.Sequential(nn.utils.spectral_norm(nn.Linear(3, 2))) for _ in range(2)]
    torch.save(models[0].state_dict(), tmp_path / "x.pt")
    weights.load(models[1], tmp_path / "x.pt")
    assert models[1][0].weight_orig.equal(models[0][0].weight_orig)
