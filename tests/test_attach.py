"""Layers.attach: masks in models of torch.nn and torchvision, that hold wherever a weight is read."""

import copy
import io

import nets
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import Layers
from Layers import layers, probe
from Layers.attached import Attached
from Layers.bags import Bags
from Layers.flow import linear_flow
from Models import guest, transformer
from Pruners import dead
from Pruners.pruners import GraSP, Mag, SynFlow
from Utils import generator, metrics
from Utils.training.prune import reinitialize

pytestmark = pytest.mark.filterwarnings("ignore:.*(nested tensor|Lazy modules)", "ignore:The PyTorch API of nested")


class Tokens(nn.Module):
    """Every kind of layer that words go through in torch.nn: [B, L] token numbers -> [B, 3]."""

    def __init__(self, batch_first: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8, padding_idx=0)
        self.bag = nn.EmbeddingBag(11, 8, mode="sum")
        self.conv = nn.Conv1d(8, 8, 3, padding=1)
        self.norm = nn.GroupNorm(2, 8)
        options: dict = {"dropout": 0.0, "batch_first": batch_first}
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 12, **options), 2)
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 12, **options), 1)
        self.out = nn.Linear(8, 3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        padding = ids == 0
        words = self.norm(self.conv(self.embedding(ids).transpose(1, 2))).transpose(1, 2)
        words = words if self.encoder.layers[0].self_attn.batch_first else words.transpose(0, 1)
        source = self.encoder(words, src_key_padding_mask=padding)
        target = self.decoder(words, source, memory_key_padding_mask=padding)
        target = target.mean(1 if target.shape[0] == len(ids) else 0)
        return self.out(target + self.bag(ids))


class Pictures(nn.Module):
    """Layers for images, a depthwise and a transposed convolution among them: [B, 2, 8, 8] -> [B, 3]."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(2, 8, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(8), nn.ReLU6(),
            nn.Conv2d(8, 8, 3, groups=8), nn.SiLU(), nn.ConvTranspose2d(8, 4, 2), nn.InstanceNorm2d(4, affine=True),
            nn.Flatten(), nn.LayerNorm(196), nn.Linear(196, 3),
        )  # fmt: skip

    def forward(self, data: torch.Tensor) -> torch.Tensor:
        return self.net(data)


class Tied(nn.Module):
    """A language model whose output layer has the embedding's weight: [B, L] -> [B, L, 8]."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.hidden, self.out = nn.Embedding(8, 10), nn.Linear(10, 10, bias=False), nn.Linear(10, 8)
        self.out.weight = self.table.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.out(self.hidden(self.table(ids)).relu())


IDS = torch.tensor([[3, 7, 1, 4, 10], [2, 5, 9, 0, 0], [1, 6, 8, 2, 0]])
PICTURES = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(5))
MODELS = {
    "tokens": (Tokens, IDS),
    "tokens, positions first": (lambda: Tokens(False), IDS),
    "pictures": (Pictures, PICTURES),
    "tied": (Tied, IDS % 8),
}


def made(name: str, seed: int = 0) -> nn.Module:
    """A model of that name, in which no parameter is zero."""

    def make() -> nn.Module:
        model = MODELS[name][0]()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape))
        return model

    return nets.drawn(seed, make)


def multiplied(stock: nn.Module, masked: nn.Module) -> nn.Module:
    """`stock` with the parameters of `masked`, each times its mask: what a masked model is to compute."""
    masks = dict(masked.named_buffers())
    with torch.no_grad():
        for (name, target), (other, source) in zip(stock.named_parameters(), masked.named_parameters(), strict=True):
            assert name == other
            target.copy_(source * masks.get(f"{name}_mask", 1))
    return stock


def outputs(model: nn.Module, data: torch.Tensor) -> list[torch.Tensor]:
    """In train and eval mode, each with and without gradients: torch.nn's fused paths are taken in the last alone."""
    found = []
    for training in (True, False):
        for gradients in (True, False):
            with torch.set_grad_enabled(gradients):
                found.append(copy.deepcopy(model).train(training)(data).detach())
    return found


