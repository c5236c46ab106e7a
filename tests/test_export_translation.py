"""The exported translator against the masked model: logits, steps, translations; and what compacting takes away."""

import json
import shutil
import types

import nets
import pytest
import torch
from calls import ask

from Layers.attention import MultiheadAttention
from Layers.pairs import BOS, EOS, PAD
from Models.seq2seq import Seq2SeqTransformer
from Pruners import dead
from Utils import exported, generator
from Utils.export import form_timing, reach, translation
from Utils.export.formats import FORMATS
from Utils.exported import forms, products
from Utils.training import decode

CLOSE = 1e-5
UNTRAINED = "--dataset multi30k --pruner rand --compression 1"  # a run that other tests look at too
RUN = f"{UNTRAINED} --src en --tgt de --prune-attention all --bleu-weights 1 1 --beam 2"
DENSITIES = (1.0, 0.4, 0.1, 0.02)
DRAFTS = ("whole", "compact")


class Opaque:
    """A form of somebody else's: it can be called, and that is all."""

    def __init__(self, weight, bias):
        self.weight, self.bias, self.tensors = weight, bias, [weight]

    def __call__(self, input):
        assert input.dim() > 1
        return torch.nn.functional.linear(input, self.weight, self.bias)


FORMS = (*exported.LINEAR, Opaque)


@torch.no_grad()
def pruned(density, seed=0, dead=True, loud=4.0):
    """A model that says many things, masked at random, some biases too; dead: rows, columns and heads without weights.

    Nothing is zero under the masks: who reads a raw weight gives another answer.
    """
    model = nets.seq2seq(width=24, heads=3, hidden=20, dropout=0.1, seed=seed).eval()
    for name, parameter in model.named_parameters():
        parameter *= loud if "emb" in name or "in_proj_weight" in name else 1.0
    model.generator.bias *= 0.3
    if density < 1:
        nets.mask_at_random(model, density, seed)
        draw = torch.Generator().manual_seed(seed)
        for name, mask, _ in nets.masked_tensors(model):
            if name.endswith("bias"):
                mask.copy_(torch.rand(mask.shape, generator=draw) < 0.7)
    if dead:
        for name, module in model.named_modules():
            if isinstance(module, MultiheadAttention):
                parts = module.in_proj_weight_mask.view(3, 3, 8, 24)  # query, key, value; head; dimension
                parts[0, 0, :3] = parts[1, 0, 2:4] = parts[2, 0, 5:7] = 0
                module.out_proj.weight_mask[:, 6:10] = 0
                parts[2, 2] = 0  # a head that always gives the same
                if "decoder.layers.1" in name:
                    parts[:2, 1] = 0  # a head that sees no difference between positions
            elif hasattr(module, "linear1"):
                module.linear1.weight_mask[:4] = 0
                module.linear2.weight_mask[:, 3:6] = 0
        model.generator.weight_mask[[0, 5, 17]] = 0
        model.generator.weight_mask[:, [2, 9]] = 0
    return model


def drafted(model, which):
    whole = translation.draft(model)
    return whole if which == "whole" else translation.compact(whole)


def built(draft, form):
    return exported.Translator(draft.program, draft.tensors, dict.fromkeys(draft.matrices, form)).eval()


def sources(count, seed=1, longest=9):
    """Source sentences [S] of many lengths."""
    draw = torch.Generator().manual_seed(seed)
    return [torch.tensor([BOS, *row, EOS]) for row in nets.sentences(30, count, draw, longest)]


def padded(rows):
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)


def close(found, wanted):
    assert found.shape == wanted.shape and (found - wanted).abs().max() <= CLOSE


# --- the same function ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("which", DRAFTS)
@pytest.mark.parametrize("density", DENSITIES)
def test_logits_of_whole_sentences_are_the_models(density, which, form):
    """With padding and without; anything with a source and a target will do."""
    model = pruned(density)
    found = built(drafted(model, which), form)
    for size in (1, 6):
        ((data, _),) = nets.pair_batches(30, 29, (size,), seed=size)
        with torch.no_grad():
            wanted = model(data)
        assert wanted.std(0).max() > 0.01  # it does depend on the sentences
        close(found(types.SimpleNamespace(source=data.source, target=data.target)), wanted)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("which", DRAFTS)
