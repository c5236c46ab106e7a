"""Examples that lie on the device. No GPU is needed: what is made beside them must ask where they lie."""

import nets
import pytest
import torch
from test_loader import images, texts
from torch.overrides import TorchFunctionMode

from Utils.data import examples

FACTORIES = {torch.arange, torch.zeros, torch.ones, torch.empty, torch.full, torch.tensor, torch.randint, torch.rand}


def sentences():
    draw = torch.Generator().manual_seed(0)
    rows = [nets.sentences(30, 50, draw) for _ in examples.SIDES]
    parts = []
    for side in rows:
        lengths = torch.tensor([len(row) for row in side])
        ids = torch.tensor([token for row in side for token in row], dtype=torch.int32)
        parts += [ids, torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])]
    return examples.Sentences(*parts)


def varied():
    made = images()
    made.crop, made.flip = 1, True
    return made


class Watch(TorchFunctionMode):
    """Notes every new tensor that is made without asking for a device; seeded draws come from the CPU's generator."""

    def __init__(self):
        super().__init__()
        self.careless, self.made = [], 0

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        keywords = keywords or {}
        if function in FACTORIES and "generator" not in keywords:
            self.made += 1
            if "device" not in keywords:
                self.careless.append(function.__name__)
        return function(*arguments, **keywords)


@pytest.mark.parametrize("make", [images, varied, texts, sentences])
def test_nothing_is_put_elsewhere_than_the_examples(make, monkeypatch):
    """Except the windows of images, which are drawn on the CPU and brought over as a whole."""
    made = make()
    count = len(made)
    windows = made._windows(count, 3) if make is varied else None
    if windows is not None:
        monkeypatch.setattr(type(made), "_windows", lambda self, count, seed: windows)
    order = torch.arange(count).flip(0)
    with Watch() as watch:
        batch = made.arrange(order, 3)
        for a in range(0, count, 7):
            batch(a, min(a + 7, count))
    assert watch.careless == [] and (watch.made > 0 or make is images)


@pytest.mark.parametrize(("share", "moves"), [(examples.ROOM * 1.01, False), (examples.ROOM * 0.99, True)])
def test_examples_move_where_there_is_room(monkeypatch, share, moves):
    made = varied()
    size = sum(t.nbytes for t in (made.pixels, made.targets, made.mean, made.std))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (size / share, 10 * size))
    monkeypatch.setattr(torch.Tensor, "to", lambda self, device: (device, self))
    device = torch.device("cuda", 3)
    found = examples.resident(made, device)
    assert (found is not made) == moves
    if moves:
        assert (found.pixels, found.targets) == ((device, made.pixels), (device, made.targets))
        assert (found.crop, found.flip) == (1, True)


def test_on_the_cpu_they_stay():
    made = texts()
    assert examples.resident(made, torch.device("cpu")) is made
