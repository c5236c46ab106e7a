"""Masks drawn at random, whole layers and channels empty among them: each format and form gives the model's logits."""

import nets
import pytest
import torch
from test_export import near
from test_export_translation import built, drafted, padded, sources

from Layers.bags import Bags
from Models.resnet import ResNet
from Utils import exported
from Utils.export import dead_units, form_timing, package, storage, trace
from Utils.export.formats import FORMATS

KEPT = (0.0, 0.3, 0.6, 0.8, 0.9, 1.0)  # shares of a tensor's entries that stay, one of them for each tensor


def images(*shape):
    return torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))


NETWORKS = {
    "conv": (lambda: nets.conv_net(), images(2, 5, 5)),
    "fc": (lambda: nets.mlp(8, 6, 5, 3), images(8)),
    "mixed": (lambda: nets.mixed(), images(1, 6, 6)),
    "resnet": (lambda: nets.drawn(0, ResNet, (2, 8, 8), 4, depth=8, width=3), images(2, 8, 8)),
    "text": (lambda: nets.text_model(), Bags(torch.arange(12), torch.tensor([0, 5, 5]))),
}


@torch.no_grad()
def drawn_masks(model, seed):
    """The model in eval mode; of each mask a share of entries stays, and of some only a few rows or columns."""
    draw = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.uniform_(-0.5, 0.5, generator=draw)
    for name, mask, _ in nets.masked_tensors(model):
        if "norm" in name or (name.endswith("bias") and seed % 2):
            continue
        kept = KEPT[int(torch.randint(len(KEPT), (), generator=draw))]
        mask.copy_(torch.rand(mask.shape, generator=draw) < kept)
        if mask.dim() > 1:
            for dim in (0, 1):
                if torch.rand((), generator=draw) < 0.3:
                    gone = torch.rand(mask.shape[dim], generator=draw) < 0.4
                    mask.index_fill_(dim, gone.nonzero().flatten(), 0)
    return model.eval()


def empty(model):
    """How many matrices have nothing left."""
    return sum(not mask.any() for _, mask, _ in nets.masked_tensors(model) if mask.dim() > 1)


def one(data):
    return Bags(data.ids[:4], data.offsets[:1]) if isinstance(data, Bags) else data[:1]


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_networks_under_random_masks(name, monkeypatch):
    monkeypatch.setattr(form_timing, "SECONDS", 0.0005)
    make, data = NETWORKS[name]
    without, some = 0, 0
    for seed in range(16):
        model = drawn_masks(make(), seed)
        wanted, whole = model(data), trace.draft(model)
        without, some = without + empty(model), some + bool((wanted != wanted[0]).any())
        for format, kind in FORMATS.items():
            draft = dead_units.compact(whole, one(data)) if kind.smaller else whole
            draft = draft if kind.empty_rows else storage.without_empty_rows(draft)
            for form in exported.CONV:
                network = exported.Network(draft.program, draft.tensors, dict.fromkeys(draft.matrices, form))
                assert near(network(data), wanted), (seed, format, form)
            if seed < 3:  # as it is stored
                about, tensors = package.package(draft, format, {3: lambda made: made(data)})
                assert near(exported.build(about, tensors, 3)(data), wanted), (seed, format)
    assert without > 0 and some > 0, "the draw has empty layers, and not all networks are constants"


@torch.no_grad()
def test_translators_under_random_masks():
    without = 0
    for seed in range(10):
        model = drawn_masks(nets.seq2seq(dropout=0.0), seed)
        without += empty(model)
        ((data, _),) = nets.pair_batches(30, 29, (4,), seed=seed)
        wanted, source = model(data), padded(sources(3))
        state = model.begin(source, 4)
        steps = [model.step(torch.full((3,), word), state) for word in (2, 7, 9)]
        for which in ("whole", "compact"):
            for form in exported.LINEAR:
                found = built(drafted(model, which), form)
                assert near(found(data), wanted), (seed, which, form)
                state = found.begin(source, 4)
                for word, step in zip((2, 7, 9), steps, strict=True):
                    assert near(found.step(torch.full((3,), word), state), step), (seed, which, form)
    assert without > 10
