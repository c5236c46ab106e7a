"""Sweeps: which runs a grid comes to, what is refused, what is done already; nothing here needs a worker."""

import itertools
import json
import re
import subprocess
import sys

import pytest

from Experiments import sweep
from Experiments.sweeping import grid, plan, pool
from Experiments.sweeping.estimate import Estimate
from Experiments.sweeping.failures import Failures
from Utils import settings
from Utils.commandline import arguments as commandline

FLAGS = "--experiment sweep --dataset agnews"


@pytest.fixture
def sweep_file(tmp_path):
    """sweep_file(TOML): its path."""

    def write(text: str) -> str:
        (tmp_path / "grid.toml").write_text(text)
        return str(tmp_path / "grid.toml")

    return write


@pytest.fixture
def no_workers(monkeypatch):
    """A worker that is started fails the test."""

    def refuse(*_):
        raise AssertionError("a worker was started")

    monkeypatch.setattr(pool.Worker, "__init__", refuse)


def chosen(cells, *keys: str) -> list[tuple]:
    return [tuple(getattr(cell.args, key) for key in keys) for cell in cells]


def states(outcome) -> dict[str, str]:
    """What --dry-run says of each run, by name."""
    assert outcome.code == 0, outcome.err
    return dict(re.findall(r"^(\S+-[0-9a-f]{10}): (.*)$", outcome.out, re.MULTILINE))


# The grid.


def test_a_file_is_the_product_of_its_lists_in_its_order(sweep_file):
    file = sweep_file(
        """
        [settings]
        dataset = "agnews"
        seed = [3, 1]
        post-epochs = 2
        [[grid]]
        pruner = ["snip", "grasp"]
        compression = [1, 0.5]
        shuffle = [false, true]
        [[grid]]
        pruner = "synflow"
        prune_epochs = 100
        compression = 1.5
        """
    )
    keys = ("seed", "pruner", "compression", "shuffle", "prune_epochs", "post_epochs", "dataset")
    rest = (1, 2, "agnews")
    wanted = [
        (*values, *rest) for values in itertools.product((3, 1), ("snip", "grasp"), (1.0, 0.5), (False, True))
    ] + [(seed, "synflow", 1.5, False, 100, 2, "agnews") for seed in (3, 1)]
    assert chosen(grid.cells([file], {}), *keys) == wanted


def test_flags_that_take_several_words_are_crossed_by_lists_of_lists(sweep_file):
    file = sweep_file('dataset = "multi30k"\n'.join(("[settings]\n", "bleu_weights = [[1, 0], [0.5, 0.5]]\n")))
    assert chosen(grid.cells([file], {}), "bleu_weights") == [([1.0, 0.0],), ([0.5, 0.5],)]
    file = sweep_file('[settings]\ndataset = "agnews"\nlr_drops = [2, 4]\nadam_betas = [0.5, 0.9]\n')
    assert chosen(grid.cells([file], {}), "lr_drops", "adam_betas") == [([2, 4], [0.5, 0.9])]


def test_flags_alone_make_a_grid():
    args = commandline.parse(
        f"{FLAGS} --pruner-list snip rand --compression-list 0.5 1 --seed-list 2 1 --lr 0.1 --post-epochs 3".split()
    )
    wanted = [(*values, 0.1, 3) for values in itertools.product((2, 1), (0.5, 1.0), ("snip", "rand"))]
    assert chosen(args.cells, "seed", "compression", "pruner", "lr", "post_epochs") == wanted


TWO = """
[settings]
dataset = "agnews"
post_epochs = 5
compression = [0.5, 1]
[[grid]]
pruner = ["snip", "rand"]
[[grid]]
pruner = "synflow"
prune_epochs = 100
"""


@pytest.mark.parametrize(
    ("flags", "runs"),
    [
        ("", {("snip", 1), ("rand", 1), ("synflow", 100)}),
        ("--pruner-list snip", {("snip", 1)}),  # a table that names another pruner is not turned into this one's
        ("--pruner synflow", {("synflow", 100)}),
        ("--pruner-list rand synflow", {("rand", 1), ("synflow", 100)}),
        ("--pruner mag", {("mag", 1), ("mag", 100)}),  # which table it belongs to no one says
        ("--prune-epochs 7", {("snip", 7), ("rand", 7), ("synflow", 7)}),
    ],
)
def test_the_command_line_goes_before_the_file(sweep_file, flags, runs):
    line = f"--experiment sweep --sweep-file {sweep_file(TWO)} {flags}"
    found = chosen(commandline.parse(line.split()).cells, "pruner", "prune_epochs", "compression")
    assert len(found) == len(set(found)) and set(found) == {(*run, c) for run in runs for c in (0.5, 1.0)}


