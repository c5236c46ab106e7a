"""The command line: what it refuses, in one line; and what a good run prints and stores."""

import errno
import itertools
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import main
from Utils import load
from Utils.commandline import arguments as commandline
from Utils.data import corpus

PRUNERS = ("rand", "mag", "snip", "grasp", "synflow")
AGNEWS = "--dataset agnews"
MNIST = "--dataset mnist"
POINTS = {"init": "Init.", "pre_prune": "Pre-Prune", "post_prune": "Post-Prune", "final": "Final"}
WIDTHS = (784, 100, 100, 100, 100, 100, 10)  # of the fully connected network
WEIGHTS = [f"{2 * k + 1}.weight" for k in range(6)]  # its tensors' names


def kept(total: int, compression: float) -> int:
    """Weights that stay, as the Synaptic Flow code counts: the floor of what goes is taken away."""
    return total - math.floor((1 - 10.0**-compression) * total)


def refusal(outcome) -> str:
    """The one line of a refusal: exit code 2, no traceback, and no file or leftover in the result directory."""
    assert outcome.code == 2, outcome.out
    assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1 and outcome.err.endswith("\n")
    assert "Traceback" not in outcome.err + outcome.out
    left = outcome.results.rglob("*") if outcome.results.is_dir() else []
    assert [path for path in left if path.is_file() or path.name.startswith(".")] == []
    return outcome.err


def fitting(model_class: str, kind: str) -> str:
    """How a refusal names the models of a class that take this kind of data."""
    names = [name for name, (taken, _) in load.MODELS[model_class].items() if kind in taken.split()]
    assert {"fc", "conv", "text-classification"} & set(names)
    return f"--model-class {model_class} --model {{{','.join(names)}}}"


# What is refused before anything is loaded.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--dataset cifar", ["'cifar'", "mnist", "agnews"]),
        ("--datset agnews", ["there is no flag --datset", "did you mean --dataset?"]),
        ("--compresion=1 --pruner snip", ["there is no flag --compresion", "did you mean --compression?"]),
        ("--zzz", ["unrecognized arguments: --zzz", "--help"]),
        ("--dataset agnew", ["'agnew'", "did you mean agnews?"]),
        ("--dataset ''", ["mnist", "agnews"]),
        ("--pruner snipp", ["'snipp'", "did you mean snip?", *PRUNERS]),
        ("--pruner SNIP", ["'SNIP'", "did you mean snip?", *PRUNERS]),
        ("--model-class lottery --model VGG16", ["no lottery model is called 'VGG16' (did you mean vgg16?)"]),
        ("--optimizer ''", ["optimizer", "sgd", "momentum", "adam", "rms"]),
        ("--optimizer AdamW", ["did you mean adamw?"]),
        ("--optimizer adamm", ["'adamm'", "sgd", "momentum", "adam", "adamw", "rms"]),
        ("--experiment single", ["'single'", "did you mean singleshot?"]),
        ("--source fake", ["'fake'", "auto", "real", "sample"]),
        ("--compression-schedule cubic", ["'cubic'", "exponential", "linear"]),
        ("--mask-scope layer", ["'layer'", "global", "local"]),
        ("--model-class cnn", ["'cnn'", "default", "nlp"]),
        (f"{AGNEWS} --model lstm", ["'lstm'", "text-classification", "fc"]),
        # A model that takes another kind of data: the line lists what fits.
        (f"{AGNEWS} --model fc", ["fc", "agnews", fitting("nlp", "text")]),
        (f"{AGNEWS} --model-class default", ["agnews", fitting("nlp", "text")]),
        (f"{AGNEWS} --model-class nlp --model fc", ["'fc'", fitting("nlp", "text")]),
        (f"{MNIST} --model-class nlp", ["mnist", fitting("default", "image")]),
        (f"{MNIST} --model text-classification", ["mnist", fitting("default", "image")]),
        (f"{MNIST} --model-class default --model text-classification", [fitting("default", "image")]),
    ],
)
def test_an_unknown_name_is_refused_with_what_there_is(cli, arguments, words):
    line = refusal(cli(arguments))
    assert all(word in line for word in words), line


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "-inf", "1e999", "much", "''", "1,5", "17", "300", "1e30"])
def test_a_compression_that_is_no_number_or_leaves_nothing_is_refused(cli, value):
    assert "--compression" in refusal(cli(f"{AGNEWS} --compression {value}"))


@pytest.mark.parametrize(
    "flag", ["--gpu", "--workers", "--threads", "--seed", "--init-seed", "--data-seed", "--prune-seed"]
)
@pytest.mark.parametrize("value", ["-1", "1.5", "one", "''", "nan", "1e3"])
def test_a_count_that_is_none_is_refused(cli, flag, value):
    assert flag in refusal(cli(f"{AGNEWS} {flag} {value}"))


@pytest.mark.parametrize(
    ("flag", "values"),
    [
        ("--pre-epochs", ["-1", "0.5", "x"]),
        ("--post-epochs", ["-1", "0.5", "x"]),
        ("--train-batch-size", ["0", "-1", "1.5"]),
        ("--test-batch-size", ["0", "-1"]),
        ("--prune-batch-size", ["0", "-1"]),
        ("--prune-dataset-ratio", ["0", "-1"]),
        ("--prune-epochs", ["0", "-1", "inf"]),
        ("--lr-drops", ["0", "-1", "1 x", "1.5"]),
        ("--lr", ["0", "-0.1", "nan", "inf", "x"]),
        ("--lr-drop-rate", ["0", "-0.1", "nan", "inf"]),
        ("--weight-decay", ["-0.1", "nan", "inf", "x"]),
    ],
)
def test_a_number_out_of_its_range_is_refused(cli, flag, values):
    for value in values:
        assert flag in refusal(cli(f"{AGNEWS} {flag} {value}"))


@pytest.mark.parametrize("word", ["maybe", "2", "''", "None", "Tru", "-1"])
@pytest.mark.parametrize("flag", ["--prune-bias", "--force", "--shuffle", "--no-cuda"])
def test_a_word_that_is_neither_true_nor_false_is_refused(cli, flag, word):
    """`type=bool` would take every one of them for true."""
    assert flag in refusal(cli(f"{AGNEWS} {flag} {word}"))


