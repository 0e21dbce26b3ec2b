"""The two commands must work for everyone: run.py, the lock, the conda file and CI, kept in step."""

import ast
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PYTHONS = ["3.11", "3.12", "3.13"]


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


def test_an_unknown_command_gets_the_usage_and_the_nearest_name(run, capsys):
    assert run.main(["tset"]) == 2
    said = capsys.readouterr()
    assert "Did you mean test?" in said.err
    assert "run.py lab" in said.out


def test_a_notebook_may_be_named_by_its_number(run, monkeypatch):
    ready(run)
    for name in ("01_rounding.ipynb", "02_zero_point.ipynb"):
        (run.NOTEBOOKS / name).touch()
    commands = []
    monkeypatch.setattr(run, "hand_over", commands.append)
    run.notebooks(["02"])
    run.notebooks(["notebooks/01_rounding.ipynb"])
    run.notebooks([])
    chosen = [[path.stem for path in command if path in run.NOTEBOOKS.iterdir()] for command in commands]
    assert chosen == [["02_zero_point"], ["01_rounding"], ["01_rounding", "02_zero_point"]]
    with pytest.raises(SystemExit, match="No notebook is named 09"):
        run.notebooks(["09"])


def test_no_variable_of_yours_mixes_other_packages_in(run, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.setenv("PYTHONHOME", "elsewhere")
    monkeypatch.setenv("PIP_USER", "1")
    variables = run.child_environment()
    assert "PYTHONPATH" not in variables
    assert "PYTHONHOME" not in variables
    assert variables["PIP_USER"] == "0"


# ---- run.py: JupyterLab ----------------------------------------------------------------------------


def test_jupyterlab_answers_this_computer_alone_and_keeps_its_token(run):
    words = " ".join(str(part) for part in run.lab_command(["--port", "9000"]))
    assert "--ServerApp.ip=127.0.0.1" in words
    assert words.endswith("--port 9000")
    assert "token" not in words
    assert run.START == "notebooks/00_start_here.ipynb"


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
    module, name = lab_app["check_for_updates_class"].rsplit(".", 1)
    assert module == "jupyterlab"
    assert hasattr(jupyterlab, name)

    schemas = Path(sys.prefix) / "share" / "jupyter" / "lab" / "schemas"
    overrides = run.JUPYTER_FILES["share/jupyter/lab/settings/overrides.json"]
    for plugin, settings in overrides.items():
        schema = schemas / (plugin.replace(":", "/") + ".json")
        properties = json.loads(schema.read_text(encoding="utf-8"))["properties"]
        assert set(settings) <= set(properties)
        if "fetchNews" in settings:
            assert settings["fetchNews"] in [choice["const"] for choice in properties["fetchNews"]["oneOf"]]


# ---- run.py: installing ----------------------------------------------------------------------------


def test_nothing_is_checked_or_installed_twice(run, steps, monkeypatch):
    run.install()
    assert run.is_ready()
    assert all((run.ENVIRONMENT / name).exists() for name in run.JUPYTER_FILES)
    steps.clear()
    monkeypatch.setattr(run, "stop_at_problems", steps.append)
    run.install()
    assert steps == []


@pytest.mark.parametrize("name", ["requirements.lock", "pyproject.toml"])
def test_a_changed_lock_or_project_is_installed_over_the_old_one(run, steps, folder, name):
    run.install()
    steps.clear()
    with (folder / name).open("a", encoding="utf-8") as file:
        file.write("\n# changed\n")
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


def test_where_uv_cannot_be_had_pip_installs_the_same_hashes(run, steps, monkeypatch):
    working = run.step

    def no_uv(what, command):
        if run.UV in command:
            raise run.StepFailed("no such wheel")
        working(what, command)

    monkeypatch.setattr(run, "step", no_uv)
    monkeypatch.setattr(run, "has_uv", lambda: False)
    monkeypatch.setattr(run, "check_network", lambda: None)
    run.install()
    assert run.is_ready()
    assert any("pip" in command and "--require-hashes" in command for command in steps)


def test_without_network_pip_is_not_tried_in_vain(run, steps, monkeypatch, capsys):
    def no_network(what, command):
        if run.UV in command:
            raise run.StepFailed("no answer")
        steps.append(command)

    monkeypatch.setattr(run, "step", no_network)
    monkeypatch.setattr(run, "has_uv", lambda: False)
    monkeypatch.setattr(run.importlib.util, "find_spec", lambda name: "found")
    monkeypatch.setattr(run, "complaint_of", lambda command: "could not connect")
    with pytest.raises(SystemExit, match="give the same command again"):
        run.install()
    assert not any("--require-hashes" in command for command in steps)
    assert "HTTPS_PROXY" in capsys.readouterr().out
    assert not run.is_ready()


def test_a_failed_step_ends_with_what_the_program_said(run, capsys):
    program = "print('the reason'); raise SystemExit(3)"
    with pytest.raises(run.StepFailed, match="the reason"):
        run.step("trying", [sys.executable, "-c", program])
    assert "trying" in capsys.readouterr().out


def test_two_commands_never_install_at_the_same_time(run):
    with run.one_at_a_time(), (run.TOOL / "installing").open("w") as second:
        assert not run.try_to_lock(second)
    with (run.TOOL / "installing").open("w") as second:
        assert run.try_to_lock(second)


# ---- run.py doctor: each problem, with its cure ----------------------------------------------------


@pytest.mark.parametrize("version", [(3, 8, 18), (3, 10, 13), (3, 14, 0)])
def test_doctor_names_a_wrong_python(run, monkeypatch, version):
    monkeypatch.setattr(run.shutil, "which", lambda name: None)
    problem, cure = run.check_python(version)
    assert "3.11 to 3.13" in problem
    assert "Install Python 3.13" in cure
    monkeypatch.setattr(run.shutil, "which", lambda name: name if name == "python3.12" else None)
    assert "python3.12 run.py" in run.check_python(version)[1]


def test_the_supported_pythons_are_the_same_everywhere(run):
    for version in PYTHONS:
        assert run.check_python((*map(int, version.split(".")), 0)) is None
    assert PROJECT["project"]["requires-python"] == ">=3.11"
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert yaml.safe_load(workflow)["jobs"]["locked"]["strategy"]["matrix"]["python"] == PYTHONS


def test_doctor_names_a_folder_that_cannot_be_written(run, monkeypatch):
    assert run.check_folder() is None

    def refuse(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(run.tempfile, "TemporaryFile", refuse)
    problem, cure = run.check_folder()
    assert "a folder with spaces" in problem
    assert "folder of your own" in cure


def test_doctor_names_a_home_that_cannot_be_written(run, monkeypatch, tmp_path):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    assert run.check_home() is None
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "nowhere"))
    problem, cure = run.check_home()
    assert "nowhere" in problem
    assert "HOME" in cure


