"""The lottery networks' initial weights, and the FLOP fractions that the published solutions have with them."""

import math

import nets
import pytest
import torch
from torch import nn

from Models.resnet import ResNet
from Models.text import TextClassificationModel
from Models.vgg import VGG
from Utils import generator, load, metrics
from Utils.errors import UserError
from Utils.training.prune import prune_loop, reinitialize

NAMES = sorted(load.MODELS["lottery"])
SHALLOW = ["vgg11", "vgg11-bn", "vgg16", "vgg16-bn", "resnet20", "wide-resnet20"]


def drawn(name, seed=0, **options):
    return nets.drawn(seed, load.model(name, "lottery"), (3, 32, 32), 10, **options)


def in_order(model, rule) -> dict:
    """{name: tensor}: what `rule` makes of the modules, one after another, from the generator's state of now."""
    for module in model.modules():
        rule(module)
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def assignment(module):
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight)
        if module.bias is not None:
            module.bias.data.zero_()
    elif isinstance(module, nn.BatchNorm2d):
        module.weight.data.fill_(1.0)
        module.bias.data.zero_()


def vgg_by_fan_out(module):
    """The rule of the runs that were made before there was a choice."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        module.bias.data.zero_()
    elif isinstance(module, nn.Linear):
        module.weight.data.normal_(0.0, 0.01)
        module.bias.data.zero_()
    elif isinstance(module, nn.BatchNorm2d):
        module.weight.data.fill_(1.0)
        module.bias.data.zero_()


def resnet_before(module):
    """The classifier's bias is as its constructor drew it."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight)
    elif isinstance(module, nn.BatchNorm2d):
        module.weight.data.uniform_(0.0, 1.0)


@pytest.mark.parametrize("name", NAMES)
def test_the_first_weights_have_the_deviation_of_their_fan_in(name):
    """Every convolution and the classifier; within five deviations of the sample's, by weights in all."""
    model = drawn(name)
    masked = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert masked[-1] is model.fc
    for module in masked:
        weight = module.weight.detach().double()
        fan_in, count = weight[0].numel(), weight.numel()
        scaled = weight / math.sqrt(2 / fan_in)
        assert abs(scaled.mean()) < 5 / math.sqrt(count) and abs(scaled.std() - 1) < 5 / math.sqrt(2 * count)
        assert abs((scaled.abs() < 1).double().mean() - 0.6827) < 5 * math.sqrt(0.217 / count)  # normal, not uniform
        assert module.bias is None or not module.bias.any()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 0 or len(norms) >= len(masked) - 1  # none, or one behind each convolution
    for norm in norms:
        assert (norm.weight == 1).all() and not norm.bias.any()


def undrawn(name, monkeypatch, **options) -> nn.Module:
    """The network as its layers' constructors leave it, before it draws weights of its own."""
    kind = VGG if name.startswith("vgg") else ResNet
    with monkeypatch.context() as patch:
        patch.setattr(kind, "reset_parameters", lambda self: None)
        return load.model(name, "lottery")((3, 32, 32), 10, **options)


@pytest.mark.parametrize("name", SHALLOW)
@pytest.mark.parametrize("init", ["assignment", "fan-out"])
def test_weights_are_drawn_by_the_rule_in_order(name, init, monkeypatch):
    """Bit for bit, from a seed, by torch's own functions; for fan-out as the runs before there was a choice."""
    by_fan_out = vgg_by_fan_out if name.startswith("vgg") else resnet_before
    torch.manual_seed(3)
    wanted = in_order(undrawn(name, monkeypatch, init=init), assignment if init == "assignment" else by_fan_out)
    model = drawn(name, seed=3, init=init)
    assert all(torch.equal(value, wanted[key]) for key, value in model.named_parameters())
    default = drawn(name, seed=3)
    same = all(torch.equal(value, wanted[key]) for key, value in default.named_parameters())
    assert same is (init == "assignment")
    reinitialize(model, seed=4)  # by the same rule
    again = drawn(name, seed=3, init=init)
    assert model.fc.weight.std().item() == pytest.approx(again.fc.weight.std().item(), rel=0.2)
    assert not torch.equal(model.fc.weight, again.fc.weight)


def thin(input_shape, num_classes, dense_classifier=False, init="assignment"):
    return ResNet(input_shape, num_classes, dense_classifier, depth=8, width=4, init=init)


