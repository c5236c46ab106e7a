"""The translation model against torch.nn.Transformer with the same weights, and its parts by their definitions."""

import copy
import math

import nets
import pytest
import torch
from torch import nn

from Layers.flow import linear_flow
from Layers.pairs import BOS, EOS, PAD, Pairs
from Models import seq2seq
from Models.seq2seq import Seq2SeqTransformer
from Utils import generator, load
from Utils.training.adam import Adam
from Utils.training.loss import CrossEntropy
from Utils.training.prune import reinitialize
from Utils.training.rows import ByRows
from Utils.training.train import train_epoch

pytestmark = pytest.mark.filterwarnings("ignore:enable_nested_tensor", "ignore:The PyTorch API of nested tensors")


def _positions(length, width):
    """Sines and cosines by the paper's formula, entry by entry (Vaswani et al. 2017, section 3.5)."""
    table = torch.zeros(length, width, dtype=torch.float64)
    for position in range(length):
        for k in range(width):
            angle = position / 10_000 ** (2 * (k // 2) / width)
            table[position, k] = math.cos(angle) if k % 2 else math.sin(angle)
    return table.float()


class Reference(nn.Module):
    """torch.nn.Transformer between embeddings and generator, with every mask of the PyTorch tutorial: [B, T, words]."""

    def __init__(self, model, depth, heads):
        super().__init__()
        state = {name: value.clone() for name, value in model.state_dict().items() if not name.endswith("_mask")}
        self.source, self.target = state["src_tok_emb.embedding.weight"], state["tgt_tok_emb.embedding.weight"]
        self.weight, self.bias = state["generator.weight"], state["generator.bias"]
        self.width = self.source.shape[1]
        hidden = state["transformer.encoder.layers.0.linear1.weight"].shape[0]
        self.transformer = nn.Transformer(self.width, heads, depth, depth, hidden, 0.0, batch_first=True)
        inner = {k.removeprefix("transformer."): v for k, v in state.items() if k.startswith("transformer.")}
        self.transformer.load_state_dict(inner)  # strict: the names are torch's

    def forward(self, data):
        length = data.target.shape[1]
        source, target = (
            table[tokens] * math.sqrt(self.width) + _positions(tokens.shape[1], self.width)
            for table, tokens in ((self.source, data.source), (self.target, data.target))
        )
        hidden = self.transformer(
            source,
            target,
            tgt_mask=torch.ones(length, length, dtype=torch.bool).triu(1),
            src_key_padding_mask=data.source == PAD,
            tgt_key_padding_mask=data.target == PAD,
            memory_key_padding_mask=data.source == PAD,
        )
        return hidden @ self.weight.T + self.bias


def _close(ours, theirs, tolerance=1e-5):
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.fixture(scope="module")
def full():
    """The model with the paper's sizes and small vocabularies; to be read only."""
    return nets.drawn(0, load.model("seq2seq", "nlp"), (40,), 50)


# --- names and numbers ---------------------------------------------------------------------------------------------


def test_the_papers_model_has_33_570_389_parameters():
    """With the vocabularies of Multi30k. Also by the formula, layer by layer."""
    with torch.device("meta"):
        model = load.model("seq2seq", "nlp")((19_214,), 10_837)
    attention, forward, norm = 4 * (512 * 512 + 512), 2 * (512 * 512 + 512), 2 * 512
    encoder, decoder = attention + forward + 2 * norm, 2 * attention + forward + 3 * norm
    vocabularies = (19_214 + 10_837) * 512 + 10_837 * 513
    assert 3 * encoder + 3 * decoder + 2 * norm + vocabularies == 33_570_389
    assert sum(p.numel() for p in model.parameters()) == 33_570_389
    assert sum(p.numel() for p in generator.parameters(model)) == 33_570_389
    square, words = 512 * 512, 512 * 10_837
    for choice, count, expected in (
        ("none", 6 * 2 * square + words, 8_694_272),
        ("out", (6 * 2 + 9) * square + words, 11_053_568),
        ("all", (6 * 2 + 9 * 4) * square + words, 18_131_456),
    ):
        assert sum(p.numel() for _, p in generator.masked_parameters(model, attention=choice)) == count == expected


def test_the_names_are_those_of_torchs_transformer_and_the_tutorial():
    """Beside them only masks: one for each parameter that a Linear or an attention holds."""
    model = nets.seq2seq(depth=3)
    state = nn.Transformer(16, 2, 3, 3, 12, batch_first=True).state_dict()
    names = {f"transformer.{name}": value.shape for name, value in state.items()}
    names |= {"generator.weight": (29, 16), "generator.bias": (29,)}
    names |= {"src_tok_emb.embedding.weight": (30, 16), "tgt_tok_emb.embedding.weight": (29, 16)}
    ours = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    masked = {name for name in names if "norm" not in name and "emb" not in name}
    assert ours == {name: tuple(shape) for name, shape in names.items()} | {
        f"{name}_mask": tuple(names[name]) for name in masked
    }
    assert isinstance(model.positional_encoding, nn.Module)


def test_which_weights_are_prunable():
    """By name, for each --prune-attention; biases only if asked for."""
    model = nets.seq2seq(depth=1)
    layers = [f"transformer.{part}.layers.0." for part in ("encoder", "decoder")]
    forward = [f"{layer}linear{k}.weight" for layer in layers for k in (1, 2)]
    attentions = [f"{layers[0]}self_attn.", f"{layers[1]}self_attn.", f"{layers[1]}multihead_attn."]
    out = [f"{attention}out_proj.weight" for attention in attentions]
    into = [f"{attention}in_proj_weight" for attention in attentions]
    base = {"generator.weight", *forward}
    for choice, wanted in (("none", base), ("out", base | {*out}), ("all", base | {*out, *into})):
        found = [pair.name for pair in generator.masked_parameters(model, attention=choice)]
        assert len(found) == len(wanted) and set(found) == wanted
        found = {pair.name for pair in generator.masked_parameters(model, bias=True, attention=choice)}
        assert found == wanted | {name.replace("weight", "bias") for name in wanted}
    dense = Seq2SeqTransformer((9,), 8, True, 4, 2, 1, 4)
    assert "generator.weight" not in {pair.name for pair in generator.masked_parameters(dense)}
    assert type(dense.generator) is nn.Linear


def test_initial_weights_are_xaviers(full):
    """Every matrix, embeddings and generator too: uniform between the bounds. Vectors are as torch.nn has them."""
    for name, parameter in full.named_parameters():
        values = parameter.detach()
        if values.dim() > 1:
            bound = math.sqrt(6 / sum(values.shape))
            assert 0.999 * bound < values.abs().max() <= bound, name
            assert values.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02), name
            assert abs(values.mean().item()) < 5 * bound / math.sqrt(3 * values.numel()), name
        elif "norm" in name:
            assert (values == (1 if name.endswith("weight") else 0)).all(), name
        elif "_proj" in name:
            assert (values == 0).all(), name
        else:  # of a Linear: uniform between its bounds
            assert 0.9 / math.sqrt(512) < values.abs().max() <= 1 / math.sqrt(512), name


def test_new_initial_weights_are_others_of_the_same_kind():
    """As --reinitialize draws them: from a seed, within the bounds, masks untouched; the last word is the model's."""
    fresh = nets.drawn(3, Seq2SeqTransformer, (30,), 29, False, 16, 2, 2, 12)
    model = nets.seq2seq()
    nets.mask_at_random(model, 0.5)
    masks = {name: mask.clone() for name, mask, _ in nets.masked_tensors(model)}
    drawn = []
    for seed in (1, 1, 2):
        reinitialize(model, seed)
        drawn.append(copy.deepcopy(dict(model.named_parameters())))
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                bound = math.sqrt(6 / sum(parameter.shape))
                assert 0.9 * bound < parameter.abs().max() <= bound, name
            elif "norm" in name or "_proj" in name:
                assert torch.equal(parameter, fresh.get_parameter(name)), name
    assert all(torch.equal(drawn[0][name], drawn[1][name]) for name in drawn[0])
    assert not any(torch.equal(drawn[0][name], drawn[2][name]) for name in drawn[0] if drawn[0][name].dim() > 1)
    assert all(torch.equal(mask, masks[name]) for name, mask, _ in nets.masked_tensors(model))
    before = {name: p.clone() for name, p in model.named_parameters()}
    model.reset_parameters()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) is (parameter.dim() == 1), name


