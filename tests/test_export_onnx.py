"""Graphs of ONNX against the masked models that they are made of, run by ONNX Runtime; and what is said without it."""

import copy
import json
import shutil
import subprocess
import sys

import nets
import pytest
import torch
from calls import ask
from test_export import MODELS, emptied, examples, masked, near, zeros
from test_export_translation import drafted, padded, pruned, sources
from torch import nn

from Layers.attached import attach
from Layers.bags import Bags
from Models import guest
from Utils import load
from Utils.data import corpus
from Utils.errors import UserError
from Utils.export import classifier, dead_units, formats, measured, package, storage, trace
from Utils.export.formats import FORMATS, ONNX
from Utils.study import runs
from Utils.training import decode

MISSING = formats.onnx_missing()
needs_onnx = pytest.mark.skipif(bool(MISSING), reason=MISSING)
DENSITIES = (1.0, 0.3, 0.02)


def run_by_onnx(draft, shape, classes, values="float32"):
    """The model that ONNX Runtime makes of a draft, all in memory."""
    from Utils.export.graphs import package as graphs
    from Utils.export.graphs import session

    rounded = {name: storage.rounded(name, tensor, values) for name, tensor in draft.tensors.items()}
    draft = copy.copy(draft)
    draft.tensors = rounded
    built = graphs.MAKERS[draft.kind](draft, shape, classes)
    return session.KINDS[draft.kind]({part: graph.model("x", {}).SerializeToString() for part, graph in built.items()})


def both(model, shape):
    """The draft of the dense form and of the compact one, as they are exported."""
    whole = trace.draft(model)
    return whole, storage.without_empty_rows(dead_units.compact(whole, zeros(shape)))


@needs_onnx
@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize(("name", "kind", "shape"), [model for model in MODELS if model[0] != "vgg11"])
@torch.no_grad()
def test_a_graph_gives_the_logits_of_the_masked_model(name, kind, shape, density):
    """One graph for every size of batch; scales and residual connections have masks too."""
    model, data = masked(name, kind, shape, density, everything=True), examples(shape)
    for draft in both(model, shape):
        found = run_by_onnx(draft, shape, 10)
        assert near(found(data), model(data)) and near(found(examples(shape, 1)), model(examples(shape, 1)))


@needs_onnx
@pytest.mark.parametrize("name", ["0", "2", "5", "0 2 5", "dead input"])
@torch.no_grad()
def test_a_layer_with_nothing_left_is_its_bias_in_a_graph(name):
    model, data = emptied(name), examples((2, 5, 5))
    for draft in (trace.draft(model), dead_units.compact(trace.draft(model), data[:1])):
        assert near(run_by_onnx(draft, (2, 5, 5), 3)(data), model(data))


@needs_onnx
@torch.no_grad()
def test_texts_without_words_and_long_texts():
    """The mean of no words is zero; that of many is exact, more so than torch's own in 32 bits."""
    model = nets.text_model(vocabulary=50).eval()
    exact = copy.deepcopy(model).double()
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(50, (20_000,), generator=draw)
    found = run_by_onnx(trace.draft(model), (50,), 3)
    for offsets in ([0], [0, 0, 3, 3, 9_000, 20_000], [0, 1, 19_999, 20_000, 20_000]):
        data = Bags(ids, torch.tensor(offsets))
        torch.testing.assert_close(found(data).double(), exact(data), atol=1e-6, rtol=0)
    none = Bags(ids[:0], torch.tensor([0, 0]))
    torch.testing.assert_close(found(none), model.fc.bias.expand(2, -1), atol=1e-7, rtol=0)


@needs_onnx
@pytest.mark.parametrize("which", ["whole", "compact"])
@pytest.mark.parametrize("density", DENSITIES)
@torch.no_grad()
def test_encoder_and_steps_give_the_logits_of_whole_sentences(density, which):
    """Step by step through the graphs, all at once through the model; with padding and without."""
    model = pruned(density)
    found = run_by_onnx(storage.without_empty_rows(drafted(model, which)), (30,), 29)
    for size in (1, 6):
        ((data, _),) = nets.pair_batches(30, 29, (size,), seed=size)
        assert model(data).std(0).max() > 0.01
        assert near(found(data), model(data))


@needs_onnx
@pytest.mark.parametrize("beam", [1, 3])
@torch.no_grad()
def test_graphs_translate_as_the_model_does(beam):
    """Sentences of many lengths: rows of the state are dropped and repeated on the way."""
    model, given = pruned(0.4), sources(12)
    found = run_by_onnx(drafted(model, "compact"), (30,), 29)
    wanted = decode.translate(model, given, nets.CPU, beam)
    assert decode.translate(found, given, nets.CPU, beam) == wanted and len({*map(tuple, wanted)}) > 6


