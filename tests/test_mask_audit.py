"""No shipped model lets a pruned weight through, and the audit would notice if one did."""

import copy

import nets
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from Layers import layers
from Layers.pairs import PAD
from Pruners.pruners import Mag
from Utils import generator, load

ALL = [
    (cls, name, kind)
    for cls, models in load.MODELS.items()
    for name, (kinds, _) in models.items()
    for kind in kinds.split()
]
# Of a family of depths the shallowest stands for all, which are made of the same modules: at random weights and masks
# the signal of a deep one fades before it arrives.
SHALLOW = [("lottery", name, "image") for name in ("vgg11", "vgg11-bn", "resnet20")]
LARGE = ("tinyimagenet", "imagenet")  # tests/test_large_networks.py
NAMES = SHALLOW + [key for key in ALL if key[0] not in ("lottery", *LARGE)]
# kind of data -> (input shape, classes, three examples). A new kind needs a line here before its models pass.
KINDS = {
    "image": ((1, 28, 28), 10, lambda: nets.image_batches((1, 28, 28), 10, (3,))[0]),
    "text": ((50,), 4, lambda: nets.text_batches(50, 4, (3,))[0]),
    "translation": ((20,), 21, lambda: nets.pair_batches(20, 21, (3,))[0]),
}


def _model(cls, name, kind, dense=False):
    """(a registered model with weights of no special value, data for it)."""
    shape, classes, batch = KINDS[kind]
    model = nets.drawn(0, load.model(name, cls), shape, classes, dense)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _, _, parameter in nets.masked_tensors(model):
            if parameter.dim() == 1:  # a bias of zero would hide that its mask is not read
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw))
    return model, batch()[0]


@pytest.mark.parametrize(("cls", "name", "kind"), NAMES)
@pytest.mark.parametrize("seed", [0, 1])
def test_nothing_under_a_zero_reaches_an_output(cls, name, kind, seed):
    """Outputs bit for bit as before whatever is written there, in train and eval mode; gradients exactly zero."""
    model, data = _model(cls, name, kind)
    before = copy.deepcopy(model.state_dict())
    assert nets.audit(model, data, density=0.3, seed=seed)
    for key, value in model.state_dict().items():  # the audit works on copies
        assert torch.equal(value, before[key])


@pytest.mark.parametrize(("cls", "name", "kind"), NAMES)
def test_every_masked_tensor_is_read(cls, name, kind):
    """What is not masked does reach the outputs: otherwise the audit of that tensor would be idle."""
    model, data = _model(cls, name, kind)
    model.eval()  # dropout would change the outputs by itself
    nets.mask_at_random(model, 0.3)
    with torch.no_grad():
        expected = model(data)
        for tensor, mask, parameter in list(nets.masked_tensors(model)):
            before = parameter.clone()
            parameter.add_(mask)
            assert not torch.equal(model(data), expected), tensor
            parameter.copy_(before)
        assert torch.equal(model(data), expected)


@pytest.mark.parametrize(("cls", "name", "kind"), NAMES)
def test_every_linear_and_convolution_of_a_model_is_masked(cls, name, kind):
    """But for the classifier, if a dense one is asked for."""
    model, _ = _model(cls, name, kind)
    plain = [m for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv2d)) and not isinstance(m, layers.MASKED)]
    assert plain == []
    dense, data = _model(cls, name, kind, dense=True)
    plain = [m for m in dense.modules() if isinstance(m, (nn.Linear, nn.Conv2d)) and not isinstance(m, layers.MASKED)]
    assert len(plain) == 1 and plain[0].out_features == model(data).shape[-1]
    if list(nets.masked_tensors(dense)):
        assert nets.audit(dense, data)