# --- outputs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("autograd", [True, False])
def test_the_outputs_are_those_of_torchs_transformer(training, autograd):
    """At the target positions that are not padding, row by row; with padding in source and target."""
    model, ((data, wanted),) = nets.seq2seq(dropout=0.0), nets.pair_batches(30, 29, (9,))
    assert (data.source == PAD).any() and (data.target == PAD).any()
    reference = Reference(model, 2, 2).train(training)
    with torch.set_grad_enabled(autograd):
        ours, theirs = model.train(training)(data), reference(data)
    assert ours.shape == (len(wanted), 29)
    _close(ours, theirs[data.target != PAD])
    rows = [theirs[b, t] for b in range(9) for t in range(theirs.shape[1]) if data.target[b, t] != PAD]
    _close(ours, torch.stack(rows))


def test_the_outputs_of_the_papers_model_are_those_of_torchs_transformer(full):
    model, ((data, _),) = copy.deepcopy(full), nets.pair_batches(40, 50, (4,))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
        reference = Reference(model, 3, 8)
        _close(model.eval()(data), reference.eval()(data)[data.target != PAD])
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            if hasattr(module, "dropout") and isinstance(module.dropout, float):
                module.dropout = 0.0
        _close(model.train()(data), reference.train()(data)[data.target != PAD])