@needs_onnx
@pytest.mark.parametrize("cut", ["source", "self", "all"])
@torch.no_grad()
def test_a_translator_without_an_attention_keeps_its_state(cut):
    """Without any attention to the source nothing of the encoder is left; without one to itself there is no past."""
    model = pruned(0.4)
    for layer in model.transformer.decoder.layers:
        for name, attention in (("source", layer.multihead_attn), ("self", layer.self_attn)):
            if cut in (name, "all"):
                attention.out_proj.weight_mask.zero_()
    draft = drafted(model, "compact")
    found = run_by_onnx(draft, (30,), 29)
    ((data, _),) = nets.pair_batches(30, 29, (4,), seed=1)
    assert near(found(data), model(data))
    kept = {name.partition(".")[0] for name in found.begin(padded(sources(2)), 9).parts}
    assert kept == {"padding", "position", "self", "source"} - ({"self", "source"} if cut == "all" else {cut})


@needs_onnx
@torch.no_grad()
def test_numbers_of_16_bits_are_half_as_large_and_compute_in_32():
    model, shape = masked("conv", "default", (3, 9, 7), 1.0), (3, 9, 7)
    draft = trace.draft(model)
    exact, short = (run_by_onnx(draft, shape, 10, values)(examples(shape)) for values in ("float32", "float16"))
    rounded = copy.deepcopy(draft)
    rounded.tensors = {name: value.half().float() for name, value in draft.tensors.items()}
    assert short.dtype == torch.float32 and not near(short, exact)
    assert near(short, run_by_onnx(rounded, shape, 10)(examples(shape)))


# --- networks of unknown parts -------------------------------------------------------------------------------------


class Patches(nn.Module):
    """Parts that export has no operation of its own for: groups, a norm, attention, positions."""

    def __init__(self):
        super().__init__()
        self.cut, self.norm = nn.Conv2d(3, 16, 4, stride=4, groups=1, dilation=1), nn.GroupNorm(2, 16)
        self.place = nn.Parameter(torch.randn(4, 16))
        self.block = nn.TransformerEncoderLayer(16, 2, 24, batch_first=True)
        self.out = nn.Linear(16, 10)

    def forward(self, data):
        words = nn.functional.gelu(self.norm(self.cut(data))).flatten(2).transpose(1, 2) + self.place
        return self.out(self.block(words).mean(1))


class Words(nn.Module):
    """A text classifier with a norm between bag and classifier."""

    def __init__(self):
        super().__init__()
        self.bag, self.norm, self.out = nn.EmbeddingBag(40, 8), nn.LayerNorm(8), nn.Linear(8, 10)

    def forward(self, data):
        return self.out(self.norm(self.bag(data.ids, data.offsets)))


class Attends(nn.Module):
    """A text classifier of torch's own attention over real words: to itself in a Transformer, and to a mean."""

    def __init__(self):
        super().__init__()
        self.table, self.out = nn.Embedding(40, 8), nn.Linear(8, 10)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.pool = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, text):
        ids, real = text.padded()
        found = self.encoder(self.table(ids), src_key_padding_mask=~real) * real.unsqueeze(2)
        mean = found.sum(1, keepdim=True) / real.sum(1).view(-1, 1, 1)
        return self.out(self.pool(query=mean, key=found, value=found, key_padding_mask=~real)[0].squeeze(1))


TEXTS = {"words": Words, "attends": Attends}


def unknown(name):
    """A masked model of unknown parts in eval mode, and the shape of its inputs."""
    torch.manual_seed(0)
    shape = (40,) if name in TEXTS else (3, 8, 8) if name == "patches" else (3, 32, 32)
    of_torchvision = {"mobilenet": "mobilenet_v3_small", "shuffle": "shufflenet_v2_x0_5"}
    made = TEXTS[name]() if name in TEXTS else Patches() if name == "patches" else None
    model = attach(made or guest.of_torchvision(of_torchvision[name], shape, 10)[0])
    nets.mask_at_random(model, 0.5)
    return model.eval(), shape