def test_the_words_for_true_and_false():
    """The bare flag is true; assignment-one wrote True or False after it."""
    said = {True: [[], ["True"], ["true"], ["TRUE"], ["yes"], ["1"]], False: [["False"], ["false"], ["no"], ["0"]]}
    for value, ways in said.items():
        assert all(commandline.parse(["--prune-bias", *way]).prune_bias is value for way in ways)
    assert commandline.parse([]).prune_bias is False


@pytest.mark.parametrize("arguments", ["--nonsense", "--nonsense 1", "agnews", "--ignore-m", "--lr", "--seed", "-x"])
def test_an_unknown_flag_or_a_missing_value_is_refused(cli, arguments):
    """Nor is a flag of ours guessed from its beginning: a later flag would change what an old command means."""
    assert "--help" in refusal(cli(arguments))


@pytest.mark.parametrize("name", ["..", ".", "a/b", "'a b'", "../../elsewhere"])
def test_an_expid_that_leads_elsewhere_is_refused(cli, name):
    assert "--expid" in refusal(cli(f"{AGNEWS} --expid {name}"))


# What is refused once the files are looked at.


@pytest.mark.parametrize("below", ["", "below", "further/below"])
def test_a_result_directory_that_is_a_file_or_below_one_is_refused(cli, tmp_path, below):
    (tmp_path / "file").write_text("mine")
    assert "cannot write" in refusal(cli(AGNEWS, results=tmp_path / "file" / below))
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("flag", ["--expid", "--result-dir", "--data-dir", "--data-dir real"])
def test_a_name_too_long_for_the_file_system_is_refused(cli, tmp_path, flag):
    (tmp_path / "results/singleshot").mkdir(parents=True)
    source = "--source real" if flag.endswith("real") else ""
    refusal(cli(f"{AGNEWS} {source} {flag.split()[0]} {'x' * 300}"))


@pytest.mark.parametrize(("dataset", "title"), [("agnews", "AG News"), ("mnist", "MNIST")])
def test_real_without_the_corpus_is_refused(cli, tmp_path, dataset, title):
    line = refusal(cli(f"--dataset {dataset} --source real", data=tmp_path / "nothing"))
    assert title in line and str(tmp_path / "nothing") in line and "--source sample" in line


def write_raw(directory: Path, train: str, test: str = '"1","a test"\n') -> Path:
    (directory / "AG_NEWS").mkdir(parents=True)
    (directory / "AG_NEWS/train.csv").write_text(train)
    (directory / "AG_NEWS/test.csv").write_text(test)
    return directory


@pytest.mark.parametrize(
    ("train", "line"), [('"1","a"\n"9","b"\n', 2), ('"1","a"\n\n"2"\n', 3), ('"1","a"\n"2","cut o', 2)]
)
def test_a_bad_row_is_refused_with_file_and_line(cli, tmp_path, train, line):
    outcome = cli(f"{AGNEWS} --source real", data=write_raw(tmp_path / "data", train))
    errors = [text for text in outcome.err.splitlines() if not text.startswith("note: ")]
    assert outcome.code == 2 and len(errors) == 1
    assert errors[0].startswith(f"error: {tmp_path}/data/AG_NEWS/train.csv:{line}: ")
    assert not list(outcome.results.rglob("*/*/*"))


@pytest.mark.parametrize(
    "arguments",
    [
        f"{AGNEWS} --optimizer adam --lr 1e30",
        f"{AGNEWS} --optimizer sgd --lr 1e30",
        f"{MNIST} --optimizer adam --lr 1e30",
        f"{MNIST} --optimizer momentum --lr 1e30",
    ],
)
def test_a_loss_that_turns_nan_is_refused_with_epoch_and_batch(cli, arguments):
    assert re.search(r"the loss is (nan|inf) at batch \d+ of epoch 1\b", refusal(cli(f"{arguments} --post-epochs 1")))


def test_the_epoch_of_a_bad_loss_is_counted(cli):
    """All is well in the first epoch; then the learning rate rises beyond measure."""
    flags = "--optimizer sgd --lr 0.1 --lr-drops 1 --lr-drop-rate 1e35 --post-epochs 2"
    assert re.search(r"at batch [1-9] of epoch 2\b", refusal(cli(f"{AGNEWS} {flags}")))


@pytest.mark.parametrize("flags", ["--lr 1e300", "--optimizer sgd --lr 1e300", "--optimizer rms --weight-decay 1e300"])
def test_a_setting_that_no_float_can_hold_is_refused(cli, flags):
    refusal(cli(f"{AGNEWS} --post-epochs 1 {flags}"))


@pytest.mark.parametrize("pruner", ["rand", "snip", "synflow"])
def test_a_run_without_a_prunable_weight_is_refused(cli, pruner):
    """The text model has one layer with masks, which --dense-classifier takes out."""
    line = refusal(cli(f"{AGNEWS} --dense-classifier --compression 0.5 --pruner {pruner}"))
    assert "--dense-classifier" in line or "prun" in line


def plant(monkeypatch, nth: int) -> list:
    """A disk that is full from the n-th file on."""
    sync, calls = os.fsync, []

    def fsync(handle):
        calls.append(handle)
        if len(calls) >= nth:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    return calls


