"""Exported networks beside ONNX Runtime and OpenVINO.

Each engine gets a graph of the compact network, and the weights that are left in it as numbers among zeros. All compute
in float32, and their logits are compared with the masked model's. "at_least" is what the multiply-adds of the weights
that are left take at the speed of a large matrix product, measured in the same run.
"""

import io
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from benchmarks import exported_networks, scaffold
from Utils import exported, load
from Utils.data.corpus import Corpus
from Utils.data.loader import Loader
from Utils.export import form_timing, package
from Utils.export.formats import MASKED

EACH = {1: 100, 64: 5}  # batch size: calls a round
CASES = {"vgg16-bn-synflow-c2": "compact", "vgg16-bn-rand-c1": "sparse"}  # of exported_networks: the format of ours

Engine = Callable[[bytes, int], Callable[[Tensor], Tensor]]  # (graph, threads) -> images -> logits


def onnx_runtime(graph: bytes, threads: int) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # it would slow down who comes next
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda data: torch.from_numpy(session.run(None, {"data": data.numpy()})[0])


def openvino(graph: bytes, threads: int) -> Callable[[Tensor], Tensor]:
    import openvino

    options = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1}
    core = openvino.Core()
    request = core.compile_model(core.read_model(io.BytesIO(graph)), "CPU", options).create_infer_request()
    return lambda data: torch.from_numpy(request.infer({"data": data.numpy()})[0])


ENGINES: dict[str, Engine] = {"onnxruntime": onnx_runtime, "openvino": openvino}


def case(name: str, given: Namespace, best: float) -> dict[str, Any]:
    """Return the seconds of all by batch size. best: multiply-adds a second."""
    model, data, _ = exported_networks.pruned(exported_networks.CASES[name], given)
    with torch.no_grad():
        found = beside(name, model, data, given, best)
    return {"command": exported_networks.CASES[name], "format": CASES[name], "batches": found}


def beside(name: str, model: Any, data: Corpus, given: Namespace, best: float) -> dict[str, Any]:
    """Return the seconds of all for a network, by batch size."""
    exporter, threads = load.exporter(data.dataset), torch.get_num_threads()
    batches = {size: next(iter(Loader(data.test, size, length=size)))[0] for size in EACH}
    wanted = {size: model(batch) for size, batch in batches.items()}
    whole = exporter.draft(model)
    uses = {size: exporter.use(data, size, scaffold.CPU) for size in EACH}
    draft = package.reduced(whole, CASES[name], exporter, data)
    about, tensors = package.package(draft, CASES[name], uses)
    ways: dict[str, Callable[[int], Any]] = {
        "ours": partial(exported.build, about, tensors),
        MASKED: lambda size: model,
    }
    if engines := [engine for engine in ENGINES if find_spec(engine)]:
        from Utils.export.graphs import network

        smaller = package.reduced(whole, "compact", exporter, data)
        graph = network.graphs(smaller, data.shape, data.num_classes)["network"].model("network", {})
        made = {engine: ENGINES[engine](graph.SerializeToString(), threads) for engine in engines}
        ways |= {engine: partial(lambda kept, size: kept, kept) for engine, kept in made.items()}
    found = {}
    for size, batch in batches.items():
        bodies = {way: partial(make(size), batch) for way, make in ways.items()}
        apart = {way: (body() - wanted[size]).abs().max().item() for way, body in bodies.items()}
        forms = {matrix: exported.nearest(kept["quickest"], size) for matrix, kept in about["matrices"].items()}
        found[str(size)] = {
            "seconds": scaffold.beside(bodies, given.rounds * EACH[size], "ours"),
            "at_least": form_timing.multiply_adds(draft, forms, uses[size]) / best,
            "largest_difference": apart,
        }
    return found


def figures(args: Namespace) -> dict[str, Any]:
    """Return the figures of each network."""
    best = exported_networks.roofline(args.threads)["multiply_adds_per_second"]
    return {name: case(name, args, best) for name in CASES}
