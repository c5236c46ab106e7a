"""Exports of masked embeddings against the masked model: empty rows, empty tables, bags of empty words alone."""

import shutil
import types

import nets
import pytest
import safetensors.torch
import torch
from calls import ask

from Layers.bags import Bags
from Layers.reading import Raw
from Models.matched import MatchedMLP
from Utils import exported, generator
from Utils.errors import UserError
from Utils.export import dead_units, form_timing, package, storage, trace, translation
from Utils.export.draft import Draft
from Utils.export.formats import FORMATS

VOCABULARY, CLASSES = 700, 4
KINDS = ("scattered", "rows", "first and last", "last missing", "one weight", "empty", "unread", "all")


@torch.no_grad()
def text_model(kind):
    """The shipped text model with masks on its embedding. Nothing is zero under the masks."""
    model = nets.text_model(VOCABULARY, CLASSES, 0)
    generator.mask_embeddings(model)
    model.fc.bias.copy_(torch.tensor([0.3, -0.2, 0.1, 0.4]))
    draw, mask = torch.Generator().manual_seed(1), model.embedding.weight_mask
    model.fc.weight_mask.copy_(torch.rand(CLASSES, 64, generator=draw) < 0.5)
    if kind != "all":
        mask.copy_(torch.rand(mask.shape, generator=draw) < 0.02)
    if kind in ("rows", "first and last", "last missing"):
        mask[torch.randperm(VOCABULARY, generator=draw)[:600]] = 0
        mask[[0, VOCABULARY - 1], 3:9] = 0 if kind == "rows" else 1
        if kind == "last missing":
            mask[-5:] = 0
    elif kind in ("one weight", "empty"):
        mask.zero_()
        mask[341, 17] = kind == "one weight"
    elif kind == "unread":  # some words have weights only in dimensions that the classifier does not read
        model.fc.weight_mask[:, 10:] = 0
    return model.eval()


def texts(model):
    """Bags of words at random; of words without a weight alone, if there are any; an empty bag; the last word alone."""
    draw = torch.Generator().manual_seed(2)
    empty = (model.embedding.weight_mask.sum(1) == 0).nonzero().flatten()[:3]
    parts = [torch.randint(VOCABULARY, (size,), generator=draw) for size in (30, 1, 12)]
    parts += [empty, torch.tensor([], dtype=torch.long), torch.tensor([VOCABULARY - 1])]
    lengths = torch.tensor([len(part) for part in parts])
    return Bags(torch.cat(parts), lengths.cumsum(0) - lengths)


def stored(draft, format, data):
    """(JSON, tensors) of a draft in this format, by way of the file's bytes."""
    draft = package.reduced(draft, format, dead_units, data)
    about, tensors = package.package(draft, format, {2: lambda model: model(data)})
    return about, safetensors.torch.load(package.content(tensors))


def near(found, wanted):
    assert found.shape == wanted.shape and (found - wanted).abs().max() <= 1e-5 * max(1.0, wanted.abs().max())


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(form_timing, "SECONDS", 0.0005)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_an_export_of_a_masked_embedding_gives_the_masked_models_logits(kind, format):
    model = text_model(kind)
    data = texts(model)
    about, tensors = stored(trace.draft(model), format, data)
    wanted = model(data)
    for size in (1, 64):
        near(exported.build(about, tensors, size)(data), wanted)
    if kind == "empty":
        near(exported.build(about, tensors)(data), model.fc.bias.expand(6, CLASSES))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "all"])
@torch.no_grad()
def test_sparse_holds_no_row_without_a_weight_on_disk_or_in_memory(kind):
    model = text_model(kind)
    mask, data = model.embedding.weight_mask, texts(model)
    about, tensors = stored(trace.draft(model), "sparse", data)
    kept, rows = int(mask.sum()), int(mask.any(1).sum())
    values = tensors["embedding.weight"].flatten()
    assert values.equal((model.embedding.weight * mask)[mask.bool()]), "the kept weights, in order"
    rest = sum(value.nbytes for name, value in tensors.items() if name.startswith("embedding.weight."))
    assert rest <= kept + rows + 4, "a byte a weight and a byte a word; four bytes for the gaps beyond 255"
    held = exported.build(about, tensors).held
    assert all(value.shape != mask.shape for value in held), "no dense table"
    assert held[0].shape == (rows + 1, 64) and held[1].shape == (VOCABULARY,)