@pytest.mark.parametrize("name", MODELS)
def test_an_attached_model_computes_what_the_stock_one_does_with_multiplied_weights(name):
    data, stock = MODELS[name][1], made(name)
    model = Layers.attach(copy.deepcopy(stock))
    for before, after in zip(outputs(stock, data), outputs(model, data), strict=True):
        torch.testing.assert_close(after, before)
    nets.mask_at_random(model, 0.5)
    assert nets.audit(model, data, None)
    for wanted, found in zip(outputs(multiplied(stock, model), data), outputs(model, data), strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("name", MODELS)
def test_a_released_model_is_a_stock_one_with_multiplied_weights(name):
    """Its state dict loads into the stock model, which then computes the same."""
    data, stock = MODELS[name][1], made(name)
    model = Layers.attach(copy.deepcopy(stock))
    nets.mask_at_random(model, 0.5)
    wanted = outputs(model, data)
    assert Layers.release(model) is model and not any(isinstance(module, Attached) for module in model.modules())
    assert list(model.state_dict()) == list(stock.state_dict())
    assert [type(module) for module in model.modules()] == [type(module) for module in stock.modules()]
    stock.load_state_dict(model.state_dict())
    for before, after, loaded in zip(wanted, outputs(model, data), outputs(stock, data), strict=True):
        torch.testing.assert_close(after, before)
        assert loaded.equal(after)


def test_all_parameters_of_the_layers_have_masks_and_the_names_stay():
    stock = made("tokens")
    model = Layers.attach(copy.deepcopy(stock))
    names = [name for name, _ in stock.named_parameters()]
    assert [name for name, _ in model.named_parameters()] == names
    assert {name for name in model.state_dict() if name.endswith("_mask")} == {f"{name}_mask" for name in names}
    assert isinstance(model.out, nn.Linear) and Layers.attach(model) is model  # twice is once
    model.load_state_dict(stock.state_dict(), strict=False)
    assert type(model.encoder.layers[0].linear1).__name__ == "MaskedLinear"


@pytest.mark.parametrize("name", MODELS)
def test_copies_and_files_keep_the_masks(name):
    data, model = MODELS[name][1], Layers.attach(made(name))
    nets.mask_at_random(model, 0.5)
    wanted = outputs(model, data)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    fresh = Layers.attach(made(name, seed=1))
    fresh.load_state_dict(model.state_dict())
    for other in (copy.deepcopy(model), torch.load(file, weights_only=False), fresh):
        assert all(map(torch.equal, outputs(other, data), wanted))
        assert nets.audit(other, data, None)


@pytest.mark.parametrize("name", ["encoder", "pictures", "tied"])
def test_a_compiled_model_follows_its_masks(name):
    if name == "encoder":  # without padding, for which torch's own cannot be compiled
        data, model = torch.randn(2, 5, 8), Layers.attach(made("tokens").encoder).eval()
    else:
        data, model = MODELS[name][1], Layers.attach(made(name)).eval()
    compiled = torch.compile(model, backend="aot_eager")
    for density in (0.7, 0.3):  # without a new compilation in between
        nets.mask_at_random(model, density)
        for gradients in (True, False):
            with torch.set_grad_enabled(gradients):
                torch.testing.assert_close(compiled(data), model(data))


class Own(nn.Module):
    """A network that does with its layer's weight what `use` does: read it from outside, in the common ways."""

    def __init__(self, use) -> None:
        super().__init__()
        self.layer, self.other, self.use = nn.Linear(6, 6), nn.Linear(6, 6), use
        if use == "tied":
            self.other.weight = self.layer.weight

    def forward(self, data: torch.Tensor) -> torch.Tensor:
        return self.other(self.layer(data).relu()) if self.use == "tied" else self.use(self, self.layer(data).relu())


OUTSIDE = {
    "linear": lambda net, data: nn.functional.linear(data, net.layer.weight, net.layer.bias),
    "transposed": lambda net, data: data @ net.layer.weight.t(),
    "standardised": lambda net, data: data @ ((net.layer.weight - net.layer.weight.mean()) / net.layer.weight.std()),
    "tied": "tied",
}


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("use", OUTSIDE)
def test_a_compiled_model_masks_the_weights_that_it_reads_itself(use, backend):
    torch.manual_seed(0)
    torch._dynamo.reset()
    data, model = torch.randn(3, 6), Layers.attach(Own(OUTSIDE[use]))
    compiled = torch.compile(model, backend=backend)
    for density in (0.7, 0.3):
        nets.mask_at_random(model, density)
        gradients = []
        for net in (compiled, model):
            model.zero_grad()
            output = net(data)
            output.square().sum().backward()
            gradients.append([output.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
        for found, wanted in zip(*gradients, strict=True):
            torch.testing.assert_close(found, wanted)
        with torch.no_grad():
            model.layer._parameters["weight"].mul_(1.5)
            torch.testing.assert_close(compiled(data), model(data))


def test_tied_weights_have_one_mask_and_count_once():
    """80 weights of the table, which the output shares, beside 100 and 8: not 160 in place of 80."""
    model = Layers.attach(made("tied"))
    pairs = list(generator.masked_parameters(model, embedding=True))
    assert [(pair.name, pair[0].numel()) for pair in pairs] == [("table.weight", 80), ("hidden.weight", 100)]
    assert "out.weight_mask" not in model.state_dict() and model.out.weight_mask is model.table.weight_mask
    pairs[0][0].zero_()
    ids = IDS % 8
    assert model(ids).equal(model.out.bias.expand(*ids.shape, 8))
    assert model.double()(ids).equal(model.out.bias.expand(*ids.shape, 8))  # the tie outlives what `to` does to buffers
    model.float()
    table = metrics.summary(model, {}, {"out": {"weight": 80}, "hidden": {"weight": 100}}, lambda module: True)
    assert list(table["size"]) == [80, 100, 8] and list(table["kept"]) == [0, 100, 8]
    assert list(table["flops"]) == [80, 100, 0]  # a product, and a table that is looked up


def test_a_tied_weight_is_pruned_if_all_its_layers_are():
    """Whichever layer comes first; an embedding's words are not pruned through the output layer that shares them."""
    first, last = made("tied"), made("tied")
    last.table = last._modules.pop("table")  # now the last
    for model, name in ((first, "table.weight"), (last, "out.weight")):
        Layers.attach(model)
        assert [pair.name for pair in generator.masked_parameters(model)] == ["hidden.weight"]
        assert {pair.name for pair in generator.masked_parameters(model, embedding=True)} == {"hidden.weight", name}


def test_tied_layers_of_this_project_share_a_mask():
    model = nn.Sequential(layers.Linear(4, 4), nn.ReLU(), layers.Linear(4, 4), layers.Linear(4, 4, bias=False))
    model[2].weight = model[0].weight
    Layers.attach(model, kinds=())
    assert sum(pair[0].numel() for pair in generator.masked_parameters(model)) == 32
    assert not isinstance(model[0], Attached) and not isinstance(model[3], Attached)
    nets.mask_at_random(model, 0.5)
    assert model[2].weight_mask is model[0].weight_mask and nets.audit(model, torch.randn(5, 4), None)


def test_masks_of_torch_prune_are_taken_over():
    stock = made("tokens")
    pruned = copy.deepcopy(stock)
    for module in (pruned.out, pruned.encoder.layers[0].self_attn.out_proj, pruned.encoder.layers[1].linear1):
        prune.l1_unstructured(module, "weight", 0.5)
    before = {name: mask.clone() for name, mask in pruned.named_buffers() if name.endswith("_mask")}
    model = Layers.attach(pruned)
    assert sorted(name for name, _ in model.named_parameters()) == sorted(name for name, _ in stock.named_parameters())
    masks = dict(model.named_buffers())
    assert before and all(masks[name].equal(mask) for name, mask in before.items())
    assert nets.audit(model, IDS, None)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Sequential(nn.ReLU(), nn.LazyLinear(3)), "1 has no shape yet"),
        (torch.jit.script(nn.Linear(2, 2)), "the model is a script"),
    ],
)
def test_what_cannot_have_masks_is_refused_in_a_line(model, words):
    with pytest.raises(ValueError, match=words):
        Layers.attach(model)


