"""The house keeps its shape: rooms, imports that run one way, a core that is small and open.

Nothing here lists the chapters.  A module says in the first line of its docstring which notebook teaches
it, and the notebook names its modules in its opening; everything else is found from that.
"""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

import qtutor

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "qtutor"


def first_line(path):
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def chapters_of(folder, pattern):
    """{number: path} of the files whose names hold a chapter's number."""
    found = {}
    for path in sorted(folder.iterdir()):
        if match := re.fullmatch(pattern, path.name):
            assert match[1] not in found, (
                f"two files for chapter {match[1]}: {found[match[1]].name}, {path.name}"
            )
            found[match[1]] = path
    return found


NOTEBOOKS = chapters_of(ROOT / "notebooks", r"(\d\d)_\w+\.ipynb")
# {module: number}: what is taught, in the order in which a reader meets it
TAUGHT = {
    path.relative_to(PACKAGE).with_suffix("").as_posix(): match[1]
    for path in sorted(PACKAGE.rglob("*.py"))
    if "tutorial" not in path.parts
    if (match := re.search(r"Notebook (\d\d)\.$", first_line(path)))
}
TAUGHT = dict(sorted(TAUGHT.items(), key=lambda item: item[1]))


def imports_of(path):
    """Every module that a file imports, also inside its functions, by its full name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} has a relative import"
            if node.module == "qtutor":  # from qtutor import affine, or a name of the package itself
                yield from (f"qtutor.{alias.name}" for alias in node.names)
            else:
                yield node.module


# the core is what `import qtutor` brings
CORE = [module for module in TAUGHT if f"qtutor.{module}" in imports_of(PACKAGE / "__init__.py")]
# the rooms above it, each of which may import those before it
ROOMS = ["graph", "engines", "interop", "models", "bench", "tutorial"]


# --- a chapter names what it teaches


def test_chapters_are_numbered_without_a_gap():
    assert list(NOTEBOOKS) == [f"{number:02}" for number in range(len(NOTEBOOKS))]


@pytest.mark.parametrize("number", NOTEBOOKS)
def test_a_chapter_names_the_modules_that_name_it(number):
    opening = nbformat.read(NOTEBOOKS[number], as_version=4).cells[0].source
    named = re.findall(r"\[`(\w+)`\]\(\.\./qtutor/(\S+)\.py\)", opening)
    assert all(path.rpartition("/")[2] == name for name, path in named)
    assert sorted(path for _, path in named) == sorted(m for m in TAUGHT if TAUGHT[m] == number)
    assert named or number == "00"  # which looks ahead at all of them


def test_each_chapter_has_exercises_and_an_explorer():
    for folder in ("exercises", "explorers"):
        there = chapters_of(PACKAGE / "tutorial" / folder, r"chapter(\d\d)\.py")
        assert list(there) == list(NOTEBOOKS), folder


PARTS = {path.stem for folder in ("", "tutorial") for path in (PACKAGE / folder).iterdir()}
PARTS -= {"__init__", "__pycache__", "py", "tutorial", "bench"}  # the last one only measures


@pytest.mark.parametrize("part", sorted(PARTS))
def test_each_part_of_the_package_has_its_tests(part):
    test = ROOT / "tests" / f"test_{part}.py"
    assert test.exists()
    assert re.match(rf"qtutor/(tutorial/)?{part}(\.py)?: ", first_line(test))


def test_the_package_names_each_module_of_the_core_and_its_chapter_and_each_room():
    for module in CORE:
        assert f"{module} ({TAUGHT[module]})" in qtutor.__doc__
    for room in ROOMS:
        assert re.search(rf"^    {room} ", qtutor.__doc__, re.MULTILINE), room


# --- imports run one way


def test_every_module_is_of_the_core_or_in_a_room():
    there = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")}
    assert there == {"__init__", *CORE, *ROOMS}


@pytest.mark.parametrize("module", CORE)
def test_a_core_module_imports_only_numpy_and_the_modules_before_it(module):
    before = CORE[: CORE.index(module)]
    allowed = {"numpy", *sys.stdlib_module_names}
    for name in imports_of(PACKAGE / f"{module}.py"):
        top, *rest = name.split(".")
        assert top in allowed or (top == "qtutor" and rest and rest[0] in before), f"{module} imports {name}"


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_the_core_itself_and_the_rooms_before_it(room):
    allowed = {*CORE, *ROOMS[: ROOMS.index(room) + 1]}
    files = [PACKAGE / f"{room}.py"] if (PACKAGE / f"{room}.py").exists() else (PACKAGE / room).rglob("*.py")
    for path in files:
        for name in imports_of(path):
            top, *rest = name.split(".")
            assert top != "qtutor" or (rest and rest[0] in allowed), f"{path.name} imports {name}"


def test_the_package_imports_the_core_alone():
    # else CORE, which follows from it, would hold whatever is taught
    names = set(imports_of(PACKAGE / "__init__.py"))
    assert names == {f"qtutor.{module}" for module in CORE} and not {*CORE} & {*ROOMS}


def test_import_qtutor_loads_numpy_and_nothing_else():
    program = (
        "import sys, numpy; before = set(sys.modules); import qtutor; "
        "print(qtutor.__file__, *sorted(set(sys.modules) - before), sep='\\n')"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
    )
    file, *loaded = answer.stdout.splitlines()
    assert Path(file).resolve() == PACKAGE / "__init__.py"
    ours = {name for name in loaded if name.partition(".")[0] == "qtutor"}
    assert ours == {"qtutor", *(f"qtutor.{module}" for module in CORE)}
    others = {name.partition(".")[0] for name in loaded} - {"qtutor"}
    assert others <= sys.stdlib_module_names | {"numpy"}, others


# --- the core is small and says what it does


def test_the_core_fits_one_sitting():
    files = [PACKAGE / f"{module}.py" for module in CORE]
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files) <= 1750


PUBLIC = {name: getattr(qtutor, name) for name in qtutor.__all__}
EXPLAINED = {name: thing for name, thing in PUBLIC.items() if inspect.isclass(thing) or callable(thing)}


@pytest.mark.parametrize("name", EXPLAINED)
def test_every_public_name_is_explained_by_an_example_that_runs(name):
    thing = EXPLAINED[name]
    doc = thing.__doc__ or ""
    assert len(doc.split()) >= 8, f"{name} has no docstring"
    # a result such as ErrorBudget is shown by the function that returns it
    result = inspect.isclass(thing) and issubclass(thing, tuple)
    assert result or ">>> " in doc, f"{name} has no example"


@pytest.mark.parametrize("name", [name for name, thing in EXPLAINED.items() if inspect.isclass(thing)])
def test_every_public_method_has_a_docstring(name):
    for attribute, value in inspect.getmembers(EXPLAINED[name]):
        ours = getattr(getattr(value, "fget", value), "__module__", "") or ""
        if not attribute.startswith("_") and ours.startswith("qtutor"):
            assert value.__doc__, f"{name}.{attribute} has no docstring"


def test_public_names_exist_and_are_known_by_one_name():
    assert len(set(qtutor.__all__)) == len(qtutor.__all__)
    for name, thing in EXPLAINED.items():
        assert thing.__name__ == name and thing.__module__.removeprefix("qtutor.") in CORE


# --- the project speaks of itself alone


def texts():
    """Every file with words in it, save what tools leave behind."""
    made = {"__pycache__", "build", "dist"}
    for path in sorted(ROOT.rglob("*")):
        *folders, _ = parts = path.relative_to(ROOT).parts
        hidden = any(part.startswith(".") and part not in {".github", ".ci"} for part in folders)
        if (
            path.is_file()
            and not hidden
            and not made.intersection(parts)
            and not path.name.startswith(".git")
        ):
            data = path.read_bytes()
            if b"\0" not in data:
                yield path, data.decode("utf-8")


FOLDERS = "home|root|Users|work|opt|tmp|private|mnt"
FORBIDDEN = {
    "a path of somebody's machine": rf"(?<![\w.<])(?:/(?:{FOLDERS})/\w|[A-Za-z]:\\+Users)",
    "the address of a package index": r"pythonhosted|pypi\.org|/simple/|registry\.npmjs|-index-url",
    "the address of a package": r"https?://\S+\.(?:whl|tar\.gz|conda)\b",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(what):
    found = [
        f"{path.relative_to(ROOT)}: {text[max(match.start() - 30, 0) : match.end() + 30]!r}"
        for path, text in texts()
        if path != Path(__file__)  # it holds the patterns
        for match in re.finditer(FORBIDDEN[what], text)
    ]
    assert not found, "\n".join(found)


def test_the_search_for_what_no_file_holds_finds_it():
    samples = {  # each in two halves, or this file would hold what none may hold
        "a path of somebody's machine": [
            "see /ho" + "me/ada/x.py",
            '"/t' + 'mp/a"',
            r"C:\Users\ada",
            r"c:\\Users\\ada",
        ],
        "the address of a package index": [
            "https://py" + "pi.org/project/x",
            "--index" + "-url",
            "https://x.org/sim" + "ple/",
        ],
        "the address of a package": ["https://example.org/a/x-1.0-py3-none-any." + "whl"],
    }
    for what, texts_with_it in samples.items():
        assert all(re.search(FORBIDDEN[what], text) for text in texts_with_it)
    names = {path.relative_to(ROOT).as_posix() for path, _ in texts()}
    assert {"pyproject.toml", "requirements.lock", "qtutor/affine.py", ".github/workflows/ci.yml"} <= names
