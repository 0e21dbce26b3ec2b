"""The page of real questions keeps its promises: every answer that it names is there, and has run."""

import json
import re
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
PAGE = (FOLDER / "questions.md").read_text(encoding="utf-8")
# {topic: the numbers of its questions}; chapters 00 to 07 answer all of the first ones, the others may wait.
TAUGHT = {
    "zp": (1, 2, 6, 8, 9, 10),
    "sym": (1, 2, 5, 6, 9),
    "rnd": (1, 2, 4, 8),
    "rng": (1, 2, 7),
    "cal": (1, 3, 5, 6, 8),
    "pch": (1, 3, 4, 5),
    "imm": (1, 5, 6, 9),
    "err": (2, 5, 6, 8),
    "dyn": (1, 5, 6),
    "eng": (1, 2, 3, 6),
    "npy": (2, 5, 6),
    "req": (5, 6, 7, 9, 10),
    "cpb": (4, 5, 6, 8),
    "dep": (1, 2, 5, 6),
}
MAY_WAIT = {
    "qat": (1, 3, 8, 9, 10),
    "low": (2, 3, 4, 9, 10, 11, 13, 14),
    "fp8": (1, 3, 4, 8),
}
LINK = r"\[[^\]]+\]\((?P<file>[^)#:]+)#(?P<anchor>[^)]+)\)"


def part(title):
    """What stands below one of the page's second-level headings."""
    return re.split(r"^## ", PAGE.partition(f"\n## {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def rows(text):
    """(id, the rest of the row) of every question in a text."""
    return re.findall(r"^\| \[?([a-z0-9]+-\d\d)\]? \|(.*)\|$", text, re.MULTILINE)


ANSWERED, WAITING = rows(part("Answered")), rows(part("Waiting for their chapters"))


def sections(file):
    """{anchor: code cells}: under each heading, down to the next one of its level, as JupyterLab names it."""
    found, open_ones, fenced = {}, {}, False
    for cell in nbformat.read(FOLDER / file, as_version=4).cells:
        if cell.cell_type == "code":
            for anchor in open_ones.values():
                found[anchor].append(cell)
            continue
        for line in cell.source.splitlines():
            fenced ^= line.startswith("```")
            if not fenced and (heading := re.match(r"(#+) (.+)", line)):
                level, anchor = len(heading[1]), heading[2].strip().replace(" ", "-")
                open_ones = {n: a for n, a in open_ones.items() if n < level} | {level: anchor}
                found.setdefault(anchor, [])
    return found


def answering_cell(file, anchor, code):
    cells = [cell for cell in sections(file)[anchor] if code in cell.source]
    assert len(cells) == 1, f"{len(cells)} cells with {code!r} in {file}, {anchor}"
    return cells[0]


def targets(row):
    """(file, anchor, code) of every answer in a row: a section may be followed by several pieces of code."""
    for match in re.finditer(LINK + r": (?P<codes>`[^`]+`(?:, `[^`]+`)*)", row):
        for code in re.findall("`([^`]+)`", match["codes"]):
            yield match["file"], match["anchor"], code


def test_every_question_is_on_the_page_once():
    listed = [id_ for id_, _ in ANSWERED + WAITING]
    known = {f"{topic}-{n:02}" for topic, numbers in (TAUGHT | MAY_WAIT).items() for n in numbers}
    assert len(listed) == len(set(listed)) and set(listed) == known
    assert rows(PAGE) == ANSWERED + WAITING  # no row hides outside of the two parts


def test_only_questions_of_coming_chapters_wait():
    assert {id_.split("-")[0] for id_, _ in WAITING} <= set(MAY_WAIT)


@pytest.mark.parametrize(("id_", "row"), ANSWERED, ids=[id_ for id_, _ in ANSWERED])
def test_the_cell_that_answers_is_there_and_has_run(id_, row):
    assert len(re.findall(LINK, row)) == len(re.findall(LINK + ": `", row)) > 0, "no section, or no code"
    cells = [answering_cell(*target) for target in targets(row)]
    for cell in cells:
        assert cell.execution_count, "it has not run"
        assert cell.outputs or re.search("^ *assert ", cell.source, re.MULTILINE), "it shows nothing"
    shown = json.dumps([cell.outputs for cell in cells])
    assert any(cell.outputs for cell in cells), "no answer has an output"
    for number in re.findall(r"\*\*(.+?)\*\*", row):
        assert re.search(rf"(?<![\d.]){re.escape(number)}(?![\d]|\.\d)", shown), f"{number} was not printed"


@pytest.mark.parametrize("file", sorted({match["file"] for match in re.finditer(LINK, PAGE)}))
def test_every_link_names_a_section(file):
    anchors = {match["anchor"] for match in re.finditer(LINK, PAGE) if match["file"] == file}
    assert anchors <= set(sections(file)), anchors - set(sections(file))


def test_no_other_link_and_every_thread_is_used():
    relative = re.findall(r"\]\((?!https:)[^)]+\)", PAGE)
    assert len(relative) == len(re.findall(LINK, PAGE))
    hosts = r"github\.com|stackoverflow\.com|discuss\.ai\.google\.dev|discuss\.tensorflow\.org"
    threads = re.findall(rf"^\[(.+)\]: https://(?:{hosts})/\S+$", PAGE, re.MULTILINE)
    assert sorted(threads) == sorted(re.findall(r"^\| \[(.+?)\] \|", PAGE, re.MULTILINE))