def test_the_flag_decides(cli, monkeypatch):
    """Of a whole run, and each has a name of its own; models that have one way refuse it."""
    monkeypatch.setitem(load.MODELS["lottery"], "resnet20", ("image", f"{__name__}:thin"))
    run = "--dataset mnist --model-class lottery --model resnet20"
    default, asked, other = (cli(f"{run} {more}") for more in ("", "--init assignment", "--init fan-out"))
    assert default.config["init"] == "assignment" and "init" not in other.config  # as runs before had none
    assert asked.err.startswith("note: stored result of") and default.path.name != other.path.name
    for run_, uniform in ((default, False), (other, True)):
        scales = [v for name, v in run_.tensors.items() if name.endswith((".bn1.weight", ".bn2.weight"))]
        assert len(scales) == 6 and all(((v != 1).all() if uniform else (v == 1).all()) for v in scales)
    for arguments, words in (
        (f"{run} --init fanout", ["'fanout'", "assignment", "fan-out"]),
        ("--dataset mnist --init assignment", ["--init", "default model fc"]),
        ("--dataset agnews --init fan-out", ["--init", "nlp model text-classification"]),
    ):
        outcome = cli(arguments)
        assert outcome.code == 2 and outcome.err.count("\n") == 1 and all(word in outcome.err for word in words)


@pytest.mark.parametrize(("cls", "name"), [(cls, name) for cls, names in load.MODELS.items() for name in names])
def test_the_fourth_argument_of_assignment_one_is_taken(cls, name):
    """It says whether weights are to be loaded; there are none, and a true one is one clear line."""
    kind = load.MODELS[cls][name][0].split()[0]
    shape = {"image": (3, 32, 32), "text": (50,), "translation": (50,)}[kind]
    make = load.model(name, cls)
    with torch.device("meta"):
        models = [
            make(shape, 7),
            make(shape, 7, False, False),
            make(input_shape=shape, num_classes=7, pretrained=False),
        ]
    shapes = [{key: value.shape for key, value in model.state_dict().items()} for model in models]
    assert shapes[0] == shapes[1] == shapes[2]
    for given in ((shape, 7, False, True), (shape, 7, True, 1)):
        with pytest.raises(UserError) as caught:
            make(*given)
        assert name in str(caught.value) and "--pretrained" in str(caught.value) and "\n" not in str(caught.value)


def test_a_model_of_one_way_takes_no_init():
    with pytest.raises(TypeError):
        load.model("fc")((3, 32, 32), 10, init="assignment")
    assert not hasattr(TextClassificationModel((20,), 4), "init")


# The published solutions' figures at compression 1: multiply-adds that remain of vgg16 on images of 3 x 32 x 32.


def by_hand(model) -> tuple[int, int]:
    """(kept, all) multiply-adds: each weight once a position of its layer's output, each bias too."""
    sides, kept, total = iter([32] * 2 + [16] * 2 + [8] * 3 + [4] * 3 + [2] * 3), 0, 0
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            positions = next(sides) ** 2 if isinstance(module, nn.Conv2d) else 1
            kept += positions * (int(module.weight_mask.sum()) + int(module.bias_mask.sum()))
            assert module.bias is not None
            total += positions * (module.weight.numel() + module.bias.numel())
    return kept, total


def test_what_vgg16_counts():
    model = drawn("vgg16")
    assert sum(p.numel() for p in model.parameters()) == 14_719_818
    assert by_hand(model) == (313_478_154, 313_478_154)
    found = metrics.flop(model, (3, 32, 32), nets.CPU)
    assert sum(sum(counts.values()) for counts in found.values()) == 313_478_154


@pytest.mark.parametrize(
    ("pruner", "init", "fraction", "within"),
    [
        ("mag", "assignment", 0.245, 0.002),
        ("mag", "fan-out", 0.234, 0.002),
        ("rand", "assignment", 0.101, 0.001),
        ("synflow", "assignment", 0.457, 0.002),
    ],
)
def test_flop_fractions_of_the_untrained_network(pruner, init, fraction, within):
    """In one round, on random images, which none of the three looks at."""
    model = drawn("vgg16", seed=1, init=init)
    chosen = load.pruner(pruner)(generator.masked_parameters(model), seed=2)
    batches = nets.image_batches((3, 32, 32), 10, (4,))
    prune_loop(model, nets.CROSS_ENTROPY, chosen, batches, nets.CPU, 0.1, "exponential", "global", 1)
    kept, total = by_hand(model)
    assert kept / total == pytest.approx(fraction, abs=within)
    weights = 14_719_818 - sum(p.numel() for name, p in model.named_parameters() if name.endswith("bias"))
    assert chosen.stats() == (weights - math.floor(0.9 * weights), weights)