def test_the_outputs_with_masks_are_those_of_torchs_transformer_with_masked_weights():
    model, ((data, _),) = nets.seq2seq(dropout=0.0), nets.pair_batches(30, 29, (5,))
    nets.mask_at_random(model, 0.4)
    bare = copy.deepcopy(model)
    with torch.no_grad():
        for _, mask, parameter in nets.masked_tensors(bare):
            parameter.mul_(mask)
    _close(model(data), Reference(bare, 2, 2)(data)[data.target != PAD])


def test_the_loss_and_its_gradients_are_those_that_ignore_padding():
    """CrossEntropyLoss(ignore_index=PAD) on all positions of the padded batch, as the tutorial trains."""
    model, ((data, wanted),) = nets.seq2seq(dropout=0.0), nets.pair_batches(30, 29, (9,))
    reference = Reference(model, 2, 2)
    for name in ("source", "target", "weight", "bias"):
        getattr(reference, name).requires_grad_()
    following = torch.full_like(data.target, PAD)
    following[:, :-1] = data.target[:, 1:]
    for row in range(9):
        following[row, (data.target[row] != PAD).sum() - 1] = EOS
    ours = nets.CROSS_ENTROPY(model(data), wanted)
    theirs = nn.CrossEntropyLoss(ignore_index=PAD)(reference(data).flatten(0, 1), following.flatten())
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
    ours.backward(), theirs.backward()
    named = {f"transformer.{name}": p for name, p in reference.transformer.named_parameters()}
    named |= {"generator.weight": reference.weight, "generator.bias": reference.bias}
    named |= {"src_tok_emb.embedding.weight": reference.source, "tgt_tok_emb.embedding.weight": reference.target}
    assert named.keys() == dict(model.named_parameters()).keys()
    for name, parameter in model.named_parameters():
        _close(parameter.grad, named[name].grad)


def test_a_sentence_alone_gives_what_it_gives_beside_longer_ones():
    model, draw = nets.seq2seq().eval(), torch.Generator().manual_seed(2)
    sources, targets = (nets.sentences(words, 8, draw, longest=12) for words in (30, 29))
    together = model(nets.pairs(sources, targets)[0])
    alone = [model(nets.pairs([source], [target])[0]) for source, target in zip(sources, targets, strict=True)]
    _close(together, torch.cat(alone), 1e-5)


