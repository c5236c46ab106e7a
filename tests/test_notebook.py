"""The lesson in notebooks/: it runs from top to bottom, and what is stored with it is what its cells say."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec

import pytest

HOUSE = ("main.py", "Experiments", "Layers", "Models", "Pruners", "Utils")
PACKAGES = ("nbformat", "nbclient", "ipykernel")
NEXT = "-- next cell --"


@pytest.fixture(scope="module")
def lesson(request):
    path = request.config.rootpath / "notebooks" / "first_steps.ipynb"
    return json.loads(path.read_text(encoding="utf-8"))


def source(cell):
    return "".join(cell["source"])


def code(lesson):
    return [cell for cell in lesson["cells"] if cell["cell_type"] == "code"]


def said(cell):
    return "".join("".join(found["text"]) for found in cell["outputs"] if found["output_type"] == "stream")


def with_kernel(lesson, folder):
    """What each code cell says, as a notebook's kernel runs it."""
    import nbclient
    import nbformat

    notebook = nbformat.reads(json.dumps(lesson), 4)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    return [said(cell) for cell in code(notebook)]


def as_script(lesson, folder):
    """What each code cell says, all of them in one process without a notebook."""
    script = f"\nprint({NEXT!r})\n".join(source(cell) for cell in code(lesson))
    (folder / "lesson.py").write_text(script, encoding="utf-8")
    words = {"MPLBACKEND": "Agg", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "lesson.py"], cwd=folder, env={**os.environ, **words}, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split(f"{NEXT}\n")


def test_the_lesson_runs_from_top_to_bottom(lesson, tmp_path, sample_data, root):
    """In a folder that links to the project, so that its results lie there. Numbers may differ by machine."""
    for name in HOUSE:
        (tmp_path / name).symlink_to(root / name)
    (tmp_path / "Data").symlink_to(sample_data)
    (tmp_path / "notebooks").mkdir()
    run = with_kernel if all(map(find_spec, PACKAGES)) else as_script
    found, stored = run(lesson, tmp_path / "notebooks"), [said(cell) for cell in code(lesson)]
    assert [re.sub(r"\d+", "#", text) for text in found] == [re.sub(r"\d+", "#", text) for text in stored]
    for cells in (found, stored):
        text = "".join(cells)
        assert "the same output: True" in text and "11,940 of 119,400 weights stay" in text
        assert text.count("have changed, 0 of those that are gone") == 2
    assert len(list((tmp_path / "Results").rglob("model.*.safetensors"))) == 3


def test_it_is_stored_as_it_was_run_once_in_order(lesson):
    cells = code(lesson)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        kinds = [found.get("name", "picture") for found in cell["outputs"]]
        assert kinds.count("picture") == source(cell).count("plt.show()"), source(cell)
        assert "stderr" not in kinds and all("image/png" in f["data"] for f in cell["outputs"] if "data" in f)
    assert sum(len(cell["outputs"]) for cell in cells) > 12


def test_it_is_small_and_names_no_machine(lesson, root):
    assert (root / "notebooks" / "first_steps.ipynb").stat().st_size < 600_000
    words = "".join(source(cell) for cell in lesson["cells"]) + "".join(said(cell) for cell in code(lesson))
    assert not re.search(r"(?<![\w.])/\w+/\w+|[A-Z]:\\", words) and not re.search(r"https?://", words)
    assert lesson["metadata"].keys() == {"kernelspec", "language_info"} and "path" not in json.dumps(lesson["metadata"])


def test_each_cell_is_short_and_is_introduced(lesson):
    kinds = [cell["cell_type"] for cell in lesson["cells"]]
    assert kinds[0] == "markdown" == kinds[-1]
    assert all(len(source(cell).splitlines()) <= 25 for cell in lesson["cells"])


def test_the_flags_and_words_that_it_names_exist(lesson):
    from Utils import load
    from Utils.commandline import arguments

    words = "".join(source(cell) for cell in lesson["cells"])
    known = {
        name for kind in ("singleshot", "export") for a in arguments.parser(kind)._actions for name in a.option_strings
    }
    flags = set(re.findall(r"(?<!\S)--[a-z][a-z-]+|(?<=[`\"])--[a-z][a-z-]+", words))
    assert len(flags) > 8 and flags <= known
    assert set(re.findall(r"[\"`](rand|mag|snip|grasp|synflow)[\"`]", words)) <= load.PRUNERS.keys()