@pytest.mark.parametrize("density", DENSITIES)
def test_every_step_is_the_models(density, which, form):
    """Of a batch with padding, from which sentences leave and in which one is doubled, down to a single one."""
    model = pruned(density)
    found = built(drafted(model, which), form)
    source, draw = padded(sources(5)), torch.Generator().manual_seed(0)
    with torch.no_grad():
        ours, theirs = found.begin(source, 12), model.begin(source, 12)
        rows = torch.arange(5)
        for position in range(12):
            if position in (3, 6, 9):
                rows = {3: torch.tensor([4, 0, 0, 2]), 6: torch.tensor([3, 1]), 9: torch.tensor([1])}[position]
                ours.keep(rows)
                theirs.keep(rows)
            tokens = torch.randint(4, 29, (len(rows),), generator=draw)
            close(found.step(tokens, ours), model.step(tokens, theirs))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("which", DRAFTS)
@pytest.mark.parametrize("density", DENSITIES)
def test_translations_are_the_models(density, which, form):
    """Greedy and from a beam, one sentence at a time and all at once."""
    model, rows = pruned(density), sources(8)
    found = built(drafted(model, which), form)
    for beam in (1, 3):
        wanted = decode.translate(model, rows, nets.CPU, beam)
        assert decode.translate(found, rows, nets.CPU, beam) == wanted
        assert [decode.translate(found, [row], nets.CPU, beam)[0] for row in rows] == wanted
        if density > 0.1:
            assert len({tuple(row) for row in wanted}) > 4


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count", [1, 4])
def test_the_likeliest_word_is_the_first_with_the_highest_logit(form, count):
    """Also where words without weights are as likely as each other, or more so than all that have some."""
    model, said = pruned(0.4), set()
    model.generator.weight_mask[10:] *= torch.arange(19).remainder(2).unsqueeze(1)
    source = padded(sources(count, seed=4))
    for dead_bias in (-3.0, 0.0, 0.5, 9.0):
        with torch.no_grad():
            model.generator.bias_mask.fill_(1)
            model.generator.bias[10::2] = dead_bias
        found = built(translation.draft(model), form)
        first, second = found.begin(source, 8), found.begin(source, 8)
        tokens = torch.full((count,), BOS)
        for _ in range(8):
            logits = found.step(tokens, first)
            tokens = found.likeliest_step(tokens, second)
            assert tokens.tolist() == logits.max(1).indices.tolist()
            said |= set(tokens.tolist())
    assert 10 in said and any(word % 2 for word in said) and not said & set(range(12, 29, 2))


def test_a_word_of_the_block_and_one_of_the_rest_with_equal_logits():
    """The first of them, whichever part it belongs to."""
    weight = torch.zeros(5, 2)
    weight[[1, 3], 0] = 1.0
    hidden = torch.tensor([[2.0, 7.0], [0.5, 7.0], [3.0, 0.0]])
    for rest, wanted in ((2.0, [0, 0, 1]), (3.0, [0, 0, 0]), (1.0, [1, 0, 1])):
        words = products.Words(forms.Block(weight, torch.tensor([rest, 0.0, rest, 0.0, rest])))
        assert words.likeliest(hidden).tolist() == wanted
    words = products.Words(forms.Block(weight, torch.tensor([-9.0, 0.0, 2.0, 0.0, 2.0])))
    assert words.likeliest(hidden).tolist() == [1, 2, 1]
    assert [int(words.likeliest(row)) for row in hidden] == [1, 2, 1]


@pytest.mark.parametrize("form", FORMS)
def test_many_words_are_looked_at_in_blocks(form, monkeypatch):
    monkeypatch.setattr(products.Words, "BLOCK", 7)
    model, rows = pruned(0.4), sources(9)
    assert decode.translate(built(translation.draft(model), form), rows, nets.CPU) == decode.translate(
        model, rows, nets.CPU
    )


