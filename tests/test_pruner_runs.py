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
@pytest.mark.parametrize("task", ["mnist", "agnews"])
def test_a_run_on_the_sample_prunes_to_the_count_and_learns(cli, task, name):
    run = cli(f"--dataset {task} --pruner {name} --compression 0.5 --post-epochs 1 --prune-epochs 3")
    counts = run.result["parameters"]
    assert counts["prunable_kept"] == counts["prunable"] - int((1 - 10**-0.5) * counts["prunable"])
    assert run.result["final"]["test_loss"] < run.result["post_prune"]["test_loss"]


FC = "--dataset mnist --pruner mag --compression 1 --post-epochs 0"


def test_the_densities_are_kept_in_the_record_and_old_runs_keep_their_names(cli, tmp_path):
    plain = cli(FC)
    assert not {"layer_densities", "never_empty", "pattern"} & plain.config.keys()
    erk = cli(f"{FC} --mask-scope erk --never-empty")
    assert (erk.config["mask_scope"], erk.config["never_empty"]) == ("erk", True)
    file = tmp_path / "densities.toml"
    file.write_text('"layers.5.weight" = 1\n"*" = 0.001\n', encoding="utf-8")
    other = tmp_path / "same.json"
    other.write_text('{"layers.5.weight": 1.0, "*": 0.001}', encoding="utf-8")
    name = list(plain.masks)[-1].removesuffix("_mask")
    for place in (file, other):
        place.write_text(place.read_text(encoding="utf-8").replace("layers.5.weight", name), encoding="utf-8")
    runs = [cli(f"{FC} --mask-scope {place} --force") for place in (file, other)]
    assert runs[0].path == runs[1].path and runs[0].config["layer_densities"] == [[name, 1.0], ["*", 0.001]]
    for run in (erk, *runs):
        assert run.result["parameters"]["prunable_kept"] == plain.result["parameters"]["prunable_kept"]
    assert runs[0].masks[f"{name}_mask"].all() and not plain.masks[f"{name}_mask"].all()
    taken = cli(f"--dataset mnist --masks {runs[0].path} --post-epochs 0")
    assert taken.config["layer_densities"] == runs[0].config["layer_densities"]
    assert all((taken.masks[key] == runs[0].masks[key]).all() for key in taken.masks)


def test_a_pattern_sets_the_compression(cli):
    run = cli("--dataset mnist --pruner mag --pattern 2:4 --post-epochs 0")
    assert run.config["pattern"] == "2:4" and run.config["compression"] == pytest.approx(0.30103, abs=1e-5)
    for mask in run.masks.values():
        if mask.ndim > 1:
            assert (mask.reshape(-1, 4).sum(1) == 2).all()
    levels = "--experiment multishot --dataset mnist --pruner mag --pattern 2:4 --level-list 2 --compression-list 0.301"
    for mask in cli(f"{levels} --post-epochs 1 --pre-epochs 0 --rewind-epochs 0").masks.values():
        assert mask.ndim == 1 or (mask.reshape(-1, 4).sum(1) == 2).all()
    again = cli(
        "--dataset mnist --pruner mag --pattern 2:4 --compression 0.301 --mask-scope local --post-epochs 0 --force"
    )
    assert again.path == run.path


def test_a_compression_that_cannot_serve_every_unit_is_told(cli):
    """Against the masks: the units whose weights have all gone."""
    thin = cli(f"{FC} --compression 2.5 --never-empty")
    bare = sum(int((mask.sum(1) == 0).sum()) for mask in thin.masks.values() if mask.ndim > 1)
    told = f"note: --never-empty: the compression cannot serve all: {bare} units without a weight"
    assert bare > 9 and told in thin.err.splitlines()
    for flags in ("--never-empty", "--compression 2.5"):
        assert "cannot serve" not in cli(f"{FC} {flags}").err


FAULTS = {  # files of densities
    "bad.json": '{"fc": 2}',
    "word.toml": 'fc = "much"',
    "dots.toml": "fc.weight = 0.5",
    "cut.toml": "[x\n",
    "twice.toml": "fc = 0.1\nfc = 0.2\n",
    "list.json": "[0.1]",
    "empty.toml": "# nothing",
    "none.json": '{"nowhere": 0.1}',
    "idle.json": '{"nowhere*": 0.1, "*": 0.1}',
    "near.json": '{"3.wieght": 0.1, "*": 0.1}',
    "late.json": '{"*": 0.1, "3.weight": 0.1}',
}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--pattern 2:4 --compression 1", ["--compression 1", "2:4", "0.5", "0.30103"]),
        ("--pattern 4:2", ["'4:2'", "N:M"]),
        ("--pattern 2:4 --shuffle", ["--shuffle", "--pattern"]),
        ("--compression 1 --never-empty --shuffle", ["--shuffle", "--never-empty"]),
        ("--mask-scope erkk", ["'erkk'", "did you mean erk?"]),
        ("--mask-scope nothing.toml", ["nothing.toml", "No such file"]),
        ("--mask-scope {bad.json}", ["bad.json: fc is 2; expected a density above 0, at most 1"]),
        ("--mask-scope {word.toml}", ['word.toml: fc is "much"; expected a density above 0']),
        ("--mask-scope {dots.toml}", ['dots.toml: fc is {"weight": 0.5}; expected', "a name with dots needs quotes"]),
        (
            "--mask-scope {cut.toml}",
            ["cut.toml: ", "(at line 1, column 3)", 'expected lines such as "fc.weight" = 0.1'],
        ),
        ("--mask-scope {twice.toml}", ["twice.toml: ", "overwrite a value (at line 2", "expected lines such as"]),
        ("--mask-scope {list.json}", ["list.json: holds no densities; expected an object such as"]),
        ("--mask-scope {empty.toml}", ["empty.toml: holds no densities; expected lines such as"]),
        ("--compression 1 --mask-scope {none.json}", ["none.json: no density for 1.weight", "*"]),
        (
            "--compression 1 --mask-scope {idle.json}",
            ["idle.json: 'nowhere*' matches no prunable tensor; there are 1."],
        ),
        ("--compression 1 --mask-scope {near.json}", ["near.json: '3.wieght' matches", "(did you mean 3.weight?)"]),
        ("--compression 1 --mask-scope {late.json}", ["late.json: lines before '3.weight' take all that it matches"]),
    ],
)
def test_what_cannot_be_is_one_line(cli, tmp_path, sample_data, capsys, flags, words):
    import main

    for name, content in FAULTS.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
        flags = flags.replace(f"{{{name}}}", str(tmp_path / name))
    line = f"--dataset mnist --source sample --data-dir {sample_data} --result-dir {tmp_path / 'runs'} "
    assert main.main((line + flags).split()) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.startswith("error: ") and all(word in err for word in words)


def test_the_help_tells_the_rounds_that_the_registry_has():
    from Utils import load, settings

    told = settings.by_name()["prune_epochs"].help
    assert all(f"{name}: {rounds}" in told for name, rounds in load.ROUNDS.items())