@torch.no_grad()
def test_compact_drops_words_and_dimensions_that_nothing_reads():
    model = text_model("unread")
    data = texts(model)
    about, tensors = stored(trace.draft(model), "compact", data)
    reads = model.fc.weight_mask.any(0) & model.embedding.weight_mask.any(0)
    alive = model.embedding.weight_mask[:, reads].any(1)
    assert 0 < reads.sum() <= 10 and 0 < alive.sum() < model.embedding.weight_mask.any(1).sum()
    kept = exported.unpack("embedding.weight", about["matrices"]["embedding.weight"], tensors)
    assert kept.equal((model.embedding.weight * model.embedding.weight_mask)[alive][:, reads])
    words = exported.positions(tensors["embedding.weight.words"])
    assert words.tolist() == [*alive.nonzero().flatten().tolist(), VOCABULARY]


@torch.no_grad()
def test_a_word_outside_the_vocabulary_is_an_error_and_not_an_empty_row():
    model = text_model("last missing")
    about, tensors = stored(trace.draft(model), "sparse", texts(model))
    network = exported.build(about, tensors)
    for word in (VOCABULARY, -1):
        with pytest.raises(IndexError):
            network(Bags(torch.tensor([word]), torch.tensor([0])))


@torch.no_grad()
def test_masks_of_an_embedding_that_are_ignored_are_ignored_in_the_export_too():
    model = text_model("rows")
    model.embedding.reading = Raw()
    about, tensors = stored(trace.draft(model), "sparse", texts(model))
    assert tensors["embedding.weight"].equal(model.embedding.weight)
    near(exported.build(about, tensors)(texts(model)), model(texts(model)))


def test_an_embedding_without_zeros_is_stored_as_it_was():
    draft = Draft("network", [], {"a": torch.ones(5, 2)}, [], ["a"])
    left = storage.without_empty_rows(draft)
    assert left.tensors.keys() == {"a"} and left.matrices == []


# --- translation ---------------------------------------------------------------------------------------------------


@torch.no_grad()
def translator(words):
    """A translation model whose embeddings keep a third of their weights in `words` of their rows, none elsewhere."""
    model = nets.seq2seq(width=24, heads=3, hidden=20, seed=0).eval()
    generator.mask_embeddings(model)
    draw = torch.Generator().manual_seed(1)
    for side in (model.src_tok_emb, model.tgt_tok_emb):
        mask = side.embedding.weight_mask
        mask.copy_(torch.rand(mask.shape, generator=draw) < 0.3)
        mask[torch.randperm(len(mask), generator=draw)[words:]] = 0
        side.embedding.weight *= 4.0
    return model


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("words", [0, 1, 11, 30])
@torch.no_grad()
def test_a_translator_with_masked_embeddings_gives_the_models_logits_and_words(words, format):
    model = translator(words)
    ((data, _),) = nets.pair_batches(30, 29, (6,), seed=6)
    draft = package.reduced(translation.draft(model), format, translation)
    uses = {6: lambda made: made(types.SimpleNamespace(source=data.source, target=data.target))}
    about, tensors = package.package(draft, format, uses)
    found = exported.build(about, safetensors.torch.load(package.content(tensors)), 6)
    near(found(data), model(data))
    if FORMATS[format].ways != ("whole",) and words < 29:
        assert len(draft.tensors["source"]) == len(draft.tensors["target"]) == words
    for size in (6, 1):
        ours, theirs = found.begin(data.source[:size], 5), model.begin(data.source[:size], 5)
        for position in range(5):
            tokens = torch.arange(size) + 4 * position
            near(found.step(tokens, ours), model.step(tokens, theirs))


# --- a run ---------------------------------------------------------------------------------------------------------


def test_a_run_with_a_pruned_embedding_is_exported_small(ran, sample_data, tmp_path):
    run = shutil.copytree(
        ran("--dataset agnews --prune-embedding --pruner rand --compression 2 --post-epochs 1 --train-size 2000").path,
        tmp_path / "run",
    )
    sizes = {}
    for format in FORMATS:
        code, out, err = ask(f"--experiment export --run {run} --format {format}", sample_data)
        assert (code, err) == (0, ""), out
        sizes[format] = (run / f"model.{format}.safetensors").stat().st_size
    assert sizes["sparse"] < 0.02 * sizes["dense"] and sizes["compact"] < sizes["dense"]


def test_a_model_for_texts_that_export_does_not_know_is_refused_in_one_line():
    model = MatchedMLP((VOCABULARY,), CLASSES)
    generator.mask_embeddings(model)
    with pytest.raises(UserError, match="export does not know") as refused:
        trace.draft(model)
    assert "\n" not in str(refused.value)
