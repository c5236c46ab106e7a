"""Runs of the command line with the pruners of many rounds and with densities by layer, on samples."""

import pytest

NEW = ("snip-iter", "force", "synflow-l2", "ntk-sap")


def test_rounds_are_the_authors_unless_they_are_given(cli):
    own = cli("--dataset mnist --pruner snip-iter --compression 1 --post-epochs 0")
    assert own.config["prune_epochs"] == 7 and "for 7 epochs, its authors' number." in own.out
    one = cli("--dataset mnist --pruner snip-iter --compression 1 --post-epochs 0 --prune-epochs 1")
    snip = cli("--dataset mnist --pruner snip --compression 1 --post-epochs 0")
    assert one.config["prune_epochs"] == snip.config["prune_epochs"] == 1 and "for 1 epochs." in one.out
    assert all((one.masks[key] == snip.masks[key]).all() for key in snip.masks)
    assert any((own.masks[key] != snip.masks[key]).any() for key in snip.masks)
    steps = [run.result["scoring_steps"] for run in (own, one, snip)]
    examples = 10 * snip.config["prune_dataset_ratio"]
    assert steps == [7 * steps[1], steps[2], examples / snip.config["train_batch_size"]]


@pytest.mark.parametrize("name", NEW)
@pytest.mark.parametrize("task", ["mnist", "agnews", "multi30k"])
def test_a_run_on_the_sample_prunes_to_the_count_and_learns(cli, task, name):
    few = " --train-size 64 --beam 1 --bleu-every 0" if task == "multi30k" else ""
    run = cli(f"--dataset {task} --pruner {name} --compression 0.5 --post-epochs 1 --prune-epochs 3 {few}")
    counts = run.result["parameters"]
    assert counts["prunable_kept"] == counts["prunable"] - int((1 - 10**-0.5) * counts["prunable"])
    assert run.result["final"]["test_loss"] < run.result["post_prune"]["test_loss"]
