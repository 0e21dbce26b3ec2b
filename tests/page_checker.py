"""What is wrong with a page as it stands: numbers that no cell printed, references to nothing, lost pictures.

A page is a notebook, or a file of Markdown as a notebook of one cell. Every check takes a page and yields
problems. `test_pages.py` runs them over all pages, and `test_drift.py` plants faults that they must see.
"""

import ast
import base64
import builtins
import html
import keyword
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import nbformat
import numpy as np
from nbformat import NotebookNode
from notebook_checker import ROOT, WIDGET, read

import qtutor
import qtutor.tutorial.explorers
from qtutor.tutorial.explorers.explorer import Explorer
from qtutor.tutorial.explorers.svg import Drawing

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TEXTS = [
    ROOT / "README.md",
    ROOT / "notebooks" / "questions.md",
    *sorted((ROOT / "qtutor" / "models").glob("*/README.md")),
]

NUMBER = r"(?<![\d.,-])\d{1,2}\.\d{1,2}(?!\d|\.\d)"  # of a section, an equation or an exercise
NUMBERS = rf"\(?{NUMBER}\)?(?:(?:, | and | or | to )\(?{NUMBER}\)?)*"
DECIMAL = r"(?<![\w.,])[-−+]?(?:\d+\.\d+(?![\w.]*\d)|\d+(?:[.,]\d+)*(?=\s?%))"
MEASURED = r"(?P<sign>[-−+]?)(?P<number>\d+(?:[.,]\d+)*)(?P<unit>\s?%|\s?[A-Za-z]{1,3})?"
FENCE = re.compile(r"^(```|~~~).*?^\1", re.M | re.S)
CODE = re.compile(r"`[^`\n]+`|<code>.*?</code>")
BOLD = re.compile(r"\*\*(?=[^\s*])((?:(?!\*\*).)+?)(?<=[^\s*])\*\*", re.S)  # and not 2**n here, 2**m there
SOURCES = re.compile(r"^## Sources\n(\n|- .*\n?)*", re.M)  # other people's sections and chapters
MATHS = re.compile(r"\$\$(?P<display>.+?)\$\$|\$(?P<inline>[^$\n]+)\$", re.S)


class Page(NamedTuple):
    path: Path
    notebook: NotebookNode

    @property
    def chapter(self) -> int | None:
        """The number of the notebook; None for other pages."""
        return int(self.path.name[:2]) if self.path.suffix == ".ipynb" else None


def load(path: Path) -> Page:
    if path.suffix == ".ipynb":
        return Page(path, read(path))
    cell = nbformat.v4.new_markdown_cell(path.read_text(encoding="utf-8"), id="text")
    return Page(path, nbformat.v4.new_notebook(cells=[cell]))


def prose(page: Page) -> Iterator[str]:
    """The text of each cell of prose, without the blocks of code in it."""
    return (FENCE.sub("", cell.source) for cell in page.notebook.cells if cell.cell_type == "markdown")


def plain(text: str) -> str:
    """Without code and formulas, whose numbers and signs mean something else."""
    return MATHS.sub(" ", CODE.sub(" ", text))


# --- what there is to refer to ---


class Parts(NamedTuple):
    """The numbered parts of a notebook."""

    sections: list[str]
    equations: dict[str, str]  # its number -> that of the section that it stands in
    exercises: list[str]


def parts(page: Page) -> Parts:
    found, section = Parts([], {}, []), ""
    for text in prose(page):
        for line in text.splitlines():
            if heading := re.match(rf"## ({NUMBER}) ", line):
                section = heading[1]
                found.sections.append(section)
            if exercise := re.match(rf"### Exercise ({NUMBER}): ", line):
                found.exercises.append(exercise[1])
            found.equations.update(dict.fromkeys(re.findall(r"\\tag\{([^}]*)\}", line), section))
    return found


@cache
def series() -> dict[int, Parts]:
    """The parts of every chapter, as stored."""
    return {page.chapter: parts(page) for page in map(load, NOTEBOOKS)}


def known_parts(page: Page) -> dict[int, Parts]:
    return series() if page.chapter is None else series() | {page.chapter: parts(page)}


# --- equations are code ---