@pytest.mark.filterwarnings("ignore:.*weight_norm")
@pytest.mark.parametrize("hook", [nn.utils.weight_norm, nn.utils.spectral_norm])
def test_a_weight_that_a_hook_makes_gets_no_mask_and_is_made_as_before(hook):
    for layer, size in ((lambda: nn.Linear(4, 6), (3, 4)), (lambda: nn.Conv2d(4, 6, 3), (3, 4, 5, 5))):
        stock, model = (nets.drawn(0, lambda layer=layer: nn.Sequential(hook(layer()), nn.ReLU())) for _ in range(2))
        Layers.attach(model)
        assert [name for name, _ in model.named_buffers() if name.endswith("_mask")] == ["0.bias_mask"]
        assert len(guest.unmasked(model)) == 1 and type(stock[0]).__name__ in guest.unmasked(model)[0]
        data = torch.randn(size, generator=torch.Generator().manual_seed(1))
        assert model(data).equal(stock(data))
        model[0].bias_mask.zero_()
        stock[0].bias.data.zero_()
        assert model.eval()(data).equal(stock.eval()(data))


@pytest.mark.parametrize("model", [3, nn.Linear])
def test_what_is_no_module_is_refused_in_a_line(model):
    with pytest.raises(TypeError, match="takes an instance of"):
        Layers.attach(model)