@pytest.mark.parametrize("form", exported.LINEAR)
def test_a_generator_without_weights_says_its_biases(form):
    model = pruned(0.4)
    model.generator.weight_mask.zero_()
    ((data, _),) = nets.pair_batches(30, 29, (3,))
    found = built(translation.draft(model), form)
    with torch.no_grad():
        close(found(data), model(data))
    rows = sources(3)
    assert decode.translate(found, rows, nets.CPU) == decode.translate(model, rows, nets.CPU)


def test_a_long_sentence_gets_more_positions():
    model = pruned(0.4)
    found = built(translation.draft(model), "csr")
    source = torch.tensor([[BOS, *[5, 17, 9, 20, 6] * 60, EOS]])
    with torch.no_grad():
        ours, theirs = found.begin(source, 305), model.begin(source, 305)
        token = torch.tensor([7])
        for _ in range(300):
            wanted = model.step(token, theirs)
            logits = found.step(token, ours)
            token = wanted.argmax(1)
    close(logits, wanted)


def test_what_a_caller_gets_may_be_written_to():
    """And no gradient is kept, whatever the caller's mode."""
    found = built(translation.draft(pruned(0.4)), "csr")
    state = found.begin(padded(sources(2)), 5)
    logits = found.step(torch.tensor([5, 6]), state)
    logits[:, PAD] = -torch.inf
    tokens = found.likeliest_step(logits.argmax(1), state)
    tokens[0] = 3
    assert not logits.requires_grad
    assert not found(nets.pair_batches(30, 29, (2,))[0][0]).requires_grad


# --- what is drafted -----------------------------------------------------------------------------------------------


def test_every_tensor_of_a_draft_bears_on_the_logits():
    """So a test that compares logits would see one that is wrong."""
    draft = translation.draft(pruned(0.4, dead=False))
    ((data, _),) = nets.pair_batches(30, 29, (6,))
    wanted = built(draft, "whole")(data)
    for name, value in draft.tensors.items():
        noise = torch.randn(value.shape, generator=torch.Generator().manual_seed(0))
        changed = {**draft.tensors, name: value + noise}
        found = exported.Translator(draft.program, changed)(data)
        assert (found - wanted).abs().max() > 1e-3, name


def test_a_draft_lists_the_matrices_that_may_be_thin():
    draft = translation.draft(pruned(0.4))
    attention = {f"encoder.{k}.self.{part}.weight" for k in range(2) for part in ("in", "out")}
    attention |= {f"decoder.{k}.self.{part}.weight" for k in range(2) for part in ("in", "out")}
    attention |= {f"decoder.{k}.source.{part}.weight" for k in range(2) for part in ("in", "memory", "out")}
    feed = {
        f"{side}.{k}.feed.{part}.weight" for side in ("encoder", "decoder") for k in range(2) for part in ("in", "out")
    }
    assert set(draft.matrices) == attention | feed | {"generator.weight"}
    assert json.loads(json.dumps(draft.program)) == draft.program
    assert all(value.dtype == torch.float32 and value.is_contiguous() for value in draft.tensors.values())
    assert all((draft.tensors[name] == 0).float().mean() > 0.5 for name in draft.matrices)


@pytest.mark.parametrize("which", ["all", "attention", "none"])
def test_masks_that_the_model_ignores_are_ignored(which):
    model = pruned(0.4, loud=1.0)
    generator.ignore_masks(model, which)
    ((data, _),) = nets.pair_batches(30, 29, (4,))
    with torch.no_grad():
        wanted = model(data)
    for draft in DRAFTS:
        close(built(drafted(model, draft), "whole")(data), wanted)
    kept = translation.draft(model).tensors["encoder.0.self.in.weight"].ne(0).float().mean()
    assert kept < 0.5 if which == "none" else kept == 1