def equations(page: Page) -> Iterator[str]:
    """Each `\\tag{2.3}` is followed by a line of code that ends in `# (2.3)`, in a cell that asserts it."""
    tags, marks, pending = [], [], {}  # pending: tags without their line of code -> code cells since
    for cell in page.notebook.cells:
        if cell.cell_type == "markdown":
            new = re.findall(r"\\tag\{([^}]*)\}", cell.source)
            tags += new
            pending |= dict.fromkeys(new, 0)
            continue
        for mark, line in marked_lines(cell.source):
            marks.append(mark)
            if pending.pop(mark, None) is None:
                yield f"# ({mark}) does not follow an equation of this number within two cells of code"
            tests = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Assert)]
            if not any(node.end_lineno >= line for node in tests):
                yield f"no assertion ties ({mark}) to its line of code"
        pending = {tag: age + 1 for tag, age in pending.items()}
        for tag in [tag for tag, age in pending.items() if age == 2]:
            del pending[tag]
            yield f"equation ({tag}) is not followed by the line of code that it is, marked # ({tag})"
    yield from (f"equation ({tag}) is followed by no code" for tag in pending)
    if tags != (expected := [f"{page.chapter}.{i}" for i in range(1, len(tags) + 1)]):
        yield f"the equations are numbered {tags}, not {expected}"
    yield from (f"two lines are marked # ({mark})" for mark in sorted(set(marks)) if marks.count(mark) > 1)


def marked_lines(source: str) -> Iterator[tuple[str, int]]:
    """(2.3, number of the line) for each line of code that says which equation it is."""
    for number, line in enumerate(source.splitlines(), 1):
        if mark := re.search(r"  # \((\d+\.\d+)\)$", line):
            yield mark[1], number


# --- references ---


def references(page: Page) -> Iterator[str]:
    """Every section, equation, exercise and chapter that the words name exists, save those 'to come'."""
    known = known_parts(page)
    for text in prose(page):
        text = plain(SOURCES.sub("", text))
        for kind, number in named(text):
            there = known.get(int(number.partition(".")[0]), Parts([], {}, []))
            kinds = {"section": there.sections, "equation": there.equations, "exercise": there.exercises}
            if number not in kinds.get(kind, [*there.sections, *there.equations]):
                yield f"there is no {kind} {number}"
        for cell in re.findall(rf"(?<=\|) *\(?({NUMBERS})\)? *(?=\|)", text):
            for number in re.findall(NUMBER, cell):
                there = known.get(int(number.partition(".")[0]), Parts([], {}, []))
                if number not in [*there.sections, *there.equations]:
                    yield f"a table names {number}, which is neither a section nor an equation"
        for match in re.finditer(r"(?i:chapters?) (\d\d(?:(?:, | and | to )\d\d)*)(?!\d)(.{0,12})", text):
            for number in re.findall(r"\d\d", match[1]):
                yield from expected(int(number) in known, "to come" in match[2], number)
        for number, rest in re.findall(r"^\| (\d\d) ([^|]*)\|", text, re.M):
            yield from expected(int(number) in known, "to come" in rest, number)
        for cell in re.findall(r"(?<=\|) *(\d\d(?:, \d\d)*) *(?=\|\n)", text + "\n"):
            yield from (f"there is no chapter {n}" for n in cell.split(", ") if int(n) not in known)


def expected(exists: bool, to_come: bool, number: str) -> Iterator[str]:
    if exists and to_come:
        yield f"chapter {number} is here, and said to come"
    if not exists and not to_come:
        yield f"there is no chapter {number}, nor is it said to come"


def named(text: str) -> Iterator[tuple[str, str]]:
    """(kind, number) of each reference: 'section 2.3', 'equation (2.5)', 'Exercise 1.5', '(2.7)'."""
    for match in re.finditer(rf"\b(section|equation|exercise)s? ({NUMBERS})", text, re.I):
        yield from ((match[1].lower(), number) for number in re.findall(NUMBER, match[2]))
    for match in re.finditer(rf"\(({NUMBER}(?:(?:, | and | or | to ){NUMBER})*)\)", text):
        yield from (("section or equation", number) for number in re.findall(NUMBER, match[1]))


# --- numbers ---