def in_bytes(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("nth", range(1, 8))
def test_a_full_disk_is_refused_and_the_old_result_stays(cli, monkeypatch, nth):
    """Whichever of the six files of a run, or of its two checkpoints, does not fit."""
    command = f"{AGNEWS} --post-epochs 1 --force"
    first = cli(command)
    before = in_bytes(first.results)
    assert len(before) == 6
    calls = plant(monkeypatch, nth)
    again = cli(command)
    assert again.code == 2 and len(calls) >= nth
    assert again.err.startswith("error: cannot write ") and again.err.count("\n") == 1
    assert "No space left on device" in again.err
    assert in_bytes(first.results) == before
    assert list(first.path.parent.iterdir()) == [first.path]


@pytest.mark.parametrize("nth", [1, 2])
def test_a_full_disk_leaves_nothing_of_a_first_run(cli, monkeypatch, nth):
    """Where the settings or the first checkpoint do not fit."""
    plant(monkeypatch, nth)
    assert "No space left on device" in refusal(cli(f"{AGNEWS} --post-epochs 1"))


@pytest.mark.parametrize("nth", [4, 5, 6, 7])
def test_a_run_that_a_full_disk_stopped_goes_on_when_there_is_room(cli, monkeypatch, nth):
    """From its last whole checkpoint, which is all that is left of it, to the figures of a run that had room."""
    plant(monkeypatch, nth)
    stopped = cli(f"{AGNEWS} --post-epochs 1")
    assert stopped.code == 2 and stopped.err.startswith("error: cannot write ") and stopped.err.count("\n") == 1
    (part,) = stopped.results.glob("*/*")
    assert part.name.startswith(".") and "checkpoint.safetensors" in {path.name for path in part.iterdir()}
    monkeypatch.undo()
    resumed, whole = (
        cli(f"{AGNEWS} --post-epochs 1"),
        cli(f"{AGNEWS} --post-epochs 1", results=part.parents[2] / "whole"),
    )
    assert "Going on from a checkpoint" in resumed.out and resumed.result["final"] == whole.result["final"]
    assert list(resumed.path.parent.iterdir()) == [resumed.path]


# Good runs: what is printed and stored.


FULL = f"{AGNEWS} --pruner grasp --compression 0.5 --pre-epochs 1 --post-epochs 1"
FULL_MNIST = f"{MNIST} --pruner snip --compression 1 --post-epochs 1"


@pytest.fixture(params=[FULL, FULL_MNIST])
def full(request, ran):
    """A whole run on either sample."""
    return ran(request.param)


def test_a_run_stores_six_files_and_leaves_nothing_else(full):
    names = {path.name for path in full.path.iterdir()}
    assert names == {"config.json", "epochs.jsonl", "model.safetensors", "report.txt", "result.json", "seal.json"}
    assert list(full.results.iterdir()) == [full.path.parent] and list(full.path.parent.iterdir()) == [full.path]
    assert (full.path / "report.txt").read_text() in full.out


def test_the_record_says_everything_about_the_run(full, root):
    result, text = full.result, full.config["dataset"] == "agnews"
    assert result["dataset"] == full.config["dataset"] and result["pruner"] == full.config["pruner"]
    assert result["model"] == ("text-classification" if text else "fc")
    assert result["compression"] == (0.5 if text else 1.0) and result["seed"] == 1
    assert result["source"] == "sample"
    assert result["data"]["rows"] == ({"train": 8_000, "test": 1_600} if text else {"train": 6_000, "test": 1_000})
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in result["data"]["files"].values())
    assert result["vocab"].keys() == ({"text"} if text else set())
    assert result["seconds"].keys() == {"prepare", "prune", "train", "evaluate", "save"}
    assert all(value >= 0 for value in result["seconds"].values())
    assert result["versions"]["torch"] == torch.__version__.split("+")[0]
    assert result["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    head = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    assert (result["commit"] or "").removesuffix("+changes") == (head if (root / ".git").exists() else "")
    ranks = (1, 2) if text else (1, 2, 5)  # no top-5 where there are four classes
    for point in POINTS:  # the training split, the longest, is measured at the end alone
        splits = ("train", "test") if point == "final" else ("test",)
        figures = {f"{split}_{key}" for split in splits for key in ("loss", *(f"top{k}" for k in ranks))}
        assert result[point].keys() == figures
        assert all(0 <= result[point][key] <= 100 for key in figures)
    assert {"tensors", "units", "classes", "accuracy_cap"} <= result["dead"].keys()


def test_parameters_and_flops_are_what_the_architecture_has(full):
    """Counted by hand. An embedding is looked up: it has parameters and no multiplications."""
    result = full.result
    if full.config["dataset"] == "agnews":
        others, prunable, biases = result["vocab"]["text"] * 64, 4 * 64, 4
    else:
        others = 0
        prunable = sum(a * b for a, b in itertools.pairwise(WIDTHS))
        biases = sum(WIDTHS[1:])
    stay = kept(prunable, full.config["compression"])
    assert result["parameters"] == {
        "kept": others + stay + biases,
        "total": others + prunable + biases,
        "prunable": prunable,
        "prunable_kept": stay,
    }
    assert result["flops"] == {"kept": stay + biases, "total": prunable + biases}


def test_the_masks_have_exactly_the_asked_for_number_of_ones(full):
    weights = {name: mask for name, mask in full.masks.items() if name.endswith("weight_mask")}
    assert all(set(np.unique(mask)) <= {0.0, 1.0} for mask in full.masks.values())
    total = sum(mask.size for mask in weights.values())
    assert sum(int(mask.sum()) for mask in weights.values()) == kept(total, full.config["compression"])
    assert all(mask.all() for name, mask in full.masks.items() if name not in weights)  # no bias is pruned unasked
    by_name = {f"{row['module']}.{row['param']}": row for row in full.result["per_tensor"]}
    assert by_name.keys() == {name for name in full.tensors if not name.endswith("_mask")}
    for name, row in by_name.items():
        mask = full.masks.get(f"{name}_mask", np.ones(row["shape"]))
        assert (row["kept"], row["size"], row["shape"]) == (int(mask.sum()), mask.size, list(mask.shape))
        assert row["sparsity"] == row["kept"] / row["size"] and row["prunable"] == (f"{name}_mask" in weights)


@pytest.mark.parametrize("optimizer", ["adam", "momentum", "rms"])
def test_a_pruned_weight_is_zero_after_training(ran, optimizer):
    run = ran(f"{AGNEWS} --pruner mag --compression 0.5 --optimizer {optimizer} --post-epochs 1")
    mask = run.masks["fc.weight_mask"]
    assert (run.tensors["fc.weight"][mask == 0] == 0).all() and (run.tensors["fc.weight"][mask == 1] != 0).all()


def test_the_printed_tables_are_the_record(full):
    result = full.result
    header, *rows = re.search(r"accuracies in percent\):\n(.*)\nPrune results ", full.out, re.DOTALL)[1].split("\n")
    assert [row.split()[0] for row in rows] == list(POINTS.values())
    for row, point in zip(rows, POINTS, strict=True):
        shown = dict(zip(header.split(), row.split()[1:], strict=True))
        assert shown.keys() == result["final"].keys()  # what was not measured at that point is a dash
        assert {key for key, value in shown.items() if value == "-"} == shown.keys() - result[point].keys()
        figures = {key: float(value) for key, value in shown.items() if value != "-"}
        assert figures == {key: round(value, 4) for key, value in result[point].items()}
    for label, figures in (("Parameter", result["parameters"]), ("FLOP", result["flops"])):
        a, b, share = re.search(rf"^{label} Sparsity: (\d+)/(\d+) \((\d\.\d{{4}})\)$", full.out, re.MULTILINE).groups()
        assert (int(a), int(b)) == (figures["kept"], figures["total"])
        assert float(share) == round(figures["kept"] / figures["total"], 4)
    report = (full.path / "report.txt").read_text().splitlines()
    spent = dict(re.findall(r"(\w+) ([\d.]+)", report[-2].removeprefix("Seconds: ")))
    assert spent.keys() == {*result["seconds"], "total"}
    assert float(spent["total"]) == pytest.approx(sum(result["seconds"].values()), abs=0.051)
    share = 100 * result["parameters"]["prunable_kept"] / result["parameters"]["prunable"]
    metric, key = ("BLEU", "bleu") if "bleu" in result["final"] else ("test accuracy", "test_top1")
    best = f"{metric} {result['final'][key]:.2f} with {share:.4g} % of the prunable weights"
    assert report[-1] == f"Result (sample data): {best}"
    assert full.out.endswith(f"{report[-1]}\nSaved to {full.path}\n")
    table = full.out.split("Prune results (sample data):\n")[1].split("\nParameter Sparsity")[0].split("\n")[1:]
    assert [line.split()[1:3] for line in table] == [[row["module"], row["param"]] for row in result["per_tensor"]]


def test_the_sample_is_called_a_sample_wherever_a_figure_is(full):
    assert full.result["source"] == full.config["source"] == "sample"
    report = (full.path / "report.txt").read_text()
    assert f"SAMPLE {full.config['dataset']}" in report and "Train results (sample data" in report
    assert "-sample-" in full.path.name


def test_the_epochs_are_recorded_one_by_one(full):
    asked = [("pre", k + 1) for k in range(full.config["pre_epochs"])]
    asked += [("post", k + 1) for k in range(full.config["post_epochs"])]
    assert [(line["phase"], line["epoch"]) for line in full.epochs] == asked
    last = {key: value for key, value in full.epochs[-1].items() if key.startswith("test_")}
    assert last == {key: value for key, value in full.result["final"].items() if key.startswith("test_")}
    if full.config["pre_epochs"]:
        assert full.epochs[0]["test_loss"] == full.result["pre_prune"]["test_loss"]


def test_the_saved_model_has_the_stored_accuracy(full, sample_data):
    """Read back into a fresh model, and counted here."""
    args = commandline.parse(["--dataset", full.config["dataset"]])
    data = corpus.load(corpus.locate(load.dataset(args.dataset), sample_data, "sample"))
    model = load.model(args.model, args.model_class)(data.shape, data.num_classes)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in full.tensors.items()})
    model.eval()
    for split, examples in (("train", data.train), ("test", data.test)):
        batch = examples.arrange(torch.arange(len(examples)))
        hits, loss = 0, 0.0
        for a in range(0, len(examples), 256):
            inputs, targets = batch(a, min(a + 256, len(examples)))
            with torch.no_grad():
                logits = model(inputs).double()
            hits += int((logits.argmax(1) == targets).sum())
            loss += float((logits.logsumexp(1) - logits[torch.arange(len(targets)), targets]).sum())
        assert 100 * hits / len(examples) == pytest.approx(full.result["final"][f"{split}_top1"], abs=1e-9)
        assert loss / len(examples) == pytest.approx(full.result["final"][f"{split}_loss"], rel=1e-5)