class Raw(nn.Module):
    """Reads the weight of its second layer past the mask."""

    def __init__(self, only_in_eval=False, only_the_bias=False):
        super().__init__()
        self.first, self.second = layers.Linear(6, 5), layers.Linear(5, 4)
        self.only_in_eval, self.only_the_bias = only_in_eval, only_the_bias

    def forward(self, data):
        hidden = torch.tanh(self.first(data))
        if self.only_in_eval and self.training:
            return self.second(hidden)
        weight = layers.masked(self.second, "weight") if self.only_the_bias else self.second.weight
        return F.linear(hidden, weight, self.second.bias)


class Sound(Raw):
    """The same network as it should be."""

    def forward(self, data):
        return self.second(torch.tanh(self.first(data)))


class GradientOnly(Sound):
    """Adds nothing to the output, and the raw weight's gradient all the same (a straight-through mask)."""

    def forward(self, data):
        raw = self.second.weight
        return super().forward(data) + F.linear(torch.ones_like(data[:, :5]), raw - raw.detach())


class Encoder(nn.Module):
    """torch's encoder layer with masked Linears put in, which its own attention and its fused kernel read raw."""

    def __init__(self, *places):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        for place in places:
            old = self.layer.get_submodule(place)
            parent = self.layer.get_submodule(place.rpartition(".")[0])
            setattr(parent, place.rpartition(".")[2], layers.Linear(old.in_features, old.out_features))

    def forward(self, data):
        return self.layer(data.view(-1, 3, 8))


@pytest.mark.parametrize(
    ("control", "width", "sound"),
    [
        (lambda: Sound(), 6, True),
        (lambda: Raw(), 6, False),
        (lambda: Raw(only_in_eval=True), 6, False),
        (lambda: Raw(only_the_bias=True), 6, False),
        (lambda: GradientOnly(), 6, False),
        (lambda: Encoder("linear1", "linear2"), 24, False),
        (lambda: Encoder("self_attn.out_proj"), 24, False),
    ],
)
def test_the_audit_fails_a_model_that_reads_a_raw_weight(control, width, sound):
    model = nets.drawn(0, control)
    assert nets.audit(model, nets.image_batches((width,), 4, (3,))[0][0]) is sound


def test_the_audit_of_every_kind_of_masked_layer():
    """With normalisation, residual connections and dropout."""
    assert nets.audit(nets.mixed(), nets.image_batches((1, 6, 6), 3, (5,))[0][0]) is True


def test_a_model_without_masks_cannot_be_audited():
    with pytest.raises(ValueError, match="nothing to audit"):
        nets.audit(nn.Linear(3, 2), torch.zeros(1, 3))


# --- attention -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", load.ATTENTION)
def test_what_is_pruned_of_an_attention_reaches_no_output(choice):
    """Of the translation model, with the masks that a pruner writes for each --prune-attention."""
    model, ((data, _),) = nets.seq2seq(), nets.pair_batches(30, 29, (5,))
    pruner = Mag(generator.masked_parameters(model, bias=True, attention=choice))
    pruner.score(model, nets.CROSS_ENTROPY, [], nets.CPU)
    pruner.mask(0.3, "local")
    pruned = {name for name, mask, _ in nets.masked_tensors(model) if (mask == 0).any()}
    assert pruned == {
        name
        for name, _, _ in nets.masked_tensors(model)
        if ("in_proj" not in name or choice == "all") and ("out_proj" not in name or choice != "none")
    }
    assert nets.audit(model, data, density=None)


