"""The popular answer: chapter 00 lists what it says, chapter 05 judges each sentence and names a section."""

import re
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"


def prose(chapter):
    """The words of a chapter, "00" to "05"."""
    (path,) = FOLDER.glob(f"{chapter}_*.ipynb")
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def table(chapter, first_cell):
    """The rows, as lists of cells, of the one table in a chapter whose head begins so."""
    (rows,) = re.findall(rf"^\| {first_cell} \|.*\n\|[-|]+\n((?:\|.*\n?)+)", prose(chapter), re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows.splitlines()]


STATEMENTS = table("00", "it says")  # statement, the chapters that check it
VERDICTS = table("05", "it says")  # statement, verdict, sections


def test_every_statement_has_a_verdict_in_the_same_words_and_order():
    assert [row[0] for row in VERDICTS] == [row[0] for row in STATEMENTS]
    assert len({row[0] for row in STATEMENTS}) == len(STATEMENTS) >= 16


@pytest.mark.parametrize("row", VERDICTS, ids=[row[0] for row in VERDICTS])
def test_a_verdict_names_sections_that_exist(row):
    assert row[1], "no verdict"
    for section in row[2].split(", "):
        chapter = f"0{section[0]}"
        assert re.search(rf"^## {re.escape(section)} \S", prose(chapter), re.MULTILINE), section


def test_both_tables_send_the_reader_to_the_same_chapters():
    for stated, judged in zip(STATEMENTS, VERDICTS, strict=True):
        assert stated[1].split(", ") == sorted({f"0{s[0]}" for s in judged[2].split(", ")}), stated