def test_the_text_model_is_the_mean_of_embeddings_and_a_masked_linear_layer(ran, sample_data):
    """The stored final loss again, from the stored numbers alone, with numpy."""
    full = ran(FULL)
    held = full.tensors
    (entry,) = (sample_data / "prepared").glob("agnews-sample-*")
    data = load_file(entry / "data.safetensors")
    ids, offsets, targets = (data[f"test_{part}"] for part in ("ids", "offsets", "targets"))
    rows = held["embedding.weight"].astype(np.float64)
    means = np.stack([rows[ids[a:b]].mean(0) for a, b in itertools.pairwise(offsets)])
    logits = means @ (held["fc.weight"] * held["fc.weight_mask"]).T.astype(np.float64) + held["fc.bias"]
    chosen = logits[np.arange(len(targets)), targets]
    loss = (np.log(np.exp(logits).sum(1)) - chosen).mean()
    assert loss == pytest.approx(full.result["final"]["test_loss"], rel=1e-5)
    assert 100 * (logits.argmax(1) == targets).mean() == pytest.approx(full.result["final"]["test_top1"], abs=0.1)


def test_a_real_corpus_goes_the_same_way(cli, tmp_path):
    """A small hand-written one: two topics told apart by one word, learnt without a fault."""
    train = '"1","war"\n"2","goal"\n' * 40
    outcome = cli(
        f"{AGNEWS} --source real --post-epochs 3 --lr 0.1 --train-batch-size 8",
        data=write_raw(tmp_path / "data", train, '"2","a goal"\n"1","the war"\n'),
    )
    result = outcome.result
    assert result["source"] == "real" and result["data"]["rows"] == {"train": 80, "test": 2}
    assert result["vocab"] == {"text": 3} and result["data"]["files"].keys() == {
        "AG_NEWS/train.csv",
        "AG_NEWS/test.csv",
    }
    assert result["final"]["train_top1"] == result["final"]["test_top1"] == 100.0
    assert "is not the published file" in " ".join(result["data"]["notes"])
    report = (outcome.path / "report.txt").read_text()
    assert "REAL agnews (80 train, 2 test" in report and "train.csv is not the published file" in report
    assert "sample" not in report.lower() and "sample" not in outcome.path.name


def test_a_data_directory_that_cannot_be_written_costs_a_warning(cli, ran, tmp_path):
    (tmp_path / "file").write_text("")
    outcome = cli(AGNEWS, data=tmp_path / "file" / "data")
    assert outcome.err.startswith("warning: cannot write ") and outcome.err.count("\n") == 1
    assert outcome.result["final"] == ran(AGNEWS).result["final"]
    assert outcome.config == ran(AGNEWS).config


