"""Translation from the command line: a run, what it stores, and asking it again."""

import gzip
import math
import re
import shlex

import pytest
import torch
from calls import ask
from safetensors.torch import load_file
from test_bleu import _papineni as papineni

from Layers.pairs import BOS, EOS, Pairs
from Utils import load, settings
from Utils.commandline import arguments as commandline
from Utils.data import corpus, text
from Utils.store import run as store
from Utils.training import decode
from Utils.training.translation import Translation

RUN = "--dataset multi30k --pruner snip --compression 0.5 --prune-dataset-size 48 --prune-batch-size 24"
UNTRAINED = "--dataset multi30k --pruner rand --compression 1"
WIDTH = 512


@pytest.fixture(scope="module")
def trained(ran):
    """One epoch on the sample, by way of SNIP."""
    return ran(f"{RUN} --post-epochs 1 --bleu-every 1 --lr 0.0003 --train-batch-size 16")


@pytest.fixture(scope="module")
def model(trained, sample_data):
    """(the saved model of that run, its corpus)."""
    args = commandline.parse(["--dataset", "multi30k"])
    data = corpus.load(corpus.locate(load.configured(args), sample_data, "sample"))
    made = load.model("seq2seq", "nlp")(data.shape, data.num_classes).eval()
    made.load_state_dict(load_file(trained.path / "model.safetensors"))
    return made, data


@torch.no_grad()
def one_by_one(model, source: list[int]) -> list[int]:
    """Greedy decoding that knows no cache: the whole forward pass for every token."""
    written = [BOS]
    while len(written) < len(source) + 5:
        logits = model(Pairs(torch.tensor([source]), torch.tensor([written])))
        token = int(logits[-1].argmax())
        if token == EOS:
            break
        written.append(token)
    return written[1:]


def test_the_record_of_a_translation_run(trained):
    result = trained.result
    vocab = result["vocab"]
    assert vocab.keys() == {"de", "en"} and list(vocab) == ["de", "en"] and min(vocab.values()) > 150
    assert result["data"]["rows"] == {"train": 3000, "val": 200, "test": 300}
    figures = {f"{split}_{key}" for split in ("val", "test") for key in ("loss", "top1", "top2", "top5")}
    assert result["init"].keys() == figures == result["pre_prune"].keys()
    assert result["post_prune"].keys() == result["final"].keys() == figures | {"bleu"}
    assert result["final"]["test_loss"] < result["post_prune"]["test_loss"] - 1
    found = result["translation"]
    assert (found["src"], found["tgt"], found["test_set"], found["beam"]) == ("de", "en", "2016_flickr", 1)
    assert found["bleu_weights"] == [0.25] * 4
    for point in ("post_prune", "final"):
        parts = found[point]
        assert parts["bleu"] == result[point]["bleu"] == parts["bleu_4"]
        assert len(parts["precisions"]) == 4 and 0 <= parts["brevity_penalty"] <= 1 and parts["sacrebleu"] >= 0
        product = math.prod(value / 100 for value in parts["precisions"]) ** 0.25
        assert parts["bleu"] == pytest.approx(100 * parts["brevity_penalty"] * product, abs=1e-3)
    assert result["epochs"] == trained.epochs and len(trained.epochs) == 1
    assert trained.epochs[0]["bleu"] == result["final"]["bleu"]
    assert "amp" not in trained.config and "prune_attention" not in trained.config


def test_what_a_translation_run_prunes(trained):
    """The feed-forward and output projections and the generator: counted by hand."""
    result, words = trained.result, trained.result["vocab"]
    matrices = 6 * 2 + 3 + 3 * 2
    prunable = matrices * WIDTH * WIDTH + WIDTH * words["en"]
    kept = prunable - math.floor((1 - 10**-0.5) * prunable)
    assert (result["parameters"]["prunable"], result["parameters"]["prunable_kept"]) == (prunable, kept)
    masks = {name: mask for name, mask in trained.masks.items() if not mask.all()}
    assert sum(int(mask.sum()) for mask in trained.masks.values() if mask.ndim == 2) == (
        kept + 9 * 3 * WIDTH * WIDTH  # query, key and value projections are whole
    )
    assert masks and all(re.search(r"(linear[12]|out_proj|generator)\.weight_mask$", name) for name in masks)
    for name, mask in masks.items():
        assert (trained.tensors[name.removesuffix("_mask")][mask == 0] == 0).all()
    # A source and a target position each: every matrix once, the biases and the norms.
    encoder, decoder = 3 * (6 * WIDTH**2 + 10 * WIDTH), 3 * (10 * WIDTH**2 + 16 * WIDTH)
    total = encoder + decoder + 2 * 2 * WIDTH + words["en"] * (WIDTH + 1)
    assert result["flops"]["total"] == total and result["flops"]["kept"] == total - (prunable - kept)


