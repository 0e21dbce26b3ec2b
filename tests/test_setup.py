"""The two commands must work for everyone: run.py, the lock, the conda file and CI, kept in step."""

import ast
import errno
import importlib.metadata
import importlib.util
import io
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import qtutor

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PYTHONS = ["3.11", "3.12", "3.13", "3.14", "3.15"]
NOT_ON_WINDOWS = pytest.mark.skipif(os.name == "nt", reason="needs a program that is a script")


@pytest.fixture
def folder(tmp_path):
    """A copy of the files that run.py reads, in a folder whose name has spaces."""
    copy = tmp_path / "a folder with spaces"
    copy.mkdir()
    for name in ("run.py", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, copy / name)
    (copy / "notebooks").mkdir()
    return copy


@pytest.fixture
def run(folder):
    """run.py as a module, working on that copy."""
    spec = importlib.util.spec_from_file_location("run_in_a_copy", folder / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def steps(run, monkeypatch):
    """The commands that an installation would run. None is: the files that they leave are faked."""
    taken = []

    def fake_step(what, command):
        print(f"  {what} ...")
        taken.append([str(part) for part in command])
        if "venv" in command:
            run.PYTHON.parent.mkdir(parents=True, exist_ok=True)
            run.PYTHON.touch()

    monkeypatch.setattr(run, "step", fake_step)
    monkeypatch.setattr(run, "has_uv", lambda: True)
    return taken


def ready(run):
    """Make run.py believe that everything is installed."""
    run.PYTHON.parent.mkdir(parents=True)
    run.PYTHON.touch()
    run.STAMP.write_text(json.dumps(run.made_from()), encoding="utf-8")
    assert run.is_ready()


# ---- run.py: starts anywhere ---------------------------------------------------------------------


def test_run_py_needs_the_standard_library_alone():
    tree = ast.parse((ROOT / "run.py").read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names


def test_an_old_python_can_read_run_py_to_be_told_that_it_is_too_old():
    source = (ROOT / "run.py").read_text(encoding="ascii")  # a Windows console may have nothing else
    ast.parse(source, feature_version=(3, 6))


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_usage_is_printed_from_any_directory_and_names_every_command(run, folder, tmp_path, words):
    command = [sys.executable, "-I", str(folder / "run.py"), *words]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert answer.returncode == 0
    for name in run.COMMANDS:
        assert f"run.py {name} " in answer.stdout
    assert not (folder / ".venv").exists()


def test_ctrl_c_ends_without_a_traceback(folder, monkeypatch):
    def interrupt(**options):
        raise KeyboardInterrupt

    monkeypatch.setattr("tempfile.TemporaryFile", interrupt)
    monkeypatch.setattr(sys, "argv", ["run.py", "lab"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(folder / "run.py"), run_name="__main__")
    assert end.value.code == "\nInterrupted. Give the same command again: it goes on from here."


@NOT_ON_WINDOWS
def test_the_cures_write_the_command_as_the_usage_does(run):
    assert run.ME == "python3 run.py"
    assert f"{run.ME} lab" in run.__doc__


def test_an_unknown_command_gets_the_usage(run, capsys):
    assert run.main(["tset"]) == 2
    said = capsys.readouterr()
    assert said.err == "There is no command named tset.\n"
    assert "run.py lab" in said.out


@pytest.fixture
def handed_over(run, monkeypatch):
    """The commands that would take the place of run.py, with everything installed."""
    ready(run)
    commands = []

    def hand_over(command):
        assert run.is_ready()
        commands.append([str(part) for part in command])

    monkeypatch.setattr(run, "hand_over", hand_over)
    return commands


@pytest.mark.parametrize("name", ["lab", "test", "bench", "notebooks"])
def test_a_command_installs_what_it_needs_first(run, steps, handed_over, name):
    run.STAMP.unlink()
    (run.NOTEBOOKS / "01_rounding.ipynb").touch()
    run.main([name])
    assert len(handed_over) == 1


@pytest.mark.parametrize(
    ("name", "module"), [("lab", "jupyterlab"), ("test", "pytest"), ("bench", "qtutor.bench")]
)
def test_a_command_becomes_a_program_of_the_environment_and_passes_its_options_on(
    run, handed_over, name, module
):
    run.main([name, "-k", "two words"])
    ((python, dash, started, *options),) = handed_over
    assert [python, dash, started] == [str(run.PYTHON), "-m", module]
    assert options[-2:] == ["-k", "two words"]


@NOT_ON_WINDOWS
def test_the_program_starts_in_the_repository_with_the_variables_of_the_installation(run, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.chdir(run.ROOT.parent)
    taken = []
    monkeypatch.setattr(run.os, "execve", lambda *words: taken.append((os.getcwd(), *words)))
    monkeypatch.setattr(run.subprocess, "Popen", lambda *words, **options: pytest.fail("a second program"))
    with pytest.raises(pytest.fail.Exception):  # where execve would not return
        run.hand_over([run.PYTHON, "-m", "pytest"])
    python = str(run.PYTHON)
    assert taken == [(str(run.ROOT), python, [python, "-m", "pytest"], run.child_environment())]


def test_a_notebook_may_be_named_by_its_number(run, handed_over):
    for name in ("01_rounding.ipynb", "02_zero_point.ipynb"):
        (run.NOTEBOOKS / name).touch()
    run.notebooks(["02"])
    run.notebooks(["notebooks/01_rounding.ipynb"])
    run.notebooks([])
    script = [str(run.PYTHON), str(run.ROOT / "tests" / "notebook_checker.py"), "--update"]
    assert all(command[:3] == script for command in handed_over)
    chosen = [[Path(word).stem for word in command[3:]] for command in handed_over]
    assert chosen == [["02_zero_point"], ["01_rounding"], ["01_rounding", "02_zero_point"]]


@pytest.mark.parametrize("name", ["09", "*", "**", "[", "--help", "1_rounding"])
def test_a_notebook_that_is_not_there_is_told_with_those_that_are(run, handed_over, name):
    for there in ("01_rounding.ipynb", "02_zero_point.ipynb"):
        (run.NOTEBOOKS / there).touch()
    with pytest.raises(SystemExit) as end:
        run.notebooks(["02", name])
    assert str(end.value) == f"No notebook is named {name}. There are: 01_rounding, 02_zero_point"
    assert handed_over == []


REDIRECTING = {
    "PYTHONPATH": "elsewhere",
    "PYTHONHOME": "elsewhere",
    "PYTHONSTARTUP": "elsewhere.py",  # an IPython kernel runs it, too
    "PYTHONOPTIMIZE": "2",  # no assert would be left
    "PYTHONWARNINGS": "error",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUSERBASE": "elsewhere",
    "VIRTUAL_ENV": "elsewhere",
    "PIP_TARGET": "elsewhere",
    "PIP_PREFIX": "elsewhere",
    "PIP_ROOT": "elsewhere",
    "PIP_DRY_RUN": "1",
    "PIP_REQUIRE_VIRTUALENV": "1",
    "PIP_NO_BINARY": ":all:",
    "PIP_PYTHON": "elsewhere",
    "PIP_REQUIRE_HASHES": "1",
    "UV_TARGET": "elsewhere",
    "UV_PREFIX": "elsewhere",
    "UV_PROJECT": "elsewhere",
    "UV_PROJECT_ENVIRONMENT": "elsewhere",
    "UV_WORKING_DIR": "elsewhere",
    "UV_PYTHON": "3.9",
    "UV_SYSTEM_PYTHON": "1",
    "UV_CONSTRAINT": "elsewhere",
    "UV_NO_BINARY": "1",
    "UV_EXCLUDE_NEWER": "2020-01-01",
}
SOURCES = [
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "PIP_NO_INDEX",
    "PIP_PROXY",
    "PIP_CERT",
    "PIP_TRUSTED_HOST",
    "PIP_DEFAULT_TIMEOUT",
    "PIP_RETRIES",
    "PIP_CONFIG_FILE",
    "PIP_CACHE_DIR",
    "PIP_USE_FEATURE",
    "PIP_KEYRING_PROVIDER",
    "UV_DEFAULT_INDEX",
    "UV_INDEX_OURS_PASSWORD",
    "UV_FIND_LINKS",
    "UV_INSECURE_HOST",
    "UV_SYSTEM_CERTS",
    "UV_NATIVE_TLS",
    "UV_CREDENTIALS_DIR",
    "UV_HTTP_TIMEOUT",
    "UV_CACHE_DIR",
    "UV_CONFIG_FILE",
    "HTTPS_PROXY",
    "SSL_CERT_FILE",
    "HOME",
    "MY_PYTHONPATH",
    "VIRTUAL_ENV_PROMPT",
]


def test_no_variable_of_yours_mixes_other_packages_in_or_leads_the_installation_elsewhere(run, monkeypatch):
    for name, value in dict(REDIRECTING, PIP_USER="1", PYTHONNOUSERSITE="").items():
        monkeypatch.setenv(name, value)
    variables = run.child_environment()
    assert not REDIRECTING.keys() & variables.keys()
    assert variables["PIP_USER"] == "0"
    assert variables["PYTHONNOUSERSITE"] == "1"
    assert variables["UV_PYTHON_DOWNLOADS"] == "never"


@pytest.mark.parametrize("name", SOURCES)
def test_variables_that_say_where_packages_come_from_are_kept(run, monkeypatch, name):
    monkeypatch.setenv(name, "value")
    assert run.child_environment()[name] == "value"


# ---- run.py: JupyterLab ----------------------------------------------------------------------------


def test_jupyterlab_answers_this_computer_alone_and_keeps_its_token(run):
    words = " ".join(str(part) for part in run.lab_command(["--port", "9000"]))
    assert "--ServerApp.ip=127.0.0.1" in words
    assert words.endswith("--port 9000")
    assert "token" not in words


def test_jupyterlab_opens_the_first_chapter_and_can_open_the_package(run):
    words = run.lab_command([])
    assert "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb" in words
    assert (ROOT / "notebooks" / "00_start_here.ipynb").exists()
    assert f"--ServerApp.root_dir={run.ROOT}" in words
    assert f"--FileContentsManager.preferred_dir={run.NOTEBOOKS}" in words


@pytest.mark.parametrize(("user", "allowed"), [(0, True), (1000, False)])
def test_only_root_gets_allow_root(run, monkeypatch, user, allowed):
    monkeypatch.setattr(os, "geteuid", lambda: user, raising=False)
    assert ("--allow-root" in run.lab_command([])) is allowed


def test_jupyterlab_knows_the_settings_that_keep_it_from_asking_other_computers(run):
    import jupyterlab
    from jupyterlab.labapp import LabApp

    lab_app = run.JUPYTER_FILES["etc/jupyter/jupyter_lab_config.json"]["LabApp"]
    assert set(lab_app) <= set(LabApp.class_trait_names())
    assert LabApp.class_traits()["news_url"].allow_none
    assert Path(lab_app["workspaces_dir"]).is_relative_to(run.ENVIRONMENT)  # apart from other projects
    module, name = lab_app["check_for_updates_class"].rsplit(".", 1)
    assert module == "jupyterlab"
    assert hasattr(jupyterlab, name)

    share = Path(sys.prefix) / "share" / "jupyter"
    overrides = run.JUPYTER_FILES["share/jupyter/lab/settings/overrides.json"]
    for plugin, settings in overrides.items():
        # a plugin's schema is among JupyterLab's own, or with the extension that brings it
        package, name = plugin.split(":")
        folders = (
            share / "lab" / "schemas" / package,
            share / "labextensions" / package / "schemas" / package,
        )
        (schema,) = (folder / f"{name}.json" for folder in folders if (folder / f"{name}.json").exists())
        properties = json.loads(schema.read_text(encoding="utf-8"))["properties"]
        assert set(settings) <= set(properties)
        if "fetchNews" in settings:
            assert settings["fetchNews"] in [choice["const"] for choice in properties["fetchNews"]["oneOf"]]


# ---- run.py: installing ----------------------------------------------------------------------------


def test_nothing_is_checked_or_installed_twice(run, steps, monkeypatch):
    run.install()
    assert run.is_ready()
    for name, content in run.JUPYTER_FILES.items():
        assert json.loads((run.ENVIRONMENT / name).read_text(encoding="utf-8")) == content
    steps.clear()
    monkeypatch.setattr(run, "stop_at_problems", steps.append)
    run.install()
    assert steps == []


def test_the_packages_are_those_of_the_lock_with_their_hashes_and_qtutor_as_it_stands(run, steps, capsys):
    run.install()
    assert capsys.readouterr().out.splitlines()[:4] == [
        "Installing the packages of requirements.lock into .venv",
        "  making .venv ...",
        f"  fetching and installing {len(run.locked())} packages ...",
        "  linking qtutor itself ...",
    ]
    make, sync, link = steps
    assert make[1:] == ["venv", "--clear", "--python", sys.executable, str(run.ENVIRONMENT)]
    assert sync[1:] == ["pip", "sync", "--python", str(run.PYTHON), "--require-hashes", str(run.LOCK)]
    assert link[1:5] == ["pip", "install", "--python", str(run.PYTHON)]
    assert link[-2:] == ["--editable", "."]
    assert {"--offline", "--no-deps", "--no-build-isolation"} <= set(link)  # hatchling is of the lock
    assert {make[0], sync[0], link[0]} == {str(run.uv_program())}


@pytest.mark.parametrize("name", ["requirements.lock", "pyproject.toml"])
def test_a_changed_lock_or_project_is_installed_over_the_old_one(run, steps, folder, name):
    run.install()
    steps.clear()
    with (folder / name).open("a", encoding="utf-8") as file:
        file.write("\n# changed\n")
    assert not run.is_ready()
    run.install()
    assert run.is_ready()
    assert any("sync" in command for command in steps)
    assert not any("--clear" in command for command in steps)


@pytest.mark.parametrize("name", ["python", "folder"])
def test_another_python_or_a_moved_folder_gets_a_new_environment(run, steps, name):
    run.install()
    steps.clear()
    run.STAMP.write_text(json.dumps(dict(run.made_from(), **{name: "another"})), encoding="utf-8")
    run.install()
    assert any("--clear" in command for command in steps)


def test_an_environment_is_known_by_its_python_its_folder_and_its_files(run):
    made = run.made_from()
    assert made["python"] == f"{sys.version} in {sys.base_prefix}"
    assert made["folder"] == str(run.ROOT)
    assert set(made) == {"python", "folder", "files"}


def test_an_environment_without_its_python_or_with_a_broken_stamp_is_not_ready(run):
    ready(run)
    run.STAMP.write_text("{", encoding="utf-8")
    assert not run.is_ready()
    run.STAMP.write_text(json.dumps(run.made_from()), encoding="utf-8")
    assert run.is_ready()
    run.PYTHON.unlink()
    assert not run.is_ready()


def test_an_installation_stops_at_a_stale_lock(run, steps):
    run.PYPROJECT.write_text(run.PYPROJECT.read_text(encoding="utf-8").replace("numpy>=1.26", "numpy>=1.27"))
    with pytest.raises(SystemExit, match="stale"):
        run.install()
    assert steps == []


def test_an_interrupted_installation_is_not_taken_for_a_complete_one(run, steps, monkeypatch):
    run.install()
    with (run.PYPROJECT).open("a", encoding="utf-8") as file:
        file.write("\n# changed\n")

    def interrupted(what, command):
        raise KeyboardInterrupt

    working = run.step
    monkeypatch.setattr(run, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.install()
    assert not run.is_ready()
    monkeypatch.setattr(run, "step", working)
    steps.clear()
    run.install()
    assert run.is_ready()
    assert any("--clear" in command for command in steps)  # what was half made is not trusted


def test_the_installer_is_fetched_once_into_a_folder_of_its_own(run, monkeypatch):
    said, taken, answers = [], [], iter([False, True, True])

    def fake_step(what, command):
        said.append(what)
        taken.append([str(part) for part in command])

    monkeypatch.setattr(run, "step", fake_step)
    monkeypatch.setattr(run, "has_uv", lambda: next(answers))
    run.get_uv()
    folder = run.ROOT / ".uv" / "env"
    assert taken[0] == [sys.executable, "-m", "venv", "--clear", str(folder)]
    assert taken[1] == [str(folder / run.BIN / "python"), "-m", "pip", "install", run.UV]
    assert said == ["preparing a folder for the installer", f"fetching the installer, {run.UV}"]
    run.get_uv()
    assert len(taken) == 2


def test_an_installer_that_does_not_run_is_told(run, monkeypatch):
    monkeypatch.setattr(run, "step", lambda what, command: None)
    with pytest.raises(run.StepFailed, match=r"does not run: .*uv"):
        run.get_uv()


@NOT_ON_WINDOWS
def test_another_version_of_the_installer_is_not_taken_for_the_right_one(run):
    assert not run.has_uv()
    program(run.uv_program(), f"echo uv {run.UV.removeprefix('uv==')} of today")
    assert run.has_uv()
    program(run.uv_program(), "echo uv 0.0.1")
    assert not run.has_uv()


def program(path, script):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


def test_a_failed_step_ends_with_the_last_lines_that_its_program_said(run, capsys):
    script = (
        "import os; print(*range(40), os.getcwd(), os.environ['PIP_USER'], sep='\\n'); raise SystemExit(3)"
    )
    with pytest.raises(run.StepFailed) as failure:
        run.step("trying", [sys.executable, "-c", script])
    lines = str(failure.value).splitlines()
    assert lines == [f"    {line}" for line in (*range(27, 40), run.ROOT, 0)]
    assert capsys.readouterr().out == "  trying ... failed\n"


def test_a_step_that_succeeds_says_how_long_it_took(run, capsys):
    run.step("trying", [sys.executable, "-c", "print('not shown')"])
    assert re.fullmatch(r"  trying \.\.\. done, \d+ s\n", capsys.readouterr().out)


class Stream(io.StringIO):
    """An output that knows whether all that was written can be seen, as a file or a pipe does not at once."""

    def __init__(self, terminal=False):
        super().__init__()
        self.terminal, self.unseen = terminal, False

    def write(self, text):
        self.unseen = True
        return super().write(text)

    def flush(self):
        self.unseen = False

    def isatty(self):
        return self.terminal


@pytest.mark.parametrize("terminal", [False, True])
def test_what_goes_on_is_seen_while_it_goes_on(run, monkeypatch, terminal):
    unseen = []

    class Slow(subprocess.Popen):
        def wait(self, timeout=None):
            unseen.append(stream.unseen)
            if timeout and len(unseen) < 3:
                raise subprocess.TimeoutExpired("slow", timeout)
            return super().wait()

    monkeypatch.setattr(run.subprocess, "Popen", Slow)
    monkeypatch.setattr(run.time, "monotonic", iter([10.0, 11.2, 12.4, 13.6, 14.8]).__next__)
    monkeypatch.setattr(sys, "stdout", stream := Stream(terminal))
    run.step("trying", [sys.executable, "-c", "import sys; sys.stdin.read()"])
    assert not any(unseen)
    again = "\r  trying ..." if terminal else ""
    end = f"{again} 4 s\n" if terminal else " done, 4 s\n"
    assert stream.getvalue() == f"  trying ...{again} 1 s{again} 2 s{end}"


def test_doctor_shows_each_answer_before_the_next_question(run, monkeypatch):
    monkeypatch.setattr(sys, "stdout", stream := Stream())
    unseen = []

    def check(found):
        unseen.append(stream.unseen)
        return found

    rain = ("It rains.", "Wait.")
    checks = {"first": lambda: check(None), "second": lambda: check(rain), "third": lambda: check(None)}
    monkeypatch.setattr(run, "CHECKS", checks)
    run.main(["doctor"])
    assert unseen == [False, False, False]


@NOT_ON_WINDOWS
def test_a_step_keeps_the_lock_even_if_run_py_is_killed(run):
    script = """if True:
        import os
        lock, fds = os.stat(".uv/installing"), []
        for fd in range(3, 64):
            try:
                fds += [fd] if os.path.samestat(os.fstat(fd), lock) else []
            except OSError:
                pass
        raise SystemExit(not fds)
    """
    with run.one_at_a_time():
        run.step("trying", [sys.executable, "-c", script])


def test_an_interrupted_step_leaves_no_program_running(run, monkeypatch):
    started = []

    class Interrupted(subprocess.Popen):
        def wait(self, timeout=None):
            if self not in started:
                started.append(self)
                raise KeyboardInterrupt
            return super().wait(timeout)

    monkeypatch.setattr(run.subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.step("waiting", [sys.executable, "-c", "import time; time.sleep(600)"])
    (process,) = started
    assert process.returncode is not None


# What pip, uv and venv really said when each was made to fail, cut to the lines that matter.
FAILURES = {
    "pip without a network": (
        "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(...)'\n"
        "ERROR: No matching distribution found for uv==0.13.9",
        "Connect to the internet",
    ),
    "uv without a network": (
        "error: Request failed after 3 retries in 4.2s\n  cause: client error (Connect)\n  cause: dns error",
        "Connect to the internet",
    ),
    "a dead proxy": ("  cause: tunnel error: failed to create underlying connection", "set HTTPS_PROXY"),
    "uv behind a certificate": ("  cause: invalid peer certificate: UnknownIssuer", "UV_SYSTEM_CERTS=1"),
    "pip behind a certificate": (
        "WARNING: Retrying (Retry(total=0)) after connection broken by 'SSLError(SSLCertVerificationError(1, "
        "'[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate'",
        "PIP_CERT",
    ),
    "pip on a full disk": (
        "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
        "Free some space",
    ),
    "uv on a full disk": ("  cause: failed to copy file: No space left on device (os error 28)", "600 MB"),
    "Debian without venv": (
        "The virtual environment was not created successfully because ensurepip is not\navailable.",
        "sudo apt install python{}.{}-venv".format(*sys.version_info),
    ),
    "a file that was not locked": ("  cause: Hash mismatch for `anyio==4.16.0`", "wrong index"),
    "a cache of another user": (
        "error: Failed to initialize cache at `/x/.cache/uv`\n  cause: failed to create directory: "
        "Permission denied (os error 13)",
        "Let your user write",
    ),
    "a disk that runs no programs": (
        "The installer does not run: [Errno 13] Permission denied: '.uv/env/bin/uv'",
        "run programs there",
    ),
    "settings of pip that lead elsewhere": (
        "The installer does not run: [Errno 2] No such file or directory: '.uv/env/bin/uv'",
        "pip config list",
    ),
    "something new": ("error: the moon is full", "None is known here; the lines above say what went wrong."),
}


@pytest.mark.parametrize("said, cure", FAILURES.values(), ids=FAILURES)
def test_a_failed_installation_is_told_by_its_own_last_lines_and_its_own_cure(
    run, monkeypatch, capsys, said, cure
):
    monkeypatch.setattr(run, "get_uv", lambda: run.step("trying", ["python"]))
    script = f"print({said!r}); raise SystemExit(1)"
    real = run.step
    monkeypatch.setattr(run, "step", lambda what, command: real(what, [sys.executable, "-c", script]))
    with pytest.raises(SystemExit) as end:
        run.install()
    first, last = str(end.value).splitlines()
    assert first.startswith("Cure: ")
    assert cure in first
    assert last == "Then give the same command again: it goes on from here."
    assert [line.strip() for line in said.splitlines()] == [
        line.strip() for line in capsys.readouterr().out.splitlines()[2:]
    ]
    assert not run.is_ready()


def test_a_system_error_of_the_installation_itself_is_told_in_the_same_way(run, steps, monkeypatch, capsys):
    monkeypatch.setattr(run, "JUPYTER_FILES", {"made-from.json/settings": {}})
    run.STAMP.parent.mkdir()
    monkeypatch.setattr(run, "get_uv", run.STAMP.touch)
    with pytest.raises(SystemExit, match="Cure: "):
        run.install()
    assert "made-from.json" in capsys.readouterr().out


def test_the_last_lines_are_seen_before_the_cure(run, monkeypatch):
    monkeypatch.setattr(sys, "stdout", stream := Stream())
    with pytest.raises(SystemExit), run.installing():
        raise run.StepFailed("the moon is full")
    assert stream.getvalue() == "the moon is full\n"
    assert not stream.unseen


def test_on_an_untried_python_an_unknown_failure_is_put_down_to_it(run, monkeypatch):
    monkeypatch.setattr(run, "NEWEST", (3, 10))
    monkeypatch.setattr(run, "cure_of_python", lambda: "Take another.")
    with (
        pytest.raises(SystemExit, match=r"may not run on this Python yet\. Take another\."),
        run.installing(),
    ):
        raise run.StepFailed("the moon is full")
    with pytest.raises(SystemExit, match="Free some space"), run.installing():
        raise run.StepFailed("No space left on device")


def test_two_commands_never_install_at_the_same_time(run):
    with run.one_at_a_time(), (run.TOOL / "installing").open("w") as second:
        assert not run.try_to_lock(second)
    with (run.TOOL / "installing").open("w") as second:
        assert run.try_to_lock(second)


def test_the_second_command_says_once_that_it_waits(run, monkeypatch):
    answers, unseen = iter([False, False, True]), []
    monkeypatch.setattr(sys, "stdout", stream := Stream())
    monkeypatch.setattr(run, "try_to_lock", lambda file: next(answers))
    monkeypatch.setattr(run.time, "sleep", lambda seconds: unseen.append(stream.unseen))
    with run.one_at_a_time():
        assert stream.getvalue() == "Another command is installing; waiting for it.\n"
    assert unseen == [False, False]


def test_the_second_command_does_not_install_what_the_first_one_has(run, steps, monkeypatch):
    working = run.one_at_a_time

    @run.contextlib.contextmanager
    def after_another():
        ready(run)
        with working():
            yield

    monkeypatch.setattr(run, "one_at_a_time", after_another)
    run.install()
    assert steps == []


@NOT_ON_WINDOWS
def test_a_disk_that_knows_no_locks_is_not_waited_for(run, monkeypatch):
    import fcntl

    def no_locks(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with (run.ROOT / "some file").open("w") as file:
        assert run.try_to_lock(file)


# ---- run.py doctor: each problem, with its cure ----------------------------------------------------


@pytest.mark.parametrize("version", [(3, 6, 15), (3, 8, 18), (3, 10, 13)])
def test_doctor_names_a_python_that_is_too_old(run, monkeypatch, version):
    monkeypatch.setattr(run, "complaint_of", lambda command: "not found")
    problem, cure = run.check_python(version)
    assert problem == "This is Python {}.{}.{}; qtutor needs 3.11 or newer.".format(*version)
    assert cure.startswith("Install Python 3.14, then: ")
    assert cure.endswith("3.14 run.py lab")


@NOT_ON_WINDOWS
def test_a_python_is_recommended_only_if_it_runs(run, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run.cure_of_python().startswith("Install")
    program(tmp_path / "python3.14", "echo pyenv: python3.14: command not found; exit 127")
    program(tmp_path / "python3.10", "exit 0")
    program(tmp_path / "python3.16", "exit 0")
    assert run.cure_of_python().startswith("Install")
    for name in ("python3.11", "python3.12", "python3.13", "python3.14", "python3.15"):
        program(tmp_path / name, "test $1 = --version")
        assert run.cure_of_python() == f"You have a right one: {name} run.py lab"


def test_the_supported_pythons_are_the_same_everywhere(run):
    for version in PYTHONS:
        assert run.check_python((*map(int, version.split(".")), 0)) is None
    assert tuple(map(int, PYTHONS[0].split("."))) == run.OLDEST
    assert tuple(map(int, PYTHONS[-1].split("."))) == run.NEWEST
    assert PROJECT["project"]["requires-python"] == f">={PYTHONS[0]}"
    minor = re.compile(r"Programming Language :: Python :: (3\.\d+)")
    classifiers = filter(None, map(minor.fullmatch, PROJECT["project"]["classifiers"]))
    assert [found[1] for found in classifiers] == PYTHONS
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert yaml.safe_load(workflow)["jobs"]["locked"]["strategy"]["matrix"]["python"] == PYTHONS
    tried = f"{PYTHONS[0]} to {PYTHONS[-1]}"
    assert f"(tried are {tried})" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"qtutor was tried on {tried}." in (ROOT / "run.py").read_text(encoding="utf-8")


def test_a_newer_python_is_called_untried_and_not_refused(run, handed_over, monkeypatch, capsys):
    monkeypatch.setattr(run, "NEWEST", sys.version_info[:2])
    run.main(["test"])
    assert "untried" not in capsys.readouterr().out
    monkeypatch.setattr(run, "NEWEST", (3, 10))
    run.main(["test"])
    assert "Python {}.{} is untried".format(*sys.version_info) in capsys.readouterr().out
    assert len(handed_over) == 2
    assert run.check_python((4, 0, 0)) is None


@pytest.mark.parametrize("name", ["ROOT", "NOTEBOOKS", "TOOL", "ENVIRONMENT"])
def test_a_folder_that_cannot_be_written_is_told_before_any_command(run, handed_over, monkeypatch, name):
    run.TOOL.mkdir()
    assert run.check_folder() is None
    working = run.tempfile.TemporaryFile

    def refuse(dir):
        if dir == str(getattr(run, name)):
            raise OSError(errno.EROFS, "Read-only file system")
        return working(dir=dir)

    monkeypatch.setattr(run.tempfile, "TemporaryFile", refuse)
    for command in set(run.COMMANDS) - {"doctor"}:
        with pytest.raises(SystemExit) as end:
            run.main([command])
        assert str(end.value) == (
            f"The folder {getattr(run, name)} cannot be written: Read-only file system.\n"
            "Cure: Clone the repository into a folder of your own."
        )
    assert handed_over == []
    assert run.main(["doctor"]) == 1


def test_doctor_names_a_home_that_cannot_be_written(run, monkeypatch, tmp_path):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    assert run.check_home() is None
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "nowhere"))
    problem, cure = run.check_home()
    assert "nowhere" in problem
    assert "HOME" in cure


@pytest.mark.parametrize(
    "change",
    [
        ("numpy>=1.26", "numpy>=1.27"),
        ('requires-python = ">=3.11"', 'requires-python = ">=3.12"'),
        ("ipywidgets>=8.1", "ipywidgets>=8.2"),
        ("onnx>=1.18", "onnx>=1.19"),
        ("pytest-xdist>=3.8", "pytest-xdist>=3.9"),
        ("editables>=0.5", "editables>=0.6"),
    ],
    ids=lambda change: change[0],
)
def test_doctor_names_a_stale_lock(run, change):
    assert run.check_lock() is None
    old = run.PYPROJECT.read_text(encoding="utf-8")
    assert old.count(change[0]) == 1
    run.PYPROJECT.write_text(old.replace(*change), encoding="utf-8")
    problem, cure = run.check_lock()
    assert problem.startswith("requirements.lock is stale: ")
    assert cure.startswith(f"{run.ME} lock (")
    run.PYPROJECT.write_text(old.replace("line-length = 110", "line-length = 99"), encoding="utf-8")
    assert run.check_lock() is None


@pytest.mark.parametrize("name", ["requirements.lock", "pyproject.toml"])
def test_doctor_names_a_missing_lock_or_project(run, handed_over, folder, name):
    (folder / name).unlink()
    problem, cure = run.check_lock()
    assert problem == f"{name} is missing."
    assert cure == "git checkout requirements.lock pyproject.toml"
    with pytest.raises(SystemExit, match="is missing"):
        run.main(["test"])
    assert handed_over == []


def test_a_new_lock_is_for_every_python_and_system_and_starts_from_the_requirements(run, monkeypatch, capsys):
    taken = []
    monkeypatch.setattr(run, "get_uv", lambda: taken.append("the installer comes first"))
    monkeypatch.setattr(run, "step", lambda what, command: taken.append(command))
    run.main(["lock", "--upgrade"])
    _, (uv, *words) = taken
    assert uv == run.uv_program()
    assert words[:5] == ["pip", "compile", "--universal", "--python-version", PYTHONS[0]]
    assert {"--generate-hashes", "--no-annotate", "pyproject.toml", "--output-file=requirements.lock"} <= set(
        words
    )
    assert words[-1] == "--upgrade"
    assert {"--extra=notebooks", "--extra=onnx", "--group=test", "--group=build"} <= set(words)
    assert any(run.requirements_digest() in word for word in words)
    names = len(re.findall(r"(?m)^\S+==", LOCK))
    assert f"requirements.lock names {names} packages." in capsys.readouterr().out


def test_doctor_names_a_missing_kernel(run, monkeypatch):
    needs = run.KERNEL_NEEDS.split(", ")
    assert {"ipykernel.kernelapp", "jupyterlab", "numpy", "qtutor"} <= set(needs)
    assert all(map(importlib.util.find_spec, needs))  # that they can be imported, each notebook's test shows
    monkeypatch.setattr(run, "KERNEL_NEEDS", "no_such_module")
    assert run.check_kernel() is None  # not installed yet is no problem: the next command installs it
    monkeypatch.setattr(run, "PYTHON", sys.executable)
    monkeypatch.setattr(run, "is_ready", lambda: True)
    problem, cure = run.check_kernel()
    assert (
        problem == "The kernel is missing or broken: ModuleNotFoundError: No module named 'no_such_module'."
    )
    assert cure == f"Delete the folder .venv, then: {run.ME} lab"
    monkeypatch.setattr(run, "KERNEL_NEEDS", "ast, json")
    assert run.check_kernel() is None


def test_doctor_prints_every_problem_and_its_cure(run, monkeypatch, capsys):
    rain = lambda: ("It rains.", "Wait.")  # noqa: E731
    monkeypatch.setattr(run, "CHECKS", {"first": lambda: None, "second": rain, "third": rain})
    assert run.main(["doctor"]) == 1
    problem = "  PROBLEM  {}\n           It rains.\n           Cure: Wait.\n"
    assert capsys.readouterr().out == "  ok       first\n" + "".join(map(problem.format, ["second", "third"]))
    monkeypatch.setattr(run, "CHECKS", {"first": lambda: None})
    assert run.main(["doctor"]) == 0
    assert "The packages are not installed yet" in capsys.readouterr().out
    ready(run)
    assert run.main(["doctor"]) == 0
    assert capsys.readouterr().out == "  ok       first\n"


def test_on_an_old_python_doctor_says_that_alone(run, monkeypatch, capsys):
    monkeypatch.setattr(run, "OLDEST", (4, 0))
    monkeypatch.setattr(run, "check_python", lambda: ("It is old.", "Install a new one."))
    monkeypatch.setattr(run, "CHECKS", {"Python": run.check_python, "next": pytest.fail})
    assert run.main(["doctor"]) == 1
    assert "Install a new one" in capsys.readouterr().out
    assert list(run.COMMANDS) == ["lab", "test", "notebooks", "bench", "lock", "doctor"]


@pytest.mark.parametrize("check", ["Python version", "folder can be written", "home folder"])
def test_every_command_but_doctor_ends_with_the_first_problem_and_its_cure(run, handed_over, check):
    run.CHECKS[check] = lambda: ("It rains.", "Wait.")
    with pytest.raises(SystemExit) as end:
        run.main(["lab"])
    assert str(end.value) == "It rains.\nCure: Wait."
    assert handed_over == []


def test_a_complaint_is_the_last_line_or_why_there_is_none(run, monkeypatch):
    def complaint(script):
        return run.complaint_of([sys.executable, "-c", script])

    assert complaint("print('fine')") is None
    assert complaint("print('first', flush=True); raise SystemExit('last')") == "last"
    assert complaint("raise SystemExit(1)") == "it said nothing"
    assert "No such file" in run.complaint_of([run.ROOT / "no program"]) or os.name == "nt"

    def never(command, **options):
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(run.subprocess, "run", never)
    assert complaint("pass") == "no answer in 60 s"


# ---- the lock and the conda file --------------------------------------------------------------------


def required(*groups):
    """The Requirements of the package, of all its extras, and of these groups."""
    project = PROJECT["project"]
    texts = list(project["dependencies"])
    texts += [text for extra in project["optional-dependencies"].values() for text in extra]
    texts += [text for group in groups for text in PROJECT["dependency-groups"][group]]
    return list(map(Requirement, texts))


def bounds_of(requirements):
    """{name: bounds}, a dask[distributed] counted as the two packages that it is."""
    return {
        canonicalize_name(name): str(requirement.specifier)
        for requirement in requirements
        for name in (requirement.name, *requirement.extras)
    }


def extra(name):
    return bounds_of(map(Requirement, PROJECT["project"]["optional-dependencies"][name]))


def test_the_lock_holds_hashes_and_no_address():
    assert not re.search(r"https?:|file:|@|--(extra-)?index|--find-links|--trusted", LOCK)
    entries = re.split(r"\n(?=\S)", LOCK.split("\n", 2)[2])
    assert len(entries) > 100
    for entry in entries:
        assert re.match(r"[a-z0-9._-]+(\[[a-z,]+\])?==\S+", entry), entry
        assert "--hash=sha256:" in entry, entry


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
def test_the_lock_names_one_version_of_each_requirement(python, system):
    where = dict(default_environment(), python_version=python, python_full_version=python + ".9")
    where.update(sys_platform=system, os_name="nt" if system == "win32" else "posix")
    versions = {}
    for line in LOCK.splitlines():
        if re.match(r"\w", line):
            pin = Requirement(line.removesuffix("\\").strip())
            if pin.marker is None or pin.marker.evaluate(where):
                name = canonicalize_name(pin.name)
                assert name not in versions, f"{name} has two versions"
                versions[name] = str(pin.specifier).removeprefix("==")
    for requirement in required("test", "build"):
        if requirement.marker is None or requirement.marker.evaluate(where):
            for name in bounds_of([requirement]):
                assert requirement.specifier.contains(versions[name])


def test_the_conda_file_asks_for_what_pyproject_asks_for():
    content = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *packages, from_pip = content["dependencies"]
    *from_pip, itself = from_pip["pip"]
    assert itself == "--editable ."
    asked = bounds_of(map(Requirement, [*packages, *from_pip]))
    assert asked.pop("python") == PROJECT["project"]["requires-python"]
    assert asked.pop("pip") == ""
    assert asked == bounds_of(required("test"))


def test_every_requirement_has_a_lower_bound():
    for name, bounds in bounds_of(required("test", "build", "docs")).items():
        assert bounds.startswith(">="), name


# ---- what is imported, and what is required ---------------------------------------------------------


def modules_in(text):
    """Every module that a Python text imports, also inside its functions; names of `from` as modules, too."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def file_of(module):
    """Where a module of qtutor lies; None for what is no module of it."""
    path = ROOT.joinpath(*module.split("."))
    there = [file for file in (path.with_suffix(".py"), path / "__init__.py") if file.exists()]
    return there[0] if module.split(".")[0] == "qtutor" and there else None


def packages_behind(texts):
    """The packages that these Python texts import, themselves or by way of modules of qtutor."""
    installed = importlib.metadata.packages_distributions()
    texts, seen, found = list(texts), set(), set()
    while texts:
        for module in set(modules_in(texts.pop())) - seen:
            seen.add(module)
            if file := file_of(module):
                texts.append(file.read_text(encoding="utf-8"))
            top = module.partition(".")[0]
            if top not in {"qtutor", *sys.stdlib_module_names}:
                found |= set(map(canonicalize_name, installed.get(top, [top])))
            if module == "dask.distributed":
                found.add("distributed")
    return found


NUMPY = set(bounds_of(map(Requirement, PROJECT["project"]["dependencies"])))


def test_the_extra_notebooks_holds_what_the_notebooks_import_and_what_opens_them():
    cells = [
        "".join(cell["source"])
        for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
        if cell["cell_type"] == "code"
    ]
    imported = packages_behind(cells)
    assert {"dask", "distributed", "ipywidgets", "matplotlib", "numpy"} <= imported  # none was overlooked
    assert imported | {"ipykernel", "jupyterlab"} == NUMPY | extra("notebooks").keys()


def test_the_extra_onnx_holds_what_the_export_imports_and_an_engine_to_run_it():
    files = [path.read_text(encoding="utf-8") for path in (ROOT / "qtutor").rglob("*.py")]
    exports = [text for text in files if re.search(r"^(import|from) onnx\b", text, re.MULTILINE)]
    assert exports
    assert packages_behind(exports) | {"onnxruntime"} == NUMPY | extra("onnx").keys()


def test_every_package_that_qtutor_imports_is_required():
    files = [path.read_text(encoding="utf-8") for path in (ROOT / "qtutor").rglob("*.py")]
    assert packages_behind(files) <= bounds_of(required("test")).keys()


# ---- the package on its own -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel_and_python(tmp_path_factory):
    """A wheel of qtutor, and a Python that has it and NumPy alone. Nothing is fetched."""
    pytest.importorskip("hatchling", reason="hatchling is in the group 'build', not installed here")
    spec = importlib.util.spec_from_file_location("run", ROOT / "run.py")
    run = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(run)
    pip = run.TOOL / "env" / run.BIN / run.PYTHON.name
    if not pip.exists():
        pytest.skip("no pip in .uv: this environment was not made by run.py")
    folder = tmp_path_factory.mktemp("alone")
    packages = Path(np.__file__).parents[1]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in REDIRECTING.items():
            patch.setenv(name, value.replace("elsewhere", str(folder / "elsewhere")))
        run.step("making an environment", [sys.executable, "-m", "venv", "--without-pip", folder / "env"])
        python = folder / "env" / run.BIN / run.PYTHON.name
        command = [pip, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index", "."]
        # the build tool is the locked one, of this environment
        tools = dict(run.child_environment(), PYTHONPATH=str(packages), PIP_WHEEL_DIR=str(folder))
        subprocess.run(command, cwd=ROOT, env=tools, check=True, capture_output=True)
        (wheel,) = folder.glob("*.whl")
        command = [pip, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel]
        run.step("installing", command)
    assert not (folder / "elsewhere").exists()
    (site,) = (folder / "env").rglob("site-packages")
    for path in packages.glob("numpy*"):
        shutil.copytree(path, site / path.name)
    return wheel, python


def test_the_wheel_holds_the_data_the_licences_and_nothing_but_the_package(wheel_and_python):
    wheel, _ = wheel_and_python
    names = set(zipfile.ZipFile(wheel).namelist())
    package = ROOT / "qtutor"
    there = {path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    licences = {ROOT / "LICENSE", *package.glob("models/*/README.md")}
    information = f"qtutor-{qtutor.__version__}.dist-info"
    assert names == {
        *(path.relative_to(ROOT).as_posix() for path in there),
        *(f"{information}/licenses/{path.relative_to(ROOT).as_posix()}" for path in licences),
        *(f"{information}/{name}" for name in ("METADATA", "RECORD", "WHEEL")),
    }
    assert "qtutor/py.typed" in names
    assert any(name.endswith("/digits.npz") for name in names)


def test_the_wheel_names_both_licences(wheel_and_python):
    wheel, _ = wheel_and_python
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("METADATA"))
        metadata = archive.read(name).decode()
        texts = {name: archive.read(name).decode() for name in archive.namelist() if "/licenses/" in name}
    assert "License-Expression: BSD-3-Clause AND CC-BY-4.0\n" in metadata
    (digits,) = (ROOT / "qtutor").rglob("digits.npz")
    readme = digits.with_name("README.md").relative_to(ROOT).as_posix()
    for path in ("LICENSE", readme):
        (text,) = (text for name, text in texts.items() if name.endswith(f"/licenses/{path}"))
        assert "CC BY 4.0" in text
        assert "10.24432/C50P49" in text  # whose work it is
    assert f"Requires-Python: >={PYTHONS[0]}\n" in metadata
    assert {"Provides-Extra: notebooks", "Provides-Extra: onnx"} <= set(metadata.splitlines())


def test_with_numpy_alone_the_wheel_runs_the_example_of_the_readme(wheel_and_python, tmp_path):
    _, python = wheel_and_python
    command = [python, "-I", "-m", "doctest", "-v", str(ROOT / "README.md")]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8")
    assert answer.returncode == 0, answer.stdout
    assert re.search(r"^[5-9] passed", answer.stdout, re.MULTILINE), answer.stdout[-300:]


def test_with_numpy_alone_the_wheel_knows_its_version_and_reads_its_data(wheel_and_python, tmp_path):
    _, python = wheel_and_python
    script = """if True:
        import importlib.metadata, importlib.util, qtutor
        print(qtutor.__file__)
        print(importlib.metadata.version("qtutor"), qtutor.__version__)
        print([name for name in ("matplotlib", "ipywidgets", "onnx") if importlib.util.find_spec(name)])
        from importlib.resources import files
        print(sorted(path.name for path in files("qtutor").glob("**/*.npz")))
    """
    command = [python, "-I", "-c", script]
    answer = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", check=True
    )
    file, versions, others, data = answer.stdout.splitlines()
    assert Path(file).is_relative_to(python.parents[1])
    assert versions == f"{qtutor.__version__} {qtutor.__version__}"
    assert others == "[]"
    assert data == str(sorted(path.name for path in (ROOT / "qtutor").rglob("*.npz")))


# ---- CI ---------------------------------------------------------------------------------------------


def test_ci_pins_its_actions_and_the_same_uv(run):
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    actions = re.findall(r"uses: (\S+)", workflow)
    assert actions
    for action in actions:
        assert re.fullmatch(r"[\w./-]+@v\d+\.\d+\.\d+", action), action
    assert set(re.findall(r"uv==\S+", workflow)) == {run.UV}


def test_ci_runs_the_test_command_of_the_reader():
    script = (ROOT / ".ci" / "run").read_bytes()
    assert b"\r" not in script  # bash would not start
    assert b'\nexec python3 run.py test "$@" ' in script