def test_auto_without_a_corpus_is_the_sample_and_says_so(cli, sample_data, tmp_path):
    """Loudly, each time; and it is the same run as that of --source sample."""
    data = shutil.copytree(sample_data, tmp_path / "data")
    first = cli(f"{AGNEWS} --source auto", data=data)
    assert first.result["source"] == "sample" and "SAMPLE agnews" in first.out
    assert "SMALL GENERATED SAMPLE" in first.err and "AG News is not in" in first.err
    again = cli(f"{AGNEWS} --source auto", data=data)
    assert "SMALL GENERATED SAMPLE" in again.err and "note: stored result" in again.err
    assert cli(f"{AGNEWS} --source sample", data=data).err.startswith("note: stored result")


# The store behind the command line.


def test_the_second_call_reports_the_stored_result_and_does_not_run(cli, monkeypatch):
    command = f"{AGNEWS} --pruner mag --compression 1 --post-epochs 1"
    first = cli(command)
    stamps = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in first.path.iterdir()}

    def refuse(*_):
        raise AssertionError("the corpus was loaded")

    monkeypatch.setattr(corpus, "load", refuse)
    for again in (cli(command), cli(f"{command} --workers 2 --verbose --no-cuda")):
        assert again.code == 0 and again.out == (first.path / "report.txt").read_text()
        assert again.err.startswith("note: stored result of ") and "--force" in again.err
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in first.path.iterdir()} == stamps


def test_force_makes_the_result_again(cli):
    command = f"{AGNEWS} --pruner mag --compression 1 --post-epochs 1"
    first = cli(command)
    result, stamp = first.result, (first.path / "result.json").stat().st_ino
    files = in_bytes(first.path)
    again = cli(f"{command} --force")
    assert again.path == first.path and list(first.path.parent.iterdir()) == [first.path]
    assert (first.path / "result.json").stat().st_ino != stamp
    assert all(again.result[key] == result[key] for key in (*POINTS, "parameters", "flops", "per_tensor"))
    model = str(first.path / "model.safetensors")
    assert in_bytes(first.path)[model] == files[model]


def test_an_expid_holds_one_set_of_settings(cli):
    first = cli(f"{AGNEWS} --expid mine")
    assert first.path == first.results / "singleshot/mine"
    before = in_bytes(first.results)
    assert cli(f"{AGNEWS} --expid mine").err.startswith("note: stored result")
    other = cli(f"{AGNEWS} --expid mine --compression 1")
    assert other.code == 2 and other.err.count("\n") == 1
    assert other.err.startswith("error: ") and "other settings" in other.err and "compression" in other.err
    assert in_bytes(first.results) == before
    forced = cli(f"{AGNEWS} --expid mine --compression 1 --force")
    assert forced.path == first.path and forced.result["compression"] == 1.0


def test_other_settings_are_kept_beside(cli):
    paths = {cli(f"{AGNEWS} {flags}").path for flags in ("", "--seed 2", "--pruner mag", "--compression 1")}
    assert len(paths) == 4 and all(path.is_dir() for path in paths)


# Pruners and the flags of pruning.


@pytest.mark.parametrize("pruner", PRUNERS)
def test_every_pruner_prunes_to_the_count_and_the_model_still_learns(ran, pruner):
    run = ran(f"{AGNEWS} --pruner {pruner} --compression 0.5 --post-epochs 1")
    assert int(run.masks["fc.weight_mask"].sum()) == kept(256, 0.5) == 81
    assert run.result["parameters"]["prunable_kept"] == 81
    assert run.result["final"]["test_loss"] < run.result["post_prune"]["test_loss"]
    assert (run.tensors["fc.weight"][run.masks["fc.weight_mask"] == 0] == 0).all()
    assert run.result["post_prune"]["test_loss"] != run.result["init"]["test_loss"]


def test_every_pruner_chooses_its_own_weights(ran):
    runs = [ran(f"{AGNEWS} --pruner {pruner} --compression 0.5 --post-epochs 1") for pruner in PRUNERS]
    assert len({run.masks["fc.weight_mask"].tobytes() for run in runs}) == len(PRUNERS)


@pytest.fixture(scope="module")
def initial(ran):
    """The initial weights of a data set's model: those of a dense run without training."""
    return lambda dataset: ran(f"--dataset {dataset}").tensors


def highest(score: np.ndarray, count: int) -> np.ndarray:
    """1.0 at the `count` highest, of shape and by a full sort."""
    mask = np.zeros(score.size, dtype=np.float32)
    mask[np.argsort(-score.ravel(), kind="stable")[:count]] = 1
    return mask.reshape(score.shape)


def test_mag_keeps_the_largest_weights_and_invert_the_smallest(ran, initial):
    weight = initial("agnews")["fc.weight"]
    straight = ran(f"{AGNEWS} --pruner mag --compression 0.5")
    inverted = ran(f"{AGNEWS} --pruner mag --compression 0.5 --invert")
    for run, sign in ((straight, 1), (inverted, -1)):
        mask = highest(sign * np.abs(weight), 81)
        assert np.array_equal(run.masks["fc.weight_mask"], mask)
        assert np.array_equal(run.tensors["fc.weight"], weight * mask)


def test_the_scope_is_one_ranking_of_all_or_one_a_tensor(ran, initial):
    scores = {name: np.abs(initial("mnist")[name]) for name in WEIGHTS}
    local = ran(f"{MNIST} --pruner mag --compression 1 --mask-scope local")
    for name, score in scores.items():
        assert np.array_equal(local.masks[f"{name}_mask"], highest(score, kept(score.size, 1))), name
    every = np.concatenate([score.ravel() for score in scores.values()])
    wanted = np.split(highest(every, kept(every.size, 1)), np.cumsum([score.size for score in scores.values()])[:-1])
    whole = ran(f"{MNIST} --pruner mag --compression 1")
    for name, mask in zip(WEIGHTS, wanted, strict=True):
        assert np.array_equal(whole.masks[f"{name}_mask"].ravel(), mask), name


def test_prune_bias_ranks_the_biases_too(ran):
    """The text model's biases begin at zero: Mag takes them first."""
    run = ran(f"{AGNEWS} --pruner mag --compression 0.5 --prune-bias")
    assert run.result["parameters"]["prunable"] == 260 and run.result["parameters"]["prunable_kept"] == kept(260, 0.5)
    assert run.masks["fc.bias_mask"].sum() == 0 and run.masks["fc.weight_mask"].sum() == kept(260, 0.5)
    assert "fc.bias" in run.result["dead"]["tensors"]
    without = ran(f"{AGNEWS} --pruner mag --compression 0.5")
    assert without.masks["fc.bias_mask"].all() and without.result["parameters"]["prunable"] == 256


