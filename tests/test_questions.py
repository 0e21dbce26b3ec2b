"""The page of real questions keeps its promises: every answer that it names is there, and has run."""

import json
import re
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
PAGE = (FOLDER / "questions.md").read_text(encoding="utf-8")
# {topic: how many questions it has, 01 to that number}; chapters 00 to 07 answer all of these ...
TAUGHT = {
    "zp": 11,
    "sym": 10,
    "rnd": 8,
    "rng": 7,
    "cal": 9,
    "pch": 8,
    "imm": 9,
    "err": 8,
    "dyn": 6,
    "eng": 7,
    "npy": 6,
    "req": 10,
    "cpb": 8,
    "dep": 8,
}
# ... and these may wait for the chapter that is to answer them. {topic: (how many, chapter)}
MAY_WAIT = {"qat": (10, "10"), "low": (15, "11"), "fp8": (9, "12")}
COMING = [n for n in ("08", "09", "10", "11", "12") if not list(FOLDER.glob(f"{n}_*.ipynb"))]
LINK = r"\[[^\]]+\]\((?P<file>[^)#:]+)#(?P<anchor>[^)]+)\)"


def part(title):
    """What stands below one of the page's second-level headings."""
    return re.split(r"^## ", PAGE.partition(f"\n## {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def rows(text):
    """(id, the rest of the row) of every question in a text."""
    return re.findall(r"^\| \[?([a-z0-9]+-\d\d)\]? \|(.*)\|$", text, re.MULTILINE)


def waiting(text):
    """{chapter: rows} of the part that waits: a third-level heading begins with the chapter's number."""
    named = re.split(r"^### (\d\d): .+$", text, flags=re.MULTILINE)
    return {chapter: rows(body) for chapter, body in zip(named[1::2], named[2::2], strict=True)}


ANSWERED, WAITING = rows(part("Answered")), waiting(part("Waiting for their chapters"))
WAITING_ROWS = [row for listed in WAITING.values() for row in listed]


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
    numbers = TAUGHT | {topic: many for topic, (many, _) in MAY_WAIT.items()}
    known = {f"{topic}-{n:02}" for topic, many in numbers.items() for n in range(1, many + 1)}
    listed = [id_ for id_, _ in ANSWERED + WAITING_ROWS]
    assert len(known) == 149 and len(listed) == len(set(listed)) and set(listed) == known
    assert rows(PAGE) == ANSWERED + WAITING_ROWS  # no row hides outside of the two parts


def test_a_question_waits_under_the_one_chapter_that_is_to_answer_it():
    assert list(WAITING) == COMING
    for chapter, listed in WAITING.items():
        for id_, row in listed:
            topic = id_.split("-")[0]
            assert topic in MAY_WAIT, f"{id_} waits, and chapters 00 to 07 teach its topic"
            assert MAY_WAIT[topic][1] == chapter, f"{id_} waits under chapter {chapter}"
            question, asked = (cell.strip() for cell in row.split(" | "))
            assert question.endswith("?") and asked.endswith("."), f"{id_}: a question, and what is asked"
            assert "**" not in row, f"{id_} names a number that nothing printed"


def test_each_topic_has_one_table():
    tables = re.split(r"^### ", part("Answered"), flags=re.MULTILINE)[1:]
    topics = [{id_.split("-")[0] for id_, _ in rows(table)} for table in tables]
    assert [len(topic) for topic in topics] == [1] * len(set.union(*topics))


def test_the_page_counts_its_questions():
    answered, waits = len(ANSWERED), len(WAITING_ROWS)
    assert f"Of {answered + waits} questions, {answered} are answered" in PAGE
    assert f"; {waits} wait for chapters" in PAGE


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