def numbers(page: Page) -> Iterator[str]:
    """A bold number was printed by a cell of its section, or of one that its paragraph names.

    So a number in a closing section says where it was printed: 'it lost **5.10** dB (2.7)'.
    """
    if page.chapter is None:
        return  # test_questions.py looks up the numbers of that page
    own = parts(page)
    said: dict[str, str] = {}  # section -> all that its cells have printed so far
    section = "0"
    for cell in page.notebook.cells:
        if cell.cell_type == "code":
            said[section] = said.get(section, "") + "\n" + printed(cell)
            continue
        for paragraph in paragraphs(FENCE.sub("", cell.source)):
            if heading := re.match(rf"## (?P<number>{NUMBER})?.*", paragraph):
                section = heading["number"] or heading[0]
            text = plain(paragraph)
            where = {section, *sections_named(text, own)}
            output = "\n".join(said.get(name, "") for name in where)
            for bold in BOLD.findall(text):
                number = re.fullmatch(MEASURED, bold)
                if number is None:
                    if re.match(r"[-−+]?\d", bold):
                        yield f"**{bold}** begins like a number and is none"
                elif not re.search(as_printed(number), output):
                    yield f"**{bold}** was not printed in {', '.join(sorted(where))}: {short(paragraph)}"


def sections_named(text: str, own: Parts) -> Iterator[str]:
    """The sections of the same notebook that a paragraph names, themselves or by an equation."""
    text = BOLD.sub(" ", text)
    kinds = dict((number, kind) for kind, number in named(text))
    for number in re.findall(NUMBER, text):
        kind = kinds.get(number, "section or equation")
        if "section" in kind and number in own.sections:
            yield number
        if "equation" in kind and number in own.equations:
            yield own.equations[number]


def as_printed(number: re.Match) -> str:
    """A pattern for the number in an output: all of its digits, its sign, and its per cent."""
    sign = "[-−]" if number["sign"] in ("-", "−") else ""
    percent = r"\s?%" if "%" in (number["unit"] or "") else ""
    return rf"(?<![\d.,]){sign}{re.escape(number['number'])}{percent}(?!\d|[.,]\d)"


def printed(cell: NotebookNode) -> str:
    """What a reader sees of the outputs: of a figure that is its alt text, not the limits of its axes."""
    words = [output.get("data", {}).get("text/plain", "") for output in cell.outputs]
    words = [word.partition("\n")[0] if word.startswith("Figure: ") else word for word in words]
    return "\n".join([*words, *(o.get("text", "") + o.get("evalue", "") for o in cell.outputs)])


def paragraphs(text: str) -> Iterator[str]:
    """Paragraphs, items of lists, and folded answers, each in one piece."""
    for piece in re.split(r"(<details>.*?</details>)", text, flags=re.S):
        if piece.startswith("<details>"):
            yield piece
        else:
            yield from filter(None, re.split(r"\n\s*\n|\n(?=- )", piece.strip()))


def answers(page: Page) -> Iterator[str]:
    """A decimal or a percentage in a folded answer is bold, hence printed, or it is a reference.

    What the question itself defines stands in `code` or $maths$.
    """
    own = parts(page)
    mine = {*own.sections, *own.equations, *own.exercises}
    for text in prose(page):
        for question, answer in re.findall(r"<summary>(.*?)</summary>(.*?)</details>", text, re.S):
            text = plain(answer)
            others = {number for _, number in named(text)}
            for number in re.findall(DECIMAL, BOLD.sub(" ", text)):
                if number not in mine | others:
                    yield f"{number} in the answer to {short(question)} is neither bold nor a reference"


# --- names and files in `code` ---

# Words of other people's software, which we cannot look up.
FOREIGN = {
    "ONNX": {"DynamicQuantizeLinear", "MatMulInteger", "QuantizeLinear"},
    "ONNX Runtime": {
        "MinMaxCalibrater",
        "collect_data",
        "compute_scale_zp",
        "get_qmin_qmax_for_qType",
        "moving_average",
    },
    "ONNX Runtime and PyTorch": {"reduce_range"},
    "PyTorch": {"HistogramObserver", "_choose_qparams_per_tensor", "quantize_per_tensor", "torch"},
    "TensorFlow": {"QuantizedMatMul"},
    "TensorFlow Model Optimization": {"Default8BitConvWeightsQuantizer"},
    "LiteRT": {
        "ADD",
        "AUTO",
        "BUILTIN_REF",
        "BUILTIN_WITHOUT_DEFAULT_DELEGATES",
        "DEQUANTIZE",
        "QUANTIZE",
        "get_tensor_details",
    },
    "gemmlowp": {"GemmWithOutputPipeline", "lhs_offset"},
    "x86": {"PMADDUBSW", "VPDPBUSD", "vpdpbusd", "vpmaddubsw"},
}
FOREIGN_FILES = {
    "doc/quantization.md",  # gemmlowp
    "quantization/calibrate.py",  # ONNX Runtime
    "optdigits.tes",  # the UCI repository
    "digits.csv.gz",  # scikit-learn
}
FILE = r"[\w./-]*\w\.(?:py|ipynb|md|npz|toml|lock|yml|svg|tes|gz)\b"