def test_new_weights_are_those_of_the_stock_model_and_masks_stay():
    stock, model = made("tokens"), Layers.attach(made("tokens"))
    nets.mask_at_random(model, 0.5)
    masks = {name: buffer.clone() for name, buffer in model.named_buffers()}
    reinitialize(stock, 3)
    reinitialize(model, 3)
    for (name, wanted), (_, found) in zip(stock.named_parameters(), model.named_parameters(), strict=True):
        assert found.equal(wanted), name
    assert all(buffer.equal(masks[name]) for name, buffer in model.named_buffers())


def test_house_layers_beside_stock_ones_keep_their_class():
    model = Layers.attach(nn.Sequential(layers.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 4)))
    assert [type(module).__name__ for module in model] == ["Linear", "MaskedLayerNorm", "MaskedLinear"]
    assert nets.audit(model, torch.randn(5, 4))


# Pruners, counts and the search for dead units


def twins() -> tuple[nn.Module, nn.Module]:
    """An encoder layer of this project and torch's own with the same weights, each [B, L, 8] -> [B, L, 8]."""
    ours = nets.drawn(2, lambda: transformer.EncoderLayer(8, 2, 12, 0.0))
    stock = nn.TransformerEncoderLayer(8, 2, 12, 0.0, batch_first=True)
    stock.load_state_dict({name: value for name, value in ours.state_dict().items() if not name.endswith("_mask")})
    return ours, Layers.attach(stock)


class Whole(nn.Module):
    """An encoder layer between two matrices: [B, 5, 6] -> [B, 3]."""

    def __init__(self, layer: nn.Module, ours: bool) -> None:
        super().__init__()
        kind = layers.Linear if ours else nn.Linear
        self.first, self.layer, self.out, self.ours = kind(6, 8), layer, kind(8, 3), ours

    def forward(self, data: torch.Tensor) -> torch.Tensor:
        data = self.first(data)
        seen = torch.ones(1, 1, 1, data.shape[1], dtype=torch.bool)
        return self.out((self.layer(data, seen) if self.ours else self.layer(data)).mean(1))