def test_a_dense_generator_is_exported_too():
    model = nets.drawn(0, Seq2SeqTransformer, (30,), 29, True, 24, 3, 1, 20).eval()
    ((data, _),) = nets.pair_batches(30, 29, (4,))
    with torch.no_grad():
        close(built(translation.draft(model), "whole")(data), model(data))


def test_sparse_forms_hold_less_in_memory():
    draft = translation.draft(pruned(0.1))
    held = {form: sum(value.numel() for value in built(draft, form).held) for form in ("whole", "csr")}
    stored = sum(value.numel() for name, value in draft.tensors.items() if name in draft.matrices)
    assert held["whole"] > stored and held["csr"] < held["whole"] - 0.5 * stored


# --- what compacting takes away ------------------------------------------------------------------------------------


def numbers(draft):
    return sum(value.numel() for value in draft.tensors.values())


@pytest.mark.parametrize("density", DENSITIES)
def test_a_compact_model_is_smaller(density):
    whole = translation.draft(pruned(density))
    before = {name: value.clone() for name, value in whole.tensors.items()}
    compact = translation.compact(whole)
    table = before["source"].numel() + before["target"].numel() + before["generator.weight"].numel()
    assert numbers(compact) - table < {1.0: 0.8, 0.4: 0.8, 0.1: 0.7, 0.02: 0.3}[density] * (numbers(whole) - table)
    assert all(torch.equal(value, before[name]) for name, value in whole.tensors.items())  # the draft is as it was
    assert all(name in compact.tensors for name in compact.matrices)


@pytest.mark.parametrize("density", [0.4, 0.1])
def test_the_dead_hidden_units_are_those_that_derivatives_find(density):
    """`reach` follows the matrices of a sublayer, `dead.find` the whole model."""
    model = pruned(density)
    found, whole = dead.find(model, (30,)), translation.draft(model)
    gone = 0
    for side in ("encoder", "decoder"):
        for k in range(2):
            entered, left = (whole.tensors[f"{side}.{k}.feed.{part}.weight"] for part in ("in", "out"))
            at = f"transformer.{side}.layers.{k}.linear1"
            assert (~reach.fed(entered)).equal(found.no_way_in[at]) and (~reach.read(left)).equal(found.no_way_out[at])
            gone += int((found.no_way_in[at] | found.no_way_out[at]).sum())
    assert gone >= 4 * 6


def test_a_model_with_nothing_dead_stays_as_it_is():
    whole = translation.draft(pruned(1.0, dead=False))
    compact = translation.compact(whole)
    assert compact.program == whole.program
    assert {name: value.shape for name, value in compact.tensors.items()} == {
        name: value.shape for name, value in whole.tensors.items()
    }


def test_the_sizes_that_are_left_are_those_counted_by_hand():
    """Of heads of 8: what `pruned` takes out of each, at full density. The widest head decides."""
    compact = translation.compact(translation.draft(pruned(1.0)))
    sizes = {entry["name"]: entry for entry in [*compact.program["encoder"], *compact.program["decoder"]]}
    for name, entry in sizes.items():
        if entry["kind"] == "feed":
            assert compact.tensors[f"{name}.in.weight"].shape == (20 - 6, 24)
            assert compact.tensors[f"{name}.out.weight"].shape == (24, 20 - 6)
            continue
        # Head 2 is gone. Head 1 has lost two ways out, and in the last layer of the decoder all that it asks by. Of
        # head 0, the queries of 3 dimensions say their biases, one of them to a key that says nothing: two become one.
        blind = "decoder.1" in name
        assert (entry["heads"], entry["query"], entry["value"]) == (2, 5 if blind else 8, 6)
        assert compact.tensors[f"{name}.out.weight"].shape == (24, 12)
        own = 2 * (2 * entry["query"] + 6) if entry["kind"] == "self" else 2 * entry["query"]
        assert compact.tensors[f"{name}.in.weight"].shape == (own, 24)