def test_the_console_shows_three_of_ten_examples(trained):
    examples = trained.result["translation"]["examples"]
    assert len(examples) == 10 and all(example.keys() == {"source", "reference", "output"} for example in examples)
    for key in ("source", "reference", "output"):
        shown = re.findall(rf"^ *{key.capitalize()}: (.*)$", trained.out, re.MULTILINE)
        assert shown == [example[key] for example in examples[:3]]
    assert f"BLEU final: {trained.result['final']['bleu']:.2f} (BLEU-1 " in trained.out
    assert "SAMPLE multi30k" in trained.out


def test_the_examples_are_what_the_saved_model_writes_without_a_cache(trained, model):
    net, data = model
    examples = trained.result["translation"]["examples"]
    assert [example["source"] for example in examples] == data.lines["test_source"][:10]
    assert [example["reference"] for example in examples] == data.lines["test_target"][:10]
    for k, example in enumerate(examples):
        tokens = one_by_one(net, data.test.source(k).tolist())
        assert text.detokenize([data.words["en"][t] for t in tokens], "en") == example["output"]


def test_a_finished_run_can_be_asked_again(trained, model, sample_data):
    examples = trained.result["translation"]["examples"][:3]
    asked = " ".join(f"--text {shlex.quote(example['source'])}" for example in examples)
    code, out, err = ask(f"--experiment translate --run {trained.path} {asked}", sample_data)
    assert (code, err) == (0, "") and out.splitlines() == [example["output"] for example in examples]
    lines = "".join(f"  {example['source']}\n" for example in examples)
    again = ask(f"--experiment translate --run {trained.path}", sample_data, lines)
    assert again == (code, out, err)


def test_odd_sentences_are_translated_and_remarked_on(trained, sample_data):
    """An unknown word, an empty line, 500 tokens: a line out for every line in."""
    lines = f"Ein Xylofonist zieht einen Wagen.\n\n{'Mann ' * 500}\n"
    code, out, err = ask(f"--experiment translate --run {trained.path}", sample_data, lines)
    translated = out.split("\n")
    assert code == 0 and len(translated) == 4 and translated[1] == translated[3] == ""
    assert "read as <unk>: Xylofonist" in err and "an empty line has no translation" in err
    assert 0 < len(translated[2].split()) <= 506
    code, out, err = ask(f"--experiment translate --run {trained.path}", sample_data, "")
    assert (code, out) == (0, "")


def test_a_beam_is_used_where_asked_for(trained, sample_data):
    """Its own answers are asserted in the tests of decoding; here that the flag arrives."""
    source = shlex.quote(trained.result["translation"]["examples"][0]["source"])
    narrow = ask(f"--experiment translate --run {trained.path} --text {source} --beam 1", sample_data)
    assert narrow == ask(f"--experiment translate --run {trained.path} --text {source}", sample_data)
    wide = ask(f"--experiment translate --run {trained.path} --text {source} --beam 4", sample_data)
    assert wide[0] == 0 and wide[1].strip()
    refused = ask(f"--experiment translate --run {trained.path} --text {source} --beam 0", sample_data)
    assert refused[0] == 2 and "--beam" in refused[2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--experiment translate", ["--run"]),
        ("--experiment translate --run nowhere --text a", ["nowhere", "finished run"]),
        ("--experiment translate --run nowhere --pruner grasp", ["there is no flag --pruner"]),
        ("--experiment translat", ["'translat'", "did you mean translate?"]),
    ],
)
def test_a_bad_question_is_refused(arguments, words, tmp_path):
    code, out, err = ask(arguments, tmp_path)
    assert (code, out) == (2, "") and err.startswith("error: ") and err.count("\n") == 1
    assert all(word in err for word in words)


def test_a_run_that_translates_nothing_is_refused(ran, sample_data):
    other = ran("--dataset agnews --pruner rand --compression 1")
    code, _, err = ask(f"--experiment translate --run {other.path} --text a", sample_data)
    assert code == 2 and "translates nothing" in err


def test_a_run_without_its_weights_is_refused(trained, sample_data, tmp_path):
    (tmp_path / "config.json").write_bytes((trained.path / "config.json").read_bytes())
    code, _, err = ask(f"--experiment translate --run {tmp_path} --text a", sample_data)
    assert code == 2 and "model.safetensors" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--src es", ["--src es", "de, en, fr, cs"]),
        ("--tgt german", ["--tgt german", "de, en, fr, cs"]),
        ("--src en", ["both en"]),
        ("--test-set 2019", ["2019", "2016_flickr", "2017_mscoco"]),
        ("--src cs --test-set 2017_flickr", ["cs", "2017_flickr"]),
        ("--src fr", ["'fr'", "de and en"]),  # the sample has no French
        ("--prune-attention some", ["'some'", "out, all, none"]),
        ("--amp fp8", ["'fp8'", "off, bf16"]),
        ("--bleu-weights 0 0", ["--bleu-weights"]),
        ("--bleu-weights -1", ["--bleu-weights"]),
        ("--beam 0", ["--beam"]),
        ("--optimizer sgd --adam-eps 0.1", ["--adam-eps", "sgd"]),
        ("--adam-betas 0.9 1", ["--adam-betas"]),
        ("--model text-classification", ["text-classification", "seq2seq"]),
    ],
)
def test_a_setting_that_cannot_be_is_refused(cli, flags, words):
    outcome = cli(f"--dataset multi30k {flags}")
    assert outcome.code == 2 and outcome.err.startswith("error: ") and outcome.err.count("\n") == 1, outcome.err
    assert all(word in outcome.err for word in words), outcome.err


