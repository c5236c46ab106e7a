"""Matrices on disk and back, and the room they take."""

import math

import pytest
import torch

from Utils import exported
from Utils.export import form_timing, package, storage
from Utils.export.draft import Draft
from Utils.export.formats import FORMATS, MASKED, REFERENCE

SHAPES = [(1, 1), (7, 13), (5, 3, 3, 3), (3, 70_000), (0, 4), (4, 0), (70_000, 2)]


def sparse(shape, density, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator) * (torch.rand(shape, generator=generator) < density)


@pytest.mark.parametrize("way", storage.WAYS)
@pytest.mark.parametrize("density", [0.0, 0.03, 0.5, 1.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_way_to_store_a_matrix_gives_it_back(shape, density, way):
    matrix = sparse(shape, density)
    tensors = storage.WAYS[way]("a.weight", matrix)
    assert all(name == "a.weight" or name.startswith("a.weight.") for name in tensors)
    found = exported.unpack("a.weight", {"shape": list(shape), "stored": way}, tensors)
    assert found.dtype == torch.float32 and found.shape == matrix.shape and found.equal(matrix)


@pytest.mark.parametrize("gap", [1, 254, 255, 256, 510, 32_767, 32_768, 65_534, 65_535, 65_536, 140_000])
@pytest.mark.parametrize("first", [0, 1, 65_535])
def test_gaps_of_every_size_come_back(gap, first):
    """At the highest number of one byte and of two, at the sign of 16 bits, and beyond."""
    matrix = torch.zeros(2, 300_000)
    where = torch.arange(first, 600_000, gap)[:50]
    matrix.view(-1)[where] = torch.arange(1.0, 1.0 + len(where))
    steps = [first] + [gap] * (len(where) - 1)
    tensors = storage.gaps("w", matrix)
    least = min(sum(size * (step // highest + 1) for step in steps) for size, highest in ((1, 255), (2, 65_535)))
    assert tensors["w.gaps"].nbytes == least
    assert exported.unpack("w", {"shape": [2, 300_000], "stored": "gaps"}, tensors).equal(matrix)


@pytest.mark.parametrize(
    ("density", "way"), [(0.9, "bits"), (1.0, "whole"), (0.2, "bits"), (0.1, "gaps"), (0.01, "gaps")]
)
def test_the_smallest_way_is_taken(density, way):
    matrix = sparse((400, 300), density)
    entry, tensors = storage.pack("w", matrix, FORMATS["sparse"].ways)
    assert entry["stored"] == way and entry["values"] == int(matrix.count_nonzero())
    assert storage.size(tensors) == min(storage.size(make("w", matrix)) for make in list(storage.WAYS.values())[:3])


@pytest.mark.parametrize("density", [0.3, 0.1, 0.01, 0.004])
def test_a_sparse_matrix_takes_little_more_than_the_information_in_it(density):
    matrix = sparse((1500, 512), density)
    kept, places = int(matrix.count_nonzero()), matrix.numel()
    choices = (math.lgamma(places + 1) - math.lgamma(kept + 1) - math.lgamma(places - kept + 1)) / math.log(2)
    bound = (32 * kept + choices) / 8
    _, tensors = storage.pack("w", matrix, FORMATS["sparse"].ways)
    assert bound < storage.size(tensors) < 1.4 * bound


@pytest.mark.parametrize("size", [1, 3])
def test_the_forms_of_a_matrix_agree(size):
    weight, bias = sparse((30, 20), 0.1), torch.randn(30, generator=torch.Generator().manual_seed(3))
    weight[4:9], weight[:, 11:] = 0, 0
    data = torch.randn(size, 20, generator=torch.Generator().manual_seed(4))
    for given in (bias, None):
        wanted = data.double() @ weight.double().T + (0 if given is None else given.double())
        for form in exported.LINEAR.values():
            torch.testing.assert_close(form(weight, given)(data).double(), wanted, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(
                form(weight, given)(data.expand(2, size, 20)).double(), wanted.expand(2, size, 30), atol=1e-5, rtol=1e-5
            )


@pytest.mark.parametrize(("stride", "padding"), [(1, 1), (2, 0), (2, 1)])
def test_the_forms_of_a_kernel_agree(stride, padding):
    weight, bias = sparse((6, 5, 3, 2), 0.2), torch.randn(6, generator=torch.Generator().manual_seed(3))
    weight[2], weight[:, 1] = 0, 0
    how = {"stride": [stride, 1], "padding": [padding, 0]}
    data = torch.randn(3, 5, 9, 8, generator=torch.Generator().manual_seed(4))
    for given in (bias, None):
        wanted = torch.nn.functional.conv2d(data.double(), weight.double(), None, **how)
        wanted = wanted if given is None else wanted + given.double().view(-1, 1, 1)
        for form in exported.CONV.values():
            torch.testing.assert_close(form(weight, given, **how)(data).double(), wanted, atol=1e-5, rtol=1e-5)


def test_the_quickest_form_is_taken_where_it_is_clearly_so():
    assert form_timing.quickest({"whole": 10.0, "csr": 5.0, "block": 7.0}) == "csr"
    assert form_timing.quickest({"whole": 10.0, "csr": 9.8, "block": 20.0}) == "whole", "chance decides nothing"
    assert exported.nearest({"1": "csr", "64": "whole"}, 4) == "csr"
    assert exported.nearest({"1": "csr", "64": "whole"}, 20) == "whole"
    assert exported.nearest({}, 20) == "whole"


def test_forms_are_measured_on_what_the_matrices_really_get(monkeypatch):
    monkeypatch.setattr(form_timing, "SECONDS", 0.001)
    weight = sparse((40, 30), 0.1)
    program = [{"op": "linear", "inputs": ["data"], "output": "fc", "tensors": {"weight": "fc.weight"}}]
    draft = Draft("network", program, {"fc.weight": weight}, ["fc.weight"])
    uses = {size: lambda model, size=size: model(torch.ones(size, 30)) for size in (1, 5)}
    for use in uses.values():
        found = form_timing.microseconds(draft, ("whole", "csr", "block"), use)
        assert found.keys() == {"fc.weight"} and found["fc.weight"].keys() == {"whole", "csr", "block"}
        assert all(value > 0 for value in found["fc.weight"].values())
        assert form_timing.microseconds(draft, ("whole",), use) == {}
    about, tensors = package.package(draft, "sparse", uses)
    assert about["matrices"]["fc.weight"]["quickest"].keys() == {"1", "5"} and about["layout"] == {}
    assert exported.build(about, tensors)(torch.ones(1, 30)).allclose(weight.sum(1), atol=1e-5)
    assert form_timing.multiply_adds(draft, {}, uses[5]) == 5 * 40 * 30
    assert form_timing.multiply_adds(draft, {"fc.weight": "csr"}, uses[5]) == 5 * int(weight.count_nonzero())


@pytest.mark.parametrize("format", FORMATS)
def test_either_layout_of_images_gives_the_same(format, monkeypatch):
    monkeypatch.setattr(form_timing, "SECONDS", 0.001)
    kernel = sparse((6, 5, 3, 3), 0.3)
    kernel[2], kernel[:, 1] = 0, 0
    program = [
        {
            "op": "conv",
            "stride": [1, 1],
            "padding": [1, 1],
            "inputs": ["data"],
            "output": "a",
            "tensors": {"weight": "a"},
        },
        {"op": "relu", "inputs": ["a"], "output": "b"},
        {"op": "flatten", "inputs": ["b"], "output": "c"},
    ]
    data = torch.randn(2, 5, 4, 6, generator=torch.Generator().manual_seed(4))
    wanted = torch.nn.functional.conv2d(data, kernel, padding=1).relu().flatten(1)
    about, tensors = package.package(
        Draft("network", program, {"a": kernel}, ["a"]), format, {2: lambda model: model(data)}
    )
    assert about["layout"]["2"] in (exported.CHANNELS_FIRST, exported.CHANNELS_LAST)
    for layout in (exported.CHANNELS_FIRST, exported.CHANNELS_LAST):
        found = exported.build({**about, "layout": {"2": layout}}, tensors, 2)(data)
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_an_empty_block_of_a_convolution_is_its_bias(bias):
    """By hand: no input reaches any output, at any stride, padding and size of the kernel."""
    values = torch.tensor([0.5, -1.0, 2.0]) if bias else None
    for kernel, stride, padding in (((3, 3), [1, 1], [1, 1]), ((2, 4), [2, 3], [0, 1]), ((1, 1), [3, 1], [2, 0])):
        how = {"stride": stride, "padding": padding}
        weight, data = torch.zeros(3, 4, *kernel), torch.randn(2, 4, 7, 6, generator=torch.Generator().manual_seed(5))
        height, width = (
            (size + 2 * p - k) // s + 1 for size, p, k, s in zip((7, 6), padding, kernel, stride, strict=True)
        )
        wanted = torch.zeros(2, 3, height, width) + (0.0 if values is None else values.view(1, 3, 1, 1))
        for form in exported.CONV.values():
            found = form(weight, values, **how)(data)
            assert found.equal(wanted), form


def test_a_format_names_ways_and_forms_that_there_are():
    assert REFERENCE in FORMATS and MASKED not in FORMATS
    for format in FORMATS.values():
        assert set(format.ways) <= set(storage.WAYS) and set(format.forms) <= set(exported.LINEAR) == set(exported.CONV)
        assert "whole" in format.ways and "whole" in format.forms and format.help


def test_exporters_have_what_the_recipes_call():
    from Utils import load

    for kind in set(load.EXPORTERS.values()):
        module = __import__(kind, fromlist=["draft"])
        assert all(callable(getattr(module, name)) for name in ("draft", "compact", "use"))