@needs_onnx
@pytest.mark.parametrize("name", ["words", "attends", "patches", "mobilenet", "shuffle"])
@torch.no_grad()
def test_any_classifier_has_a_dense_graph_with_its_masks_multiplied_in(name):
    """The model itself keeps its masks and its mode, and its logits are those of the graph, whatever the batch."""
    from Utils.export.graphs import session, traced

    model, shape = unknown(name)
    with pytest.raises(UserError, match=r"does not know .*; --format onnx-dense may export it"):
        package.whole(model, classifier, False)
    draft = package.whole(model, classifier, True)
    graph = traced.graphs(draft, shape, 10)["network"].model("x", {})
    found = session.KINDS[draft.kind]({"network": graph.SerializeToString()})
    for count in (1, 7):
        data = nets.text_batches(40, 10, (count,))[0][0] if name in TEXTS else examples(shape, count)
        assert near(found(data), model(data)) and found(data).shape == (count, 10)
    assert all(hasattr(module, f"{key}_mask") for module in model.modules() for key in getattr(module, "_masked", ()))


@needs_onnx
def test_what_torch_cannot_export_is_one_line():
    from Utils.export.graphs import traced

    class Odd(nn.Linear):
        def forward(self, data):
            return super().forward(data.flatten(1).frexp().mantissa)

    draft = package.whole(Odd(4, 10), classifier, True)
    with pytest.raises(UserError, match=r"^torch cannot export this model as a graph .*$") as refused:
        traced.graphs(draft, (1, 2, 2), 10)
    assert "\n" not in str(refused.value)


def run_of(place, sample_data, source, dataset="mnist"):
    """The directory of a run, in `place`/R, of the class Net that the source defines."""
    (place / "net.py").write_text(source, encoding="utf-8")
    net = f"--dataset {dataset} --model {place}/net.py:Net --pruner snip --compression 1 --post-epochs 0"
    assert ask(f"{net} --result-dir {place}/R", sample_data)[0] == 0
    (made,) = (place / "R" / "singleshot").iterdir()
    return made


@needs_onnx
@torch.no_grad()
def test_a_network_that_reads_a_weight_itself_goes_out_after_other_formats(sample_data, tmp_path):
    run = run_of(
        tmp_path,
        sample_data,
        "from torch import nn\n\n\nclass Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.out = nn.Linear(784, 10)\n\n"
        "    def forward(self, data):\n        return data.flatten(1) @ self.out.weight.T + self.out.bias\n",
    )
    code, out, err = ask(f"--experiment export --run {run} --format sparse", sample_data)
    assert (code, out) == (2, "") and "a tensor that forward reads itself" in err and "_constant" not in err
    code, out, err = ask(f"--experiment export --run {run} --format onnx-dense", sample_data)
    assert (code, err) == (0, "") and "largest difference" in out and (run / "model.dense.onnx").is_file()


NET = """
import torch
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    def __init__(self, input_shape, num_classes):
        super().__init__()
        self.part = nn.Linear(784, 8) if len(input_shape) > 1 else nn.Embedding(*input_shape, 8)
        self.out = nn.Linear(8, num_classes)

    def forward(self, data):
        return {}
"""
IMAGES = "self.out(self.part(data.flatten(1))) + "
REFUSED = {  # data set, what forward returns, why it has no known steps, why it has no graph
    "len": ("mnist", f"{IMAGES}torch.zeros(len(data), 1)", "('len' is not supported", "take it from x.shape\n"),
    "number": (
        "mnist",
        f"{IMAGES}torch.ones(int(data.shape[0]), 1)",
        "(int() of a part of it);",
        "by len(), int(), max()",
    ),
    "tensor": (
        "mnist",
        f"{IMAGES}torch.ones(torch.tensor([data.shape[0]]).item(), 1)",
        "('len'",
        "torch.tensor([...])",
    ),
    "dropout": ("mnist", "self.out(F.dropout(self.part(data.flatten(1))))", "the step dropout;", "from call to call\n"),
    "words": (
        "agnews",
        "self.out(self.part(data.ids)).mean() + torch.arange(4, device=data.ids.device).expand(len(data), 4)",
        "(arange() of a part of it);",
        "take padded() of the batch\n",
    ),
}


@needs_onnx
@pytest.mark.parametrize("kind", REFUSED)
def test_why_a_network_has_no_graph_is_one_line(sample_data, tmp_path, kind):
    dataset, returned, steps, graph = REFUSED[kind]
    run = run_of(tmp_path, sample_data, NET.format(returned), dataset)
    for format, said in (("sparse", steps), ("onnx-dense", graph)):
        code, out, err = ask(f"--experiment export --run {run} --format {format}", sample_data)
        error = err.splitlines(keepends=True)[-1]
        assert (code, out) == (2, "") and said in error and error.startswith("error: ") and err.count("error") == 1
    assert ("computes something else" in error) is (kind != "dropout") and not list(run.glob("*onnx*"))


