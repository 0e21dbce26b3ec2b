"""Re-run notebooks and compare every stored output with the fresh one; refuse ways of not being compared.

    python tests/notebook_checker.py [NOTEBOOK ...]            say what differs, and fail if anything does
    python tests/notebook_checker.py --update [NOTEBOOK ...]   run top to bottom and store what comes out

Without a name, all of them. It stands beside nbval, which compares neither pixels nor execution counts nor
tracebacks, and which a comment or a tag switches off.
"""

import argparse
import base64
import copy
import io
import json
import os
import re
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import nbformat
import numpy as np
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
WIDGET = "application/vnd.jupyter.widget-view+json"
SECONDS_PER_CELL = 120
PIXEL_RMS = 1.0  # of 255; letters that move by one pixel make more

# What a cell may carry. All that matters to a reader or a test is here; editors add much else.
TAGS = {"solution", "hide-input", "raises-exception"}
CELL_METADATA = {"tags", "jupyter"}  # and "collapsed", where an output is folded
NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    # What JupyterLab writes when a kernel starts, so that to open a notebook changes nothing in it. It would
    # write the version of Python, too, which differs from reader to reader: run.py's settings leave it out.
    "language_info": {
        "codemirror_mode": {"name": "ipython", "version": 3},
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "name": "python",
        "nbconvert_exporter": "python",
        "pygments_lexer": "ipython3",
    },
}

OPT_OUT = re.compile(r"#\s*(NBVAL_\w+|PYTEST_VALIDATE_\w+)")
PREDICT = re.compile(r"^> \*\*Predict\.\*\*", re.M)
MACHINE_PATH = re.compile(
    r"(?<![\w.])(/(home|root|tmp|Users|private|var|opt|usr|mnt|work)/\w|[A-Za-z]:\\+\w)"
)
ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}")
ALT_TEXT = re.compile(r"(Figure|Explorer)\b.{20}")  # words, at the very least


def check(path: Path) -> list[str]:
    """All that is wrong with the notebook: its form, and each output that a fresh run does not reproduce."""
    try:
        fresh = execute(read(path), path.parent)
    except CellExecutionError as error:
        return [*policy(path), f"it does not run: {error.ename}: {error.evalue}"]
    return policy(path) + compare(read(path), fresh)


def update(path: Path) -> list[str]:
    """Run the notebook and store it in its normal form; when there is a problem, say it and store nothing."""
    try:
        text = write(execute(read(path), path.parent))
    except CellExecutionError as error:
        return [f"it does not run, and stays as it was: {error.ename}: {error.evalue}"]
    new = path.with_name(f"{path.name}.new")
    try:
        new.write_text(text, encoding="utf-8", newline="\n")
        problems = policy(new)
        if not problems:
            os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)
    return problems


# --- reading, running, writing ---


def read(path: Path) -> NotebookNode:
    """The notebook as it is: nbformat.read would repair duplicate ids in silence."""
    return nbformat.v4.reads(path.read_text(encoding="utf-8"))


def execute(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """A copy of the notebook, run top to bottom in a new kernel, in its normal form."""
    fresh = copy.deepcopy(notebook)
    for cell in code_cells(fresh):
        cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        fresh,
        timeout=SECONDS_PER_CELL,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the event loop in this process; the kernel is another one
        client.execute()
    return normal(fresh)


def normal(notebook: NotebookNode) -> NotebookNode:
    """The same notebook without what changes from run to run and from editor to editor."""
    fresh = copy.copy(notebook)
    fresh.metadata = nbformat.from_dict(NOTEBOOK_METADATA)
    fresh.cells = [normal_cell(cell) for cell in notebook.cells]
    asked = False
    for cell in fresh.cells:
        if cell.cell_type == "markdown":
            asked = PREDICT.search(cell.source) is not None
        elif cell.cell_type == "code":
            fold(cell, asked)  # and so is each output up to the next words: a picture tells as much
    return fresh


def fold(cell: NotebookNode, asked: bool) -> None:
    """Let JupyterLab hide the output until the cell runs, where the reader is asked to predict it."""
    hidden = {k: v for k, v in cell.metadata.pop("jupyter", {}).items() if k == "source_hidden"}
    if asked:
        hidden["outputs_hidden"] = True
        cell.metadata["collapsed"] = True  # JupyterLab writes both
    if hidden:
        cell.metadata["jupyter"] = hidden


def normal_cell(cell: NotebookNode) -> NotebookNode:
    cell = copy.deepcopy(cell)
    cell.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k in CELL_METADATA})
    if cell.cell_type != "code":
        return cell
    outputs: list[NotebookNode] = []
    for output in cell.outputs:
        if output.output_type == "stream" and outputs and outputs[-1].get("name") == output.name:
            outputs[-1].text += output.text  # how a stream is cut into pieces is a matter of timing
            continue
        if output.output_type == "error":
            # the frames above hold paths of the machine and differ between Python versions
            output.traceback = [f"{output.ename}: {output.evalue}"]
        if WIDGET in output.get("data", {}):
            output.data[WIDGET]["model_id"] = f"{cell.id}-{len(outputs)}"  # random, and dead once stored
        if output.output_type == "execute_result":
            output.execution_count = cell.execution_count
        outputs.append(output)
    cell.outputs = outputs
    return cell


