"""Every notebook is stored as it ran, and has the parts of a chapter; the plants at the end test the checker.

Notebooks are found, not listed: a new one is tested from the moment it exists. nbval runs each in a kernel
and compares what is printed. `notebook_checker.py` compares what nbval does not, figures above all, when
`test_drift.py` runs each notebook and plants faults in it. `test_pages.py` tests the words.
"""

import base64
import copy
import io
import itertools
import re
import tomllib

import nbformat
import notebook_checker as checker
import numpy as np
import pytest
from notebook_checker import ROOT, WIDGET, read
from PIL import Image

from qtutor.tutorial import exercises

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CHAPTERS = [path for path in NOTEBOOKS if re.match(r"(?!00)\d\d_", path.name)]
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
every_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


# --- the outputs ---


def test_there_are_notebooks():
    assert NOTEBOOKS


@every_notebook
def test_the_notebook_follows_the_rules_as_stored(path):
    problems = checker.policy(path)
    assert not problems, "\n".join(problems)


def test_no_cell_is_exempt_from_comparing(record_property):
    cells = [cell for path in NOTEBOOKS for cell in checker.code_cells(read(path))]
    exempt = [cell.id for cell in cells if checker.opts_out(cell)]
    record_property("cells exempt from comparing", f"{len(exempt)} of {len(cells)}")
    assert not exempt
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    options = settings["tool"]["pytest"]["ini_options"]["addopts"]
    assert "--nbval" in options and not any(re.search("lax|sanitize", option) for option in options)


# --- the parts of a chapter ---


def prose(path):
    return "\n\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")


def section(path, heading):
    """The prose from the heading to the next one of its level or above."""
    found = re.search(rf"^(#+) {heading}\s*$(.*?)(?=^#{{1,2}} |\Z)", prose(path), re.M | re.S)
    assert found, f"no heading {heading!r}"
    return found[2]


def words_of(output):
    return output.get("text", "") + output.get("data", {}).get("text/plain", "") + output.get("evalue", "")


@every_chapter
def test_a_chapter_opens_with_its_question_and_what_it_takes(path):
    opening = prose(path).partition("\n## ")[0]
    assert re.match(rf"# {path.name[:2]} · ", opening)
    for part in ("You need first", "You will be able to", "Time"):
        assert f"**{part}" in opening, f"the opening doesn't say {part!r}"
    first = next(checker.code_cells(read(path)))
    assert "import qtutor as qt" in first.source


@every_notebook
def test_a_chapter_opens_with_its_explorer_after_few_words(path):
    first, second = itertools.islice(checker.code_cells(read(path)), 2)
    assert "import qtutor as qt" in first.source
    assert any(WIDGET in output.get("data", {}) for output in second.outputs), second.source
    before = [
        cell.source for cell in itertools.takewhile(lambda cell: cell.id != second.id, read(path).cells)
    ]
    assert len(" ".join(before).split()) <= 300


@every_notebook
def test_a_folded_answer_is_not_told_by_its_first_line(path):
    # JupyterLab shows the first line of a folded output: its numbers must be those of the question
    words = ""
    for cell in read(path).cells:
        if cell.cell_type == "markdown":
            words = cell.source
        elif cell.metadata.get("jupyter", {}).get("outputs_hidden") and cell.outputs:
            line = words_of(cell.outputs[0]).strip().partition("\n")[0]
            known = numbers_in(words + cell.source)
            assert numbers_in(line) <= known, f"{cell.id} shows {line!r} though it is folded"
            assert not line.startswith("Figure: "), f"{cell.id} shows what its folded figure tells"


