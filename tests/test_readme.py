"""The README says what is there.  (Its Python example runs as a doctest.)"""

import json
import re
import subprocess
from pathlib import Path

import nbformat
import numpy as np
import pytest

from qtutor.tutorial import explorers

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def opening(path):
    return nbformat.read(path, as_version=4).cells[0].source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_map_of_chapters_repeats_each_title_question_and_time(path):
    title = re.match(r"# (.+)", opening(path))[1]
    question = re.search(r"^\*(.+)\*$", opening(path), re.MULTILINE)[1]
    minutes, seconds = re.search(r"about (\d+) minutes to read, (\d+) seconds to run", opening(path)).groups()
    row = next(line for line in README.splitlines() if line.startswith("|") and path.name in line)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[0] == f"[{title}](notebooks/{path.name})"
    assert cells[1] == question
    assert cells[3] == f"{minutes} min, {seconds} s"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_reading_time_is_that_of_the_words(path):
    cells = nbformat.read(path, as_version=4).cells
    words = sum(len(cell.source.split()) for cell in cells if cell.cell_type == "markdown")
    minutes = int(re.search(r"about (\d+) minutes to read", opening(path))[1])
    assert abs(minutes - words / 200) <= 1, f"{words} words are {words / 200:.0f} minutes"


def test_the_picture_is_what_the_explorer_draws():
    picture = (ROOT / ".github" / "explorer.svg").read_text(encoding="utf-8")
    assert picture == explorers.zero_point_explorer().drawing().svg + "\n"


def test_every_relative_link_leads_somewhere():
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert re.match("https?:", target) or (ROOT / target).exists(), target


def measured():
    """The commit and the machine of the table of speed, which no test compares with a fresh run."""
    (speed,) = re.findall(r"^### Speed\n(.*?)^#", README, re.M | re.S)
    said = re.search(r"from one run at commit `([0-9a-f]{7,40})`, on one thread of (an? [^.]+)\.", speed)
    assert said, "the section on speed does not say: from one run at commit `...`, on one thread of a ..."
    return said.groups()


def test_the_table_of_speed_says_of_which_commit_and_machine_it_is():
    _, machine = measured()
    assert re.search(r"AMD|Intel|Apple|ARM", machine), f"{machine} is no processor that one could look for"


def test_the_commit_of_the_table_of_speed_is_in_the_history():
    commit, _ = measured()

    def git(*command):
        return subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True)

    try:
        if git("rev-parse", "--is-shallow-repository").stdout.strip() != "false":
            pytest.skip("the whole history is not here")
    except FileNotFoundError:
        pytest.skip("git is not installed")
    assert git("merge-base", "--is-ancestor", commit, "HEAD").returncode == 0, f"{commit} is not before HEAD"
    assert git("cat-file", "-e", f"{commit}:qtutor/bench.py").returncode == 0, f"{commit} has no benchmark"


@pytest.mark.parametrize(
    ("files", "row"),
    {
        "onnx_node": "ONNX, backend",
        "onnxref": "ONNX, reference",
        "ort": "ONNX Runtime",
        "torch": "PyTorch",
        "tflite": "LiteRT",
    }.items(),
)
def test_the_table_of_engines_counts_the_recorded_cases(files, row):
    # that each of them is exact, tests/conformance demands
    recorded, versions = 0, set()
    for path in (ROOT / "tests" / "conformance" / "data").glob(f"{files}*.npz"):
        with np.load(path) as arrays:
            meta = json.loads(str(arrays["meta"]))
        recorded += len(meta["cases"])
        versions.add(meta["provenance"]["version"].partition("+")[0])
    (line,) = (line for line in README.splitlines() if line.startswith(f"| {row}"))
    *_, version, _, cases, exact = (cell.strip() for cell in line.strip("|").split("|"))
    assert (cases, exact, {version.split()[-1]}) == (str(recorded), "all", versions)