def test_a_later_target_token_changes_no_earlier_row():
    model, ((data, _),) = nets.seq2seq().eval(), [nets.pairs([[5, 6, 7]], [[8, 9, 10, 11, 12]])]
    expected = model(data)
    for position in range(6):
        target = data.target.clone()
        target[0, position] = 20
        found = model(Pairs(data.source, target))
        _close(found[:position], expected[:position], 1e-6)
        assert ((found[position:] - expected[position:]).abs().amax(1) > 1e-4).all()


def test_every_source_token_bears_on_every_row():
    model, ((data, _),) = nets.seq2seq().eval(), [nets.pairs([[5, 6, 7]], [[8, 9]])]
    expected = model(data)
    for position in range(5):
        source = data.source.clone()
        source[0, position] = 20
        assert ((model(Pairs(source, data.target)) - expected).abs().amax(1) > 1e-5).all()


def test_a_sentence_of_500_tokens():
    """More than the table of positions holds at first; it is then longer, and is in no saved model."""
    model = nets.seq2seq(dropout=0.0).eval()
    names, short = list(model.state_dict()), nets.pairs([[5, 6, 7]], [[8, 9]])[0]
    expected = model(short)
    draw = torch.Generator().manual_seed(0)
    words = [torch.randint(4, 29, (length,), generator=draw).tolist() for length in (498, 499)]
    data, _ = nets.pairs([words[0], [5]], [words[1], [6, 7]])
    assert data.source.shape == (2, 500) == data.target.shape
    found = model(data)
    assert found.shape == (503, 29)
    _close(found, Reference(model, 2, 2)(data)[data.target != PAD])
    assert list(model.state_dict()) == names
    assert torch.equal(model(short), expected)
    fresh = nets.seq2seq(dropout=0.0).eval()
    fresh.load_state_dict(model.state_dict())
    with torch.no_grad():
        state = fresh.begin(data.source, 500)
        steps = [fresh.step(tokens, state) for tokens in data.target.T]
    ours = torch.stack(steps, dim=1)
    _close(ours[0], found[:500])
    _close(ours[1, :3], found[500:])


def test_one_step_at_a_time_gives_the_rows_of_the_whole():
    """Each from its own token and the cache alone; rows of the batch may be dropped, repeated and reordered."""
    model, ((data, _),) = nets.seq2seq(dropout=0.0), nets.pair_batches(30, 29, (6,), seed=4)
    nets.mask_at_random(model, 0.6)
    data.target[data.target == PAD] = 9  # all rows go on to the end
    length = data.target.shape[1]
    with torch.no_grad():
        whole = model(data).unflatten(0, (6, length))
        state, rows = model.begin(data.source, length), torch.arange(6)
        for position in range(length):
            if position == 2:
                state.keep(torch.tensor([4, 4, 0, 2]))
                rows = torch.tensor([4, 4, 0, 2])
            if position == 4:
                state.keep(torch.tensor([3, 1]))
                rows = rows[[3, 1]]
            assert state.position == position
            _close(model.step(data.target[rows, position], state), whole[rows, position])
    assert rows.tolist() == [2, 4] and length > 4


@torch.no_grad()
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("block", [1, 4, 28, 29, 1024])
def test_the_likeliest_word_is_found_block_by_block(dense, block, monkeypatch):
    """The first of the highest logits, from blocks of any size. In whole numbers, so that there are many equals."""
    monkeypatch.setattr(seq2seq, "BLOCK", block)
    model, draw = Seq2SeqTransformer((30,), 29, dense, 16, 2, 1, 12), torch.Generator().manual_seed(0)
    if not dense:
        nets.mask_at_random(model, 0.5)
    for parameter in model.generator.parameters():
        parameter.copy_(torch.randint(-2, 3, parameter.shape, generator=draw))
    hidden = torch.randint(-1, 2, (300, 16), generator=draw).float()
    monkeypatch.setattr(model, "_advance", lambda tokens, state: hidden)
    tokens = torch.full((300,), BOS)
    logits, words = model.step(tokens, None).tolist(), model.likeliest_step(tokens, None).tolist()
    assert words == [row.index(max(row)) for row in logits]
    assert sum(row.count(max(row)) > 1 for row in logits) > 30 and len(set(words)) > 15