@needs_onnx
def test_a_network_of_unknown_parts_goes_out_and_is_measured(sample_data, tmp_path, monkeypatch):
    monkeypatch.setattr(measured, "SECONDS", 0.0005)
    run = run_of(
        tmp_path,
        sample_data,
        "from torch import nn\n\n\nclass Net(nn.Sequential):\n    def __init__(self):\n        super().__init__("
        "nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.GELU(), nn.Flatten(), nn.Linear(4 * 26 * 26, 10))\n",
    )
    for wrong, said in (("sparse", "may export it"), ("onnx-dense --values float16", "in float32 alone")):
        code, out, err = ask(f"--experiment export --run {run} --format {wrong}", sample_data)
        assert (code, out) == (2, "") and said in err and err.count("\n") == 1
    code, out, err = ask(f"--experiment export --run {run} --format onnx-dense", sample_data)
    assert (code, err) == (0, "") and "largest difference" in out and (run / "model.dense.onnx").is_file()
    code, out, err = ask(f"--experiment measure --run {run} --repeats 1", sample_data)
    found = json.loads((run / "measurement.json").read_text(encoding="utf-8"))
    assert code == 0 and list(found["formats"]) == ["masked", "onnx-dense"]
    assert "left out: sparse and compact and dense and onnx (export does not know" in err
    assert next(iter(runs.read([str(tmp_path / "R")]))).measurement == found["formats"]


# --- from the command line -----------------------------------------------------------------------------------------


COMMANDS = {
    "conv": "--dataset mnist --model conv --pruner synflow --compression 1",
    "news": "--dataset agnews --pruner rand --compression 2",
    "translation": "--dataset multi30k --pruner rand --compression 1",
}


@pytest.fixture
def run(request, ran, tmp_path):
    return shutil.copytree(ran(COMMANDS[request.param]).path, tmp_path / "run")


ALONE = """
import json, pathlib, sys
import numpy, onnxruntime
about = json.loads(pathlib.Path("model.{format}.json").read_text(encoding="utf-8"))
sessions = {{part: onnxruntime.InferenceSession(name) for part, name in about["graphs"].items()}}
given = numpy.load("given.npz")
if "network" in sessions:
    feeds = {{x.name: given[x.name] for x in sessions["network"].get_inputs()}}
    (logits,) = sessions["network"].run(None, feeds)
else:
    def by_name(session, feeds):
        return dict(zip((x.name for x in session.get_outputs()), session.run(None, feeds)))
    state, steps = by_name(sessions["encoder"], {{"source": given["source"]}}), []
    for tokens in given["target"].T:
        found = by_name(sessions["decoder"], {{"tokens": tokens, **state}})
        steps.append(found.pop("logits"))
        state |= {{name.removeprefix("next."): value for name, value in found.items()}}
    logits = numpy.stack(steps, 1)[given["target"] != 1]
numpy.save("logits.npy", logits)
assert "torch" not in sys.modules and "Utils" not in sys.modules
"""


@needs_onnx
@pytest.mark.parametrize("format", ONNX)
@pytest.mark.parametrize("run", COMMANDS, indirect=True)
def test_an_export_is_used_with_onnx_runtime_alone(run, format, sample_data, tmp_path):
    """In a process of its own without torch, from the files and what they say; ONNX Runtime gets no other help."""
    import numpy
    from test_export_runs import model_and_batch

    code, out, err = ask(f"--experiment export --run {run} --format {format} --export-dir {tmp_path}/away", sample_data)
    assert (code, err) == (0, "") and "largest difference" in out
    about = json.loads((tmp_path / "away" / f"model.{format}.json").read_text(encoding="utf-8"))
    model, batch = model_and_batch(run, sample_data)
    parts = {"data": batch} if isinstance(batch, torch.Tensor) else {k: getattr(batch, k) for k in batch.__slots__}
    numpy.savez(tmp_path / "away" / "given.npz", **{name: value.numpy() for name, value in parts.items()})
    subprocess.run([sys.executable, "-c", ALONE.format(format=format)], cwd=tmp_path / "away", check=True)
    with torch.no_grad():
        assert near(torch.from_numpy(numpy.load(tmp_path / "away" / "logits.npy")), model(batch))
    data = load.corpus(about["dataset"], str(sample_data), "sample")
    assert about["words"] == data.words and about["classes"] == list(data.classes)
    assert {*about["graphs"].values()} == {*about["inputs"]} == {*about["outputs"]}
    assert all((tmp_path / "away" / name).is_file() for name in about["graphs"].values())


