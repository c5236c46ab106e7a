"""Command lines as assignment one's handout has them: shortened flags, --quantization, --pretrained True."""

import argparse

import pytest

from Models.resnet import ResNet
from Utils import load, settings
from Utils.commandline import arguments as commandline
from Utils.commandline.parser import originals
from Utils.errors import UserError
from Utils.store import run as store

LOTTERY = "--dataset cifar10 --model-class lottery --model resnet20"


def parsed(arguments: str) -> dict:
    return vars(commandline.parse(arguments.split()))


def config(arguments: str) -> dict:
    """The settings that name the run."""
    return settings.identity({**parsed(arguments), "source": "sample", "data_key": "0123"})


@pytest.mark.parametrize(
    ("short", "whole"),
    [
        ("--post-epoch 1", "--post-epochs 1"),
        ("--post-epoch=1", "--post-epochs=1"),
        ("--post 3", "--post-epochs 3"),
        ("--pre-e 2", "--pre-epochs 2"),
        ("--compression-sched linear", "--compression-schedule linear"),
        ("--prune-batch-s 32", "--prune-batch-size 32"),
        ("--prune-batch-s=32", "--prune-batch-size=32"),
        (f"{LOTTERY} --prune-batchn", f"{LOTTERY} --prune-batchnorm"),
        ("--prune-d 3", "--prune-dataset-ratio 3"),
        ("--mask local", "--mask-scope local"),
        ("--train 8 --test-b 9", "--train-batch-size 8 --test-batch-size 9"),
        ("--data agnews --opt sgd", "--dataset agnews --optimizer sgd"),
        ("--lr-drops 1 2 --weight 0.1", "--lr-drops 1 2 --weight-decay 0.1"),
        ("--inv --shuf False", "--invert --shuffle False"),
        ("--see 4", "--seed 4"),
        ("--prune-train", "--prune-train-mode"),
    ],
)
def test_the_beginning_of_an_original_flag_is_the_flag(short, whole):
    acting = "--pruner snip --prune-epochs 2 "  # with which each of them has an effect
    assert parsed(acting + short) == parsed(acting + whole) != parsed(acting)
    assert config(acting + short) == config(acting + whole)


@pytest.mark.parametrize(
    ("word", "candidates"),
    [
        ("--pr", ["--pretrained", "--pre-epochs", "--pruner", "--prune-epochs"]),
        ("--lr-d", ["--lr-drops", "--lr-drop-rate"]),
        ("--prune-batch", ["--prune-batch-size", "--prune-batchnorm"]),
        ("--lr-drop=1", ["--lr-drops", "--lr-drop-rate"]),
        ("--exp singleshot --seed", ["--experiment", "--expid"]),
        ("--mo", ["--model", "--model-class"]),
    ],
)
def test_an_ambiguous_beginning_is_one_line_that_names_what_it_may_be(cli, word, candidates):
    outcome = cli(f"{word} 1")
    assert outcome.code == 2 and outcome.err.startswith("error: ") and outcome.err.count("\n") == 1
    assert f"{word.partition('=')[0].split()[0]} may be " in outcome.err
    assert all(name in outcome.err for name in candidates)
    assert not outcome.results.exists()


@pytest.mark.parametrize(
    "word",
    ["--ignore-m", "--adam-b", "--prune-a", "--prune-s", "--tie", "--ini", "--thr", "--resul=x", "--forc", "--am"],
)
def test_the_beginning_of_a_flag_of_ours_is_refused(cli, word):
    """A flag that comes later would change what an old command means. --result-dir is the original's."""
    outcome = cli(f"{word} 1" if "=" not in word else f"{word} --forc")
    assert outcome.code == 2 and outcome.err.count("\n") == 1 and "may be" not in outcome.err
    refused = word if "=" not in word else "--forc"
    assert outcome.err.startswith((f"error: unrecognized arguments: {refused}", f"error: there is no flag {refused} "))


def test_an_exact_flag_is_never_touched():
    """Nor is one that is the beginning of another, nor a word that is no flag, nor a value."""
    parser = commandline.parser()
    known = [option for action in parser._actions for option in action.option_strings]
    assert len(known) > 40 and all(parser._whole(word) == word for word in known)
    assert all(parser._whole(f"{word}=post") == f"{word}=post" for word in known)
    for word in ("-", "--", "post", "-p", "--nonsense", "--nonsense=1", "", "-1"):
        assert parser._whole(word) == word
    assert parsed("--model conv")["model"] == "conv" and parsed("--model conv")["model_class"] == "default"
    assert parsed("--pruner mag")["pruner"] == "mag" and parsed("--compression 2")["compression"] == 2.0
    assert parsed("--lr 0.5")["lr"] == 0.5 and parsed("--lr 0.5")["lr_drops"] == []


def test_only_flags_that_an_experiment_has_are_meant():
    """--level-list is the original's too, and singleshot has none."""
    with pytest.raises(UserError, match="--lev"):
        parsed("--lev 2")
    assert parsed("--experiment multishot --lev 2")["level_list"] == [2]
    assert parsed("--experim multishot --level-l 2 3")["level_list"] == [2, 3]