# --- dropout -------------------------------------------------------------------------------------------------------


def _with_dropout(model, rate):
    """The model of one sentence pair by torch.nn.Transformer in train mode, drawing in the order of `model`."""
    theirs = nn.Transformer(16, 2, 2, 2, 12, rate, batch_first=True)
    state = {k.removeprefix("transformer."): v for k, v in model.state_dict().items() if k.startswith("transformer.")}
    theirs.load_state_dict({name: value for name, value in state.items() if not name.endswith("_mask")})
    dropout = nn.Dropout(rate)

    def logits(data):
        source, target = (
            embedding.embedding.weight[tokens] * 4 + _positions(tokens.shape[1], 16)
            for embedding, tokens in ((model.src_tok_emb, data.source), (model.tgt_tok_emb, data.target))
        )
        memory = theirs.encoder(dropout(source))
        ahead = torch.ones(target.shape[1], target.shape[1], dtype=torch.bool).triu(1)
        return model.generator(theirs.decoder(dropout(target), memory, tgt_mask=ahead))[0]

    return logits


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_is_where_torchs_transformer_has_it(rate):
    """From the same seed the same draws, so the same outputs; of a single pair, where the layout in memory is alike."""
    model, ((data, _),) = nets.seq2seq(dropout=rate).train(), [nets.pairs([[5, 6, 7, 8]], [[8, 9, 10, 11, 12]])]
    outputs = []
    for logits in (model, _with_dropout(model, rate)):
        torch.manual_seed(7)
        outputs.append(logits(data))
    _close(*outputs)
    assert not torch.allclose(model(data), outputs[0], atol=1e-2)  # each pass draws anew
    calm = model.eval()(data)
    assert torch.equal(calm, model(data)) and not torch.allclose(calm, outputs[0], atol=1e-2)


def test_the_papers_dropout_is_a_tenth(full):
    """Of every place that has one: torch.nn.Transformer's, and after the positions."""
    rates = [module.p for module in full.modules() if isinstance(module, nn.Dropout)]
    rates += [m.dropout for m in full.modules() if isinstance(getattr(m, "dropout", None), float)]
    assert set(rates) == {0.1} and len(rates) == 6 + 1 + 9


# --- linear form ---------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_in_a_linear_flow_the_positions_add_nothing_and_words_do_not_matter():
    model = nets.seq2seq().eval()
    one, other = (Pairs(torch.tensor([[word]]), torch.tensor([[word + 1]])) for word in (5, 20))
    with linear_flow(model):
        found = model(one)
        assert found.shape == (1, 29) and torch.equal(found, model(other))
        assert torch.equal(found, model(model.ones_input()))
        row = model.src_tok_emb.embedding.weight.mean(0) * 4
        _close(model.positional_encoding(model.src_tok_emb(one.source))[0, 0], row)
    assert not torch.allclose(model(one), model(other), atol=1e-2)


def test_the_ones_input_is_one_position_a_side():
    data = nets.seq2seq().ones_input()
    assert data.source.tolist() == data.target.tolist() == [[BOS]] and len(data) == 1
    assert data.to("cpu").source.tolist() == [[BOS]]


# --- training ------------------------------------------------------------------------------------------------------


def test_training_in_full_precision_is_the_plain_loop():
    """Bit for bit, and the mean loss is weighted by tokens."""
    batches = nets.pair_batches(30, 29, (4, 7, 3))
    ours, plain = nets.seq2seq(dropout=0.2), nets.seq2seq(dropout=0.2)
    torch.manual_seed(5)
    optimizer = torch.optim.Adam(ours.parameters(), lr=1e-3)
    mean = train_epoch(ours, nets.CROSS_ENTROPY, optimizer, batches, nets.CPU, amp=None)
    torch.manual_seed(5)
    optimizer, losses = torch.optim.Adam(plain.parameters(), lr=1e-3), []
    for data, wanted in batches:
        optimizer.zero_grad()
        loss = nets.CROSS_ENTROPY(plain(data), wanted)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        assert torch.equal(a, b)
    tokens = [len(wanted) for _, wanted in batches]
    assert mean == pytest.approx(sum(n * loss for n, loss in zip(tokens, losses, strict=True)) / sum(tokens), rel=1e-6)


