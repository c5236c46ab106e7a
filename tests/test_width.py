"""--width: the factor of hidden widths, counted by hand, and refused where there is no such width."""

import pytest

from Experiments import networks
from Models.width import scaled
from Utils import load
from Utils.commandline import arguments
from Utils.errors import UserError


@pytest.mark.parametrize("factor, units", [(1.0, 100), (0.25, 25), (4, 400), (0.004, 1), (0.015, 2)])
def test_a_width_is_rounded_and_at_least_one(factor, units):
    assert scaled(100, factor) == units


def _weights(name, model_class, shape, classes, width):
    model = load.model(name, model_class)(shape, classes, width=width)
    return sum(parameter.numel() for key, parameter in model.named_parameters() if key.endswith("weight"))


def test_weights_of_a_narrow_and_a_wide_network():
    assert _weights("fc", "default", (1, 28, 28), 10, 0.5) == 784 * 50 + 4 * 50 * 50 + 50 * 10
    assert _weights("conv", "default", (1, 28, 28), 10, 2) == 9 * 64 + 9 * 64 * 64 + 64 * 784 * 10
    assert _weights("text-classification", "nlp", (100,), 4, 4) == 100 * 256 + 256 * 4
    front = 32 * 64 + 64  # patches of 4 x 8 pixels, and the scale of their normalisation
    assert _weights("mlp", "matched", (1, 28, 28), 10, 2) == front + 64 * 512 + 512 * 256 + 256 * 384 + 384 * 10
    narrow, usual = (_weights("transformer", "matched", (1, 28, 28), 10, width) for width in (0.25, 1))
    assert usual - narrow == 2 * 2 * 64 * (256 - 64)


def test_every_model_that_takes_a_width_is_listed_and_no_other():
    for cls, models in load.MODELS.items():
        for name, (kinds, _) in models.items():
            shape = {"image": (3, 32, 32), "text": (50,), "translation": (50, 60)}[kinds.split()[0]]
            data = {"image": "cifar10", "text": "agnews", "translation": "multi30k"}[kinds.split()[0]]
            command = ["--dataset", data, "--model-class", cls, "--model", name, "--width", "0.5"]
            if name in load.WIDE:
                sizes = [
                    sum(parameter.numel() for parameter in networks.network(args, shape, 4).parameters())
                    for args in (arguments.parse(command[:-2]), arguments.parse(command))
                ]
                assert sizes[1] < sizes[0]
            else:
                with pytest.raises(UserError, match="--width means nothing"):
                    arguments.parse(command)


def test_a_width_is_part_of_a_run_and_comes_back_with_its_model(cli, sample_data):
    import main

    run = cli("--dataset mnist --model fc --width 0.1 --post-epochs 1 --pruner snip --compression 0.5")
    assert run.config["width"] == 0.1 and run.result["parameters"]["prunable"] == 784 * 10 + 4 * 100 + 100
    assert "width" not in cli("--dataset mnist --model fc --width 1 --post-epochs 0").config
    command = ["--experiment", "measure", "--run", str(run.path), "--data-dir", str(sample_data), "--repeats", "1"]
    assert main.main(command) == 0


def test_a_width_that_means_nothing_is_refused(cli):
    outcome = cli("--dataset cifar10 --model-class lottery --model vgg16 --width 2")
    assert outcome.code == 2 and "--width means nothing to the lottery model vgg16" in outcome.err


def test_a_sweep_can_list_widths(tmp_path):
    file = tmp_path / "widths.toml"
    file.write_text('[[grid]]\ndataset = "mnist"\nmodel = "fc"\nsource = "sample"\nwidth = [0.25, 1.0, 4]\n')
    cells = arguments.parse(["--experiment", "sweep", "--sweep-file", str(file)]).cells
    assert [cell.args.width for cell in cells] == [0.25, 1.0, 4.0]