def test_a_shortened_flag_is_what_argparse_took_it_for():
    """Against argparse's own rule, on a parser with the original's flags alone: for each beginning of each of them."""
    known = {option for action in commandline.parser()._actions for option in action.option_strings}
    there = [name for name in originals() if name in known]
    assert len(there) > 25
    plain = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    for name in there:
        plain.add_argument(name, dest="found", action="store_const", const=name)
    ours = commandline.parser()
    for name in there:
        for length in range(3, len(name)):
            word = name[:length]
            if word in known - set(there):  # --gpu is the original's; --data-dir, say, is ours and exact
                continue
            matches = {option for option, *_ in ((m[1], m) for m in plain._get_option_tuples(word))}
            if word in there:
                assert ours._whole(word) == word
            elif len(matches) == 1:
                assert ours._whole(word) == matches.pop()
            else:
                with pytest.raises(UserError) as caught:
                    ours._whole(word)
                assert all(match in str(caught.value) for match in matches)


@pytest.mark.parametrize(
    ("said", "amp"),
    [("--quantization", "bf16"), ("--quantization True", "bf16"), ("--quantization=yes", "bf16"),
     ("--quantization False", "off"), ("--quant", "bf16"), ("", "off")],
)  # fmt: skip
def test_quantization_is_mixed_precision_by_its_old_name(said, amp):
    assert parsed(said) == parsed(f"--amp {amp}") and "quantization" not in parsed(said)
    assert config(said) == config(f"--amp {amp}")
    assert store.name(config(said)) == store.name(config(f"--amp {amp}"))
    assert (store.name(config(said)) == store.name(config(""))) is (amp == "off")


def test_quantization_takes_true_and_false_alone(cli):
    outcome = cli("--quantization bf16")
    assert outcome.code == 2 and outcome.err.count("\n") == 1 and "--quantization" in outcome.err


@pytest.mark.parametrize(
    "said", ["--pretrained", "--pretrained True", "--pretrained=true", "--pretrained yes", "--pret"]
)
def test_pretrained_as_a_switch_is_one_line(cli, said):
    for more in ("", " --dataset agnews"):
        outcome = cli(f"{said}{more}")
        assert (
            outcome.code == 2
            and outcome.err.startswith("error: argument --pretrained")
            and outcome.err.count("\n") == 1
        )
        assert "no weights are published" in outcome.err and not outcome.results.exists()


@pytest.mark.parametrize("said", ["--pretrained False", "--pretrained false", "--pretrained=no", "--pretrained 0"])
def test_pretrained_false_is_none(said):
    assert parsed(said)["pretrained"] is None and config(said) == config("")


# Runs that were stored before there were --init, --ties and --prune-augment.


def thin(input_shape, num_classes, dense_classifier=False, init="assignment"):
    return ResNet(input_shape, num_classes, dense_classifier, depth=8, width=4, init=init)


@pytest.mark.parametrize(
    ("asked", "old"),
    [
        ("--dataset mnist", "--ties position --train-batch-size 64"),
        ("--dataset agnews --pruner snip --compression 1", "--ties position --train-batch-size 64"),
        (LOTTERY, "--init fan-out --prune-augment false --ties position --train-batch-size 64"),
    ],
)
def test_a_run_from_before_is_found_when_its_values_are_asked_for(cli, monkeypatch, asked, old):
    """Its config.json has none of the keys; today's defaults are another run, under another name."""
    monkeypatch.setitem(load.MODELS["lottery"], "resnet20", ("image", f"{__name__}:thin"))
    command = f"{asked} {old}"
    made = config(command)
    assert not made.keys() & {"init", "ties", "prune_augment"} and made["train_batch_size"] == 64
    first = cli(command)
    assert not first.config.keys() & {"init", "ties", "prune_augment"}
    assert cli(command).err.startswith("note: stored result of")
    names = {store.name(config(f"{asked} {rest}")) for rest in ("", *without_one(old))}
    assert len(names) == 1 + len(without_one(old)) and store.name(made) not in names


def without_one(text: str) -> list[str]:
    """The flags and values of `text` with one pair left out, each in turn; with one pair alone, no such."""
    words = text.split()
    pairs = [words[k : k + 2] for k in range(0, len(words), 2)]
    return [" ".join(word for pair in pairs if pair is not gone for word in pair) for gone in pairs]


def test_the_names_of_committed_runs_have_not_moved():
    """As they stand in Results: the hash of the settings of before, spelled out."""
    old = config("--dataset mnist --pruner mag --compression 1 --ties position --train-batch-size 64")
    assert sorted(old) == [
        "compression", "compression_schedule", "data_key", "data_seed", "dataset", "dense_classifier", "experiment",
        "init_seed", "invert", "lr", "lr_drop_rate", "lr_drops", "mask_scope", "model", "model_class", "optimizer",
        "post_epochs", "pre_epochs", "pretrained", "prune_batch_size", "prune_batchnorm", "prune_bias",
        "prune_dataset_ratio", "prune_epochs", "prune_residual", "prune_seed", "prune_train_mode", "pruner",
        "reinitialize", "seed", "shuffle", "source", "test_batch_size", "train_batch_size", "weight_decay",
    ]  # fmt: skip