def test_training_in_bf16_learns_and_keeps_everything_that_lasts_in_float32():
    """Products are rounded, so the losses are near those of full precision, and not the same."""
    batches, losses = nets.pair_batches(30, 29, (16, 16)), {}
    for amp in (None, torch.bfloat16):
        model, seen = nets.seq2seq(dropout=0.0), []

        def loss(logits, target, seen=seen):
            value = CrossEntropy()(logits, target)
            seen.append((logits.dtype, value.dtype))
            return value

        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        losses[amp] = [train_epoch(model, loss, optimizer, batches, nets.CPU, amp=amp) for _ in range(12)]
        assert set(seen) == {(amp or torch.float32, torch.float32)}
        for parameter in model.parameters():
            assert parameter.dtype == parameter.grad.dtype == torch.float32 and parameter.isfinite().all()
            assert optimizer.state[parameter]["exp_avg"].dtype == torch.float32
        assert losses[amp][-1] < 0.8 * losses[amp][0]
    assert losses[None] != losses[torch.bfloat16]
    assert losses[torch.bfloat16] == pytest.approx(losses[None], rel=0.03)


def test_bf16_is_the_type_of_the_products():
    """And of nothing before or after: the sums between the layers, and what is scored and measured, are float32."""
    model, seen = nets.seq2seq(), {}
    for name, module in model.named_modules():

        def look(module, inputs, output, name=name):
            seen[name] = output.dtype

        module.register_forward_hook(look)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    train_epoch(model, CrossEntropy(), optimizer, nets.pair_batches(30, 29, (4,)), nets.CPU, amp=torch.bfloat16)
    for name, kind in seen.items():
        last = name.rpartition(".")[2]
        if last in ("linear1", "linear2", "out_proj", "generator"):
            assert kind == torch.bfloat16, name
        elif last.startswith("norm") or last in ("embedding", "positional_encoding"):
            assert kind == torch.float32, name
    seen.clear()
    model(nets.pair_batches(30, 29, (4,))[0][0])
    assert set(seen.values()) == {torch.float32}


def test_embeddings_trained_a_few_rows_at_a_time_are_those_of_torchs_adam():
    """Both embeddings, with the paper's settings; read at any time they are up to date, also in a linear flow.

    In float64: a key's bias has no gradient but rounding, which Adam would blow up.
    """
    settings = {"lr": 1e-3, "betas": (0.9, 0.98), "eps": 1e-9}
    batches = nets.pair_batches(30, 29, (2,) * 12, seed=6)
    ours, theirs = nets.seq2seq(dropout=0.0).double(), nets.seq2seq(dropout=0.0).double()
    optimizer = Adam(generator.parameters(ours), **settings)
    optimizer.attach(ours)
    assert all(isinstance(side.embedding.reading, ByRows) for side in (ours.src_tok_emb, ours.tgt_tok_emb))
    plain = torch.optim.Adam(theirs.parameters(), **settings)
    for k in range(4):
        part, ones = batches[3 * k : 3 * k + 3], ours.ones_input()
        for model, steps in ((ours, optimizer), (theirs, plain)):
            train_epoch(model, nets.CROSS_ENTROPY, steps, part[:2], nets.CPU)
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            _close(a, b, 1e-6)  # after an epoch the weights themselves
        for model, steps in ((ours, optimizer), (theirs, plain)):  # and after a step by itself what is read of them
            steps.zero_grad()
            nets.CROSS_ENTROPY(model(part[2][0]), part[2][1]).backward()
            steps.step()
        stale = ours.src_tok_emb.embedding.weight - theirs.src_tok_emb.embedding.weight
        assert stale.abs().max() > 1e-4
        with torch.no_grad():
            if k % 2:
                with linear_flow(ours), linear_flow(theirs):
                    _close(ours(ones), theirs(ones), 1e-6)
            _close(ours(batches[0][0]), theirs(batches[0][0]), 1e-6)
    for name, value in theirs.state_dict().items():
        _close(ours.state_dict()[name], value, 1e-6)