@pytest.mark.parametrize("flag", ["--src de", "--tgt en", "--test-set 2016_flickr", "--beam 2", "--bleu-every 1"])
def test_flags_of_translation_are_refused_elsewhere(cli, flag):
    outcome = cli(f"--dataset agnews {flag}")
    assert outcome.code == 2 and f"{flag.split()[0]} means nothing to AG News" in outcome.err


def test_the_other_direction_other_weights_and_all_of_attention(ran):
    """Untrained: what the flags change is in the record."""
    run = ran(f"{UNTRAINED} --src en --tgt de --prune-attention all --bleu-weights 1 1 --beam 2")
    assert list(run.result["vocab"]) == ["en", "de"]
    words = run.result["vocab"]["de"]
    assert run.result["parameters"]["prunable"] == (21 + 27) * WIDTH * WIDTH + WIDTH * words
    found = run.result["translation"]
    assert found["bleu_weights"] == [1, 1] and found["beam"] == 2
    assert found["final"]["bleu"] == found["final"]["bleu_2"] and found["final"] == found["post_prune"]
    assert run.config["prune_attention"] == "all"


def test_a_real_corpus_goes_the_same_way(cli, tmp_path):
    """Six lines in the published layout; the words are counted by hand."""
    lines = {"de": "Ein Mann läuft.\nEine Frau lacht laut.\n", "en": "A man is running.\nA woman laughs out loud.\n"}
    for part in ("train", "val", "test_2016_flickr"):
        for language, content in lines.items():
            place = tmp_path / "raw" / "multi30k" / f"{part}.{language}.gz"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(gzip.compress(content.encode()))
    run = cli(f"{UNTRAINED} --source real", data=tmp_path / "raw")
    assert run.result["vocab"] == {"de": 4 + 8, "en": 4 + 9} and run.result["data"]["rows"]["test"] == 2
    assert run.result["data"]["files"].keys() == {
        f"multi30k/{part}.{language}.gz" for part in ("train", "val", "test_2016_flickr") for language in ("de", "en")
    }
    assert run.result["data"]["notes"] and "not the published file" in run.out
    assert len(run.result["translation"]["examples"]) == 2
    (tmp_path / "raw" / "multi30k" / "val.en.gz").write_bytes(gzip.compress(b"A man is running.\n"))
    refused = cli(f"{UNTRAINED} --source real", data=tmp_path / "raw")
    assert refused.code == 2 and "val.de.gz:2" in refused.err and refused.err.count("\nerror: ") == 1


def test_runs_of_before_keep_their_names(root):
    """Settings that came later do not rename what is stored: the same command finds it."""
    configs = [store.json.loads(path.read_text()) for path in root.glob("Results/study/*/*/config.json")]
    assert len(configs) >= 15
    for config in configs:
        args = commandline.parse(["--dataset", config["dataset"]])
        for key, value in settings.complete(config).items():
            setattr(args, key, value)
        resolved = {key: config[key] for key in ("source", "data_key", "pretrained")}
        assert settings.identity({**vars(args), **resolved}) == config
        assert (root / "Results" / "study" / config["experiment"] / store.name(config)).is_dir()


@pytest.mark.parametrize("weights", [[0.25] * 4, [1.0, 1.0]])
def test_raw_bleu_takes_the_reference_as_its_words_stand(sample_data, monkeypatch, weights):
    """Against Papineni's definition by hand: "dog." is one word there, and the tokens "dog", "." are two."""
    args = commandline.parse(["--dataset", "multi30k", "--bleu-weights", *map(str, weights)])
    data = corpus.load(corpus.locate(load.configured(args), sample_data, "sample"))
    evaluation = Translation(data, args, torch.device("cpu"))
    words, test = data.words["en"], data.splits["test"]
    rows = [test.target(k)[1 : -1 - k % 2].tolist() for k in range(len(test))]  # the references, every second one short
    monkeypatch.setattr(decode, "translate", lambda *_: rows)
    found = evaluation.score(torch.nn.Identity())
    outputs = [[words[number] for number in row] for row in rows]
    raw = [line.split(" ") for line in data.lines["test_target"]]
    assert any(word[-1] == "." and len(word) > 1 for line in raw for word in line)
    assert found["bleu_raw"] == pytest.approx(papineni(outputs, raw, weights), rel=1e-5)
    assert found["bleu"] == pytest.approx(papineni(outputs, evaluation.references, weights), rel=1e-5)
    assert 0 < found["bleu_raw"] < found["bleu"]
