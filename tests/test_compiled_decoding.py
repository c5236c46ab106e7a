"""Decoding in C, for sentences side by side, against the model itself, which reads the whole prefix for every token."""

import nets
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from Layers import fast
from Layers.pairs import BOS, EOS, Pairs
from Models.seq2seq import Seq2SeqTransformer
from Utils import exported
from Utils.export import translation
from Utils.exported import compiled, kernel
from Utils.exported.rows import Rows
from Utils.training import decode

pytestmark = pytest.mark.skipif(not exported.available("scattered"), reason="no C compiler")

FORMS = ("whole", "scattered")


def talker(density, kind=Seq2SeqTransformer):
    """An untrained model, pruned at random, whose translations differ and end at different lengths."""
    torch.manual_seed(5)
    model = kind((30,), 29, width=24, heads=2, depth=2, hidden=20, dropout=0.2).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter *= 3.0 if "emb" in name or "in_proj_weight" in name else 1.0
            if name.endswith("bias"):
                parameter.copy_(torch.randn(parameter.shape) * 0.3)
        model.generator.weight *= 2.0
        model.generator.bias[EOS] += 4.0
    nets.mask_at_random(model, density)
    return model


def sentences(count, seed=1):
    draw = torch.Generator().manual_seed(seed)
    return [torch.tensor([BOS, *row, EOS]) for row in nets.sentences(30, count, draw, 9)]


@torch.no_grad()
def one_by_one(model, sources):
    found = []
    for source in sources:
        said = [BOS]
        while len(said) < len(source) + decode.LONGER and said[-1] != EOS:
            memory, mask = model.encode(source.unsqueeze(0))
            prefix = model.positional_encoding(model.tgt_tok_emb(torch.tensor([said])))
            said.append(int(model.generator(model.transformer.decoder(prefix, memory, mask)[0, -1]).argmax()))
        found.append([token for token in said[1:] if token != EOS])
    return found


def translator(model, form):
    draft = translation.draft(model)
    return exported.Translator(draft.program, draft.tensors, dict.fromkeys(draft.matrices, form))


