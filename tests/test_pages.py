"""Every page keeps its word: its numbers were printed, its references exist, its pictures have alt text.

Pages are found, not listed: the notebooks, and the texts beside them. The conventions stand in
`page_checker.py`; `test_drift.py` plants faults in every notebook and proves that these checks see them.
"""

import page_checker as checker
import pytest
from notebook_checker import ROOT
from page_checker import NOTEBOOKS, TEXTS


def pages(paths):
    names = [path.relative_to(ROOT).as_posix() for path in paths]
    return pytest.mark.parametrize("page", [checker.load(path) for path in paths], ids=names)


every_page, every_notebook = pages(NOTEBOOKS + TEXTS), pages(NOTEBOOKS)


def none(problems):
    problems = list(problems)
    assert not problems, "\n".join(problems)


@every_notebook
def test_every_numbered_equation_is_a_line_of_code_that_is_asserted(page):
    none(checker.equations(page))


@every_page
def test_every_section_equation_exercise_and_chapter_that_is_named_exists(page):
    none(checker.references(page))


@every_notebook
def test_a_bold_number_was_printed_in_its_section_or_in_one_that_its_paragraph_names(page):
    none(checker.numbers(page))


@every_notebook
def test_a_measured_number_in_an_answer_is_bold(page):
    none(checker.answers(page))


@every_page
def test_every_function_and_file_that_is_named_exists(page):
    none(checker.names(page))


@every_page
def test_every_relative_link_leads_to_a_file_and_a_heading(page):
    none(checker.links(page))


@every_page
def test_every_picture_has_alt_text(page):
    none(checker.alt_texts(page))


@every_notebook
def test_an_explorer_stores_what_it_shows_live(page):
    none(checker.explorers(page))


@every_page
def test_formulas_are_what_github_renders_too(page):
    none(checker.formulas(page))