def write(notebook: NotebookNode) -> str:
    return nbformat.v4.writes(notebook) + "\n"


def code_cells(notebook: NotebookNode) -> Iterator[NotebookNode]:
    return (cell for cell in notebook.cells if cell.cell_type == "code")


# --- what a stored notebook must be, run or not ---


def policy(path: Path) -> list[str]:
    """What is wrong with the file as it stands, without running it."""
    return text_policy(path.read_text(encoding="utf-8"))


def text_policy(text: str) -> list[str]:
    """The same of the text of a notebook."""
    notebook = nbformat.v4.reads(text)
    invalid = [
        e.message for e in nbformat.validator.iter_validate(json.loads(text), version=4, version_minor=5)
    ]
    if invalid or (notebook.nbformat, notebook.nbformat_minor) != (4, 5):
        return [f"not a valid notebook of format 4.5: {'; '.join(invalid)[:300]}"]
    problems = []
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        problems.append("the kernel must be python3")
    if "widgets" in notebook.metadata:
        problems.append("metadata.widgets is stored; it is large and changes with each run")
    ids = [cell.id for cell in notebook.cells]
    problems += [
        f"cell id {one!r} occurs {ids.count(one)} times" for one in sorted(set(ids)) if ids.count(one) > 1
    ]
    count, in_order = 0, True
    for where, cell in located(notebook):
        tags = set(cell.metadata.get("tags", []))
        if tags - TAGS:
            problems.append(f"{where}: tags {sorted(tags - TAGS)} are not among {sorted(TAGS)}")
        if cell.cell_type != "code":
            continue
        if cell.source.strip():
            count += 1
        if cell.execution_count != (count if cell.source.strip() else None) and in_order:
            problems.append(f"{where}: execution count {cell.execution_count}, but it is code cell {count}")
            in_order = False  # the counts after it are off by as much
        if opts_out(cell):
            problems.append(f"{where}: {opts_out(cell)!r} switches its comparison off")
        raises = any(output.output_type == "error" for output in cell.outputs)
        if raises != ("raises-exception" in tags):
            problems.append(f"{where}: an error and the tag raises-exception must come together")
        problems += [f"{where}: {problem}" for output in cell.outputs for problem in output_policy(output)]
    if not problems and text != write(normal(notebook)):
        problems.append("not in its normal form; run this checker with --update")
    return problems


def opts_out(cell: NotebookNode) -> str | None:
    """The comment or tag by which nbval would not run the cell or not compare it. No cell may have one."""
    comment = OPT_OUT.search(cell.source)
    tags = [tag for tag in cell.metadata.get("tags", []) if re.match("nbval-|skip-execution", tag)]
    return comment[0] if comment else next(iter(tags), None)


def output_policy(output: NotebookNode) -> Iterator[str]:
    if output.output_type == "stream" and output.name == "stderr":
        yield f"stderr is stored: {short(output.text)}"
    data = output.get("data", {})
    words = data.get("text/plain", "")
    if (any(mime.startswith("image/") for mime in data) or WIDGET in data) and not ALT_TEXT.match(words):
        yield f"a picture needs alt text, text/plain 'Figure ...' or 'Explorer ...', but has {short(words)}"
    said = "\n".join([output.get("text", ""), *output.get("traceback", []), *map(str, text_of(data))])
    for pattern, name in ((MACHINE_PATH, "path of this machine"), (ADDRESS, "memory address")):
        if pattern.search(said):
            yield f"an output holds a {name}: {short(said[pattern.search(said).start() :])}"


