"""Masks on embeddings: lookups, training by rows, scores and stored runs, against one-hot matrices written out."""

import copy

import nets
import pytest
import torch
from safetensors.numpy import load_file
from torch.nn import functional as F

import main
from Layers import layers
from Layers.bags import Bags
from Layers.embedding import Embedding, EmbeddingBag
from Layers.fast.fixed import fixed_masks
from Layers.fast.products import products_kept
from Layers.flow import linear_flow
from Models.matched import MatchedMLP
from Models.text import TextClassificationModel
from Pruners.grasp import GraSPAbs
from Pruners.pruners import SNIP, GraSP, Mag, Rand, SynFlow
from Utils import generator
from Utils.training.adam import Adam

VOCABULARY, CLASSES = 40, 3


def _model(seed=0, dtype=torch.float64):
    """The shipped text model with masks on its embedding, a third of each tensor pruned."""
    model = nets.text_model(VOCABULARY, CLASSES, seed).to(dtype)
    generator.mask_embeddings(model)
    draw = torch.Generator().manual_seed(seed + 1)
    for mask in generator.masks(model):
        mask.copy_(torch.rand(mask.shape, generator=draw) < 0.7)
    model.fc.bias_mask.fill_(1)
    return model.eval()


def _batch(seed=0, count=5):
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([3, 7, 1, 5, 4])[:count]
    ids = torch.randint(VOCABULARY // 2, (int(lengths.sum()),), generator=draw)  # the other half is never read
    return Bags(ids, lengths.cumsum(0) - lengths), torch.randint(CLASSES, (count,), generator=draw)


def _one_hot(data, dtype=torch.float64):
    """The mean of the words' one-hot rows, [B, V]."""
    ends = [*data.offsets[1:].tolist(), len(data.ids)]
    rows = [F.one_hot(data.ids[a:b], VOCABULARY).to(dtype).mean(0) for a, b in zip(data.offsets, ends, strict=True)]
    return torch.stack(rows)


def _by_hand(model, data, embedding, weight):
    return (
        _one_hot(data, embedding.dtype) @ (model.embedding.weight_mask * embedding) @ (model.fc.weight_mask * weight).T
        + model.fc.bias
    )


@pytest.mark.parametrize("way", ["plain", "frozen", "rows", "rows and frozen", "products"])
def test_a_masked_lookup_is_a_product_with_one_hot_rows(way):
    model, (data, _) = _model(), _batch()
    if "rows" in way:
        Adam(model.parameters()).attach(model)
    context = {"plain": torch.enable_grad, "rows": torch.enable_grad, "products": lambda: products_kept(model)}
    with context.get(way, lambda: fixed_masks(model))():
        output = model(data)
    assert torch.allclose(output, _by_hand(model, data, model.embedding.weight, model.fc.weight), atol=1e-12)


@pytest.mark.parametrize("way", ["plain", "rows"])
def test_a_pruned_entry_is_read_nowhere_and_gets_no_gradient(way):
    model, (data, target) = _model(), _batch()
    with torch.no_grad():
        before = model(data).clone()
        model.embedding.weight.masked_fill_(model.embedding.weight_mask == 0, 1e6)
    assert torch.equal(model(data), before)
    optimizer = Adam(model.parameters())
    if way == "rows":
        optimizer.attach(model)
    kept = model.embedding.weight.detach().clone()
    F.cross_entropy(model(data), target).backward()
    optimizer.step()
    optimizer.catch_up()
    pruned = model.embedding.weight_mask == 0
    moved = model.embedding.weight != kept
    assert not moved[pruned].any() and moved[~pruned].any()


def test_training_by_rows_is_that_of_torch_on_the_masked_product():
    """Thirty steps of torch's own Adam on a model written out, in float64."""
    model = _model()
    reference = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
    ours, theirs = Adam(model.parameters(), lr=1e-2), torch.optim.Adam(reference.values(), lr=1e-2)
    ours.attach(model)
    masks = model.embedding.weight_mask, model.fc.weight_mask
    for step in range(30):
        data, target = _batch(step)
        ours.zero_grad()
        F.cross_entropy(model(data), target).backward()
        ours.step()
        theirs.zero_grad()
        hidden = _one_hot(data) @ (masks[0] * reference["embedding.weight"])
        logits = hidden @ (masks[1] * reference["fc.weight"]).T + reference["fc.bias"]
        F.cross_entropy(logits, target).backward()
        theirs.step()
    ours.catch_up()
    for name, parameter in model.named_parameters():
        assert torch.allclose(parameter, reference[name], atol=1e-6), name


def _scores(kind, model, batches, attach=False):
    if attach:
        Adam(model.parameters()).attach(model)
    pruner = kind(generator.masked_parameters(model, embedding=True), seed=3)
    pruner.score(model, F.cross_entropy, batches, torch.device("cpu"))
    return pruner.scores["embedding.weight"], pruner.scores["fc.weight"]


@pytest.mark.parametrize("attach", [False, True])
@pytest.mark.parametrize("count", [1, 2])
def test_scores_are_those_of_the_model_written_out(attach, count):
    """SNIP, GraSP with and without sign: derivatives of a function of two matrices, by torch.autograd."""
    model, batches = _model(), [_batch(k) for k in range(count)]
    weights = model.embedding.weight.detach().clone(), model.fc.weight.detach().clone()

    def total(embedding, weight, temperature):
        parts = [F.cross_entropy(_by_hand(model, d, embedding, weight) / temperature, t) for d, t in batches]
        return torch.stack(parts).sum()

    leaves = [weight.clone().requires_grad_() for weight in weights]
    by_snip = torch.autograd.grad(total(*leaves, 1.0), leaves)
    slope = torch.autograd.grad(total(*leaves, 200.0), leaves, create_graph=True)
    norm = sum((g * g.detach()).sum() for g in slope)
    by_grasp = torch.autograd.grad(norm, leaves)
    for kind, expected in (
        (SNIP, [(g * w).abs() for g, w in zip(by_snip, weights, strict=True)]),
        (GraSP, [h * w for h, w in zip(by_grasp, weights, strict=True)]),
        (GraSPAbs, [(h * w).abs() for h, w in zip(by_grasp, weights, strict=True)]),
        (Mag, [weight.abs() for weight in weights]),
    ):
        found = _scores(kind, copy.deepcopy(model), batches, attach)
        for score, want in zip(found, expected, strict=True):
            assert torch.allclose(score, want, rtol=1e-9, atol=want.abs().max().item() * 1e-9), kind


@pytest.mark.parametrize("attach", [False, True])
def test_synflow_flows_through_one_hot_space(attach):
    """R = 1^T |W| (mean row of |E|)^T + |b|, each matrix times its mask."""
    model = _model()
    found = _scores(SynFlow, model, [_batch()], attach)
    embedding = (model.embedding.weight * model.embedding.weight_mask).abs().detach()
    weight = (model.fc.weight * model.fc.weight_mask).abs().detach()
    assert torch.allclose(found[0], embedding * weight.sum(0) / VOCABULARY, atol=1e-14)
    assert torch.allclose(found[1], weight * embedding.mean(0), atol=1e-14)


def test_the_mean_row_of_a_masked_embedding_flows_too():
    layer = Embedding(6, 4)
    layers.register_masks(layer)
    layer.weight_mask[::2] = 0
    expected = (layer.weight * layer.weight_mask).mean(0)
    with linear_flow(layer):
        assert torch.allclose(layer(torch.tensor([[0, 3]])), expected.expand(1, 2, 4))


def test_only_embeddings_that_are_to_be_pruned_have_masks():
    model = TextClassificationModel((VOCABULARY,), CLASSES)
    assert [pair.name for pair in generator.masked_parameters(model)] == ["fc.weight"]
    generator.mask_embeddings(model)
    assert [pair.name for pair in generator.masked_parameters(model)] == ["fc.weight"]
    names = [pair.name for pair in generator.masked_parameters(model, embedding=True)]
    assert names == ["embedding.weight", "fc.weight"]
    image = MatchedMLP((1, 28, 28), 10)
    names = [pair.name for pair in generator.masked_parameters(image, embedding=True)]
    assert names == ["front.embedding.weight", "linear1.weight", "linear2.weight", "linear3.weight", "fc.weight"]
    assert [pair.name for pair in generator.masked_parameters(image)] == names[1:]


def test_words_of_every_kind_of_embedding_are_masked():
    for layer in (EmbeddingBag(5, 2), Embedding(5, 2)):
        generator.mask_embeddings(layer)
        assert [mask.shape for mask in generator.masks(layer)] == [(5, 2)]


@pytest.mark.parametrize("pruner", ["rand", "mag", "snip", "grasp", "synflow", "grasp-abs", "grasp-log"])
def test_a_run_prunes_the_embedding_to_the_count(cli, pruner):
    outcome = cli(f"--dataset agnews --prune-embedding --pruner {pruner} --compression 1 --post-epochs 1")
    counts = outcome.result["parameters"]
    kept = sum(int(outcome.masks[name].sum()) for name in ("embedding.weight_mask", "fc.weight_mask"))
    assert counts["prunable"] == counts["total"] - 4 and counts["prunable_kept"] == kept
    assert kept == counts["prunable"] - int(0.9 * counts["prunable"])
    weight, mask = (outcome.tensors[f"embedding.weight{part}"] for part in ("", "_mask"))
    assert not weight[mask == 0].any() and weight[mask != 0].all()


def test_a_finished_run_with_a_masked_embedding_is_measured_and_read_back(cli, sample_data):
    run = cli("--dataset agnews --prune-embedding --pruner rand --compression 1 --post-epochs 1").path
    assert (
        main.main(["--experiment", "measure", "--run", str(run), "--data-dir", str(sample_data), "--repeats", "1"]) == 0
    )
    again = cli(f"--dataset agnews --prune-embedding --pretrained {run} --compression 0 --pruner mag")
    assert (again.tensors["embedding.weight"] == load_file(run / "model.safetensors")["embedding.weight"]).all()


def test_a_dense_run_is_the_same_with_and_without(cli):
    runs = [cli(f"--dataset agnews --post-epochs 1 --train-size 2000 {flag}") for flag in ("", "--prune-embedding")]
    assert runs[0].result["final"] == runs[1].result["final"]


def test_random_scores_do_not_depend_on_the_way_of_reading():
    ways = [_scores(Rand, _model(), [_batch()], attach) for attach in (False, True)]
    assert all(torch.equal(a, b) for a, b in zip(*ways, strict=True))
