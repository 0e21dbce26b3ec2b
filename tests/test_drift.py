"""The check of the checks: faults are planted in copies of every notebook and of the package; all are seen.

A fault in a page is planted in a copy of the notebook, and the check that is meant for it must find something
that it doesn't find in the notebook itself. Nothing runs: instead of a fresh run, the copy is compared with
what is stored, for a run without faults proves that these are the same.

A fault in code, of a notebook or of the package, must make a cell fail or print something else. The cells run
in this process, one after the other. A cell that comes to code that can be faulty runs again with the fault,
among copies of the same names; so do the cells after it, until one differs from what is stored.
"""

import ast
import base64
import contextlib
import copy
import importlib
import inspect
import io
import itertools
import re
import sys
import warnings
from collections import Counter
from functools import cache
from types import CodeType, FunctionType
from typing import NamedTuple
from unittest import mock

import nbformat
import notebook_checker
import numpy as np
import page_checker
import pytest
from IPython.core.formatters import DisplayFormatter
from matplotlib.artist import Artist
from notebook_checker import ROOT, WIDGET, code_cells
from page_checker import NOTEBOOKS
from PIL import Image

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


# --- faults in a page ---
# Each function yields copies of a notebook with one fault of its kind, as often as the notebook has a place.


def copied(notebook, *cells):
    """A copy of the notebook with copies of these cells, and then these; it shares all others."""
    planted = copy.copy(notebook)
    planted.cells = [copy.deepcopy(cell) if cell in cells else cell for cell in notebook.cells]
    return planted, *(planted.cells[notebook.cells.index(cell)] for cell in cells)


def copies(notebook, where):
    """(copy of the notebook, copy of its cell) for each cell that has a place for the fault."""
    return (copied(notebook, cell) for cell in notebook.cells if where(cell))


def some(places):
    """Every ninth, where one is as good as another and its check takes long."""
    return itertools.islice(places, 0, None, 9)


def other_digit(text, place):
    return text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :]


def digits_of(text):
    return [match.start() for match in re.finditer(r"\d", text)]


def streams(cell):
    return [o for o in cell.get("outputs", []) if o.output_type == "stream" and digits_of(o.text)]


def shows(cell, mime):
    return any(mime in output.get("data", {}) for output in cell.get("outputs", []))


def data_of(cell, mime):
    return next(output.data for output in cell.outputs if mime in output.get("data", {}))


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "png")
    return base64.b64encode(file.getvalue()).decode("ascii")


def a_digit_in_a_printed_line(notebook):
    for planted, cell in copies(notebook, lambda c: streams(c) and "\n" not in streams(c)[0].text.strip()):
        output = streams(cell)[0]
        output.text = other_digit(output.text, digits_of(output.text)[-1])
        yield planted