def text_of(data: NotebookNode) -> Iterator[str]:
    return (value for mime, value in data.items() if not mime.startswith("image/") or mime == "image/svg+xml")


# --- stored outputs against fresh ones ---


def compare(stored: NotebookNode, fresh: NotebookNode) -> list[str]:
    """Where the outputs of two runs of the same notebook differ; streams may be cut differently."""
    problems = []
    for (where, cell), new in zip(located(stored), fresh.cells, strict=True):
        if cell.cell_type != "code" or cell == new:
            continue
        before, now = normal_cell(cell).outputs, normal_cell(new).outputs
        if [kind(output) for output in before] != [kind(output) for output in now]:
            raised = [f": {o.ename}: {o.evalue}" for o in now if o.output_type == "error"]
            kinds = f"stored {list(map(kind, before))}, now {list(map(kind, now))}"
            problems.append(f"{where}: {kinds}{''.join(raised)}")
            continue
        for old, recent in zip(before, now, strict=True):
            problems += [f"{where}: {problem}" for problem in differences(old, recent)]
    return problems


def kind(output: NotebookNode) -> str:
    return output.get("name", output.output_type)


def differences(stored: NotebookNode, fresh: NotebookNode) -> Iterator[str]:
    """How one output differs: its text, its error, its metadata, and its data mime type by mime type."""
    old, new = ({**output, **output.get("data", {})} for output in (stored, fresh))
    for key in sorted((old.keys() | new.keys()) - {"data", "execution_count"}):  # the policy looks at counts
        if key not in old or key not in new:
            yield f"{key} is {'stored but no longer made' if key in old else 'made but not stored'}"
        elif old[key] == new[key]:
            continue
        elif key == "image/png":
            yield from pixel_difference(old[key], new[key])
        else:
            was, now = str(old[key]), str(new[key])
            same = next((i for i, (a, b) in enumerate(zip(was, now, strict=False)) if a != b), 0)
            start = max(0, same - 20)  # show where they begin to differ
            yield f"{key} was {short(was[start:])}, is {short(now[start:])}"


def pixel_difference(stored: str, fresh: str) -> Iterator[str]:
    try:
        old, new = pixels(stored), pixels(fresh)
    except (OSError, ValueError) as error:
        yield f"the picture is broken: {error}"
        return
    if old.shape != new.shape:
        yield f"the picture was {old.shape[1]} x {old.shape[0]} pixels, is {new.shape[1]} x {new.shape[0]}"
    elif draws_like_the_lock() and (rms := np.sqrt(np.mean((old - new) ** 2))) > PIXEL_RMS:
        yield f"the picture differs by {rms:.1f} of 255 (root mean square)"


def pixels(png: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGBA"), np.float64)


def draws_like_the_lock() -> bool:
    """Whether this matplotlib is of the minor release that made the pictures; others draw other pixels."""
    lock = ROOT / "requirements.lock"
    locked = re.search(r"^matplotlib==(\d+\.\d+\.)", lock.read_text(encoding="utf-8"), re.M)
    return locked is not None and version("matplotlib").startswith(locked[1])


# --- saying it ---


def located(notebook: NotebookNode) -> Iterator[tuple[str, NotebookNode]]:
    """Each cell with words to find it by."""
    for number, cell in enumerate(notebook.cells, 1):
        yield f"cell {number} ({cell.source.strip().partition(chr(10))[0][:40]!r})", cell


def short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--update", action="store_true", help="run top to bottom and store what comes out")
    parser.add_argument("notebooks", nargs="*", type=Path, metavar="NOTEBOOK")
    options = parser.parse_args(arguments)
    failed = 0
    for path in options.notebooks or sorted((ROOT / "notebooks").glob("*.ipynb")):
        problems = (update if options.update else check)(path)
        failed += bool(problems)
        print("\n    ".join([f"{'FAIL' if problems else 'ok':4} {path.name}", *problems]))
    return failed


if __name__ == "__main__":
    sys.exit(min(1, main()))