def numbers_in(text):
    return {float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", text.replace(",", ""))}


WIDE, DRAWING = 84, 15  # columns of a line of code; lines of a cell that only draws


@every_notebook
def test_code_that_only_draws_is_folded_and_short_and_no_line_is_wide(path):
    for cell in checker.code_cells(read(path)):
        lines = cell.source.splitlines()
        solution = "solution" in cell.metadata.get("tags", [])
        folded = cell.metadata.get("jupyter", {}).get("source_hidden", False)
        assert folded == ("hide-input" in cell.metadata.get("tags", [])), (
            cell.id
        )  # in JupyterLab as on a page
        assert max(map(len, lines), default=0) <= WIDE, f"{cell.id} is wider than {WIDE} columns"
        if re.search(r"^(fig|plots|figures)\b.*=? ?(plots|figures)\.", cell.source, re.M) and not solution:
            assert folded, f"{cell.id} draws, and is not folded"
            assert len(lines) <= DRAWING, f"{cell.id} draws in {len(lines)} lines"


@every_chapter
def test_a_chapter_has_an_explorer_beside_static_figures(path):
    bundles = [o.data for cell in checker.code_cells(read(path)) for o in cell.outputs if "data" in o]
    explorers = [data for data in bundles if WIDGET in data]
    assert explorers
    assert all({"image/svg+xml", "image/png"} & data.keys() for data in explorers)
    assert any(data.get("text/plain", "").startswith("Figure: ") for data in bundles)


@every_chapter
def test_each_exercise_waits_to_be_tried_and_its_folded_solution_is_correct(path):
    chapter = exercises.load(path.name[:2])
    assert len(chapter) >= 4
    tried, solved = [], []
    for cell in checker.code_cells(read(path)):
        for name in re.findall(r'^check\(\s*"([\d.]+)"', cell.source, re.M):
            printed = "".join(map(words_of, cell.outputs))
            if "solution" in cell.metadata.get("tags", []):
                assert printed.startswith(f"The folded solution, not your answer:\nExercise {name}: correct")
                assert cell.metadata.get("jupyter", {}).get("source_hidden") is True
                assert "hide-input" in cell.metadata.tags
                solved.append(name)
            else:
                assert f"Exercise {name}: not tried yet" in printed
                tried.append(name)
    assert tried == solved == list(chapter)


@every_chapter
def test_a_chapter_closes_with_ten_questions_misconceptions_and_sources(path):
    questions = section(path, "Ten questions")
    assert len(re.findall(r"<details>\s*<summary>.+?</summary>.*?\S.*?</details>", questions, re.S)) == 10
    assert questions.count("<details>") == questions.count("</details>") == 10
    for heading in ("What to remember", "Misconceptions", "Roads not taken", "Sources"):
        assert section(path, heading).strip(), f"nothing under {heading!r}"


@every_notebook
def test_no_figure_is_cut_off_at_its_edge(path):
    for number, cell in enumerate(read(path).cells, 1):
        for png in (o.data["image/png"] for o in cell.get("outputs", []) if "image/png" in o.get("data", {})):
            pixels = checker.pixels(png)
            edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
            assert (edge == 255).all(), f"cell {number}: something reaches the edge of the figure"


# --- the checker itself: each plant is one thing that could go stale or be hidden ---

PNG = """
import io
import itertools
import numpy as np
from PIL import Image

class Picture:
    def _repr_mimebundle_(self, include=None, exclude=None):
        file = io.BytesIO()
        Image.fromarray(np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)).save(file, "png")
        return {"image/png": file.getvalue(), "text/plain": "Figure: a ramp of greys from black to white."}

Picture()
"""
EXPLORER = """
import random
data = {"application/vnd.jupyter.widget-view+json": {"model_id": str(random.random()), "version_major": 2}}
display({**data, "text/plain": "Explorer: one slider that moves nothing at all."}, raw=True)
"""


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A small notebook, stored by the checker's own --update, and a fresh run of it."""
    path = tmp_path_factory.mktemp("checker") / "small.ipynb"
    notebook = nbformat.v4.new_notebook(metadata=checker.NOTEBOOK_METADATA)
    sources = ["print(6 * 7)", "print('a')\n40 + 2", PNG, EXPLORER, "1 / 0", "{'scale': 0.5}"]
    notebook.cells = [nbformat.v4.new_markdown_cell("Words.", id="words")]
    notebook.cells += [nbformat.v4.new_code_cell(source, id=f"c{i}") for i, source in enumerate(sources, 1)]
    notebook.cells[5].metadata.tags = ["raises-exception"]
    path.write_text(checker.write(notebook), encoding="utf-8", newline="\n")
    assert checker.update(path) == []
    return path, checker.execute(read(path), path.parent)


def problems_after(plant, sound, folder):
    """What the checker says of the sound notebook with one thing planted in it."""
    path, fresh = sound
    notebook = read(path)
    plant(notebook)
    planted = folder / "planted.ipynb"
    planted.write_text(checker.write(notebook), encoding="utf-8", newline="\n")
    return checker.policy(planted) + checker.compare(read(planted), fresh)


def test_a_sound_notebook_passes_and_random_widget_ids_do_not_matter(sound, tmp_path):
    assert problems_after(lambda notebook: None, sound, tmp_path) == []


def test_update_folds_what_a_reader_is_asked_to_predict_up_to_the_next_words_and_nothing_else():
    def code(**jupyter):
        return nbformat.v4.new_code_cell("6", metadata={"jupyter": jupyter})

    words = nbformat.v4.new_markdown_cell
    asked, picture = code(), code(source_hidden=True)
    other, solution = code(outputs_hidden=True), code(source_hidden=True, outputs_hidden=True)
    cells = [words("Six.\n\n> **Predict.** How many codes?"), asked, picture, words("Six."), other, solution]
    _, *folded, _, shown, solution = checker.normal(nbformat.v4.new_notebook(cells=cells)).cells
    assert folded[0].metadata == {"collapsed": True, "jupyter": {"outputs_hidden": True}}
    assert folded[1].metadata.jupyter == {"source_hidden": True, "outputs_hidden": True}
    assert shown.metadata == {}
    assert solution.metadata == {"jupyter": {"source_hidden": True}}


def png(grey, width=64):
    file = io.BytesIO()
    Image.fromarray(np.full((64, width), grey, np.uint8)).save(file, "png")
    return base64.b64encode(file.getvalue()).decode("ascii")


def repaint(notebook):
    notebook.cells[3].outputs[0].data["image/png"] = png(128)


def resize(notebook):
    notebook.cells[3].outputs[0].data["image/png"] = png(128, width=65)


def say(notebook, words):
    notebook.cells[3].outputs[0].data["text/plain"] = words


def tag(notebook, name):
    notebook.cells[1].metadata.tags = [name]


def delete_output_and_count(notebook):
    notebook.cells[2].outputs, notebook.cells[2].execution_count = [], None


def add_error(notebook):
    error = nbformat.v4.new_output("error", ename="E", evalue="planted", traceback=["E: planted"])
    notebook.cells[1].outputs.append(error)


def add_stderr(notebook):
    notebook.cells[1].outputs.append(nbformat.v4.new_output("stream", name="stderr", text="careful\n"))


def add_path(notebook):
    # written in two halves, or this file would hold the path of a machine itself
    notebook.cells[1].outputs[0].text += "/ho" + "me/someone/file\n"


# what is planted, and a word that the checker must say about it
PLANTS = {
    "a digit changed": ("text was", lambda n: n.cells[1].outputs[0].update(text="43\n")),
    "a result changed": ("text/plain was", lambda n: n.cells[2].outputs[1].data.update({"text/plain": "43"})),
    "an output deleted": ("stored []", lambda n: n.cells[1].update(outputs=[])),
    "an output deleted with its count": ("stored []", delete_output_and_count),
    "a result deleted beside a print": ("stored ['stdout']", lambda n: n.cells[2].outputs.pop()),
    "two outputs swapped": ("now ['stdout', 'execute_result']", lambda n: n.cells[2].outputs.reverse()),
    "a count wrong": ("execution count 7", lambda n: n.cells[2].update(execution_count=7)),
    "a cell not run": ("execution count None", lambda n: n.cells[6].update(execution_count=None, outputs=[])),
    "a picture repainted": ("root mean square", repaint),
    "a picture of another size": ("pixels", resize),
    "a picture broken": ("is broken", lambda n: n.cells[3].outputs[0].data.update({"image/png": "AAAA"})),
    "a picture deleted": (
        "image/png is made but not stored",
        lambda n: n.cells[3].outputs[0].data.pop("image/png"),
    ),
    "alt text changed": ("text/plain was", lambda n: say(n, "Figure: a ramp from white to black, they say.")),
    "alt text lost": ("needs alt text", lambda n: say(n, "<Figure size 640x480 with 1 Axes>")),
    "a widget lost": ("widget-view", lambda n: n.cells[4].outputs[0].data.pop(WIDGET)),
    "an error added": ("now ['stdout']", add_error),
    "an error's text changed": ("evalue was", lambda n: n.cells[5].outputs[0].update(evalue="by one")),
    "an error's kind changed": ("ename was", lambda n: n.cells[5].outputs[0].update(ename="ValueError")),
    "a traceback changed": ("normal form", lambda n: n.cells[5].outputs[0].update(traceback=["all is well"])),
    "an error without its tag": ("come together", lambda n: n.cells[5].metadata.update(tags=[])),
    "a tag without its error": ("come together", lambda n: tag(n, "raises-exception")),
    "stderr stored": ("stderr is stored", add_stderr),
    "a stream's name changed": ("now ['stdout']", lambda n: n.cells[1].outputs[0].update(name="stderr")),
    "a comment that ignores": (
        "NBVAL_IGNORE",
        lambda n: n.cells[1].update(source="# NBVAL_IGNORE_OUTPUT\n1"),
    ),
    "a comment that skips": ("NBVAL_SKIP", lambda n: n.cells[1].update(source="print(42)  #NBVAL_SKIP")),
    "a tag that ignores": ("nbval-ignore-output", lambda n: tag(n, "nbval-ignore-output")),
    "a tag that skips": ("skip-execution", lambda n: tag(n, "skip-execution")),
    "an id twice": ("occurs 2 times", lambda n: n.cells[1].update(id=n.cells[2].id)),
    "an unknown output": (
        "not a valid notebook",
        lambda n: n.cells[1].outputs[0].update(output_type="rumour"),
    ),
    "widget state stored": ("metadata.widgets", lambda n: n.metadata.update(widgets={"state": {}})),
    "another kernel": ("must be python3", lambda n: n.metadata.kernelspec.update(name="julia")),
    "a path of a machine": ("path of this machine", add_path),
    "a memory address": ("memory address", lambda n: n.cells[1].outputs[0].update(text="0x7f3a5c1b2d30\n")),
    "an editor's metadata": ("normal form", lambda n: n.cells[1].metadata.update(collapsed=False)),
    "a mime type added": (
        "text/html",
        lambda n: n.cells[6].outputs[0].data.update({"text/html": "<b>0</b>"}),
    ),
}


@pytest.mark.parametrize(("word", "plant"), PLANTS.values(), ids=PLANTS)
def test_the_checker_sees(word, plant, sound, tmp_path):
    problems = problems_after(plant, sound, tmp_path)
    assert any(word in problem for problem in problems), problems


@pytest.mark.parametrize(
    "last_cell", ["raise SystemError('broken')", "import sys\nprint('careful', file=sys.stderr)"]
)
def test_update_leaves_a_failing_notebook_as_it_was(last_cell, sound, tmp_path):
    notebook = copy.deepcopy(read(sound[0]))
    notebook.cells = [*notebook.cells[:2], nbformat.v4.new_code_cell(last_cell, id="last")]
    path = tmp_path / "failing.ipynb"
    path.write_text(checker.write(notebook), encoding="utf-8", newline="\n")
    before = path.read_bytes()
    assert checker.update(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