@needs_onnx
@pytest.mark.parametrize("run", ["conv"], indirect=True)
def test_a_graph_says_in_itself_what_goes_in_and_out(run, sample_data):
    import onnxruntime

    ask(f"--experiment export --run {run} --format onnx", sample_data)
    said = onnxruntime.InferenceSession(run / "model.onnx").get_modelmeta().custom_metadata_map
    assert said["input data"] == "float [batch, 1, 28, 28]: the images"
    assert said["output logits"].startswith("float [batch, 10]: ") and json.loads(said["classes"])[3] == "3"
    images = load.corpus("mnist", str(sample_data), "sample").test
    prepared = json.loads(said["preparation"])
    data = (images.pixels[:5].float() - torch.tensor(prepared["mean"])) / torch.tensor(prepared["std"])
    assert torch.allclose(data, images.arrange(torch.arange(5))(0, 5)[0], atol=1e-5), prepared["formula"]


@needs_onnx
@pytest.mark.parametrize("run", ["translation"], indirect=True)
def test_translating_with_graphs_is_translating_with_the_model(run, sample_data):
    text = "--experiment translate --text 'Ein Mann in einem roten Hemd zieht einen Wagen.'"
    code, _, err = ask(f"{text} --run {run} --export onnx", sample_data)
    assert code == 2 and "make it with: python main.py --experiment export" in err and err.count("\n") == 1
    ask(f"--experiment export --run {run} --format onnx", sample_data)
    assert ask(f"{text} --run {run} --export onnx", sample_data) == ask(f"{text} --run {run}", sample_data)


@needs_onnx
@pytest.mark.parametrize("run", ["conv"], indirect=True)
def test_a_graph_that_is_wrong_is_not_written(run, sample_data, monkeypatch):
    from Utils.export.graphs import network

    monkeypatch.setitem(network.OPERATIONS, "relu", lambda graph, step, own, value: graph("Abs", value))
    code, out, err = ask(f"--experiment export --run {run} --format onnx", sample_data)
    assert (code, out) == (2, "") and err.startswith("error: the export's logits are") and err.count("\n") == 1
    assert not list(run.glob("*onnx*"))


@needs_onnx
def test_every_operation_has_a_node():
    from Utils.export.graphs import network
    from Utils.exported.network import OPERATIONS

    assert {*network.OPERATIONS, "bag"} == {*OPERATIONS}


@pytest.mark.parametrize("run", ["conv"], indirect=True)
def test_without_onnx_one_line_says_what_to_install(run, sample_data, monkeypatch, root):
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    monkeypatch.setattr(measured, "SECONDS", 0.0005)
    monkeypatch.setattr(package.form_timing, "SECONDS", 0.0005)
    said = "needs onnx and onnxruntime: python -m pip install -r requirements-extra.txt"
    for asked in ("export --format", "translate --text a --export"):
        code, out, err = ask(f"--experiment {asked} onnx --run {run}", sample_data)
        assert (code, out) == (2, "") and err == f"error: --{asked.rpartition('--')[2]} onnx: {said}\n"
    code, out, err = ask(f"--experiment measure --run {run} --repeats 1", sample_data)
    assert (code, err) == (0, f"warning: left out: onnx and onnx-dense ({said})\n")
    found = json.loads((run / "measurement.json").read_text(encoding="utf-8"))
    assert list(found["formats"]) == ["masked", *FORMATS] and list(found["left_out"]) == list(ONNX)
    extra = (root / "requirements-extra.txt").read_text(encoding="utf-8")
    assert "\nonnx==" in extra and "\nonnxruntime==" in extra


@needs_onnx
@pytest.mark.parametrize("kind", ["mnist", "multi30k"])
def test_onnx_runtime_is_measured_beside_the_other_forms(kind, sample_data, monkeypatch):
    monkeypatch.setattr(measured, "SECONDS", 0.0005)
    monkeypatch.setattr(package.form_timing, "SECONDS", 0.0005)
    data = corpus.load(corpus.locate(load.dataset(kind), sample_data, "sample"))
    make = load.model("fc") if kind == "mnist" else load.model("seq2seq", "nlp")
    options = {} if kind == "mnist" else {"width": 16, "heads": 2, "depth": 1, "hidden": 8}
    model = nets.drawn(0, make, data.shape, data.num_classes, **options).eval()
    nets.mask_at_random(model, 0.05)
    found, left_out = measured.formats(model, load.exporter(data.dataset), data, 1)
    assert left_out == {} and list(found) == ["masked", *FORMATS, *ONNX]
    assert all(figures.keys() >= found["masked"].keys() for figures in found.values())
    assert found["onnx"]["file_bytes"] < found["onnx-dense"]["file_bytes"]
    assert found["onnx-dense"]["multiply_adds"] == found["dense"]["multiply_adds"]
