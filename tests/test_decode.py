"""Decoding in batches with a cache against one sentence at a time without one, and beam search against enumeration."""

import copy
import itertools
from typing import Any

import nets
import pytest
import torch

from Layers import layers
from Layers.fast import products_kept
from Layers.pairs import BOS, EOS, PAD, Pairs
from Models import seq2seq
from Utils.training import decode
from Utils.training.decode import translate


def _trained():
    """A model that has learnt a little: a word gives one or two others, or none. In float64, so that no tie decides."""
    draw, model = torch.Generator().manual_seed(0), nets.seq2seq(dropout=0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(150):
        sources = nets.sentences(30, 32, draw, longest=6)
        targets = [[4 + word % 25 for word in row for _ in range(word % 3)] for row in sources]
        data, wanted = nets.pairs(sources, targets)
        optimizer.zero_grad()
        nets.CROSS_ENTROPY(model(data), wanted).backward()
        optimizer.step()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.3
        elif hasattr(module, "in_proj_weight"):
            module.dropout = 0.3
    return model.double().eval()


TRAINED: list[Any] = []


def talker(ending=0.0):
    """A copy of the trained model of its own, `ending` added to the logit of <eos>."""
    if not TRAINED:
        TRAINED.append(_trained())
    model = copy.deepcopy(TRAINED[0])
    with torch.no_grad():
        model.generator.bias[EOS] += ending
    return model


def novice(words, seed=0):
    """A model that has learnt nothing, in float64, and says no padding."""
    model = nets.seq2seq(*words, depth=1, seed=seed).double().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter *= 4.0 if "emb" in name or "in_proj_weight" in name else 1.0
        model.generator.bias *= 0.3
        model.generator.bias[PAD] = -1e4
    return model


def sentences(count, seed=1, longest=12, words=30):
    """Source sentences [S] of 1 to `longest` random words between <bos> and <eos>."""
    draw = torch.Generator().manual_seed(seed)
    return [torch.tensor([BOS, *row, EOS]) for row in nets.sentences(words, count, draw, longest)]


@torch.no_grad()
def one_by_one(model, sources):
    """The paper's way: each sentence alone, the whole prefix through the whole model for every token."""
    found = []
    for source in sources:
        target = [BOS]
        for _ in range(len(source) + 5 - 1):
            logits = model(Pairs(source.unsqueeze(0), torch.tensor([target])))
            target.append(int(logits[-1].argmax()))
            if target[-1] == EOS:
                break
        found.append(target[1:-1] if target[-1] == EOS else target[1:])
    return found


# --- greedy --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [-3.0, 0.0, 2.0])
def test_batches_with_a_cache_say_what_one_sentence_at_a_time_says(ending):
    """Token for token, of sentences of many lengths; some run to their limit, some end early."""
    model, sources = talker(ending), [*sentences(40), *sentences(2, seed=3, longest=60)]
    truth = one_by_one(model, sources)
    assert translate(model, sources, nets.CPU) == truth
    room = [len(source) + 4 - len(row) for source, row in zip(sources, truth, strict=True)]
    assert room.count(0) < 42 and len(set(room)) > 5
    assert len({word for row in truth for word in row}) > 10
    assert len({tuple(row) for row in truth}) > 30


def test_single_precision_says_the_same():
    model, sources = talker().float(), sentences(30)
    assert translate(model, sources, nets.CPU) == one_by_one(model, sources)


@pytest.mark.parametrize(("batch", "words"), [(1, 1024), (7, 5), (1000, 28)])
@pytest.mark.parametrize("worth_it", [0.0, 0.5, 1.0])
def test_neither_the_batches_nor_their_thinning_matter(batch, words, worth_it, monkeypatch):
    """Whether finished sentences leave at once or never, no sentence gets into another; nor blocks of words matter."""
    model, sources = talker(), sentences(30)
    expected = translate(model, sources, nets.CPU)
    monkeypatch.setattr(decode, "BATCH", batch)
    monkeypatch.setattr(decode, "WORTH_IT", worth_it)
    monkeypatch.setattr(seq2seq, "BLOCK", words)
    assert translate(model, sources, nets.CPU) == expected


def test_finished_sentences_leave_the_batch(monkeypatch):
    """Otherwise thinning would cost and do nothing."""
    model, sources, rows = talker(), sentences(30), []
    step = model.likeliest_step
    monkeypatch.setattr(model, "likeliest_step", lambda tokens, state: rows.append(len(tokens)) or step(tokens, state))
    translate(model, sources, nets.CPU)
    assert rows[0] == 30 and rows == sorted(rows, reverse=True) and rows[-1] < 8
    assert all(b == a or b <= 0.75 * a for a, b in itertools.pairwise(rows))


def test_a_translation_is_at_most_five_tokens_longer_than_its_source():
    """<bos> and <eos> counted in both: of a model that never ends, and of one that ends at once."""
    sources = sentences(12)
    for beam in (1, 3):
        endless = translate(talker(ending=-1e4), sources, nets.CPU, beam)
        assert [len(row) for row in endless] == [len(source) + 5 - 1 for source in sources]
        assert translate(talker(ending=1e4), sources, nets.CPU, beam) == [[]] * 12


def test_a_limit_cuts_after_its_last_token_and_not_before():
    """Limits of one's own, at the end of each translation, one before and one behind it; <eos> takes a place."""
    model, sources = talker(), sentences(30)
    truth = one_by_one(model, sources)
    source = torch.nn.utils.rnn.pad_sequence(sources, batch_first=True, padding_value=PAD)
    ends = [k for k, row in enumerate(truth) if 1 < len(row) < len(sources[k]) + 3]
    assert len(ends) > 5
    with torch.no_grad():
        for longer in (-1, 0, 1, 2):
            limits = torch.tensor([len(truth[k]) + longer for k in ends])
            wanted = [truth[k][: len(truth[k]) + longer] for k in ends]
            assert decode.greedy(model, source[ends], limits) == wanted


def test_translations_are_in_the_order_of_their_sources():
    model, sources = talker(), sentences(25)
    found = translate(model, sources, nets.CPU)
    order = torch.randperm(25, generator=torch.Generator().manual_seed(0)).tolist()
    assert translate(model, [sources[k] for k in order], nets.CPU) == [found[k] for k in order]
    assert translate(model, sources * 2, nets.CPU) == found * 2


@pytest.mark.parametrize("beam", [1, 2])
def test_nothing_to_translate(beam):
    assert translate(talker(), [], nets.CPU, beam) == []


def test_a_sentence_of_500_tokens_is_translated_beside_a_short_one():
    model = talker(ending=-4.0)
    sources = [sentences(1, seed=3)[0], torch.tensor([BOS, *[5, 17, 9, 20, 6] * 100, EOS][:499] + [EOS])]
    assert len(sources[1]) == 500
    found = translate(model, sources, nets.CPU)
    assert found[0] == one_by_one(model, sources[:1])[0]
    assert 20 < len(found[1]) <= 504
    # The long one without a cache once, with its own translation as the target: each token is the likeliest there.
    with torch.no_grad():
        logits = model(Pairs(sources[1].unsqueeze(0), torch.tensor([[BOS, *found[1]]])))
    assert logits.argmax(1).tolist()[: len(found[1])] == found[1]


def test_a_padding_token_that_the_model_says_is_a_token_like_any_other():
    """As in the paper's code, where no mask covers the prefix; only an untrained model says it."""
    model, sources = talker(), sentences(10)
    with torch.no_grad():
        model.generator.bias[PAD] = model.generator.bias.max() + 4.0

        def decoded(source):
            target = [BOS]
            memory, mask = model.encode(source.unsqueeze(0))
            while len(target) < len(source) + 5 and target[-1] != EOS:
                entering = model.positional_encoding(model.tgt_tok_emb(torch.tensor([target])))
                hidden = model.transformer.decoder(entering, memory, mask)
                target.append(int(model.generator(hidden[0, -1]).argmax()))
            return target[1:-1] if target[-1] == EOS else target[1:]

        truth = [decoded(source) for source in sources]
    assert any(PAD in row for row in truth) and len({tuple(row) for row in truth}) > 5
    assert translate(model, sources, nets.CPU) == truth


# --- beam search ---------------------------------------------------------------------------------------------------


def searched(model, source, limit, beam):
    """Beam search of one sentence in plain Python, without a cache.

    Of all beginnings longer by a token the `beam` likeliest are kept. Those that end are set aside; the next choice is
    among as many again.
    """
    going, over = [((), 0.0)], []
    while going:
        longer = []
        for beginning, total in going:
            logits = model(Pairs(source.unsqueeze(0), torch.tensor([[BOS, *beginning]])))[-1]
            gains = logits.log_softmax(0).tolist()
            longer += [((*beginning, word), total + gain) for word, gain in enumerate(gains)]
        longer = sorted(longer, key=lambda item: -item[1])[:beam]
        going = [item for item in longer if item[0][-1] != EOS and len(item[0]) < limit]
        over += [item for item in longer if item not in going]
    best, _ = max(over, key=lambda item: item[1] / len(item[0]))
    return [word for word in best if word != EOS]


def test_a_beam_of_one_is_greedy():
    model, sources = talker(), sentences(25)
    greedy = translate(model, sources, nets.CPU)
    with torch.no_grad():
        for source, expected in zip(sources, greedy, strict=True):
            found = decode.beam_search(model, source.unsqueeze(0), torch.tensor([len(source) + 4]), 1)
            assert found == [expected]


@torch.no_grad()
@pytest.mark.parametrize("beam", [2, 3, 5])
def test_beam_search_in_batches_is_beam_search_one_by_one(beam):
    """With a cache whose rows are taken over by the longer beginnings."""
    model, sources = talker(), sentences(12, seed=2, longest=4)
    truth = [searched(model, source, len(source) + 4, beam) for source in sources]
    assert translate(model, sources, nets.CPU, beam) == truth
    assert truth != translate(model, sources, nets.CPU)
    assert len({len(row) for row in truth}) > 2


@torch.no_grad()
def test_a_beam_that_holds_everything_finds_the_best_of_all():
    """Against every translation of at most three tokens of six: the highest mean log-probability, <eos> counted."""
    sources = sentences(6, words=9, longest=3)
    source = torch.nn.utils.rnn.pad_sequence(sources, batch_first=True, padding_value=PAD)
    seen, limits = [], [3, 2, 3, 1, 3, 2]
    for seed in range(3):
        model = novice((9, 6), seed)
        found = decode.beam_search(model, source, torch.tensor(limits), 6**3)
        for row, limit, ours in zip(sources, limits, found, strict=True):
            every = [words for n in range(1, limit + 1) for words in itertools.product((0, 2, 3, 4, 5), repeat=n)]
            every = [words for words in every if EOS not in words[:-1] and (words[-1] == EOS or len(words) == limit)]
            means = {}
            for words in every:
                logits = model(Pairs(row.unsqueeze(0), torch.tensor([[BOS, *words[:-1]]]))).log_softmax(1)
                means[words] = logits[range(len(words)), words].mean().item()
            best = max(means, key=means.get)
            assert ours == [word for word in best if word != EOS]
            seen.append(best)
    assert len(set(seen)) > 6 and {len(words) for words in seen} == {1, 2, 3}
    assert sum(words[-1] == EOS for words in seen) > 1 and sum(words[-1] != EOS for words in seen) > 1


def test_a_wider_beam_finds_likelier_translations_than_greedy():
    """Not of every sentence, but of all together."""
    model, sources = talker(), sentences(20)

    @torch.no_grad()
    def mean(source, row):
        said = [*row, EOS][: len(source) + 4]
        logits = model(Pairs(source.unsqueeze(0), torch.tensor([[BOS, *said[:-1]]]))).log_softmax(1)
        return logits[range(len(said)), said].mean().item()

    means = [sum(map(mean, sources, translate(model, sources, nets.CPU, beam))) for beam in (1, 6)]
    assert means[1] > means[0] + 0.1


@pytest.mark.parametrize("batch", [4, 1000])
def test_the_batches_of_a_beam_search_do_not_matter(batch, monkeypatch):
    model, sources = talker(), sentences(15)
    expected = translate(model, sources, nets.CPU, 3)
    monkeypatch.setattr(decode, "BATCH", batch)
    assert translate(model, sources[::-1], nets.CPU, 3) == expected[::-1]


# --- the model ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beam", [1, 2])
def test_the_model_is_left_as_it_is_and_decodes_in_eval_mode(beam):
    model, sources = talker(), sentences(10)
    expected = translate(model, sources, nets.CPU, beam)
    model.train()
    model.transformer.encoder.layers[0].eval()
    model.generator.weight.requires_grad_(False)
    modes, state = [module.training for module in model.modules()], copy.deepcopy(model.state_dict())
    random = torch.get_rng_state()
    assert translate(model, sources, nets.CPU, beam) == expected
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.is_grad_enabled() and not model.generator.weight.requires_grad
    assert not any("_products" in vars(module) for module in model.modules())


@pytest.mark.parametrize("beam", [1, 2])
def test_no_weight_under_a_zero_has_a_say(beam):
    """Each mask is heeded, of the cached steps too; what masks leave is what is decoded."""
    model, sources = talker(), sentences(15)
    dense = translate(model, sources, nets.CPU, beam)
    nets.mask_at_random(model, 0.6)
    expected = translate(model, sources, nets.CPU, beam)
    assert expected != dense
    if beam == 1:
        assert expected == one_by_one(model, sources)
    with torch.no_grad():
        for _, mask, parameter in nets.masked_tensors(model):
            parameter[mask == 0] = 1e30
    assert translate(model, sources, nets.CPU, beam) == expected


def test_weights_that_change_between_two_calls_count():
    """No product of mask and weight is kept for longer than a call."""
    model, sources = talker(), sentences(8)
    translate(model, sources, nets.CPU)
    with torch.no_grad():
        model.generator.weight *= -1
    assert translate(model, sources, nets.CPU) == one_by_one(model, sources)
    model.generator.weight_mask[:, ::2] = 0
    assert translate(model, sources, nets.CPU) == one_by_one(model, sources)


def test_products_are_kept_once_and_let_go_also_by_an_error():
    """Inside, the same outputs from the same tensors; a weight that changes there goes unnoticed."""
    model, ((data, _),) = nets.seq2seq().eval(), nets.pair_batches(30, 29, (3,))
    nets.mask_at_random(model, 0.5)
    expected = model(data)
    with products_kept(model):
        assert not torch.is_grad_enabled()
        assert torch.equal(model(data), expected)
        one, other = (layers.masked(model.generator, "weight") for _ in range(2))
        assert one.data_ptr() == other.data_ptr()
        attention = model.transformer.encoder.layers[0].self_attn
        third = layers.masked(attention, "in_proj_weight", slice(16, 32))
        assert torch.equal(third, (attention.in_proj_weight_mask * attention.in_proj_weight)[16:32])
        model.generator.bias += 1
        assert torch.equal(model(data), expected)
    assert torch.is_grad_enabled()
    found = model(data)
    torch.testing.assert_close(found, expected + model.generator.bias_mask)
    found.sum().backward()
    assert model.generator.weight.grad is not None
    with pytest.raises(KeyError), products_kept(model):
        raise KeyError
    assert torch.is_grad_enabled()
    assert not any("_products" in vars(module) for module in model.modules())


@pytest.mark.parametrize("beam", [1, 2])
def test_a_decoding_that_fails_leaves_the_model_as_it_was(beam, monkeypatch):
    model, sources = talker().train(), sentences(5)

    def fail(tokens, state):
        raise KeyError

    monkeypatch.setattr(model, "step" if beam > 1 else "likeliest_step", fail)
    with pytest.raises(KeyError):
        translate(model, sources, nets.CPU, beam)
    assert all(module.training for module in model.modules()) and torch.is_grad_enabled()
    assert not any("_products" in vars(module) for module in model.modules())
