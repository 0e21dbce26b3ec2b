"""The tutorial in a real browser: every chapter runs, and every explorer obeys the keyboard."""

import importlib.util
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from xml.etree import ElementTree

import pytest

from qtutor.tutorial import explorers

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TOKEN = "a-token-for-the-test"

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("default")]
if CHROMIUM is None and not os.environ.get("CI"):  # in CI a missing browser is a failure, not a skip
    pytestmark.append(pytest.mark.skip(reason="no Chromium or Chrome on the PATH"))


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab as `run.py lab` starts it, on copies of the notebooks: a browser saves what it runs."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    specification = importlib.util.spec_from_file_location("run", ROOT / "run.py")
    run = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(run)
    run.ROOT, run.NOTEBOOKS, run.PYTHON = folder, folder / "notebooks", sys.executable
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--no-browser", f"--port={port}", "--LabApp.expose_app_in_browser=True"]
    options += [f"--LabApp.workspaces_dir={folder / 'workspaces'}"]  # not among the tabs of the reader
    environment = {**os.environ, "JUPYTER_TOKEN": TOKEN}
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        environment[name] = str(folder / "settings" / name)
    with (folder / "log").open("w") as log:
        command = [str(part) for part in run.lab_command(options)]
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_for(f"http://127.0.0.1:{port}/api?token={TOKEN}", server, folder / "log")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(timeout=30)


def wait_for(address, server, log):
    for _ in range(240):
        assert server.poll() is None, f"JupyterLab ended: {log.read_text()}"
        try:
            return urllib.request.urlopen(address, timeout=5)
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.25)
    raise AssertionError(f"JupyterLab did not answer within a minute: {log.read_text()}")


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api") if not os.environ.get("CI") else None
    if sync_api is None:
        from playwright import sync_api
    assert CHROMIUM, "CI must have Chromium: .ci/run installs it"
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


# The kernel's answer to the last cell has come when the command is done.
RUN_ALL = """async path => {
    const app = window.jupyterapp;
    await app.restored;
    const panel = await app.commands.execute('docmanager:open', {path});
    await panel.context.ready;
    await panel.sessionContext.ready;
    await panel.sessionContext.session.kernel.info;
    await new Promise(resolve => setTimeout(resolve, 200));
    const changed = panel.context.model.dirty;  // by nothing but being opened
    await app.commands.execute('notebook:run-all-cells');
    const cells = Array.from(panel.content.model.cells).filter(cell => cell.type === 'code');
    return [changed, cells.map(cell => ({
        source: cell.sharedModel.getSource(),
        count: cell.executionCount,
        failed: cell.outputs.toJSON().some(output => output.output_type === 'error'),
        tags: cell.getMetadata('tags') ?? [],
    }))];
}"""

CLOSE = """async () => {
    const panel = window.jupyterapp.shell.currentWidget;
    await panel.sessionContext.shutdown();
    panel.dispose();
}"""

# The controls of an explorer as its reader sees them, and the picture, once the next frame shows them.
LOOK = """async explorer => {
    await new Promise(requestAnimationFrame);
    const controls = Array.from(explorer.querySelector('.widget-box').children).map(control => {
        const box = control.querySelector('input[type=checkbox]');
        if (box) return box.checked;
        const active = control.querySelector('button.mod-active');
        if (active) return active.textContent.trim();
        const select = control.querySelector('select');
        if (select) return select.selectedOptions[0].textContent.trim();
        const readout = control.querySelector('.widget-readout');
        if (readout) return readout.textContent.trim();
        return control.querySelector('input, textarea').value;
    });
    return [controls, new XMLSerializer().serializeToString(explorer.querySelector('svg'))];
}"""

# From the first key that is not answered yet to the first frame after the picture has changed.
WATCH = """explorer => {
    window.latencies = [];
    window.addEventListener('keydown', () => { window.pressed ??= performance.now(); }, true);
    const picture = explorer.querySelector('svg').parentElement.parentElement;
    new MutationObserver(() => requestAnimationFrame(() => {
        if (window.pressed) window.latencies.push(performance.now() - window.pressed);
        window.pressed = null;
    })).observe(picture, {childList: true, subtree: true});
}"""


