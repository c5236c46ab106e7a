"""The ablation that trains as if nothing were pruned: what torch.nn's Transformer does to masked projections."""

import nets
import pytest
import torch
from torch import nn

from Layers import layers
from Layers.attention import OutProjection
from Layers.fast import products_kept
from Pruners import dead
from Utils import generator, load

SHAPE = (40,)


def small(input_shape, num_classes, dense_classifier=False):
    return nets.Seq2SeqTransformer(input_shape, num_classes, dense_classifier, 16, 2, 1, 16)


def reads_its_masks(module: nn.Module, model: nn.Module, data) -> bool:
    """Whether random values under the zeros of this module's weight mask change no output."""
    with torch.no_grad():
        module.weight_mask.bernoulli_(0.5, generator=torch.Generator().manual_seed(0))
        before = model(data)
        module.weight.add_((1 - module.weight_mask) * torch.randn(module.weight.shape))
        return torch.equal(before, model(data))


@pytest.mark.parametrize("which", load.IGNORED)
def test_which_layers_read_their_raw_weights(which):
    model = nets.drawn(0, small, SHAPE, 30).eval()
    (data, _) = nets.pair_batches(40, 30, (5,))[0]
    generator.ignore_masks(model, which)
    for module in model.modules():
        if isinstance(module, layers.Linear):
            ignored = which == "all" or (which == "attention" and isinstance(module, OutProjection))
            assert reads_its_masks(module, model, data) is not ignored


def test_ignored_it_is_torchs_own_attention():
    """nn.MultiheadAttention reads out_proj.weight, whatever a layer there would do in its forward pass."""
    model = nets.drawn(0, small, SHAPE, 30).eval()
    ours = model.transformer.encoder.layers[0].self_attn
    theirs = nn.MultiheadAttention(16, 2, batch_first=True).eval()
    theirs.out_proj = layers.Linear(16, 16)
    theirs.load_state_dict(ours.state_dict(), strict=False)
    for projection in (ours.out_proj, theirs.out_proj):
        projection.weight_mask.zero_()
    data = torch.randn(3, 5, 16)
    raw = theirs(data, data, data, need_weights=False)[0]
    assert not torch.allclose(ours(data, data), raw, atol=1e-3)
    generator.ignore_masks(model, "attention")
    torch.testing.assert_close(ours(data, data), raw)


def test_nothing_is_dead_where_masks_are_ignored():
    model = nets.mlp(5, 6, 3)
    model[0].weight_mask.zero_()
    assert dead.find(model, (5,)).report()["units"]["0"]["dead"] == 6
    generator.ignore_masks(model, "all")
    assert dead.find(model, (5,)).report()["units"]["0"]["dead"] == 0


def test_products_kept_for_decoding_are_those_of_the_forward_pass():
    model = nets.drawn(0, small, SHAPE, 30).eval()
    nets.mask_at_random(model, 0.3)
    (data, _) = nets.pair_batches(40, 30, (5,))[0]
    generator.ignore_masks(model, "attention")
    with torch.no_grad():
        wanted = model(data)
        with products_kept(model):
            assert torch.equal(model(data), wanted)


@pytest.mark.parametrize("which", ["attention", "all"])
def test_a_run_trains_what_it_ignores(cli, monkeypatch, which):
    """Pruned weights start from zero and move; the counts are still those of the masks."""
    monkeypatch.setitem(load.MODELS["nlp"], "seq2seq", ("translation", f"{__name__}:small"))
    outcome = cli(f"--dataset multi30k --compression 1 --post-epochs 1 --ignore-masks {which}")
    tensors, masks = outcome.tensors, outcome.masks
    moved = {
        name.removesuffix(".weight_mask"): bool((tensors[name.removesuffix("_mask")][mask == 0] != 0).any())
        for name, mask in masks.items()
        if not mask.all()
    }
    assert moved == {name: which == "all" or name.endswith("out_proj") for name in moved} and len(moved) > 5
    parameters = outcome.result["parameters"]
    assert parameters["prunable_kept"] == sum(int(masks[f"{name}.weight_mask"].sum()) for name in moved)
    assert outcome.config["ignore_masks"] == which


def test_the_usual_run_ignores_none(ran):
    assert "ignore_masks" not in ran("--dataset mnist --model fc --compression 1").config