def wholes() -> tuple[nn.Module, nn.Module]:
    layer, stock = twins()
    ours = nets.drawn(3, lambda: Whole(layer, True))
    other = Whole(stock, False)
    other.load_state_dict(ours.state_dict(), strict=False)
    return ours, Layers.attach(other)


@pytest.mark.parametrize("kind", [Mag, GraSP, SynFlow])
def test_scores_equal_those_of_the_same_network_in_layers_of_this_project(kind):
    """Also where a mask is there already; GraSP differentiates twice, SynFlow through its linear form."""
    ours, other = wholes()
    nets.mask_at_random(ours, 0.7)
    for name, mask in dict(other.named_buffers()).items():
        mask.copy_(dict(ours.named_buffers()).get(name, torch.ones(())))
    draw = torch.Generator().manual_seed(1)
    batches = [(torch.randn(4, 5, 6, generator=draw), torch.tensor([0, 1, 2, 0])) for _ in range(2)]
    found = []
    for model in (ours, other):
        pruner = kind(generator.masked_parameters(model.eval(), attention="all"))
        pruner.score(model, nn.CrossEntropyLoss(), batches, torch.device("cpu"))
        found.append(pruner.scores)
    assert found[0].keys() == found[1].keys() and len(found[0]) == 6
    for name, wanted in found[0].items():
        torch.testing.assert_close(found[1][name], wanted, msg=name, rtol=1e-4, atol=1e-7 * float(wanted.abs().max()))


def test_multiply_adds_and_dead_units_equal_those_of_the_same_network_in_layers_of_this_project():
    ours, other = wholes()
    nets.mask_at_random(ours, 0.1, seed=4)
    for name, mask in dict(other.named_buffers()).items():
        mask.copy_(dict(ours.named_buffers()).get(name, torch.ones(())))
    wanted, found = (metrics.flop(model, (5, 6), "cpu") for model in (ours, other))
    assert found == wanted
    assert sum(sum(counts.values()) for counts in found.values()) > 1_000
    wanted, found = (dead.find(model, (5, 6)).report() for model in (ours, other))
    assert {**found, "tensors": sorted(found["tensors"])} == {**wanted, "tensors": sorted(wanted["tensors"])}
    assert any(units["dead"] for units in found["units"].values())


@pytest.mark.parametrize("first", [True, False])
def test_attention_counts_each_weight_once_a_position_wherever_the_batch_is(first):
    stock = nn.TransformerEncoderLayer(8, 2, 12, 0.0, batch_first=first)
    model = Layers.attach(nn.Sequential(stock))
    shape = (5, 8) if first else (1, 8)  # one example of one position where positions come first
    counts = metrics.flop(model, shape, "cpu")
    matrices = {name: p.numel() for name, p in model.named_parameters() if p.dim() > 1}
    for name, size in matrices.items():
        path, _, leaf = name.rpartition(".")
        assert counts[path][leaf] == size * shape[0], name


def test_a_weight_that_is_read_from_outside_its_layer_is_masked_and_counted():
    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.out = nn.Linear(6, 4), nn.Linear(4, 3)

        def forward(self, data: torch.Tensor) -> torch.Tensor:
            return self.out(nn.functional.linear(data, self.inner.weight, self.inner.bias).relu())

    model = Layers.attach(Reads())
    assert nets.audit(model, torch.randn(5, 6))
    counts = metrics.flop(model, (6,), "cpu")
    assert counts == {"inner": {"weight": 24, "bias": 4}, "out": {"weight": 12, "bias": 3}}