@pytest.fixture(scope="module")
def tutorial(lab, browser):
    """The page that `run.py lab` opens, and the list of its errors and of its requests that leave here.

    One page for all chapters: JupyterLab itself takes longer to open than a chapter.
    """
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    complaints = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: complaints.append(request.url) if leaves(request.url, lab) else None)
    page.goto(f"{lab}/?token={TOKEN}")
    page.wait_for_selector(".jp-Notebook", timeout=60_000)
    yield page, complaints
    page.close()


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_every_cell_runs_and_every_explorer_shows_what_qtutor_computes(path, tutorial, record_property):
    page, complaints = tutorial
    try:
        changed, cells = page.evaluate(RUN_ALL, f"notebooks/{path.name}")
        assert not changed, "to open it changed it: JupyterLab would save it, and git would show it"
        for cell in cells:
            assert cell["failed"] == ("raises-exception" in cell["tags"]), cell
            assert cell["count"] or not cell["source"].strip(), cell
        names = re.findall(r"^explorers\.(\w+)\(\)$", source_of(path), re.MULTILINE)
        assert names, f"{path.name} shows no explorer"
        for name in names:
            latencies = move_every_control(name, page)
            assert latencies, f"no key changed the picture of {name}"
            median = f"{statistics.median(latencies):.0f} ms from key press to picture"
            record_property(name, f"{median} (median of {len(latencies)}, worst {max(latencies):.0f})")
    finally:
        page.evaluate(CLOSE)
        heard = complaints.copy()
        complaints.clear()  # the next chapter's test is not to blame
    assert not heard, heard


def move_every_control(name, page):
    """Compare an explorer with its twin here after every move; the milliseconds from key press to picture."""
    cell = page.locator(".jp-CodeCell", has_text=f"explorers.{name}()").first
    cell.scroll_into_view_if_needed()
    cell.locator(".widget-vbox svg").first.wait_for(timeout=30_000)
    explorer = cell.locator(".widget-vbox").first.element_handle()  # a locator would be searched each time
    twin = getattr(explorers, name)()
    assert_same(twin, explorer)
    explorer.evaluate(WATCH)
    for control, groups in keystrokes(explorer):
        control.focus()
        for keys in groups:
            page.evaluate("window.pressed = null")  # a key such as End at the end is never answered
            for key in keys:
                page.keyboard.press(key)
            assert_same(twin, explorer)
    return page.evaluate("window.latencies")


def leaves(address, lab):
    return not address.startswith((lab, lab.replace("http", "ws"), "data:", "blob:"))


def source_of(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def keystrokes(explorer):
    """Each control, and groups of keys: a small step, both extremes, two steps faster than the answer."""
    for handle in explorer.query_selector_all(".noUi-handle"):
        yield handle, [["ArrowRight"], ["End"], ["ArrowLeft", "ArrowLeft"], ["Home"]]
    for box in explorer.query_selector_all("input[type=checkbox], button"):
        yield box, [["Space"]]
    for select in explorer.query_selector_all("select"):
        yield select, [["ArrowDown"], ["End"]]


def assert_same(twin, explorer):
    """The browser shows what the explorer's twin computes here from the settings that the reader sees."""
    for _ in range(40):
        time.sleep(0.05)  # the kernel answers some milliseconds after the key
        settings, svg = explorer.evaluate(LOOK)
        for control, said in zip(twin.controls.values(), settings[-len(twin.controls) :], strict=True):
            adopt(control, said)  # presets, which stand before the controls, are no argument of the picture
        shown, expected = elements(svg), elements(twin.drawing().svg)
        if shown == expected:
            return
    different = [pair for pair in zip(shown, expected, strict=False) if pair[0] != pair[1]]
    raise AssertionError(f"settings {settings}: the browser shows, and qtutor computes: {different[:3]}")


def elements(svg):
    return [[e.tag, e.attrib, "" if len(e) else e.text or ""] for e in ElementTree.fromstring(svg).iter()]


def adopt(control, said):
    if isinstance(said, bool):
        control.value = said
    elif hasattr(control, "options"):
        control.label = next(label for label in control._options_labels if str(label) == said)
    elif isinstance(control.value, tuple):
        control.value = tuple(float(number) for number in re.split(r"\s*[–:]\s*", said.replace("−", "-")))
    elif isinstance(control.value, str):
        control.value = said
    else:
        number = float(said.rstrip("%").replace("−", "-"))
        control.value = type(control.value)(number / 100 if said.endswith("%") else number)