def a_digit_in_a_printed_table(notebook):
    for planted, cell in copies(notebook, lambda c: streams(c) and "\n" in streams(c)[0].text.strip()):
        output = streams(cell)[0]
        places = digits_of(output.text)
        output.text = other_digit(output.text, places[len(places) // 2])
        yield planted


def the_data_of_a_figure(notebook):
    for planted, cell in copies(notebook, lambda c: shows(c, "image/png")):
        data = data_of(cell, "image/png")
        for match in re.finditer(r"fingerprint .*\d", data["text/plain"]):
            again, figure = copied(planted, cell)
            data = data_of(figure, "image/png")
            data["text/plain"] = other_digit(data["text/plain"], match.end() - 1)
            yield again


def the_pixels_of_a_figure(notebook):
    if not notebook_checker.draws_like_the_lock():
        return  # another release of matplotlib draws other pixels; there, the fingerprints stand alone
    for planted, cell in copies(notebook, lambda c: shows(c, "image/png")):
        data = data_of(cell, "image/png")
        picture = notebook_checker.pixels(data["image/png"])
        height, width, _ = picture.shape
        dot = picture[height // 2 : height // 2 + 8, width // 2 : width // 2 + 8, :3]
        dot[:] = 255 - dot
        data["image/png"] = png(picture)
        yield planted


def the_alt_text_of_a_figure(notebook):
    for planted, cell in copies(notebook, lambda c: shows(c, "image/png")):
        data_of(cell, "image/png")["text/plain"] = "<Figure size 760x360 with 1 Axes>"
        yield planted


def an_output_removed(notebook):
    for planted, cell in copies(notebook, lambda c: c.get("outputs")):
        cell.outputs.pop()
        yield planted


def an_output_in_another_cell(notebook):
    for cell in code_cells(notebook):
        if cell.outputs:
            other = next(c for c in code_cells(notebook) if c.outputs != cell.outputs)
            planted, one, two = copied(notebook, cell, other)
            one.outputs, two.outputs = two.outputs, one.outputs
            yield planted


def an_error_where_there_was_none(notebook):
    for planted, cell in copies(notebook, lambda c: c.cell_type == "code"):
        error = nbformat.v4.new_output("error", ename="E", evalue="planted", traceback=["E: planted"])
        cell.outputs.append(error)
        yield planted


def two_cells_run_out_of_order(notebook):
    for before, cell in some(itertools.pairwise(code_cells(notebook))):
        planted, one, two = copied(notebook, before, cell)
        one.execution_count, two.execution_count = two.execution_count, one.execution_count
        yield planted


def a_cell_not_run(notebook):
    for planted, cell in some(copies(notebook, lambda c: c.cell_type == "code")):
        cell.outputs, cell.execution_count = [], None
        yield planted


def a_cell_exempt_from_comparing(notebook):
    for planted, cell in some(copies(notebook, lambda c: c.cell_type == "code")):
        cell.source = f"# NBVAL_IGNORE_OUTPUT\n{cell.source}"
        yield planted
    for planted, cell in some(copies(notebook, lambda c: c.cell_type == "code")):
        cell.metadata.tags = [*cell.metadata.get("tags", []), "nbval-skip"]
        yield planted


def a_number_in_the_words_of_an_explorer(notebook):
    for planted, cell in copies(notebook, lambda c: shows(c, WIDGET)):
        for place in digits_of(data_of(cell, WIDGET)["text/plain"]):
            again, explorer = copied(planted, cell)
            data = data_of(explorer, WIDGET)
            data["text/plain"] = other_digit(data["text/plain"], place)
            yield again


def a_number_in_the_picture_of_an_explorer(notebook):
    for mime, pattern in {"image/svg+xml": r"<text [^>]*>[^<]*(\d)", "text/html": r'alt="[^"]*(\d)'}.items():
        for planted, cell in copies(notebook, lambda c: shows(c, WIDGET)):
            data = data_of(cell, WIDGET)
            data[mime] = other_digit(data[mime], re.search(pattern, data[mime]).start(1))
            yield planted


def the_alt_text_of_an_explorer(notebook):
    for planted, cell in copies(notebook, lambda c: shows(c, "text/html")):
        data = data_of(cell, "text/html")
        data["text/html"] = re.sub(r'alt=".*?"', 'alt=""', data["text/html"])
        yield planted


def in_prose(notebook, pattern, change):
    """Copies with one match of the pattern in our own prose changed, for each match."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            foreign = [
                m.span()
                for rx in (page_checker.FENCE, page_checker.SOURCES)
                for m in rx.finditer(cell.source)
            ]
            for match in re.finditer(pattern, cell.source, re.M):
                if not any(start <= match.start() < end for start, end in foreign):
                    planted, words = copied(notebook, cell)
                    before, after = cell.source[: match.start()], cell.source[match.end() :]
                    words.source = before + change(match) + after
                    yield planted


def an_answer_in_sight_of_its_question(notebook):
    for planted, cell in copies(notebook, lambda c: "outputs_hidden" in c.metadata.get("jupyter", {})):
        del cell.metadata.jupyter["outputs_hidden"]
        yield planted


def a_picture_without_alt_text(notebook):
    yield from in_prose(notebook, r"^## .*$", lambda m: f"{m[0]}\n\n![](../.github/explorer.svg)")


def a_link_broken(notebook):
    yield from in_prose(notebook, r"(?<=\]\()(?!https?:)[^)#\s]+", lambda m: f"old_{m[0]}")


def a_link_to_another_chapter(notebook):
    def other(match):
        return next(path.name for path in NOTEBOOKS if path.name != match[0])

    yield from in_prose(notebook, r"(?<=\d\d\]\()\d\d_\w+\.ipynb", other)


def a_function_renamed(notebook):
    yield from in_prose(notebook, r"(?<=`)(qt\.)?\w*[a-z]{4}\w*(?=[`(])", lambda m: f"{m[0]}_old")


def a_file_renamed(notebook):
    yield from in_prose(notebook, r"(?<=`)[\w/]+\.(py|ipynb)(?=`)", lambda m: f"old/{m[0]}")


def a_section_that_does_not_exist(notebook):
    yield from in_prose(notebook, r"(?<=section )\d\.\d|(?<=\()\d\.\d(?=\)[ .,;:])", lambda m: f"{m[0]}9")


def a_chapter_that_does_not_exist(notebook):
    yield from in_prose(notebook, r"(?<=[Cc]hapter )\d\d(?!, to come| \(to come)", lambda m: "99")


def a_chapter_said_to_come_that_is_here(notebook):
    here = "|".join(path.name[:2] for path in NOTEBOOKS)
    yield from in_prose(notebook, rf"[Cc]hapter ({here})(?!\])", lambda m: f"{m[0]} (to come)")


def a_digit_of_a_bold_number(notebook):
    # A change into another number that was printed, as of 1.26 into 1.27, cannot be seen: both stand in the
    # table, and which one was meant only a reader knows.
    said = " ".join(page_checker.printed(cell) for cell in code_cells(notebook))
    for place in range(6):  # no bold number has more characters

        def change(match, place=place):
            same = place >= len(match[0]) or not match[0][place].isdigit()
            return match[0] if same or (new := other_digit(match[0], place)) in said else new

        for planted in in_prose(notebook, r"(?<=\*\*)[-−]?\d+([.,]\d+)*(?=\s?%?\*\*)", change):
            if planted != notebook:
                yield planted


def a_measured_number_in_an_answer_that_is_not_bold(notebook):
    yield from in_prose(notebook, r"(?<=</summary>\n\n)", lambda m: "It was 12.34 dB. ")


def an_equation_without_its_number(notebook):
    yield from in_prose(notebook, r" \\tag\{.*?\}", lambda m: "")


def an_equation_with_the_number_of_another(notebook):
    yield from in_prose(notebook, r"(?<=\\tag\{)\d+\.\d+", lambda m: f"{m[0]}1")


def an_equation_without_its_line_of_code(notebook):
    for planted, cell in copies(notebook, lambda c: re.search(r"  # \(\d+\.\d+\)$", c.source, re.M)):
        cell.source = re.sub(r"  # \(\d+\.\d+\)$", "", cell.source, count=1, flags=re.M)
        yield planted


def an_equation_without_its_assertion(notebook):
    for planted, cell in copies(notebook, lambda c: re.search(r"  # \(\d+\.\d+\)$", c.source, re.M)):
        cell.source = re.sub(r"^( *)assert ", r"\1not ", cell.source, flags=re.M)
        yield planted


def a_formula_that_github_refuses(notebook):
    yield from in_prose(notebook, r"(?<=\$)(?=[A-Za-z])", lambda m: r"\operatorname{x}")


def a_formula_left_open(notebook):
    yield from in_prose(notebook, r"(?<=[^$\s])\$(?!\$)", lambda m: "")


def compared(page, stored):
    return notebook_checker.compare(page.notebook, stored.notebook)


def policy(page, stored):
    return notebook_checker.text_policy(notebook_checker.write(page.notebook))


def on_page(check):
    return lambda page, stored: list(check(page))


# kind of fault -> the check that must see it
PAGE_FAULTS = {
    a_digit_in_a_printed_line: compared,
    a_digit_in_a_printed_table: compared,
    the_data_of_a_figure: compared,
    the_pixels_of_a_figure: compared,
    the_alt_text_of_a_figure: policy,
    an_output_removed: compared,
    an_output_in_another_cell: compared,
    an_error_where_there_was_none: compared,
    two_cells_run_out_of_order: policy,
    a_cell_not_run: policy,
    a_cell_exempt_from_comparing: policy,
    a_number_in_the_words_of_an_explorer: on_page(page_checker.explorers),
    a_number_in_the_picture_of_an_explorer: on_page(page_checker.explorers),
    the_alt_text_of_an_explorer: on_page(page_checker.alt_texts),
    an_answer_in_sight_of_its_question: policy,
    a_picture_without_alt_text: on_page(page_checker.alt_texts),
    a_link_broken: on_page(page_checker.links),
    a_link_to_another_chapter: on_page(page_checker.links),
    a_function_renamed: on_page(page_checker.names),
    a_file_renamed: on_page(page_checker.names),
    a_section_that_does_not_exist: on_page(page_checker.references),
    a_chapter_that_does_not_exist: on_page(page_checker.references),
    a_chapter_said_to_come_that_is_here: on_page(page_checker.references),
    a_digit_of_a_bold_number: on_page(page_checker.numbers),
    a_measured_number_in_an_answer_that_is_not_bold: on_page(page_checker.answers),
    an_equation_without_its_number: on_page(page_checker.equations),
    an_equation_with_the_number_of_another: on_page(page_checker.equations),
    an_equation_without_its_line_of_code: on_page(page_checker.equations),
    an_equation_without_its_assertion: on_page(page_checker.equations),
    a_formula_that_github_refuses: on_page(page_checker.formulas),
    a_formula_left_open: on_page(page_checker.formulas),
}


@every_notebook
def test_every_fault_planted_in_a_page_is_seen(path, record_property):
    stored = page_checker.load(path)
    planted, missed = Counter(), []
    for fault, check in PAGE_FAULTS.items():
        before = set(check(stored, stored))
        for notebook in fault(stored.notebook):
            planted[fault] += 1
            if not set(check(stored._replace(notebook=notebook), stored)) - before:
                missed.append(f"{fault.__name__}: {changed(stored.notebook, notebook)}")
    record_property(f"faults in {path.stem}", f"{planted.total()} of {len(planted)} kinds planted and seen")
    assert not missed, "\n".join(missed)
    assert len(planted) >= 12


def changed(notebook, planted):
    cell = next(new.id for old, new in zip(notebook.cells, planted.cells, strict=True) if old != new)
    return f"unseen in cell {cell}"


# --- faults in code ---


def run(cell, names):
    """A notebook of this cell alone, with the outputs that it has when it runs among these names."""
    fresh, said, value = copy.deepcopy(cell), io.StringIO(), None
    fresh.outputs = []
    tree = ast.parse(cell.source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    try:
        with contextlib.redirect_stdout(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(compile(tree, cell.id, "exec"), names)
            if last:
                value = eval(compile(ast.Expression(last.value), cell.id, "eval"), names)
    except Exception as error:
        name, words = type(error).__name__, str(error)
        fresh.outputs.append(nbformat.v4.new_output("error", ename=name, evalue=words))
    if value is not None:
        data, metadata = DisplayFormatter().format(value)
        fresh.outputs.insert(0, nbformat.v4.new_output("execute_result", data=data, metadata=metadata))
    if said.getvalue():
        fresh.outputs.insert(0, nbformat.v4.new_output("stream", text=said.getvalue()))
    return alone(fresh)


def alone(cell):
    return nbformat.v4.new_notebook(metadata=notebook_checker.NOTEBOOK_METADATA, cells=[cell])


def differences(cell, names):
    """How the outputs of a cell differ from the stored ones when it runs among these names."""
    return notebook_checker.compare(alone(cell), run(cell, names))


def cells_to_run(path):
    """All cells of code, save one that starts processes of its own; nothing below it needs what it makes."""
    return [cell for cell in code_cells(notebook_checker.read(path)) if "LocalCluster(" not in cell.source]


def with_source(cell, source):
    changed = copy.deepcopy(cell)
    changed.source = source
    return changed


# what becomes of an operator or a function in a line of code
OPPOSITE = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult}
OPPOSITE |= {ast.Lt: ast.GtE, ast.LtE: ast.Gt, ast.Gt: ast.LtE, ast.GtE: ast.Lt, ast.Eq: ast.NotEq}
OTHER = {"max": "min", "min": "max", "maximum": "minimum", "minimum": "maximum"}


def with_a_wrong_operator(source, line):
    """The source with one operator of the statement in this line made its opposite: for each, once."""
    for number in itertools.count():
        tree = ast.parse(source)
        spots = [node for node in ast.walk(tree) if getattr(node, "lineno", None) == line and opposite(node)]
        if number == len(spots):
            return
        for name, value in opposite(spots[number]).items():
            setattr(spots[number], name, value)
        yield ast.unparse(tree)


def opposite(node):
    """{attribute: its opposite} where the node is an operator that has one."""
    match node:
        case ast.BinOp(op=op) if type(op) in OPPOSITE:
            return {"op": OPPOSITE[type(op)]()}
        case ast.Compare(ops=[op]) if type(op) in OPPOSITE:
            return {"ops": [OPPOSITE[type(op)]()]}
        case ast.Name(id=name) if name in OTHER:
            return {"id": OTHER[name]}
        case ast.Attribute(attr=name) if name in OTHER:
            return {"attr": OTHER[name]}


def broken(source):
    """A solution with `return None` or, where it is no function, with other numbers and words."""
    tree = ast.parse(source)
    returns = [node for node in ast.walk(tree) if isinstance(node, ast.Return)]
    for node in returns:
        node.value = None
    answer = tree.body[-1].value.args[1]  # check("2.1", answer)
    for node in ast.walk(answer):
        if not returns and isinstance(node, ast.Constant):
            node.value = node.value * 2 + (5 if isinstance(node.value, int | float) else "?")
    return ast.unparse(tree)


class Fault(NamedTuple):
    """What goes wrong in the package: in this module, some code is replaced by other code."""

    module: str
    code: str
    instead: str

    def source(self):
        """The source of the module with this fault."""
        source = source_of(self.module)
        assert source.count(self.code) == 1, (
            f"{self.module} has {self.code!r} {source.count(self.code)} times"
        )
        return source.replace(self.code, self.instead)


PACKAGE_FAULTS = {
    "rounding, ties away from zero": Fault(
        "rounding",
        'return np.rint(plain(x, "round_half_even", "f", "floats"))',
        "return np.copysign(np.floor(np.abs(x) + 0.5), x)",
    ),
    "rounding replaced by truncation": Fault(
        "rounding", 'return np.rint(plain(x, "round_half_even", "f", "floats"))', "return np.trunc(x)"
    ),
    "rounding half away made half even": Fault(
        "rounding",
        "return whole + np.copysign(np.abs(x - whole) >= 0.5, x).astype(x.dtype)",
        "return np.rint(x)",
    ),
    "saturate wraps": Fault(
        "rounding", "return np.clip(x, to.qmin, to.qmax).astype(to.dtype)", "return x.astype(to.dtype)"
    ),
    "a signed range of one code too few": Fault(
        "rounding", "2 ** (bits - 1) - 1) if signed", "2 ** (bits - 1) - 2) if signed"
    ),
    "the sign of the zero-point flipped in dequantize": Fault(
        "affine", "        return scale * (q - zero_point)\n", "        return scale * (q + zero_point)\n"
    ),
    "the zero-point added after the scale": Fault(
        "affine", "        return scale * (q - zero_point)\n", "        return scale * q + zero_point\n"
    ),
    "no zero-point in quantize": Fault("affine", "        q += zero_point\n", ""),
    "no rounding in quantize": Fault("affine", "q = rounding(steps)", "q = np.trunc(steps)"),
    "the rounding that is asked for ignored": Fault("affine", "q = rounding(steps)", "q = np.rint(steps)"),
    "no saturation in quantize": Fault(
        "affine", "return np.clip(q, qparams.qmin, qparams.qmax, out=q)", "return q"
    ),
    "a range that need not hold 0": Fault(
        "affine",
        "rmin, rmax = np.minimum(low, 0.0), np.maximum(high, 0.0)",
        "rmin, rmax = low + 0.0, high + 0.0",
    ),
    "the sign of rmin flipped in the zero-point": Fault(
        "affine", "to.qmin - round_half_even(", "to.qmin + round_half_even("
    ),
    "a step for every code, instead of between codes": Fault(
        "affine", "steps = to.qmax - to.qmin", "steps = to.levels"
    ),
    "a symmetric scale of one side": Fault("affine", "np.maximum(-rmin, rmax)", "np.abs(rmin)"),
    "an observer that ignores its data": Fault(
        "calibration",
        "self._take(*_min_max(_batch(x, self), self.axis))",
        "self._take(*_min_max(np.sign(_batch(x, self)), self.axis))",
    ),
    "an observer that keeps the first batch alone": Fault(
        "calibration",
        "self.minimum, self.maximum = np.minimum(self.minimum, minimum), np.maximum(self.maximum, maximum)",
        "pass",
    ),
    "a momentum that does nothing": Fault(
        "calibration", "self.maximum += self.momentum * (maximum - self.maximum)", "pass"
    ),
    "a percentile that clips nothing": Fault("calibration", "outside = int(total * share)", "outside = 0"),
    "the worst clip instead of the best": Fault("calibration", "i = np.argmin(", "i = np.argmax("),
    "the sign of the divergence flipped": Fault(
        "calibration", "(P_log_P - P_log_Q) / N", "(P_log_Q - P_log_P) / N"
    ),
    "histograms merged on one grid": Fault(
        "calibration", "(bins >> min(h.exponent - part.exponent, 63)) - h.first", "bins - part.first"
    ),
    "decibels of amplitudes": Fault("error", "return float(10 * np.log10(", "return float(20 * np.log10("),
    "clipping counted as rounding": Fault(
        "error", "float(np.sum(squared[~clipped]) / x64.size)", "float(np.sum(squared) / x64.size)"
    ),
    "clipped below, uncounted": Fault(
        "error", "return (x < scale * low) | (x > scale * high)", "return x > scale * high"
    ),
    "the second zero-point dropped": Fault(
        "matmul",
        "_centred(q2, zero_point2, where, 2)",
        "_centred(q2, 0, where, 2)",
    ),
    "the row term dropped": Fault("matmul", "row=integer_matmul(q1, Z2),", "row=0 * integer_matmul(q1, Z2),"),
    "an accumulator of 16 bits": Fault(
        "matmul",
        "np.matmul(block1, block2).astype(np.int32)",
        "np.matmul(block1, block2).astype(np.int32).astype(np.int16)",
    ),
    "an accumulator without its sign bit": Fault(
        "matmul",
        "(-low - 1).bit_length() if low < 0 else 0) + 1",
        "(-low - 1).bit_length() if low < 0 else 0)",
    ),
    "a mantissa cut instead of rounded": Fault(
        "fixedpoint", "round_half_away(fraction * 2**31)", "np.trunc(fraction * 2**31)"
    ),
    "a high half that is not rounded": Fault(
        "fixedpoint", "dtype=np.int64) + 2**30) >> 31", "dtype=np.int64)) >> 31"
    ),
    "a shift that rounds down": Fault(
        "fixedpoint", "((np.abs(x) + _half(shift)) >> shift)", "(np.abs(x) >> shift)"
    ),
    "the single rounding left out": Fault(
        "fixedpoint", "dtype=np.int64) + _half(shift)) >> shift", "dtype=np.int64)) >> shift"
    ),
    "no zero-point in requantize": Fault(
        "fixedpoint", "limits, Z = clamp or to.codes, to.zero_point", "limits, Z = clamp or to.codes, 0"
    ),
    "a border of code 0": Fault("layers", "constant_values=self.pad_code", "constant_values=0"),
    "a batch norm folded without its mean": Fault(
        "layers", "(weight.T * gain).T, beta - gain * mean", "(weight.T * gain).T, beta"
    ),
    "a convolution that forgets the zero-point": Fault(
        "layers", "accumulate(rows, columns, 0, self.input.zero_point)", "accumulate(rows, columns, 0, 0)"
    ),
    "a sum with the sign of a zero-point flipped": Fault(
        "layers", "q2.astype(np.int32) - self.right.zero_point", "q2.astype(np.int32) + self.right.zero_point"
    ),
    "a float network without activations": Fault("graph", "return np.maximum(x, slope * x)", "return x"),
    "a batch norm that keeps the mean": Fault("graph", "gamma * (x - mean) / np", "gamma * x / np"),
    "a convolution that sees one pixel": Fault("graph", "np.asarray(sum(products))", "next(iter(products))"),
    "a leaky ReLU that does nothing": Fault(
        "layers", "np.minimum(acc, 0), negative_M)", "np.minimum(acc, 0), M)"
    ),
}


MODULES = sorted({fault.module for fault in PACKAGE_FAULTS.values()})


def source_of(module):
    return (ROOT / "qtutor" / f"{module}.py").read_text(encoding="utf-8")


def with_notes(module):
    """The source of a module whose functions note, in REACHED, which faults of the list they could have."""
    source = source_of(module)
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for name, fault in PACKAGE_FAULTS.items():
        if fault.module == module:
            line = source[: source.index(fault.code)].count("\n") + 1
            around = [node for node in functions if node.lineno <= line <= node.end_lineno]
            innermost = max(around, key=lambda node: node.lineno)
            innermost.body[:0] = ast.parse(f"REACHED.add({name!r})").body
    return ast.unparse(tree)


@contextlib.contextmanager
def package_with(sources):
    """Let the functions of these modules run the code of other sources for now, whoever holds them."""
    before = []
    try:
        for module, source in sources.items():
            code = functions_in(source)
            for function in functions_of(importlib.import_module(f"qtutor.{module}")):
                if function.__qualname__ in code:  # no method that dataclass wrote
                    before.append((function, function.__code__))
                    function.__code__ = code[function.__qualname__]
        forget_results()
        yield
    finally:
        for function, code in before:
            function.__code__ = code
        forget_results()


@cache
def functions_in(source):
    """{qualified name: code} of the functions and methods in a source."""
    found, open_codes = {}, [compile(source, "changed", "exec")]
    for code in open_codes:  # which grows
        inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
        found |= {code.co_qualname: code for code in inner}
        open_codes += inner
    return found


def functions_of(module):
    """The functions of a module and the methods of its classes, without decorators."""
    ours = [value for value in vars(module).values() if getattr(value, "__module__", "") == module.__name__]
    members = [vars(value).values() for value in ours if isinstance(value, type)]
    for value in itertools.chain(ours, *members):
        function = inspect.unwrap(getattr(value, "__func__", getattr(value, "fget", value)))
        if isinstance(function, FunctionType):
            yield function


def forget_results():
    """Empty the caches of the package: what faulty code computed stays there no longer than the fault."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "qtutor"]:
        for value in vars(sys.modules[name]).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()


def branch(names):
    """Copies of all that these names hold, so that a faulty cell changes nothing for the others."""
    groups = [value.values() if isinstance(value, dict) else [value] for value in names.values()]
    arrays = [value for value in itertools.chain(*groups) if isinstance(value, np.ndarray)]
    for array in arrays:
        array.flags.writeable = False  # shared, not copied, which would take long: to write in it is an error
    fresh, memo = {}, {id(array): array for array in arrays}
    # a figure takes long to copy, and no cell draws on that of another
    with mock.patch.object(Artist, "__deepcopy__", lambda artist, memo: artist, create=True):
        for name, value in names.items():
            if isinstance(value, FunctionType) and value.__globals__ is names:  # it looks up names here too
                value = FunctionType(value.__code__, fresh, name, value.__defaults__, value.__closure__)
                value.__kwdefaults__ = names[name].__kwdefaults__
            else:
                with contextlib.suppress(TypeError):  # a module, say, has no copy
                    value = copy.deepcopy(value, memo)
            fresh[name] = value
    return fresh


# Where a fault in code that a notebook runs changes none of its outputs: (chapters, why).
SILENT = {
    "rounding, ties away from zero": ("00 02 03 04 05 06 07", "none of its numbers is a tie"),
    "rounding half away made half even": ("05 07", "no mantissa is a tie"),
    "the rounding that is asked for ignored": ("00 02 03 04 05 06 07", "it asks for half to even alone"),
    "a signed range of one code too few": ("05", "one code of 2**16 moves no decibel that it prints"),
    "saturate wraps": ("02", "what it saturates by hand lies within the codes"),
    "no saturation in quantize": ("00", "its ranges are those of its data"),
    "a range that need not hold 0": ("00 01 03 04 05 06 07", "all its ranges hold 0"),
    "the sign of the zero-point flipped in dequantize": ("01", "its zero-points are 0"),
    "the zero-point added after the scale": ("01", "its zero-points are 0"),
    "no zero-point in quantize": ("01", "its zero-points are 0"),
    "the sign of rmin flipped in the zero-point": ("01", "its zero-points are 0"),
    "a step for every code, instead of between codes": ("01", "its maps are symmetric"),
    "a symmetric scale of one side": ("06", "the largest of its numbers is negative"),
    "an observer that keeps the first batch alone": ("02 04 05 06", "it observes one batch"),
    "the second zero-point dropped": ("06 07", "its weights are symmetric"),
    "a mantissa cut instead of rounded": ("05 07", "the last of 31 bits moves none of its codes"),
}


def is_silent(fault, path):
    return path.name[:2] in SILENT.get(fault, ("", ""))[0].split()


class Walk(NamedTuple):
    """What faults in the code of a notebook, and of the package under it, come to."""

    planted: Counter
    unseen: list
    reached: set  # faults of the package in code that the notebook runs
    seen: set  # of them


@cache
def walk(path):
    """Run a notebook, and try faults on the way."""
    result, names = Walk(Counter(), [], set(), set()), {"__name__": "__main__"}
    notes = {module: with_notes(module) for module in MODULES}
    faulty = {}  # {fault of the package that is not seen yet: the names with which it goes on}
    for module in MODULES:
        importlib.import_module(f"qtutor.{module}").REACHED = result.reached
    for cell in cells_to_run(path):
        try_faults_of(cell, names, result)
        before, names = names, branch(names)  # of the same kind as those of a fault
        with package_with(notes):
            different = differences(cell, names)
        assert not different, f"without any fault: {different}"
        for fault in result.reached - result.seen - faulty.keys():
            if not is_silent(fault, path):
                faulty[fault] = branch(before)
        for fault, its_names in list(faulty.items()):
            with package_with({PACKAGE_FAULTS[fault].module: PACKAGE_FAULTS[fault].source()}):
                if differences(cell, its_names):
                    result.seen.add(fault)
                    del faulty[fault]
    return result


def try_faults_of(cell, names, result):
    """Plant wrong operators in the equations of a cell, and break it where it is a solution."""
    for mark, line in page_checker.marked_lines(cell.source):
        for source in with_a_wrong_operator(cell.source, line):
            result.planted["operators of equations"] += 1
            outputs = run(with_source(cell, source), branch(names)).cells[0].outputs
            if not any(output.output_type == "error" for output in outputs):
                result.unseen.append(f"no assertion notices that ({mark}) is wrong:\n{source}")
    if "solution" in cell.metadata.get("tags", []):
        result.planted["solutions"] += 1
        wrong = with_source(cell, broken(cell.source))
        if not notebook_checker.compare(alone(cell), run(wrong, branch(names))):
            result.unseen.append(f"a broken solution is taken for correct:\n{wrong.source}")


@every_notebook
def test_a_run_without_faults_gives_every_stored_output(path):
    walk(path)  # which compares all of them, figures too, as it goes


@every_notebook
def test_a_wrong_operator_in_an_equation_and_a_broken_solution_are_seen(path, record_property):
    result = walk(path)
    record_property(f"faults in the code of {path.stem}", f"{dict(result.planted)}, all seen")
    assert not result.unseen, "\n".join(result.unseen)


@every_notebook
def test_a_fault_in_the_package_is_seen(path, record_property):
    result = walk(path)
    loud = {fault for fault in result.reached if not is_silent(fault, path)}
    counts = f"{len(loud)} seen, {len(result.reached) - len(loud)} change nothing"
    record_property(f"faults in the package, {path.stem}", counts)
    assert result.seen == loud, loud - result.seen
    assert loud


@every_notebook
def test_only_faults_that_a_notebook_reaches_are_said_to_be_silent_there(path):
    for name in SILENT:
        assert not is_silent(name, path) or name in walk(path).reached, name


def test_every_fault_in_the_package_is_planted_in_some_chapter():
    planted = {name for path in NOTEBOOKS for name in walk(path).reached if not is_silent(name, path)}
    assert planted == set(PACKAGE_FAULTS)


def test_the_module_of_every_chapter_has_faults():
    planted = Counter(fault.module for fault in PACKAGE_FAULTS.values())
    for module in (ROOT / "qtutor").glob("*.py"):
        chapter = re.search(r"Notebook (\d\d)\.", module.read_text(encoding="utf-8").partition("\n")[0])
        if chapter and any(path.name.startswith(chapter[1]) for path in NOTEBOOKS):
            assert planted[module.stem] >= 3, module.stem