def test_a_file_says_which_lists_are_gone_through_first_over_all_its_grids(sweep_file, tmp_path):
    """By the places in the lists, not by size."""
    file = sweep_file(
        f"order = ['seed', 'compression']\n{TWO}seed = [3, 1]\n".replace("[0.5, 1]", "[1, 0.5]\nseed = [3, 1]")
    )
    found = chosen(
        commandline.parse(["--experiment", "sweep", "--sweep-file", file]).cells, "seed", "compression", "pruner"
    )
    assert found == list(itertools.product((3, 1), (1, 0.5), ("snip", "rand", "synflow")))
    (tmp_path / "more.toml").write_text("[settings]\npruner = ['mag', 'snip']\nseed = [3, 1]")
    line = f"--experiment sweep --sweep-file {tmp_path / 'more.toml'} {file} --seed-list 1 3"
    found = chosen(commandline.parse(line.split()).cells, "pruner", "seed")
    assert found[:4] == [("mag", 1), ("mag", 3), ("snip", 1), ("snip", 3)] and found[4] == ("snip", 1)
    assert [seed for _, seed in found[4:]] == [1] * 6 + [3] * 6  # the order of the command line


def test_the_command_line_goes_before_the_file_in_all_else(sweep_file):
    line = f"--experiment sweep --sweep-file {sweep_file(TWO)} --post-epochs 0 --compression-list 0.5 2 --seed-list 4"
    found = chosen(commandline.parse(line.split()).cells, "pruner", "compression", "seed", "post_epochs")
    assert set(found) == {(p, c, 4, 0) for p in ("snip", "rand", "synflow") for c in (0.5, 2.0)} and len(found) == 6


@pytest.fixture
def two_files(tmp_path):
    """The paths of two sweep files with a run in common, whose seeds differ."""
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    first.write_text("[settings]\ndataset = 'agnews'\nseed = [3, 1]\npruner = 'snip'\n", encoding="utf-8")
    second.write_text("[settings]\ndataset = 'agnews'\nseed = [1, 2]\npruner = ['rand', 'snip']\n", encoding="utf-8")
    return str(first), str(second)


@pytest.mark.parametrize("words", ["--sweep-file {} {}", "--sweep-file {} --sweep-file {}"])
def test_several_files_are_one_grid_in_their_order(two_files, words):
    def asked(*files, flags=""):
        line = f"--experiment sweep {words.format(*files)} {flags}"
        return chosen(commandline.parse(line.split()).cells, "pruner", "seed")

    first, second = [("snip", 3), ("snip", 1)], [("rand", 1), ("snip", 1), ("rand", 2), ("snip", 2)]
    assert asked(*two_files) == first + second and asked(*reversed(two_files)) == second + first
    assert asked(*two_files, flags="--seed-list 3") == [("snip", 3)]  # the second file has none of that seed
    assert asked(*two_files, flags="--pruner rand") == [("rand", 1), ("rand", 2)]


def test_a_run_that_two_files_name_is_one_where_it_comes_first(cli, two_files):
    names = list(states(cli(f"--experiment sweep --sweep-file {' '.join(two_files)} --compression 1 --dry-run")))
    assert [re.search(r"(rand|snip)-c1-s(.)", name).groups() for name in names] == [
        *(("snip", "3"), ("snip", "1")),
        *(("rand", "1"), ("rand", "2"), ("snip", "2")),
    ]