def test_reinitialize_draws_new_weights_for_the_same_masks(ran):
    plain = ran(f"{MNIST} --pruner mag --compression 0.5")
    new = ran(f"{MNIST} --pruner mag --compression 0.5 --reinitialize")
    for name in WEIGHTS:
        mask = plain.masks[f"{name}_mask"]
        assert np.array_equal(new.masks[f"{name}_mask"], mask)
        there, here = plain.tensors[name][mask == 1], new.tensors[name][mask == 1]
        assert (there != here).all() and (new.tensors[name][mask == 0] == 0).all()
        fan_in = mask.shape[1]
        assert np.abs(here).max() <= fan_in**-0.5  # the bound of torch's own initial weights
    assert new.result["init"] == plain.result["init"]


def test_shuffle_moves_the_masks_and_keeps_each_tensors_count(ran):
    plain = ran(f"{MNIST} --pruner mag --compression 0.5")
    moved = ran(f"{MNIST} --pruner mag --compression 0.5 --shuffle")
    for name in WEIGHTS:
        there, here = plain.masks[f"{name}_mask"], moved.masks[f"{name}_mask"]
        assert here.sum() == there.sum() and not np.array_equal(here, there), name
        assert (moved.tensors[name][here == 0] == 0).all() and (moved.tensors[name][here == 1] != 0).all()
    assert [row["kept"] for row in moved.result["per_tensor"]] == [row["kept"] for row in plain.result["per_tensor"]]


@pytest.mark.parametrize("rounds", ["--prune-epochs 3", "--prune-epochs 3 --compression-schedule linear"])
def test_pruning_in_rounds_chooses_others_and_meets_the_same_count(ran, rounds):
    """SynFlow scores anew after each round."""
    once = ran(f"{MNIST} --pruner synflow --compression 1")
    often = ran(f"{MNIST} --pruner synflow --compression 1 {rounds}")
    total = sum(a * b for a, b in itertools.pairwise(WIDTHS))
    assert once.result["parameters"]["prunable_kept"] == often.result["parameters"]["prunable_kept"] == kept(total, 1)
    assert any(not np.array_equal(once.masks[name], often.masks[name]) for name in once.masks)


def test_the_schedules_differ_on_the_way(ran):
    command = f"{MNIST} --pruner synflow --compression 1 --prune-epochs 3"
    one, other = ran(command), ran(f"{command} --compression-schedule linear")
    assert any(not np.array_equal(one.masks[name], other.masks[name]) for name in one.masks)


def test_dense_classifier_leaves_the_last_layer_out(ran):
    run = ran(f"{MNIST} --pruner mag --compression 1 --dense-classifier")
    assert "11.weight_mask" not in run.tensors and "11.weight" in run.tensors
    assert run.result["parameters"]["prunable"] == 784 * 100 + 4 * 100 * 100
    assert run.result["parameters"]["prunable_kept"] == kept(784 * 100 + 4 * 100 * 100, 1)
    (last,) = (row for row in run.result["per_tensor"] if row["module"] == "11" and row["param"] == "weight")
    assert not last["prunable"] and last["kept"] == 1_000


@pytest.mark.parametrize("dataset", ["agnews", "mnist"])
def test_a_mode_that_these_models_do_not_tell_is_accepted_and_recorded(ran, dataset):
    """No dropout, no BatchNorm: the same masks, under a name of their own."""
    command = f"--dataset {dataset} --pruner snip --compression 0.5"
    plain, flagged = ran(command), ran(f"{command} --prune-train-mode")
    assert flagged.config["prune_train_mode"] is True
    assert all(np.array_equal(plain.tensors[name], flagged.tensors[name]) for name in plain.tensors)
    assert plain.path.name != flagged.path.name


@pytest.mark.parametrize("dataset", ["agnews", "mnist"])
@pytest.mark.parametrize("flag", ["--prune-batchnorm", "--prune-residual"])
def test_flags_that_these_models_have_nothing_for_are_noted_and_make_no_other_run(ran, dataset, flag):
    command = f"--dataset {dataset} --pruner snip --compression 0.5"
    plain, flagged = ran(command), ran(f"{command} {flag}")
    assert flagged.config == plain.config and plain.path.name == flagged.path.name and flag in flagged.err


@pytest.mark.parametrize("flag", ["--prune-dataset-ratio 1", "--prune-batch-size 7"])
def test_the_pruning_data_bear_on_the_scores(ran, flag):
    command = f"{MNIST} --pruner snip --compression 1"
    plain, flagged = ran(command), ran(f"{command} {flag}")
    assert flagged.result["per_tensor"][0]["score sum"] != plain.result["per_tensor"][0]["score sum"]
    assert flagged.result["init"] == plain.result["init"]


def test_the_summary_holds_the_moments_of_the_scores(ran, initial):
    """Mag's scores are known: the magnitudes of the initial weights."""
    run = ran(f"{AGNEWS} --pruner mag --compression 0.5")
    score = np.abs(initial("agnews")["fc.weight"].astype(np.float64))
    (row,) = (row for row in run.result["per_tensor"] if row["prunable"])
    for prefix in ("score", "score abs"):
        assert row[f"{prefix} mean"] == pytest.approx(score.mean(), rel=1e-9)
        assert row[f"{prefix} variance"] == pytest.approx(score.var(), rel=1e-9)
        assert row[f"{prefix} sum"] == pytest.approx(score.sum(), rel=1e-9)


@pytest.mark.parametrize("pruner", PRUNERS)
def test_no_run_beats_the_cap_of_its_dead_classes(ran, pruner):
    """Of 256 weights 3 stay, so at least one of four classes is cut off for good."""
    run = ran(f"{AGNEWS} --pruner {pruner} --compression 2 --post-epochs 2")
    dead, mask = run.result["dead"], run.masks["fc.weight_mask"]
    alive = np.flatnonzero(mask.any(axis=1)).tolist()
    assert dead["classes"] == {"total": 4, "alive": alive} and len(alive) < 4
    # The test split holds a quarter of each class; of the classes cut off one alone can be answered.
    assert dead["accuracy_cap"] == pytest.approx(25.0 * (len(alive) + 1))
    assert dead["accuracy_cap"] >= run.result["final"]["test_top1"]
    assert f"only {len(alive)} of 4 classes" in run.out and f"{dead['accuracy_cap']:.2f} %" in run.out
    assert dead["units"]["embedding"]["no_way_out"] == 64 - np.count_nonzero(mask.any(axis=0))