def test_units_without_a_way_in_live_on_in_a_bias():
    model = pruned(1.0, dead=False)
    layer = model.transformer.encoder.layers[0]
    layer.linear1.weight_mask[[2, 7]] = 0
    with torch.no_grad():
        layer.linear1.bias[[2, 7]] = torch.tensor([0.8, -0.8])
    compact = translation.compact(translation.draft(model))
    moved = layer.linear2.bias + 0.8 * layer.linear2.weight[:, 2]
    torch.testing.assert_close(compact.tensors["encoder.0.feed.out.bias"], moved.detach())


@pytest.mark.parametrize("form", FORMS)
def test_sublayers_with_nothing_left_become_constants(form):
    """All of them, the encoder included, which nobody reads then; what the target says still counts."""
    model = pruned(0.4)
    for module in model.modules():
        if isinstance(module, MultiheadAttention):
            module.out_proj.weight_mask.zero_()
        elif hasattr(module, "linear1"):
            module.linear1.weight_mask.zero_()
    compact = translation.compact(translation.draft(model))
    assert compact.program["encoder"] == [] and {entry["kind"] for entry in compact.program["decoder"]} == {"constant"}
    assert compact.matrices == ["generator.weight"]
    found, ((data, _),) = built(compact, form), nets.pair_batches(30, 29, (4,))
    with torch.no_grad():
        close(found(data), model(data))
    rows = sources(4)
    assert decode.translate(found, rows, nets.CPU, 2) == decode.translate(model, rows, nets.CPU, 2)


@pytest.mark.parametrize("name", ["self_attn", "multihead_attn"])
@pytest.mark.parametrize("part", [0, 1, 2])
def test_an_attention_without_its_queries_its_keys_or_its_values(name, part):
    """The first two see no difference between positions but for the queries' biases; the last is a constant."""
    model = pruned(0.4, dead=False)
    for layer in model.transformer.decoder.layers:
        getattr(layer, name).in_proj_weight_mask.view(3, -1)[part] = 0
    compact = translation.compact(translation.draft(model))
    entry = compact.program["decoder"][0 if name == "self_attn" else 1]
    assert entry.get("query") == {0: 1, 1: 1, 2: None}[part]
    ((data, _),) = nets.pair_batches(30, 29, (5,))
    with torch.no_grad():
        wanted = model(data)
    for form in FORMS:
        close(built(compact, form)(data), wanted)


# --- from the command line -----------------------------------------------------------------------------------------


@pytest.fixture
def run(ran, tmp_path, monkeypatch):
    """A finished run's directory, a copy of its own for this test; forms are measured in no time."""
    monkeypatch.setattr(form_timing, "SECONDS", 0.0001)
    finished = ran(RUN)
    return shutil.copytree(finished.path, tmp_path / "run")


@pytest.mark.parametrize("format", FORMATS)
def test_a_run_translates_with_its_export(run, format, sample_data):
    """As its own model does, which is not looked at; where the export is missing, a line says how to make it."""
    asked = f"--experiment translate --run {run} --text 'A man rides a bike.' --text 'Two dogs.' --beam"
    wanted = [ask(f"{asked} {beam}", sample_data) for beam in (1, 2)]
    assert all(code == 0 and len(out.splitlines()) == 2 and out.strip() for code, out, _ in wanted)
    code, out, err = ask(f"{asked} 1 --export {format}", sample_data)
    assert (code, out) == (2, "") and err.startswith("error: ") and err.count("\n") == 1
    assert f"--experiment export --run {run} --format {format}" in err
    code, _, err = ask(f"--experiment export --run {run} --format {format}", sample_data)
    assert (code, err) == (0, "")
    about = json.loads((run / f"model.{format}.json").read_text())
    assert about["kind"] == "translator" and about["largest_difference"] < 1e-5
    (run / "model.safetensors").unlink()
    assert [ask(f"{asked} {beam} --export {format}", sample_data) for beam in (1, 2)] == wanted


def test_an_unknown_export_is_refused(run, sample_data):
    code, out, err = ask(f"--experiment translate --run {run} --text a --export spare", sample_data)
    assert (code, out) == (2, "") and "did you mean sparse?" in err