def test_of_several_files_the_one_that_cannot_be_is_named(cli, two_files, tmp_path):
    (tmp_path / "bad.toml").write_text("[settings]\npruner = 'snipp'\n", encoding="utf-8")
    outcome = cli(f"--experiment sweep --sweep-file {two_files[0]} {tmp_path / 'bad.toml'}")
    assert outcome.code == 2 and outcome.err.startswith(f"error: {tmp_path / 'bad.toml'}: pruner snipp")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[settings]\nprunner = 'snip'", ["line 2: settings: prunner", "no setting", "did you mean pruner?"]),
        ("[[grid]]\nseed = 1\n\n[[grid]]\nseed = 'x'", ["grid 2: seed = x", "whole number"]),
        ("[settings]\n'lr' = 1\ncompresion=2", ["line 3: settings: compresion", "did you mean compression?"]),
        ("[[grid]]\nseed = 1\n[[grid]]\nresult_dir = 'x'", ["grid 2", "result_dir", "command line"]),
        ("[settings]\nworkers = 2", ["workers", "command line"]),
        ("[settings]\nseed = []", ["seed", "empty"]),
        ("[settings]\nseed = [1, -1]", ["settings: seed = -1", "--seed", "whole number"]),
        ("[settings]\nseed = 1979-05-27", ["seed", "neither text"]),
        ("[settings]\nseed = {a = 1}", ["seed", "neither text"]),
        ("[settings]\ncompression = nan", ["compression = nan"]),
        ("[settings]\nshuffle = 'perhaps'", ["shuffle = perhaps", "neither true nor false"]),
        ("[settings]\nmask-scope = 'local'\nmask_scope = 'global'", ["mask_scope", "twice"]),
        ("seed = 1", ["seed", "outside [settings]"]),
        ("grid = 3", ["[[grid]]"]),
        ("order = ['sead']\n[settings]\nseed = [1, 2]", ["line 1: order", "list of settings"]),
        ("order = 'seed'\n[settings]\nseed = [1, 2]", ["line 1: order", "list of settings"]),
        ("[settings]\npruner = ['rand', 'snipp']", ["pruner snipp", "did you mean snip?"]),
        ("[settings]\ndataset = 'agnew'", ["dataset agnew", "did you mean agnews?"]),
        ("[settings]\ndataset = ['agnews', 'mnist']\nmodel = 'fc'", ["dataset agnews, model fc", "does not take"]),
        ("[settings]\ncompression = [1, 17]", ["compression 17", "leaves no weight"]),
        ("[settings\n", ["not TOML", "line 1"]),
    ],
)
def test_a_file_that_cannot_be_is_refused_by_name(cli, sweep_file, no_workers, text, words):
    file = sweep_file(text)
    outcome = cli(f"--experiment sweep --sweep-file {file}")
    assert outcome.code == 2 and outcome.err.startswith("error: ") and outcome.err.count("\n") == 1, outcome.err
    assert all(word in outcome.err for word in [file, *words]), outcome.err
    assert "--help" not in outcome.err  # the flags do not help in a file
    assert not outcome.results.exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("", ["--sweep-file", "--pruner-list"]),
        ("--sweep-file nowhere.toml", ["nowhere.toml", "No such file"]),
        ("--pruner-list snip sinp", ["pruner sinp", "did you mean snip?"]),
        ("--pruner-list snip --pruner rand", ["--pruner-list", "choose one"]),
        ("--compression-list 1 -1", ["--compression-list", "'-1'"]),
        ("--seed-list 1.5", ["--seed-list", "'1.5'"]),
        ("--seed-list 1 --expid mine", ["--expid"]),
        ("--seed-list 1 --workers 0", ["--workers", "from 1"]),
        ("--seed-list 1 --workers 100000", ["--workers", "cores"]),
        ("--seed-list 1 --beam 3", ["--beam", "AG News"]),
        ("--seed-list 1 --time-limit 0", ["--time-limit", "above 0"]),
        ("--seed-list 1 --time-limit -5", ["--time-limit", "above 0"]),
        ("--seed-list 1 --time-limit nan", ["--time-limit", "above 0"]),
        ("--seed-list 1 --time-limit soon", ["--time-limit", "'soon'"]),
        ("--seed-list 1 --workers 2 --scheduler tcp://127.0.0.1:1", ["--workers", "--scheduler"]),
        ("--seed-list 1 --scheduler 127.0.0.1", ["--scheduler", "tcp://HOST:PORT"]),
    ],
)
def test_flags_that_cannot_be_are_refused(cli, no_workers, flags, words):
    outcome = cli(f"{FLAGS} {flags}")
    assert outcome.code == 2 and outcome.err.startswith("error: ") and outcome.err.count("\n") == 1, outcome.err
    assert all(word in outcome.err for word in words), outcome.err
    assert not outcome.results.exists()


# The files that come with the project; see test_sweep_files.py too.


