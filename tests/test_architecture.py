"""The rules of the house, read from the source: who may import whom, and what may be written where."""

import ast
import importlib
import inspect
from pathlib import Path

import pytest

from Utils import load
from Utils.commandline import arguments as commandline
from Utils.data.dataset import Dataset

HOUSE = ("Experiments", "Pruners", "Models", "Layers", "Utils")
ROOT = Path(__file__).resolve().parent.parent
SOURCES = [ROOT / "main.py", *sorted(path for folder in HOUSE for path in (ROOT / folder).rglob("*.py"))]
TRAVELS = "Utils/exported"  # a folder that works wherever it is copied to
TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}
for path, tree in TREES.items():  # in the folder that travels alone, imports say ".neighbour"
    for node in ast.walk(tree):
        if path.startswith(f"{TRAVELS}/") and isinstance(node, ast.ImportFrom) and node.level == 1:
            node.module, node.level = f"{TRAVELS.replace('/', '.')}.{node.module}", 0
# What each floor may import of ours. Utils/load.py, the registry, may import Pruners too; it reaches all else by name.
ALLOWED = {
    "Layers": {"Layers"},
    "Models": {"Models", "Layers"},
    "Pruners": {"Pruners", "Layers"},
    "Utils": {"Utils", "Layers"},
    "Experiments": set(HOUSE),
    "main.py": {"Experiments", "Utils"},
}


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports(node: ast.AST, at_once: bool = False):
    """(module, names, line) of each import below `node`; `at_once`: only those that run as the module is imported."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield alias.name, [], child.lineno
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"line {child.lineno}: a relative import"
            yield child.module, [alias.name for alias in child.names], child.lineno
        elif not (at_once and (is_type_checking(child) or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))):
            yield from imports(child, at_once)


def strings(tree: ast.AST) -> list[str]:
    """Every string literal."""
    constants = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return [value for value in constants if isinstance(value, str)]


def test_the_house_has_the_given_rooms():
    assert all((ROOT / folder / "__init__.py").is_file() for folder in HOUSE)
    assert len(TREES) > 25


@pytest.mark.parametrize("file", TREES)
def test_imports_run_one_way(file):
    floor = file.partition("/")[0]
    ours = [(module, line) for module, _, line in imports(TREES[file]) if module.partition(".")[0] in (*HOUSE, "main")]
    allowed = ALLOWED[floor] | ({"Pruners"} if file == "Utils/load.py" else set())
    wrong = [f"{file}:{line}: {module}" for module, line in ours if module.partition(".")[0] not in allowed]
    assert wrong == []


def test_layers_stand_alone():
    """The ground floor imports nothing of ours but its neighbours."""
    found = {module for file, tree in TREES.items() if file.startswith("Layers/") for module, _, _ in imports(tree)}
    assert {module.partition(".")[0] for module in found if module.partition(".")[0] in HOUSE} <= {"Layers"}
    assert not any(module.startswith("Utils") for module in found)


def test_the_folder_that_travels_needs_nothing_else_of_ours():
    """Its absolute imports are of others; only its relative ones, which `TREES` has resolved, are of ours."""
    for path in (ROOT / TRAVELS).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
                relative = isinstance(node, ast.ImportFrom) and node.level == 1 and (node.module or "").isidentifier()
                assert relative or not {str(name).partition(".")[0] for name in names} & {*HOUSE, "main"}, path


def modules_of(module: str, names: list[str]) -> set[str]:
    """Files that `from module import names` (or `import module`) loads."""
    found = set()
    for candidate in (module, *(f"{module}.{name}" for name in names)):
        path = candidate.replace(".", "/")
        found |= {file for file in (f"{path}.py", f"{path}/__init__.py") if file in TREES}
    return found


def test_no_import_goes_in_a_circle():
    """Imports inside functions run later and are no circle; those for type checkers never run."""
    graph = {
        file: {target for module, names, _ in imports(tree, at_once=True) for target in modules_of(module, names)}
        for file, tree in TREES.items()
    }
    assert sum(map(len, graph.values())) > 40
    done: set[str] = set()

    def walk(file: str, path: tuple[str, ...]) -> None:
        assert file not in path, " -> ".join((*path, file))
        if file not in done:
            for target in sorted(graph[file] - {file}):
                walk(target, (*path, file))
            done.add(file)

    for file in graph:
        walk(file, ())


@pytest.mark.parametrize("file", TREES)
def test_no_star_imports(file):
    assert [line for _, names, line in imports(TREES[file]) if "*" in names] == []


@pytest.mark.parametrize("file", TREES)
def test_no_flag_of_type_bool(file):
    """bool("False") is True."""
    keywords = [node for node in ast.walk(TREES[file]) if isinstance(node, ast.keyword) and node.arg == "type"]
    assert [key.value.lineno for key in keywords if isinstance(key.value, ast.Name) and key.value.id == "bool"] == []


def test_the_words_of_a_flag_are_read_by_no_ones_bool():
    """The same of the parser as it is built, whatever the source looks like."""
    assert all(action.type is not bool for action in commandline.parser()._actions)


def test_data_sets_are_named_in_their_file_and_the_registry_alone():
    """So that nothing else asks `if dataset == ...`. The flags name the default."""
    allowed = {"Utils/load.py", "Utils/settings.py", "Experiments/handout/questions.py"}
    found = {
        file
        for file, tree in TREES.items()
        for text in strings(tree)
        if text in load.DATASETS and not file.startswith("Utils/data/sets/")
    }
    assert found <= allowed
    for name in load.DATASETS:  # and a data set's file names no other
        (own,) = (file for file, tree in TREES.items() if file == f"Utils/data/sets/{name.replace('-', '_')}.py")
        assert set(strings(TREES[own])) & load.DATASETS.keys() == {name}
    assert len([text for text in strings(TREES["Utils/settings.py"]) if text in load.DATASETS]) <= 1


@pytest.mark.parametrize("registry", ["MODELS", "PRUNERS", "OPTIMIZERS"])
def test_no_branch_asks_for_the_name_of_a_thing(registry):
    """Nor `if pruner == ...`, nor a model's, nor an optimizer's: names become objects in one place."""
    names = set(getattr(load, registry)) | {name for known in load.MODELS.values() for name in known}
    wrong = []
    for file, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Compare):
                sides = [node.left, *node.comparators]
                inner = [part for side in sides for part in ast.walk(side) if isinstance(part, ast.Constant)]
                wrong += [f"{file}:{node.lineno}" for part in inner if part.value in names]
    assert wrong == []


def test_torchtext_is_imported_in_one_file():
    """It loads with no newer torch: one file has to know."""
    found = {file for file, tree in TREES.items() for module, _, _ in imports(tree) if module.startswith("torchtext")}
    assert found == {"Utils/data/text.py"}


def test_what_the_help_needs_imports_nothing_heavy():
    """Followed through imports at module level from main.py, and from what it imports at once inside its functions."""
    heavy = {"torch", "numpy", "pandas", "torchtext", "torchvision", "torchmetrics", "spacy", "safetensors"}
    first = ("main.py", "Utils/console.py", "Utils/machine/interrupts.py", "Utils/commandline/arguments.py")
    seen, waiting = set(), [*first, *(f"Utils/data/sets/{name.replace('-', '_')}.py" for name in load.DATASETS)]
    while waiting:
        file = waiting.pop()
        if file not in seen:
            seen.add(file)
            for module, names, line in imports(TREES[file], at_once=True):
                assert module.partition(".")[0] not in heavy, f"{file}:{line}"
                waiting += modules_of(module, names)
    assert {"Utils/settings.py", "Utils/load.py", "Utils/data/corpus.py"} <= seen


PLACES = [
    *load.DATASETS.values(),
    *(place for names in load.MODELS.values() for _, place in names.values()),
    *load.PRUNERS.values(),
    *(place for place, _ in load.OPTIMIZERS.values()),
    *(f"{place}:{part}" for place in load.EXPERIMENTS.values() for part in ("flags", "check", "run")),
    *(load.dataset(name).evaluation for name in load.DATASETS),
]


@pytest.mark.parametrize("place", PLACES)
def test_every_entry_of_the_registries_resolves(place):
    module, _, name = place.partition(":")
    assert getattr(importlib.import_module(module), name) is not None


@pytest.mark.parametrize("name", load.DATASETS)
def test_a_data_set_is_what_its_entry_says(name, sample_data):
    data = load.dataset(name)
    assert isinstance(data, Dataset) and data.name == name
    kind, place = load.MODELS[data.model_class][data.model]
    assert data.kind in kind.split() and place
    flags = vars(commandline.parser().parse_args([]))
    assert data.defaults.keys() <= flags.keys() and all(flags[key] is None for key in data.defaults)
    if data.sample:
        loaded = load.corpus(name, str(sample_data), "sample")
        assert len(set(loaded.classes)) == len(loaded.classes) == loaded.num_classes > 1
        assert {"train", "test"} <= loaded.splits.keys() == loaded.rows.keys()
    assert all((raw.url, raw.md5) == ("", "") or raw.url.startswith("https://") for raw in data.raw)
    assert all(len(raw.md5) == 32 for raw in data.raw if raw.url)
    assert all(not Path(raw.path).is_absolute() and ".." not in Path(raw.path).parts for raw in data.raw)


def test_every_data_set_file_is_registered():
    files = {Path(file).stem for file in TREES if file.startswith("Utils/data/sets/")} - {
        "__init__",
        "base",
        "cifar",
        "idx",
    }
    assert files == {place.partition(":")[0].rpartition(".")[2] for place in load.DATASETS.values()}


def test_every_pruner_and_model_can_be_had_by_name():
    for name in load.PRUNERS:
        assert callable(load.pruner(name).score)
    for family, names in load.MODELS.items():
        for name in names:
            signature = inspect.signature(load.model(name, family))
            assert list(signature.parameters)[:3] == ["input_shape", "num_classes", "dense_classifier"]
    for name in load.OPTIMIZERS:
        kind, arguments = load.optimizer(name)
        assert arguments.keys() <= inspect.signature(kind).parameters.keys()
    for name in load.EXPERIMENTS:
        assert list(inspect.signature(load.recipe(name).run).parameters) == ["args"]
        assert load.recipe(name).__doc__.partition("\n")[0] in commandline.parser(name).format_help()


def test_the_names_of_assignment_one_are_there():
    """Users and graders import these."""
    from Layers import layers
    from Pruners import pruners
    from Utils import generator, metrics

    for name in ("Linear", "Conv2d", "BatchNorm1d", "BatchNorm2d", "Identity1d", "Identity2d"):
        assert inspect.isclass(getattr(layers, name))
    for name in ("Rand", "Mag", "SNIP", "GraSP", "SynFlow"):
        methods = ("score", "mask", "apply_mask", "shuffle", "invert", "stats")
        assert all(callable(getattr(getattr(pruners, name), method)) for method in methods)
    for name in ("masks", "trainable", "prunable", "parameters", "masked_parameters"):
        assert callable(getattr(generator, name))
    for name in ("device", "dimension", "dataloader", "model", "pruner", "optimizer"):
        assert callable(getattr(load, name))
    assert callable(metrics.summary) and callable(metrics.flop)


def test_assignment_ones_way_to_data_works(tmp_path, monkeypatch, sample_data):
    """load.dimension and load.dataloader by name, from the data directory at hand."""
    shape, classes = load.dimension("mnist", str(sample_data), "sample")
    assert (shape, classes) == ((1, 28, 28), 10)
    loaded = load.corpus("mnist", str(sample_data), "sample")
    batches = list(load.dataloader(loaded, 256, train=False))
    assert [len(target) for _, target in batches] == [256, 256, 256, 232] and batches[0][0].shape == (256, 1, 28, 28)
    shape, classes = load.dimension("agnews", str(sample_data), "sample")
    assert len(shape) == 1 and shape[0] > 8_000 and classes == 4


def without_encoding(tree: ast.AST) -> list[str]:
    """Calls that read or write text in the encoding of whatever system they run on."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called, given = ast.unparse(node.func), {keyword.arg for keyword in node.keywords}
        name = called.rpartition(".")[2]
        binary = any("b" in text and set(text) <= set("rwaxb+") for argument in node.args for text in strings(argument))
        text = name in ("read_text", "write_text") or (
            name in ("open", "fdopen") and called not in ("os.open", "Image.open") and not binary
        )
        if (text or given & {"text", "universal_newlines"}) and "encoding" not in given:
            found.append(f"line {node.lineno}: {called}")
    return found


@pytest.mark.parametrize("path", [*SOURCES, *sorted((ROOT / "benchmarks").glob("*.py"))], ids=lambda path: path.name)
def test_text_is_read_and_written_in_a_named_encoding(path):
    assert without_encoding(ast.parse(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("p.read_text()", 1),
        ("p.write_text('b')", 1),
        ("p.read_text(encoding='utf-8')", 0),
        ("open('b.csv')", 1),
        ("p.open('rb')", 0),
        ("os.fdopen(handle, 'w')", 1),
        ("os.open(path, os.O_RDWR)", 0),
        ("subprocess.run(line, text=True)", 1),
    ],
)
def test_text_without_an_encoding_is_found(source, count):
    assert len(without_encoding(ast.parse(source))) == count