# Training.


def test_each_optimizer_trains_in_its_own_way(ran):
    runs = [ran(f"{AGNEWS} --optimizer {name} --post-epochs 1") for name in ("sgd", "momentum", "adam", "rms")]
    assert len({run.result["final"]["test_loss"] for run in runs}) == 4
    assert all(run.result["final"]["test_loss"] < run.result["init"]["test_loss"] for run in runs)


@pytest.mark.parametrize("flag", ["--weight-decay 0.01", "--train-batch-size 32", "--lr 0.01"])
def test_the_flags_of_training_bear_on_the_result(ran, flag):
    plain, flagged = ran(f"{AGNEWS} --post-epochs 1"), ran(f"{AGNEWS} --post-epochs 1 {flag}")
    assert flagged.result["init"] == plain.result["init"]
    assert flagged.result["final"]["test_loss"] != plain.result["final"]["test_loss"]


@pytest.mark.parametrize("optimizer", ["sgd --lr 0.5", "adam", "rms"])
def test_after_a_drop_to_next_to_nothing_the_model_stands_still(ran, optimizer):
    run = ran(f"{AGNEWS} --optimizer {optimizer} --post-epochs 2 --lr-drops 1 --lr-drop-rate 1e-12")
    first, second = run.epochs
    assert first["test_loss"] != run.result["init"]["test_loss"]
    assert second["test_loss"] == pytest.approx(first["test_loss"], abs=1e-6)


def test_the_first_call_trains_the_defaults_of_the_data_set():
    args = commandline.parse(["--dataset", "agnews"])
    assert (args.model_class, args.model) == ("nlp", "text-classification")
    assert (args.optimizer, args.lr, args.train_batch_size, args.post_epochs) == ("adam", 1e-3, 256, 10)
    assert commandline.parse(["--dataset", "agnews", "--lr", "0.5"]).lr == 0.5
    assert commandline.parse([]).dataset == "mnist" and commandline.parse([]).model == "fc"
    args = commandline.parse(["--seed", "7", "--data-seed", "8"])
    assert (args.init_seed, args.data_seed, args.prune_seed) == (7, 8, 7)


def test_verbose_prints_the_loss_every_64_batches(ran):
    run = ran(f"{AGNEWS} --post-epochs 1 --verbose --train-batch-size 64")
    assert re.search(r"^  epoch 1, batch 64/125: loss \d", run.out, re.MULTILINE)


def test_a_run_starts_from_the_weights_of_another(cli, ran):
    """--pretrained: dense there, and here what it ended with is the beginning."""
    dense = ran(f"{AGNEWS} --post-epochs 1")
    run = cli(f"{AGNEWS} --pruner mag --compression 0.5 --pretrained {dense.path}")
    ended = {key: value for key, value in dense.result["final"].items() if key.startswith("test_")}
    assert run.result["init"] == pytest.approx(ended)
    assert int(run.masks["fc.weight_mask"].sum()) == 81
    renamed = shutil.copytree(dense.path, run.results / "renamed")
    again = cli(f"{AGNEWS} --pruner mag --compression 0.5 --pretrained {renamed}/model.safetensors")
    assert again.err.startswith("note: stored result")  # the same weights, wherever they lie


@pytest.mark.parametrize("case", ["missing", "empty directory", "another model", "no safetensors"])
def test_weights_that_cannot_be_had_are_refused(cli, ran, tmp_path, case):
    place = tmp_path / "weights"
    if case != "missing":
        place.mkdir()
    if case == "another model":
        save_file(ran(MNIST).tensors, place / "model.safetensors")
    if case == "no safetensors":
        (place / "model.safetensors").write_bytes(b"PK\x03\x04 pickled")
    assert str(place) in refusal(cli(f"{AGNEWS} --pretrained {place}"))


# The process.


def test_weights_of_another_model_are_refused_by_file_model_and_layer(cli):
    """A layer that only one side has, and one of another shape."""
    dense = cli(f"{AGNEWS} --post-epochs 0")
    file = dense.path / "model.safetensors"
    refused = cli(f"--dataset mnist --model fc --pretrained {dense.path}")
    words = "text-classification has no 1.bias (but fc.bias), fc has 1.bias [100]; name a run or file of this model"
    assert refused.code == 2 and refused.err == f"error: {file} is of another model: {words}\n"
    small = cli("--dataset mnist --model fc --source sample --post-epochs 0")
    refused = cli(f"--dataset cifar10 --model fc --source sample --pretrained {small.path}")
    assert refused.code == 2 and "fc has 1.weight [100, 784], fc has 1.weight [100, 3072]; name a" in refused.err


def python(root: Path, *arguments: str) -> subprocess.CompletedProcess:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *arguments], cwd=root, env=env, capture_output=True, text=True)


@pytest.mark.parametrize("experiment", [name for name in load.EXPERIMENTS if name != "singleshot"])
def test_the_help_of_an_experiment_begins_with_its_own_flags(experiment):
    """Those that a single run lacks come before those that it has, and the usage names only what must be said."""
    parser = commandline.parser(experiment)
    common = {option for action in commandline.parser()._actions for option in action.option_strings}
    lines = parser.format_help().splitlines()
    assert lines[0].startswith(f"usage: main.py --experiment {experiment} ") and lines[0].endswith("[flags]")
    named = [action for action in parser._actions if f" {action.option_strings[0]} " in lines[0]]
    assert [action for action in named if action.dest != "experiment"] == [a for a in parser._actions if a.required]
    listed = [match[1] for line in lines if (match := re.match(r"  (--[a-z-]+)", line))]
    first = [name for name in listed if name not in common or name == "--run"]
    assert first and listed[1] == first[0]  # behind --version
    assert listed.index(first[0]) < min(listed.index(name) for name in ("--data-dir", "--gpu", "--threads"))