def test_the_queues_first_stage_is_assignment_one(root):
    """The handout's cells with its own settings; of vgg16 in bf16, as its file says and no flag's default undoes."""
    place = root / "sweeps" / "queue" / "1_assignment.toml"
    cells = grid.cells([str(place)], {})
    assert len({json.dumps(vars(cell.args), sort_keys=True) for cell in cells}) == len(cells)
    for args in (cell.args for cell in cells):
        assert (args.train_batch_size, args.prune_epochs, args.ties) == (256, 1, "seeded")
        assert args.pre_epochs == 0 or args.pruner == "mag"
        if args.dataset == "cifar10":
            assert (args.model, args.init, args.prune_augment, args.amp) == ("vgg16", "assignment", True, "bf16")
        else:
            assert args.amp == "off" and args.init is None and args.prune_augment is None
    vgg = {(c.args.pruner, c.args.compression) for c in cells if c.args.dataset == "cifar10"}
    assert {("rand", 1), ("grasp", 0.1), ("snip", 1), ("mag", 1), ("synflow", 0.5), ("synflow", 2)} <= vgg


@pytest.mark.parametrize("line", ["--quantization", "--amp bf16", "--quant True"])
def test_mixed_precision_by_either_name_is_one_run(cli, no_workers, line):
    """In a sweep as in a single run; and where it is not said, a file's word stands."""
    shown = states(cli(f"{FLAGS} --pruner-list rand --seed-list 1 {line} --dry-run"))
    assert shown.keys() == states(cli(f"{FLAGS} --pruner-list rand --seed-list 1 --amp bf16 --dry-run")).keys()
    assert shown.keys() != states(cli(f"{FLAGS} --pruner-list rand --seed-list 1 --dry-run")).keys()


# What is done of it.


def test_a_run_of_a_sweep_is_the_single_commands(cli):
    """The same name, found in the store: what is finished is not made again."""
    single = cli("--dataset agnews --pruner snip --compression 1 --seed 2 --prune-attention all --lr-drops 1 2")
    asked = f"{FLAGS} --pruner-list rand snip --compression-list 1 --seed-list 1 2 --prune-attention all --lr-drops 1 2"
    seen = states(cli(f"{asked} --dry-run"))
    assert len(seen) == 4 and seen.pop(single.path.name) == f"done: {plan.figure(single.result)}"
    seconds = plan.duration(sum(single.result["seconds"].values()))
    assert set(seen.values()) == {f"to do, about {seconds}"}


def test_what_is_done_is_reported_without_a_worker(cli, no_workers):
    for seed in (1, 2):
        cli(f"--dataset agnews --pruner rand --compression 1 --seed {seed}")
    outcome = cli(f"{FLAGS} --pruner rand --compression 1 --seed-list 1 2")
    assert outcome.code == 0 and "2 runs: 2 done, 0 failed" in outcome.out
    names = [path.name for path in (outcome.results / "singleshot").iterdir()]
    assert len(names) == 2


def test_a_dry_run_leaves_no_trace(cli, no_workers):
    outcome = cli(f"{FLAGS} --pruner-list rand snip --compression-list 1 --dry-run --workers 2")
    assert outcome.code == 0 and not outcome.results.exists()
    assert set(states(outcome).values()) == {"to do"}
    assert outcome.out.endswith("2 runs: 0 done, 0 failed before, 2 to do, of unknown length for 2 at a time\n")


def test_a_run_that_two_tables_name_is_one(cli, sweep_file):
    table = "[[grid]]\npruner = ['rand', 'snip']\ncompression = 1\n"
    assert len(states(cli(f"{FLAGS} --sweep-file {sweep_file(table * 2)} --dry-run"))) == 2


# One dense run is enough.


@pytest.mark.parametrize("data", ["--dataset mnist", "--dataset agnews --post-epochs 1"])
def test_without_pruning_all_pruners_give_the_same_bits(ran, data):
    """Whatever else is said of the pruning; every mask is all ones."""
    first = ran(f"{data} --pruner rand")
    assert first.masks and all((mask == 1).all() for mask in first.masks.values())
    said = "mag", "snip --prune-epochs 2 --invert", "grasp --mask-scope local --prune-seed 9", "synflow --shuffle"
    for more in said:
        other = ran(f"{data} --pruner {more}")
        assert (other.path / "model.safetensors").read_bytes() == (first.path / "model.safetensors").read_bytes()
        assert other.result["final"] == first.result["final"] and other.path.name != first.path.name


def test_of_dense_runs_that_would_be_the_same_the_first_stays(cli):
    asked = f"{FLAGS} --pruner-list snip rand grasp --compression-list 0 1 --seed-list 1 2 --dry-run"
    outcome = cli(asked)
    names = states(outcome)
    assert [name for name in names if "-c0-" in name] == [name for name in names if "-snip-c0-" in name]
    assert len(names) == 2 + 6 and "dense runs: those of snip stand for 4 more" in outcome.err
    stored = cli("--dataset agnews --pruner grasp --compression 0 --seed 2").path.name
    names = states(cli(asked))
    assert stored in names and names[stored].startswith("done")  # one that is stored goes before the first
    assert sorted(name.split("-c0-")[0].rsplit("-", 1)[1] for name in names if "-c0-" in name) == ["grasp", "snip"]