def test_doctor_names_a_python_without_venv(run, monkeypatch):
    assert run.check_venv() is None
    monkeypatch.setattr(run.importlib.util, "find_spec", lambda name: None)
    problem, cure = run.check_venv()
    assert "lacks venv" in problem
    assert "apt install python3-venv" in cure


def test_doctor_names_a_full_disk(run, monkeypatch):
    assert run.check_disk() is None
    monkeypatch.setattr(run.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(2**30, 2**30, 2**20))
    problem, cure = run.check_disk()
    assert "1 MB free" in problem
    assert "Free some space" in cure


def test_doctor_names_a_stale_or_missing_lock(run):
    assert run.check_lock() is None
    old = run.PYPROJECT.read_text(encoding="utf-8")
    run.PYPROJECT.write_text(old.replace('"numpy>=1.26"', '"numpy>=1.27"'), encoding="utf-8")
    problem, cure = run.check_lock()
    assert "stale" in problem
    assert "run.py lock" in cure
    run.PYPROJECT.write_text(old, encoding="utf-8")
    run.LOCK.unlink()
    assert "missing" in run.check_lock()[0]


def test_doctor_names_a_missing_network_unless_all_is_installed(run, monkeypatch):
    monkeypatch.setattr(run, "has_uv", lambda: True)
    monkeypatch.setattr(run, "complaint_of", lambda command: None)
    assert run.check_network() is None
    monkeypatch.setattr(run, "complaint_of", lambda command: "could not connect")
    problem, cure = run.check_network()
    assert "No network" in problem
    assert "could not connect" in problem
    assert "HTTPS_PROXY" in cure
    ready(run)
    assert run.check_network() is None