def names(page: Page) -> Iterator[str]:
    """Every file in `code` exists, and every word in it is one of Python, NumPy, qtutor or the notebook."""
    pages = [page] if page.chapter is not None else [page, *map(load, NOTEBOOKS)]
    known = words_of_package().union(*FOREIGN.values(), *map(words_of_code, pages))
    for text in prose(page):
        for span in re.findall(r"`([^`\n]+)`", MATHS.sub(" ", text)):
            for file in re.findall(FILE, span):
                folders = (page.path.parent, ROOT, ROOT / "qtutor", ROOT / "qtutor" / "models" / "digits")
                if file not in FOREIGN_FILES and not any((folder / file).exists() for folder in folders):
                    yield f"there is no file {file}"
            span = re.sub(rf"{FILE}|^(python3?|py|pip|uv|conda|git) .*", "", span)
            for root, name in re.findall(r"\b(qt|qtutor|np)\.([A-Za-z_]\w*)", span):
                if not hasattr({"np": np}.get(root, qtutor), name) and not (ROOT / root / name).exists():
                    yield f"there is no {root}.{name}"
            for word in re.findall(r"(?<!np\.)\b[A-Za-z_]\w*", span):
                if word not in known and not keyword.iskeyword(word) and not hasattr(builtins, word):
                    yield f"`{short(span)}`: there is no {word}"


def words_of_code(page: Page) -> set[str]:
    """Every word in the code of a notebook, and in the blocks of code in its prose."""
    code = [cell.source for cell in page.notebook.cells if cell.cell_type == "code"]
    code += [match[0] for cell in page.notebook.cells for match in FENCE.finditer(cell.source)]
    return set(re.findall(r"[A-Za-z_]\w*", "\n".join(code)))


@cache
def words_of_package() -> set[str]:
    """Every name in the source of qtutor, and every word of a string in it (a layer, say); no docstrings."""
    found = {"qt", "np", "qtutor"}
    for path in (ROOT / "qtutor").rglob("*.py"):
        found.add(path.stem)
        with tokenize.open(path) as file:
            for token in tokenize.generate_tokens(file.readline):
                if token.type == tokenize.NAME:
                    found.add(token.string)
                elif token.type == tokenize.STRING and '"""' not in token.string:
                    found.update(re.findall(r"[A-Za-z_]\w*", token.string))
    return found


# --- links and pictures ---


def links(page: Page) -> Iterator[str]:
    """Every relative link leads to a file, its anchor to a heading, and 'chapter 01' to the notebook 01."""
    for text in prose(page):
        text = CODE.sub("", text)
        pairs = re.findall(r"\[([^\]]*)\]\(([^)\s]+)\)|<a href=\"([^\"]+)\"|src=\"([^\"]+)\"", text)
        for words, *targets in pairs:
            file, _, anchor = "".join(targets).partition("#")
            if re.match(r"https?:|mailto:|attachment:|data:", file):
                continue
            target = page.path.parent / file if file else page.path
            if not target.exists():
                yield f"{file} leads nowhere"
            elif anchor and anchor not in anchors(target):
                yield f"{target.name} has no heading #{anchor}"
            elif target.suffix == ".ipynb" and not anchor:
                for number in re.findall(r"\b\d\d\b(?!\.)", words):
                    if not target.name.startswith(number):
                        yield f"[{words}] leads to {target.name}"