def test_a_dense_run_of_a_pruner_that_is_not_asked_for_stands_for_those_that_are(cli, no_workers):
    stored = cli("--dataset agnews --pruner grasp --compression 0 --seed 2")
    cli("--dataset agnews --pruner grasp --compression 0 --seed 2 --expid other-c0-name")  # no name of a sweep's
    for k, text in enumerate(("{", "{}", "[]", '{"compression": 0}')):
        foreign = stored.results / "singleshot" / f"agnews-a-c0-{k}" / "config.json"
        foreign.parent.mkdir()
        foreign.write_text(text)
    asked = f"{FLAGS} --pruner-list snip rand --compression-list 0"
    outcome = cli(f"{asked} --seed-list 2")
    assert outcome.code == 0 and "1 run: 1 done, 0 failed" in outcome.out
    assert "dense runs: those of grasp stand for 2 more" in outcome.err
    names = states(cli(f"{asked} --seed-list 1 2 --dry-run"))
    assert names.pop(stored.path.name).startswith("done") and set(names.values()) != {"done"} and len(names) == 1
    assert "-snip-c0-s1-" in next(iter(names))
    (left,) = states(cli(f"{asked} --seed-list 2 --dry-run --force"))
    assert "-snip-c0-s2-" in left


def test_dense_runs_that_differ_stay(cli):
    lists = "--pruner-list snip rand --compression-list 0 --dry-run"
    assert len(states(cli(f"{FLAGS} {lists} --seed-list 1 2"))) == 2
    assert len(states(cli(f"{FLAGS} {lists} --lr-drops 1"))) == 1
    idle = {row.name for row in settings.ROWS if not row.dense}
    assert {"pruner", "shuffle", "prune_seed", "ignore_masks"} < idle
    assert not idle & {"seed", "init_seed", "data_seed", "reinitialize", "lr", "dense_classifier"}


# What failed.


def test_a_recorded_failure_is_left_out_and_told(cli, no_workers):
    asked = f"{FLAGS} --pruner snip --compression 1 --seed-list 1 2"
    names = list(states(cli(f"{asked} --dry-run")))
    first = cli("--dataset agnews --pruner snip --compression 1 --seed 1")
    assert first.path.name == names[0]
    Failures(str(first.results)).record(names[1], "out of luck", ["--seed=2"], "a\nb\n")
    seen = states(cli(f"{asked} --dry-run"))
    assert seen[names[1]] == "failed before: out of luck" and seen[names[0]].startswith("done")
    outcome = cli(asked)
    assert outcome.code == 1 and "2 runs: 1 done, 1 failed" in outcome.out
    assert outcome.err.splitlines()[-1].startswith("error: 1 of 2 runs have failed")
    assert states(cli(f"{asked} --dry-run --retry-failed"))[names[1]].startswith("to do")


def test_the_record_of_a_failure(tmp_path):
    failures = Failures(str(tmp_path))
    assert failures.message("a-run") is None
    failures.forget("a-run")
    failures.record("a-run", "why", ["--seed=2"], "".join(f"{k}\n" for k in range(100)))
    kept = json.loads((tmp_path / "failed" / "a-run.json").read_text())
    assert kept.keys() == {"name", "message", "when", "command", "output"} and kept["command"] == ["--seed=2"]
    assert kept["output"] == [str(k) for k in range(60, 100)]
    assert failures.message("a-run") == "why" and failures.message("another") is None
    (tmp_path / "failed" / "a-run.json").write_text("{")
    assert "cannot be read" in failures.message("a-run")
    failures.forget("a-run")
    assert failures.message("a-run") is None


def test_a_run_that_was_made_meanwhile_has_failed_no_longer(cli, no_workers):
    done = cli("--dataset agnews --pruner snip --compression 1")
    Failures(str(done.results)).record(done.path.name, "out of luck", [], "")
    assert cli(f"{FLAGS} --pruner-list snip --compression 1").code == 0
    assert not list((done.results / "failed").iterdir())


# How long it takes.