class InTorch(nn.Module):
    """The translation model with its layers inside torch.nn.Transformer, as the PyTorch tutorial has them.

    `places`: which Linears there are replaced by masked ones, by the last part of their names.
    """

    def __init__(self, model, places):
        super().__init__()
        self.rest = copy.deepcopy(model)
        self.transformer = nn.Transformer(16, 2, 2, 2, 12, dropout=0.0, batch_first=True)
        inner = self.rest.transformer.state_dict()
        self.transformer.load_state_dict({name: value for name, value in inner.items() if "_mask" not in name})
        del self.rest.transformer
        for path, module in list(self.transformer.named_modules()):
            parent, _, name = path.rpartition(".")
            if name in places:
                masked = layers.Linear(module.in_features, module.out_features)
                masked.load_state_dict(module.state_dict(), strict=False)
                setattr(self.transformer.get_submodule(parent), name, masked)

    def forward(self, data):
        length = data.target.shape[1]
        source, target = (
            self.rest.positional_encoding(embedding(tokens))
            for embedding, tokens in ((self.rest.src_tok_emb, data.source), (self.rest.tgt_tok_emb, data.target))
        )
        padding = data.source == PAD
        hidden = self.transformer(
            source,
            target,
            tgt_mask=torch.ones(length, length, dtype=torch.bool).triu(1),
            src_key_padding_mask=padding,
            memory_key_padding_mask=padding,
        )
        return self.rest.generator(hidden[data.target != PAD])


def _both(*places):
    """(our model, the same inside torch.nn.Transformer, data); they give the same outputs while no mask is written."""
    model, ((data, _),) = nets.seq2seq(dropout=0.0), nets.pair_batches(30, 29, (5,))
    return model, InTorch(model, places), data


def _write_masks(model, places, value):
    """Fill the masks of all weights of these Linears; how many there were."""
    found = [module for path, module in model.named_modules() if path.rpartition(".")[2] in places]
    for module in found:
        module.weight_mask.fill_(value)
    return len(found)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor", "ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("places", [("out_proj",), ("linear1",), ("linear2",), ("out_proj", "linear1", "linear2")])
def test_masked_linears_inside_torchs_transformer_fail_the_audit_and_ours_pass(places):
    """If you put masked Linears into torch.nn.Transformer, this is what happens to your masks.

    - `out_proj` of every attention: torch.nn.MultiheadAttention never calls it. It reads `out_proj.weight` and hands
      the bare tensor on, so that the mask beside it is never multiplied in. The pruned weights are used and get
      gradients as if there were no mask: set to zero, they grow again in training.
    - `linear1` and `linear2` of every encoder layer: in training they are called, and masked. In eval mode without
      autograd the whole layer runs as one fused kernel (the "fast path"), which is handed the bare weights. Unless the
      pruned weights themselves are zero, the network is pruned while it trains and dense while it is measured.

    Nothing warns, and all of them are counted as pruned. So the model here has an attention of its own
    (Layers.attention), and every model has to pass this audit.
    """
    ours, theirs, data = _both(*places)
    assert nets.audit(ours, data)
    assert not nets.audit(theirs, data)


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:enable_nested_tensor", "ignore:The PyTorch API of nested tensors")
def test_an_all_zero_mask_changes_nothing_inside_torchs_transformer():
    """The same shown directly: what becomes of the outputs once every mask of some Linears is zero."""
    for places, count, heeded in (
        (("out_proj",), 2 + 2 * 2, {True: "nowhere", False: "nowhere"}),
        (("linear1", "linear2"), 2 * 2 + 2 * 2, {True: "everywhere", False: "decoder"}),
    ):
        for training in (True, False):
            ours, theirs, data = _both(*places)
            ours.train(training), theirs.train(training)
            before, expected = ours(data), theirs(data)
            torch.testing.assert_close(before, expected, rtol=1e-5, atol=1e-5)
            assert _write_masks(ours, places, 0.0) == _write_masks(theirs, places, 0.0) == count
            after, found = ours(data), theirs(data)
            assert not torch.allclose(after, before, rtol=0.1, atol=0.1)
            if heeded[training] == "nowhere":
                assert torch.equal(found, expected)
            elif heeded[training] == "everywhere":
                torch.testing.assert_close(found, after, rtol=1e-5, atol=1e-5)
            else:  # with the masks of the encoder's layers taken away ours does the same
                _write_masks(ours.transformer.encoder, places, 1.0)
                torch.testing.assert_close(found, ours(data), rtol=1e-5, atol=1e-5)