@pytest.fixture(autouse=True)
def one_thread():
    """Small products in several threads would wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("density", [1.0, 0.3])
@pytest.mark.parametrize(("count", "threads"), [(1, 1), (9, 1), (100, 2)])
def test_translations_are_those_of_the_whole_prefix(form, density, count, threads):
    """From one sentence, which is alone, to two groups, of which the last is not full; finished ones leave."""
    model, sources = talker(density), sentences(count)
    wanted = one_by_one(model, sources)
    found = translator(model, form)
    torch.set_num_threads(threads)
    assert found.compiled
    assert decode.translate(found, sources, nets.CPU) == wanted
    if count > 9:
        ended = [len(source) + decode.LONGER - 1 - len(row) for source, row in zip(sources, wanted, strict=True)]
        assert len({tuple(row) for row in wanted}) > 20 and 0 < ended.count(0) < count and len(set(ended)) > 3


@pytest.mark.parametrize("beam", [2, 3])
def test_a_beam_search_is_that_of_the_model(beam):
    """Each step doubles some sentences and drops others, between groups."""
    model, sources = talker(0.3), sentences(45)
    with fast.products_kept(model):
        wanted = [decode.translate(model, [source], nets.CPU, beam)[0] for source in sources]
    assert decode.translate(translator(model, "scattered"), sources, nets.CPU, beam) == wanted
    assert wanted != one_by_one(model, sources)


@pytest.mark.parametrize("flags", [("-mno-avx512f",)])
@pytest.mark.parametrize("form", FORMS)
def test_another_processor_says_the_same(flags, form, monkeypatch):
    other = kernel.library(*flags)
    assert other is not None
    model, sources = talker(0.3), sentences(70)
    monkeypatch.setattr(kernel, "library", lambda: other)
    assert decode.translate(translator(model, form), sources, nets.CPU) == one_by_one(model, sources)


def test_of_equal_words_the_first_is_said():
    """Whatever the order of the rows; all logits are equal, then those of two words."""
    model = talker(1.0)
    model.generator.weight_mask[:] = 0
    for form in FORMS:
        for words in (range(29), (7, 20)):
            with torch.no_grad():
                model.generator.bias.fill_(-1.0)[list(words)] = 1.0
                model.generator.weight_mask[7] = len(words) == 2
                model.generator.weight[7] = 0.0
            model_found = translator(model, form)
            for count in (1, 5, 40):
                source = torch.nn.utils.rnn.pad_sequence(sentences(count), batch_first=True, padding_value=1)
                state = model_found.begin(source, 3)
                assert model_found.likeliest_step(torch.full((count,), BOS), state).tolist() == [words[0]] * count


@given(
    count=st.integers(0, 140),
    sizes=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    density=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    bias=st.booleans(),
    many=st.sampled_from([1, 2]),
)
@settings(max_examples=60, deadline=None)
def test_rows_are_those_of_float64(count, sizes, density, bias, many):
    draw = torch.Generator().manual_seed(count)
    outputs, inputs = sizes
    weight = torch.randn(outputs, inputs, generator=draw) * (torch.rand(outputs, inputs, generator=draw) < density)
    start = torch.randn(outputs, generator=draw) if bias else None
    data = torch.randn(count, inputs, generator=draw)
    wanted = F.linear(data.double(), weight.double(), None if start is None else start.double())
    torch.set_num_threads(many)
    found = Rows(weight, start)(data)
    torch.testing.assert_close(found.double(), wanted, atol=1e-5, rtol=1e-5)


# --- the masked model -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("density", [1.0, 0.5, 0.1])
def test_a_test_set_is_translated_by_compiled_steps(density, monkeypatch):
    """The same tokens as from the whole prefix and as without shortcuts; few sentences are not worth it."""
    model, sources, made = talker(density), sentences(decode.MANY), []
    start = compiled.Compiled.begin
    monkeypatch.setattr(compiled.Compiled, "begin", lambda self, *rest: made.append(0) or start(self, *rest))
    wanted = one_by_one(model, sources)
    assert decode.translate(model.train(), sources, nets.CPU) == wanted
    assert made == [0] and model.training
    fast.use(False)
    try:
        assert decode.translate(model, sources, nets.CPU) == wanted
    finally:
        fast.use(True)
    assert decode.translate(model, sources[:-1], nets.CPU) == wanted[:-1]
    assert made == [0]


def test_a_model_that_may_compute_anything_decodes_by_itself():
    class Other(Seq2SeqTransformer):
        """It never says the word 9."""

        def likeliest_step(self, tokens, state):
            return self.step(tokens, state).index_fill(1, torch.tensor([9]), -torch.inf).argmax(1)

    sources = sentences(decode.MANY)
    assert any(9 in row for row in decode.translate(talker(1.0), sources, nets.CPU))
    assert not any(9 in row for row in decode.translate(talker(1.0, Other), sources, nets.CPU))
    assert translation.translator(talker(1.0).double()) is None
    assert translation.translator(talker(1.0, Other)) is None


def test_without_a_compiler_the_tokens_are_the_same(monkeypatch):
    model, sources = talker(0.3), sentences(80)
    wanted = decode.translate(model, sources, nets.CPU)
    monkeypatch.setattr(kernel, "library", lambda: None)
    assert translation.translator(model) is None and translator(model, "scattered").compiled is None
    assert decode.translate(model, sources, nets.CPU) == wanted
    assert decode.translate(translator(model, "scattered"), sources, nets.CPU) == wanted


def test_padding_at_the_end_of_a_longer_batch_changes_nothing():
    """Logits of step by step, with and without a hundred positions of padding, equal those of whole sentences."""
    model, source = talker(0.5), torch.stack([torch.tensor([BOS, 5, 6, 7, EOS]), torch.tensor([BOS, 9, 4, 8, EOS])])
    target = torch.tensor([[BOS, 12, 5, 20], [BOS, 8, 8, 6]])
    found = translator(model, "whole")
    with torch.no_grad():
        wanted = model(Pairs(source, target)).view(2, 4, -1)
        for padding in (0, 100):
            state = found.begin(F.pad(source, (0, padding), value=1), 4)
            for position in range(4):
                logits = found.step(target[:, position], state)
                torch.testing.assert_close(logits, wanted[:, position], atol=1e-5, rtol=1e-5)