def test_the_estimate_is_the_median_of_the_runs_most_alike(tmp_path):
    def config(**changed):
        known = {"experiment": "singleshot", "source": "real", "dataset": "agnews", "model": "m", "post_epochs": 10}
        return {**known, "pruner": "snip", "prune_epochs": 1, "seed": 1, **changed}

    def finish(name: str, seconds: list[float], **changed):
        place = tmp_path / "singleshot" / name
        place.mkdir(parents=True)
        (place / "config.json").write_text(json.dumps(config(**changed)))
        (place / "result.json").write_text(json.dumps({"seconds": dict(zip("abc", seconds, strict=False))}))

    for k, seconds in enumerate([[1, 2], [4, 4], [50, 50]]):
        finish(f"snip{k}", seconds, seed=k)
    finish("synflow", [1000], pruner="synflow", prune_epochs=100)
    (tmp_path / "singleshot" / "broken").mkdir()
    (tmp_path / "singleshot" / "broken" / "result.json").write_text("[]")
    estimate = Estimate(tmp_path)
    assert estimate.of(config(seed=9)) == 8
    assert estimate.of(config(pruner="synflow", prune_epochs=100)) == 1000
    assert estimate.of(config(pruner="mag")) == (8 + 100) / 2  # none of its pruner: of all four
    assert estimate.of(config(post_epochs=3)) is None and estimate.of(config(dataset="mnist")) is None


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (45, "45 s"), (130, "2 min"), (5_900, "98 min"), (12_000, "3 h 20 min")]
)
def test_durations(seconds, words):
    assert plan.duration(seconds) == words


@pytest.mark.parametrize(
    ("cores", "workers", "asked", "wanted", "threads"),
    [
        (8, 1, None, 0, None),  # alone: as the single command
        (8, 1, None, 1, None),
        (8, 2, None, 0, 4),
        (8, 3, None, 0, 2),
        (8, 2, None, 1, 1),  # never more than the data set's own number
        (2, 4, None, 0, 1),
        (8, 2, 3, 1, 3),  # what is asked for holds
        (8, 1, 3, 0, 3),
        (8, 2, 0, 1, 0),
    ],
)
def test_threads_are_divided(monkeypatch, cores, workers, asked, wanted, threads):
    monkeypatch.setattr(pool, "cores", lambda: cores)
    assert pool.share(workers, asked, wanted) == threads


# Its flags.


def test_a_sweep_takes_every_flag_of_a_run():
    single, sweeping = commandline.parser("singleshot"), commandline.parser("sweep")
    known = {option for action in sweeping._actions for option in action.option_strings}
    decided = {"--share-pretraining"}  # by the sweep itself
    assert {option for action in single._actions for option in action.option_strings} - decided < known
    own, places = grid.of_runs(), {row.name for row in settings.ROWS if row.operational}
    assert own.keys() == vars(single.parse_args([])).keys() - places - {"experiment"}
    said = vars(sweeping.parse_args([]))
    assert all(said[name] is None for name in own)  # none has a default: what is there was said
    assert "processes" in sweeping.format_help() and "--expid" not in sweeping.format_help()
    assert callable(sweep.run)


def test_help_and_a_dry_run_do_not_wait_for_torch(root, sample_data, tmp_path):
    code = (
        "import contextlib, io, sys, main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "    main.main(['--experiment', 'sweep', '--help'])\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        "    assert main.main(sys.argv[1:]) == 0\n"
        "print(sorted({'torch', 'numpy', 'pandas', 'distributed'} & sys.modules.keys()))\n"
    )
    places = ["--source", "sample", "--data-dir", str(sample_data), "--result-dir", str(tmp_path)]
    asked = [*FLAGS.split(), "--pruner-list", "snip", "rand", "--dry-run"]
    shown = subprocess.run([sys.executable, "-c", code, *asked, *places], cwd=root, capture_output=True, text=True)
    assert shown.stdout == "[]\n", shown.stderr


def test_a_byte_order_mark_is_no_part_of_a_sweep_file(cli, tmp_path):
    """Also where an error counts its lines."""
    file = tmp_path / "grid.toml"
    text = '[settings]\ndataset = "mnist"\nmodel = "fc"\nseed = [1, 2]\n'
    file.write_text(text, encoding="utf-8-sig")
    assert "2 to do" in cli(f"--experiment sweep --sweep-file {file} --dry-run").out
    file.write_text("settings.lr = 1\nsettings.sed = 3\n", encoding="utf-8-sig")
    refused = cli(f"--experiment sweep --sweep-file {file} --dry-run")
    assert refused.code == 2 and "sed is no setting of a run (did you mean seed?)" in refused.err
