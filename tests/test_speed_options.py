"""--amp and --compile: other products, the same run."""

import pytest
import torch

RUN = "--dataset mnist --model fc --pruner mag --compression 1 --post-epochs 1"


def apart(a, b) -> float:
    """The largest difference of any weight."""
    assert a.tensors.keys() == b.tensors.keys()
    return max(float(abs(a.tensors[name] - b.tensors[name]).max()) for name in a.tensors)


def test_bf16_is_of_training_alone(ran):
    plain, rounded = ran(RUN), ran(f"{RUN} --amp bf16")
    assert rounded.config["amp"] == "bf16" and "amp" not in plain.config
    assert rounded.result["post_prune"] == plain.result["post_prune"]
    assert 0 < apart(plain, rounded) < 0.05
    assert rounded.result["final"]["test_loss"] == pytest.approx(plain.result["final"]["test_loss"], rel=0.02)


@pytest.mark.parametrize("has", [True, False])
def test_a_processor_without_such_arithmetic_is_told(cli, monkeypatch, has):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: has)
    outcome = cli("--dataset mnist --model fc --amp bf16 --no-cuda")
    assert outcome.code == 0 and ("slower" in outcome.err) is not has


def test_compiling_without_a_compiler_is_refused(cli, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    outcome = cli(f"{RUN} --compile")
    assert outcome.code == 2 and "compiler" in outcome.err and outcome.err.count("\n") == 1


def test_a_compiled_model_is_trained_to_the_same_weights(cli, ran):
    compiled, plain = cli(f"{RUN} --compile"), ran(RUN)
    assert compiled.config["compile"] is True and "compile" not in plain.config
    assert apart(plain, compiled) < 1e-4
    assert compiled.result["final"]["test_loss"] == pytest.approx(plain.result["final"]["test_loss"], rel=1e-4)