@pytest.mark.parametrize(
    ("experiment", "meant"),
    [("singleshot", "threads of the loader"), ("multishot", "threads of the loader"),
     ("sweep", "processes that make runs"), ("assignment", "processes that make runs")],
)  # fmt: skip
def test_the_help_says_what_workers_are(experiment, meant):
    (words,) = re.findall(r"--workers N\s+(\S.*)", commandline.parser(experiment).format_help())
    assert words.startswith(meant)


def test_help_names_every_flag_and_says_what_the_sparsities_are(root):
    shown = python(root, "main.py", "--help")
    assert shown.returncode == 0 and shown.stderr == ""
    flags = {option for action in commandline.parser()._actions for option in action.option_strings}
    # Those that users of assignment-one know.
    flags |= {f"--{name}" for name in "dataset model model-class dense-classifier pretrained optimizer lr".split()}
    flags |= {f"--{name}" for name in "train-batch-size test-batch-size pre-epochs post-epochs lr-drops".split()}
    flags |= {f"--{name}" for name in "lr-drop-rate weight-decay pruner compression prune-epochs prune-bias".split()}
    flags |= {f"--{name}" for name in "compression-schedule mask-scope prune-dataset-ratio prune-batch-size".split()}
    flags |= {f"--{name}" for name in "prune-batchnorm prune-residual prune-train-mode reinitialize".split()}
    flags |= {f"--{name}" for name in "shuffle invert experiment expid result-dir gpu workers no-cuda seed".split()}
    assert all(re.search(rf"(^|\s){flag}\b", shown.stdout) for flag in flags | {"--verbose", "--help"})
    assert all(name in shown.stdout for name in (*PRUNERS, "agnews", "mnist", "text-classification", "REMAIN"))
    assert max(map(len, shown.stdout.splitlines())) <= 120


def test_the_version_is_the_changelogs_newest(root):
    shown = python(root, "main.py", "--experiment", "report", "--version")
    newest = re.search(r"^## (\S+)", (root / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)[1]
    assert shown.returncode == 0 and shown.stdout == f"{newest}\n" and not shown.stderr


def test_help_and_refusals_do_not_wait_for_torch(root):
    """Nor for numpy and pandas, which take their time too."""
    code = (
        "import contextlib, io, sys, main\n"
        "audit = ['--experiment', 'audit', '--help']\n"
        "for arguments in (['--help'], audit, ['--dataset', 'agnew'], ['--compression', 'nan']):\n"
        "    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "        assert main.main(arguments) == 2\n"
        "print(sorted({'torch', 'numpy', 'pandas', 'torchtext'} & sys.modules.keys()))\n"
    )
    shown = python(root, "-c", code)
    assert shown.returncode == 0 and shown.stdout == "[]\n" and shown.stderr.count("error: ") == 2


def test_a_stored_result_does_not_wait_for_torch(root, ran, sample_data):
    run = ran(AGNEWS)
    code = (
        "import sys, main\n"
        "code = main.main(sys.argv[1:])\n"
        "print(code, sorted({'torch', 'numpy', 'pandas', 'torchtext'} & sys.modules.keys()))\n"
    )
    places = ["--data-dir", str(sample_data), "--result-dir", str(run.results)]
    shown = python(root, "-c", code, "--source", "sample", "--post-epochs", "0", "--dataset", "agnews", *places)
    assert shown.stdout == (run.path / "report.txt").read_text() + "0 []\n"


@pytest.mark.parametrize("pruner", ["snip", "grasp", "synflow"])
def test_a_run_does_not_wait_for_torchs_compiler(root, sample_data, tmp_path, pruner):
    """Importing it, and the algebra that it needs, would take as long as the shorter trainings."""
    code = (
        "import sys, main\n"
        "code = main.main(sys.argv[1:])\n"
        "print(code, sorted({'torch', 'torch._dynamo', 'sympy'} & sys.modules.keys()))\n"
    )
    words = f"--source sample --post-epochs 1 --dataset agnews --pruner {pruner} --compression 1".split()
    places = ["--data-dir", str(sample_data), "--result-dir", str(tmp_path / "results")]
    shown = python(root, "-c", code, *words, *places)
    assert shown.stdout.endswith("0 ['torch']\n"), shown.stdout[-300:] + shown.stderr


def test_the_exit_code_of_the_process_is_that_of_the_run(root, tmp_path):
    """And with a reader of tables in mind: nothing of the refusal is on standard output."""
    shown = python(root, "main.py", "--dataset", "nothing", "--result-dir", str(tmp_path / "results"))
    assert shown.returncode == 2 and shown.stdout == "" and shown.stderr.startswith("error: ")
    assert shown.stderr.count("\n") == 1 and list(tmp_path.iterdir()) == []


def test_an_interrupt_ends_in_one_word_and_leaves_nothing(cli, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(corpus, "load", stop)
    outcome = cli(AGNEWS)
    assert outcome.code == 130 and outcome.err == "stopped\n"
    assert not list(outcome.results.rglob("*/*/*")) and not list(outcome.results.rglob(".*"))


def test_force_leaves_what_is_no_run(cli):
    """A directory of the user's own under that name is neither replaced nor touched."""
    own = cli("--dataset mnist").results / "singleshot" / "mine" / "thesis.txt"
    own.parent.mkdir()
    own.write_text("mine", encoding="utf-8")
    outcome = cli("--dataset mnist --expid mine --force")
    assert outcome.code == 2 and "is no run" in outcome.err and outcome.err.count("\n") == 1
    assert own.read_text(encoding="utf-8") == "mine" and len(list(own.parent.iterdir())) == 1


@pytest.mark.parametrize("where", ["at the end of the file", "in score"])
def test_a_pruner_that_ends_the_process_is_an_error_of_one_line(cli, tmp_path, where):
    code = (
        "from Pruners.pruners import Mag\nclass G(Mag):\n    def compute(self, *args):\n        raise SystemExit(0)\n"
    )
    file = tmp_path / "student.py"
    file.write_text(code if where == "in score" else "class G: ...\nraise SystemExit(0)\n", encoding="utf-8")
    outcome = cli(f"--dataset mnist --pruner {file}:G --compression 1")
    assert outcome.code == 2 and "SystemExit" in outcome.err and outcome.err.count("\n") == 1


def test_an_empty_path_is_refused(cli):
    for flag in ("--result-dir ''", "--data-dir ''", "--experiment report --store ''"):
        assert main.main(shlex.split(flag)) == 2