def test_doctor_names_a_missing_kernel(run, monkeypatch):
    assert run.check_kernel() is None  # not installed yet is no problem: the next command installs it
    monkeypatch.setattr(run, "PYTHON", sys.executable)
    monkeypatch.setattr(run, "is_ready", lambda: True)
    assert run.check_kernel() is None
    monkeypatch.setattr(run, "KERNEL_NEEDS", "no_such_module")
    problem, cure = run.check_kernel()
    assert "no_such_module" in problem
    assert "Delete the folder .venv" in cure


def test_doctor_names_a_taken_port_and_a_free_one(run, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(run, "FIRST_PORT", port)
        problem, cure = run.check_port()
        assert f"Port {port} is taken" in problem
        assert not run.is_taken(int(cure.split()[-1]))
    assert run.check_port() is None


def test_doctor_prints_every_problem_and_its_cure(run, monkeypatch, capsys):
    monkeypatch.setattr(run, "CHECKS", {"first": lambda: None, "second": lambda: ("It rains.", "Wait.")})
    assert run.main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "PROBLEM  second" in said
    assert "It rains.\n" in said
    assert "Cure: Wait.\n" in said
    monkeypatch.setattr(run, "CHECKS", {"first": lambda: None})
    assert run.main(["doctor"]) == 0


# ---- the lock and the conda file --------------------------------------------------------------------


def names_of(requirements):
    """{name: bounds}, a dask[distributed] counted as the two packages that it is."""
    found = {}
    for text in requirements:
        requirement = Requirement(text)
        for name in (requirement.name, *requirement.extras):
            found[canonicalize_name(name)] = str(requirement.specifier)
    return found


def required(*groups):
    project = PROJECT["project"]
    texts = list(project["dependencies"])
    texts += [text for extra in project["optional-dependencies"].values() for text in extra]
    texts += [text for group in groups for text in PROJECT["dependency-groups"][group]]
    return names_of(texts)


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
    for name, bounds in required("test", "build").items():
        assert Requirement(f"{name}{bounds}").specifier.contains(versions[name])


def test_the_conda_file_asks_for_what_pyproject_asks_for():
    content = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *packages, from_pip = content["dependencies"]
    *from_pip, itself = from_pip["pip"]
    assert itself == "--editable ."
    asked = names_of([*packages, *from_pip])
    assert asked.pop("python") == str(Requirement("python>=3.11,<3.14").specifier)
    assert asked.pop("pip") == ""
    assert asked == required("test")


def test_every_requirement_has_a_lower_bound():
    for name, bounds in required("test", "build", "docs").items():
        assert bounds.startswith(">="), name


# ---- the package and CI -----------------------------------------------------------------------------


def test_the_wheel_holds_the_data_and_nothing_but_the_package(tmp_path):
    pytest.importorskip("hatchling", reason="hatchling is in the group 'build', not installed here")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"qtutor", "qtutor-0.1.0.dist-info"}
    assert any(name.endswith("LICENSE") for name in names)
    shipped = {path.relative_to(ROOT).as_posix() for path in (ROOT / "qtutor" / "data").rglob("*.npz")}
    assert shipped
    assert shipped <= set(names)


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