@cache
def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings: in a notebook as JupyterLab makes them, else as GitHub does."""
    headings = [line for text in prose(load(path)) for line in re.findall(r"^#+ (.+?)\s*$", text, re.M)]
    if path.suffix == ".ipynb":
        return {heading.replace(" ", "-") for heading in headings}
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def alt_texts(page: Page) -> Iterator[str]:
    """Every picture says in words what it shows: in the prose and in stored outputs."""
    texts = [("\n".join(prose(page)), "the prose")]
    for cell in page.notebook.cells:
        for output in cell.get("outputs", []):
            texts.append((output.get("data", {}).get("text/html", ""), f"an output of {cell.id}"))
    for text, where in texts:
        for image in re.findall(r"<img\b[^>]*>", text):
            if not re.search(r"""\balt=(["'])[^"']{20}""", image):
                yield f"a picture in {where} has no alt text: {short(image)}"
        for alt, target in re.findall(r"!\[([^\]]*)\]\(([^)]*)\)", text):
            if len(alt) < 20:
                yield f"the picture {short(target)} has no alt text"


def explorers(page: Page) -> Iterator[str]:
    """What is stored of an explorer, for readers without a kernel, is what it shows live."""
    for cell in page.notebook.cells:
        for data in (output.get("data", {}) for output in cell.get("outputs", [])):
            if WIDGET not in data:
                continue
            call = re.search(r"^explorers\.(\w+)\(\)$", cell.source, re.M)
            if call is None:
                yield f"{cell.id} stores a widget, but no line of it is explorers.some_explorer()"
                continue
            explorer, drawing = live(call[1])
            page_html = data.get("text/html", "")
            image = re.search(r'alt="(.*?)" src="data:image/svg\+xml;base64,(.*?)"', page_html)
            alt, source = image.groups() if image else ("", "")
            controls = ", ".join(control.description for control in explorer.controls.values())
            for what, stored, shown in (
                ("text/plain", data.get("text/plain"), f"Explorer ({controls}): {drawing.text}"),
                ("image/svg+xml", data.get("image/svg+xml"), drawing.svg),
                ("the picture in text/html", base64.b64decode(source).decode(), drawing.svg),
                ("its alt text", html.unescape(alt), " ".join(drawing.text.split())),
                ("the picture of the live widget", explorer.picture.value, drawing.svg),
            ):
                if stored != shown:
                    yield f"{cell.id}: {what} is not what the explorer shows"


@cache
def live(name: str) -> tuple[Explorer, Drawing]:
    """A new explorer, and what it draws."""
    explorer = getattr(qtutor.tutorial.explorers, name)()
    return explorer, explorer.drawing()


# --- formulas ---

# GitHub lets no formula define, load or hide anything, nor name an operator; these commands render there.
COMMANDS = re.findall(
    r"\S+",
    r"""
    alpha beta gamma delta epsilon eta theta lambda mu nu pi rho sigma tau phi omega Delta Sigma Phi Omega
    approx ge le ne equiv in subset to mapsto pm mp cdot times div infty partial ldots cdots
    bigl bigr Bigl Bigr left right lfloor rfloor lceil rceil lvert rvert lVert rVert langle rangle
    frac tfrac dfrac sqrt sum prod int log ln exp min max arg hat bar tilde vec mathrm mathbf mathit text
    quad qquad tag , ; : ! | { } \\
    """,
)
ENVIRONMENTS = {"aligned", "cases", "bmatrix", "pmatrix"}


def formulas(page: Page) -> Iterator[str]:
    """Formulas are closed, of commands that GitHub renders as JupyterLab does, and break no table."""
    for text in prose(page):
        text = CODE.sub("", text)
        for paragraph in re.split(r"\n\s*\n", text):
            left = MATHS.sub("", paragraph)
            if "$" in re.sub(r"\\\$", "", left):
                yield f"a formula is not closed: {short(paragraph)}"
        for match in MATHS.finditer(text):
            formula = match["display"] or match["inline"]
            unknown = set(re.findall(r"\\([A-Za-z]+|[^A-Za-z\s])", formula)) - {*COMMANDS, "begin", "end"}
            if unknown:
                yield f"{short(formula)} uses {sorted(unknown)}"
            if set(re.findall(r"\\(?:begin|end)\{(.*?)\}", formula)) - ENVIRONMENTS:
                yield f"{short(formula)} has an environment beyond {sorted(ENVIRONMENTS)}"
            bare = re.sub(r"\\[{}]", "", formula)
            if bare.count("{") != bare.count("}") or formula.count(r"\left") != formula.count(r"\right"):
                yield f"{short(formula)} opens more than it closes"
            if match["inline"] and (r"\tag" in formula or formula != formula.strip()):
                yield f"${formula}$ is within a line: no \\tag, and no space at its ends"
        for row in re.findall(r"^\|.*\|$", text, re.M):
            if any("|" in match[0].replace(r"\|", "") for match in MATHS.finditer(row)):
                yield f"a | in a formula ends the cell of the table: {short(row)}"


def short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:57]}..."