@pytest.mark.parametrize(
    "body",
    [
        [nn.ReLU6()], [nn.Sigmoid()], [nn.Hardswish()], [nn.Tanh()], [nn.GELU()], [nn.Softmax(1)], [nn.LayerNorm(6)],
        [nn.GroupNorm(2, 6)], [nn.LogSoftmax(1), nn.BatchNorm1d(6, track_running_stats=False)],
    ],
    ids=lambda body: type(body[0]).__name__,
)  # fmt: skip
def test_nothing_of_a_whole_network_is_dead_behind_a_function_that_saturates_or_normalises(body):
    """In the linear flow all these pass on what they get, so that only masks cut."""
    model = Layers.attach(nn.Sequential(nn.Linear(50, 6), *body, nn.Linear(6, 4)))
    whole = dead.find(model, (50,)).report()
    assert whole["classes"]["alive"] == [0, 1, 2, 3] and not any(units["dead"] for units in whole["units"].values())
    model[0].weight_mask[2] = 0
    model[-1].weight_mask[:, 4] = 0
    units = dead.find(model, (50,)).report()["units"]["0"]
    mixes = isinstance(body[0], nn.LayerNorm | nn.GroupNorm)
    assert (units["no_way_in"], units["no_way_out"]) == (1, 0 if mixes else 1)
    with linear_flow(model), torch.no_grad():
        assert model(probe.ones(model, (50,))).isfinite().all()


@pytest.mark.parametrize("table", [nn.Embedding(6, 4), nn.EmbeddingBag(6, 4)], ids=lambda table: type(table).__name__)
def test_a_table_with_one_row_more_for_padding_sees_known_words_alone(table):
    class Shifts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.out = table, nn.Linear(4, 2)

        def forward(self, text: Bags) -> torch.Tensor:
            offsets = [text.offsets] if isinstance(table, nn.EmbeddingBag) else []
            return self.out(self.table(text.ids + 1, *offsets)[:1])

    model = Layers.attach(Shifts())
    assert probe.ones(model, (5,)).ids.unique().tolist() == [0, 1, 2, 3, 4]
    assert metrics.flop(model, (5,), "cpu")["out"] == {"weight": 8, "bias": 2}


class Counts(nn.Module):
    """A classifier of the words that a text has, without an embedding: by one-hot vectors, or by adding up."""

    size_of_vocabulary = 60  # as a text model has it from its data

    def __init__(self, adds: bool) -> None:
        super().__init__()
        self.adds, self.inner, self.out = adds, nn.Linear(60, 3), nn.Linear(3, 2)

    def forward(self, text: Bags) -> torch.Tensor:
        ids, real = text.padded()
        if self.adds:
            counts = torch.zeros(len(ids), 60, dtype=self.inner.weight.dtype).scatter_add(
                1, ids, real.to(self.inner.weight)
            )
        else:
            counts = (nn.functional.one_hot(ids, 60) * real.unsqueeze(2)).sum(1).to(self.inner.weight)
        return self.out(self.inner(counts).relu())


@pytest.mark.parametrize("adds", [False, True])
def test_a_model_of_words_without_an_embedding_is_searched_and_scored_by_every_word(adds):
    torch.manual_seed(0)
    model = Layers.attach(Counts(adds))
    assert metrics.flop(model, (60,), "cpu")["inner"] == {"weight": 180, "bias": 3}
    model.inner.weight_mask[0, :-1] = 0  # one word leads to this unit
    model.inner.weight_mask[1] = 0
    units = dead.find(model, (60,)).report()["units"]["inner"]
    assert (units["dead"], units["no_way_in"]) == (1, 1)
    texts = [(Bags(torch.tensor([4, 7]), torch.tensor([0])), torch.tensor([1]))]
    pruner = SynFlow(generator.masked_parameters(model))
    pruner.score(model, nn.CrossEntropyLoss(), texts, torch.device("cpu"))
    inner, out = (layer._parameters["weight"].detach().abs() for layer in (model.inner, model.out))
    wanted = model.inner.weight_mask * inner * out.sum(0).unsqueeze(1)
    found = pruner.scores["inner.weight"]
    torch.testing.assert_close(found / found.sum(), wanted / wanted.sum())
