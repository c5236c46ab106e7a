"""Exported networks beside the engines that a user would take instead: the same network and inputs, in turn.

    python -m benchmarks.engines [--repeats 9] [--threads 1] [--data-dir Data] [--case NAME ...]

Each engine gets the form that suits it best: a graph without dead units if that has fewer, else the dense graph. All
compute in float32 with the same number of threads, and their logits are compared with the masked model's. An engine
that is not installed is left out (requirements-extra.txt names them). "at_least" is what the
multiply-adds of the weights that are left would take at the speed of a large matrix product, measured in the same run.
"""

import io
import statistics
from argparse import Namespace
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from benchmarks import exported_networks, scaffold
from Utils import exported, load
from Utils.data.loader import Loader
from Utils.export import form_timing, package
from Utils.export.formats import MASKED
from Utils.machine import timing

SIZES = (1, 64)
SECONDS = 0.2  # least time of measurement for each median
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


@torch.no_grad()
def case(name: str, given: Namespace, best: Mapping[str, float]) -> dict[str, Any]:
    """Return medians of seconds by batch size, and each way's seconds as a multiple of ours in the same round."""
    model, data, _ = exported_networks.pruned(exported_networks.CASES[name], given)
    exporter, threads = load.exporter(data.dataset), torch.get_num_threads()
    batches = {size: next(iter(Loader(data.test, size, length=size)))[0] for size in SIZES}
    wanted = {size: model(batch) for size, batch in batches.items()}
    whole = exporter.draft(model)
    uses = {size: exporter.use(data, size, scaffold.CPU) for size in SIZES}
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
        seconds = timing.medians(bodies, given.repeats, SECONDS)
        forms = {matrix: exported.nearest(kept["quickest"], size) for matrix, kept in about["matrices"].items()}
        found[str(size)] = {
            "seconds": {way: statistics.median(taken) for way, taken in seconds.items()},
            "at_least": form_timing.multiply_adds(draft, forms, uses[size]) / best["multiply_adds_per_second"],
            "of_ours": {way: scaffold.spread("times", taken, seconds["ours"]) for way, taken in seconds.items()},
            "largest_difference": apart,
        }
    return {"command": exported_networks.CASES[name], "format": CASES[name], "batches": found}


def main() -> None:
    flags = scaffold.Flags(__doc__, threads=1, source=True)
    flags.add_argument("--repeats", type=int, default=9)
    flags.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    args = flags.begin()
    best = exported_networks.roofline(args.threads)
    figures = {"machine_at_best": best, "repeats": args.repeats}
    figures |= {name: case(name, args, best) for name in args.case}
    figures["engines"] = {engine: version(engine) for engine in ENGINES if find_spec(engine)}
    scaffold.save("engines", figures)


if __name__ == "__main__":
    main()
