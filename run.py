#!/usr/bin/env python3
"""Everything you can do with this repository. It needs Python 3.11 to 3.13 and nothing else.

    python3 run.py lab                open the tutorial in JupyterLab (options go to JupyterLab)
    python3 run.py test               run the whole test suite (options go to pytest)
    python3 run.py notebooks 02 03    run these notebooks anew and store their outputs (no name: all)
    python3 run.py bench              measure the speed and memory of the core
    python3 run.py lock               choose the packages' versions anew (options go to uv: --upgrade)
    python3 run.py doctor             name what is wrong here, and the cure

The first command that needs packages installs them into the folder .venv, exactly those that
requirements.lock names, and changes nothing else on your computer. To start again from nothing,
delete the folders .venv and .uv. On Windows, write py instead of python3.
"""

# How to read this file: the commands are at the end, the checks of doctor above them, the
# installation at the top. An old Python must be able to read it too, or it could not say that it
# is too old: no syntax or import at the top that Python 3.6 lacks.

import contextlib
import difflib
import hashlib
import importlib.util
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent
LOCK = ROOT / "requirements.lock"
PYPROJECT = ROOT / "pyproject.toml"
NOTEBOOKS = ROOT / "notebooks"
START = "notebooks/00_start_here.ipynb"

ENVIRONMENT = ROOT / ".venv"  # the packages: JupyterLab, NumPy, pytest and so on
TOOL = ROOT / ".uv"  # the installer: not in .venv, so that it never replaces itself while it runs
UV = "uv==0.13.9"

WINDOWS = os.name == "nt"
BIN = "Scripts" if WINDOWS else "bin"
PYTHON = ENVIRONMENT / BIN / ("python.exe" if WINDOWS else "python")
STAMP = ENVIRONMENT / "made-from.json"  # written last, so an interrupted installation has none
ME = "py run.py" if WINDOWS else "python3 run.py"

OLDEST, NEWEST = (3, 11), (3, 13)
INSTALLED_MB = 1500  # .venv takes about 600 MB, the downloads as much again
FIRST_PORT = 8888  # JupyterLab's own default; it tries the next ones when that is taken
KERNEL_NEEDS = "ipykernel.kernelapp, ipywidgets, jupyterlab, matplotlib, numpy, qtutor"
EXTRAS, GROUPS = ["notebooks", "dask"], ["test", "build"]  # the parts of pyproject.toml in the lock

# The tutorial asks nothing of any other computer: no news, no update check, no extension catalogue.
# Open tabs are kept apart from those of your other JupyterLab projects.
JUPYTER_FILES = {
    "share/jupyter/lab/settings/overrides.json": {
        "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
        # notebooks/questions.md is a page to read, not to edit
        "@jupyterlab/docmanager-extension:plugin": {"defaultViewers": {"markdown": "Markdown Preview"}},
    },
    "etc/jupyter/jupyter_lab_config.json": {
        "LabApp": {
            "news_url": None,
            "check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
            "extension_manager": "readonly",
            "workspaces_dir": str(ENVIRONMENT / "share" / "jupyter" / "lab" / "workspaces"),
        }
    },
}


# ---------------------------------------------------------------------------------------------
# Installing
# ---------------------------------------------------------------------------------------------


class StepFailed(Exception):
    """A step of the installation failed; the message is what its program said last."""


def child_environment():
    """The environment variables for every program started here: yours, less what would mix in."""
    variables = dict(os.environ)
    for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
        variables.pop(name, None)  # they would bring in packages or a Python that the lock does not name
    # Without compiled files each kernel that starts compiles hundreds of modules again: 2 s, every time.
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    variables.update(PYTHONNOUSERSITE="1", PIP_USER="0", PIP_DISABLE_PIP_VERSION_CHECK="1")
    variables.update(UV_PYTHON_DOWNLOADS="never")  # your Python is the one to use, not another one
    return variables


def step(what, command):
    """Run one step of the installation: say what it is and the seconds that pass."""
    live = sys.stdout.isatty()
    start = time.monotonic()
    print(f"  {what} ...", end="", flush=True)
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=str(ROOT),
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            close_fds=False,  # the step holds the lock of one_at_a_time too
        )
        try:
            while process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=1 if live else 15)
                if live or process.returncode is None:
                    again = f"\r  {what} ..." if live else ""
                    print(f"{again} {round(time.monotonic() - start)} s", end="", flush=True)
        finally:
            if process.poll() is None:  # Ctrl-C: leave no program running behind
                process.kill()
                process.wait()
        if process.returncode == 0:
            print("" if live else f" done, {round(time.monotonic() - start)} s")
            return
        print(" failed")
        output.seek(0)
        last_lines = output.read().decode("utf-8", "replace").strip().splitlines()[-15:]
        raise StepFailed("\n".join("    " + line for line in last_lines))


def made_from():
    """What .venv is made from. When any of it changes, .venv is out of date."""
    files = LOCK.read_bytes() + PYPROJECT.read_bytes()
    return {
        "python": f"{sys.version} in {sys.base_prefix}",
        "folder": str(ROOT),  # a virtual environment cannot be moved
        "files": hashlib.sha256(files).hexdigest(),
    }


def recorded():
    """What .venv says that it was made from; nothing if it is missing, broken or half made."""
    try:
        return json.loads(STAMP.read_text(encoding="utf-8")) if PYTHON.exists() else {}
    except (OSError, ValueError):
        return {}


def is_ready():
    """Whether .venv is complete and up to date."""
    return LOCK.exists() and recorded() == made_from()


@contextlib.contextmanager
def one_at_a_time():
    """Two commands started together must not both install: the second one waits for the first."""
    TOOL.mkdir(exist_ok=True)
    with (TOOL / "installing").open("w") as file:
        waited = False
        while not try_to_lock(file):
            if not waited:
                print("Another command is installing; waiting for it.", flush=True)
            waited = True
            time.sleep(0.5)
        # The system frees the lock when the file is closed, even if this program is killed; a step that
        # goes on for a moment without it has inherited the file, so nothing starts in its way.
        os.set_inheritable(file.fileno(), True)
        yield


def try_to_lock(file):
    """Lock an open file for this program alone; False if another program holds it."""
    try:
        if WINDOWS:
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def uv_program():
    """Where uv is, or would be."""
    return TOOL / "env" / BIN / ("uv.exe" if WINDOWS else "uv")


def has_uv():
    """Whether the pinned uv is there and runs."""
    try:
        answer = subprocess.run([str(uv_program()), "--version"], stdout=subprocess.PIPE)
    except OSError:
        return False
    return answer.stdout.decode().split()[1:2] == [UV.split("==")[1]]


def get_uv():
    """Install uv, a fast installer, into a folder of its own, unless it is there."""
    if not has_uv():
        folder = TOOL / "env"
        step("preparing a folder for the installer", [sys.executable, "-m", "venv", "--clear", folder])
        step("fetching the installer, " + UV, [folder / BIN / "python", "-m", "pip", "install", UV])


def install_with_uv(clean):
    get_uv()
    uv = uv_program()
    if clean:
        step("making .venv", [uv, "venv", "--clear", "--python", sys.executable, ENVIRONMENT])
    sync = [uv, "pip", "sync", "--python", PYTHON, "--require-hashes", LOCK]
    step(f"fetching and installing {len(locked())} packages", sync)
    link = [uv, "pip", "install", "--python", PYTHON, "--offline", "--no-deps", "--no-build-isolation"]
    step("linking qtutor itself", [*link, "--editable", "."])


def install_with_pip():
    """The slower way, for a system that uv is not built for."""
    step("making .venv", [sys.executable, "-m", "venv", "--clear", ENVIRONMENT])
    pip = [PYTHON, "-m", "pip", "install"]
    what = f"fetching and installing {len(locked())} packages (some minutes)"
    step(what, [*pip, "--require-hashes", "--requirement", LOCK])
    step("linking qtutor itself", [*pip, "--no-deps", "--no-build-isolation", "--editable", "."])


def locked():
    """Every package that the lock names with its version, over all systems and Pythons."""
    words = [line.split(" ")[0] for line in LOCK.read_text(encoding="utf-8").splitlines()]
    return [word for word in words if "==" in word]


def install():
    """Make .venv, or bring it up to date. Does nothing when it is."""
    if is_ready():
        return
    stop_at_problems(["folder can be written", "venv and pip", "requirements.lock"])
    with one_at_a_time():
        if is_ready():  # another command has just made it
            return
        before, now = recorded(), made_from()
        clean = (before.get("python"), before.get("folder")) != (now["python"], now["folder"])
        start = time.monotonic()
        print("Installing the packages of requirements.lock into .venv", flush=True)
        with contextlib.suppress(OSError):
            STAMP.unlink()
        try:
            try:
                install_with_uv(clean)
            except StepFailed:
                if has_uv() or check_network():
                    raise  # pip would fail as well
                print(f"  {UV} cannot be installed here: trying pip", flush=True)
                install_with_pip()
        except StepFailed as failure:
            print(failure)
            print("\nThe installation did not finish. Looking for the reason:")
            known = count_problems() > 0
            advice = "When that is cured" if known else "The reason is in the lines above. When it is cured"
            sys.exit(f"\n{advice}, give the same command again: it goes on from here.")
        for name, content in JUPYTER_FILES.items():
            path = ENVIRONMENT / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        STAMP.write_text(json.dumps(now), encoding="utf-8")
        print(f"Ready after {round(time.monotonic() - start)} s.\n", flush=True)


# ---------------------------------------------------------------------------------------------
# Checks. Each returns None when all is well, otherwise (the problem, its cure).
# ---------------------------------------------------------------------------------------------


def check_python(version=tuple(sys.version_info[:3])):
    if OLDEST <= version[:2] <= NEWEST:
        return None
    names = [f"python3.{minor}" for minor in range(NEWEST[1], OLDEST[1] - 1, -1)]
    found = [name for name in names if shutil.which(name)]
    problem = "This is Python {}.{}.{}; qtutor needs 3.11 to 3.13.".format(*version)
    if found:
        return problem, f"You have a right one: {found[0]} run.py lab"
    return problem, "Install Python 3.13, then: {} run.py lab".format("py -3.13" if WINDOWS else names[0])


def check_folder():
    try:
        for folder in (ROOT, TOOL, ENVIRONMENT):
            if folder.exists():
                tempfile.TemporaryFile(dir=str(folder)).close()
    except OSError as error:
        problem = f"The folder {folder} cannot be written: {error.strerror}."
        return problem, "Clone the repository into a folder of your own."
    return None


def check_home():
    home = os.path.expanduser("~")
    if os.access(home, os.W_OK):
        return None
    problem = f"Your home folder {home} cannot be written; the installer and JupyterLab keep files there."
    return problem, "Set the variable HOME to a folder of your own."


def check_venv():
    if has_uv() or (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        return None
    problem = "This Python lacks venv and pip (Debian and Ubuntu package them separately)."
    return problem, "sudo apt install python3-venv python{}.{}-venv".format(*sys.version_info[:2])


def check_disk():
    need = 100 if is_ready() else INSTALLED_MB
    free = shutil.disk_usage(str(ROOT)).free // 2**20
    if free >= need:
        return None
    return (
        f"The disk is full: {free} MB free, {need} MB needed.",
        "Free some space, or move the repository to another disk.",
    )


def check_lock():
    restore = "git checkout requirements.lock pyproject.toml"
    if not LOCK.exists():
        return "requirements.lock is missing.", restore
    if requirements_digest() in LOCK.read_text(encoding="utf-8"):
        return None
    return (
        "requirements.lock is stale: the requirements in pyproject.toml are not those that it was made from.",
        f"{ME} lock (if you did not change pyproject.toml: {restore})",
    )


def check_network():
    if is_ready():
        return None  # nothing to fetch
    with tempfile.TemporaryDirectory() as folder:
        # Ask for one package just as the installation would, through the same settings and proxies.
        package = locked()[0]
        if has_uv():
            wish = pathlib.Path(folder) / "wish.in"
            wish.write_text(package, encoding="utf-8")
            complaint = complaint_of([uv_program(), "pip", "compile", "--no-cache", "--no-deps", wish])
        elif importlib.util.find_spec("pip"):
            pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir"]
            pip += ["--retries", "0", "--timeout", "10", "--dest", folder]
            complaint = complaint_of([*pip, package])
        else:
            return None  # nothing here to ask with: the installation will tell
    if complaint is None:
        return None
    return (
        f"No network: the Python package index cannot be reached ({complaint}).",
        "Connect to the internet; behind a proxy, set HTTPS_PROXY. Once installed, no network is needed.",
    )


def check_kernel():
    if not is_ready():
        return None  # the next command will install it
    complaint = complaint_of([PYTHON, "-c", "import " + KERNEL_NEEDS])
    if complaint is None:
        return None
    return f"The kernel is missing or broken: {complaint}.", f"Delete the folder .venv, then: {ME} lab"


def complaint_of(command):
    """Run a program: None if it succeeds, otherwise the last line that it said."""
    variables = dict(child_environment(), UV_HTTP_TIMEOUT="10", UV_HTTP_RETRIES="0")
    try:
        answer = subprocess.run(
            [str(part) for part in command],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
        )
    except subprocess.TimeoutExpired:
        return "no answer in 60 s"
    if answer.returncode == 0:
        return None
    return (answer.stdout.decode("utf-8", "replace").strip().splitlines() or ["it said nothing"])[-1].strip()


def is_taken(port):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def check_port():
    if not is_taken(FIRST_PORT):
        return None
    free = next((port for port in range(FIRST_PORT + 1, FIRST_PORT + 100) if not is_taken(port)), 0)
    return (
        f"Port {FIRST_PORT} is taken, perhaps by a JupyterLab that you left open.",
        f"Close it, or: {ME} lab --port {free}",
    )


CHECKS = {
    "Python version": check_python,
    "folder can be written": check_folder,
    "home folder": check_home,
    "venv and pip": check_venv,
    "disk space": check_disk,
    "requirements.lock": check_lock,
    "network": check_network,
    "kernel": check_kernel,
    f"port {FIRST_PORT}": check_port,
}


def count_problems():
    """Print each check, and each problem with its cure."""
    problems = 0
    for name, check in CHECKS.items():
        found = check()
        print("  {:8} {}".format("PROBLEM" if found else "ok", name), flush=True)
        if found:
            problems += 1
            print("           {}\n           Cure: {}".format(*found), flush=True)
            if check is check_python:
                break  # the other checks need a supported Python
    return problems


def stop_at_problems(names):
    """Make these checks alone, and end with the first problem and its cure."""
    for name in names:
        found = CHECKS[name]()
        if found:
            sys.exit("{}\nCure: {}".format(*found))


# ---------------------------------------------------------------------------------------------
# Commands. Each takes the words that stand after its name.
# ---------------------------------------------------------------------------------------------


def hand_over(command):
    """Let another program take this one's place: its exit status and Ctrl-C become ours."""
    command = [str(part) for part in command]
    os.chdir(str(ROOT))
    sys.stdout.flush()
    if not WINDOWS:
        os.execve(command[0], command, child_environment())
    process = subprocess.Popen(command, env=child_environment())
    while True:
        with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is for the program, which may ask back
            sys.exit(process.wait())


def lab_command(options):
    """The command that starts JupyterLab on this computer alone, with the first chapter in front."""
    command = [PYTHON, "-m", "jupyterlab", "--ServerApp.ip=127.0.0.1"]
    # The whole repository can be opened, so links to the package work; the list of files shows notebooks/.
    command += [f"--ServerApp.root_dir={ROOT}", f"--FileContentsManager.preferred_dir={NOTEBOOKS}"]
    command += ["--LabApp.default_url=/lab/tree/" + START]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command += ["--allow-root"]  # JupyterLab refuses to run as root without it
    return [*command, *options]


def lab(options):
    install()
    hand_over(lab_command(options))


def test(options):
    install()
    hand_over([PYTHON, "-m", "pytest", *options])


def notebooks(names):
    """Run notebooks again and store what they print. A name may be short: 02 is 02_zero_point.ipynb."""
    paths = []
    for name in names or [""]:
        stem = pathlib.Path(name).name
        found = sorted(NOTEBOOKS.glob(stem if stem.endswith(".ipynb") else stem + "*.ipynb"))
        if not found:
            there = ", ".join(path.stem for path in sorted(NOTEBOOKS.glob("*.ipynb")))
            sys.exit("No notebook is named {}. There are: {}".format(name or "*", there or "none"))
        paths += found
    install()
    hand_over([PYTHON, ROOT / "tests" / "notebook_checker.py", "--update", *paths])


def bench(options):
    install()
    hand_over([PYTHON, "-m", "qtutor.bench", *options])


def requirements_digest():
    """A short name for the requirements in pyproject.toml; the lock carries the one it was made from."""
    import tomllib  # not at the top: an old Python has none

    content = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))
    project, groups = content["project"], content["dependency-groups"]
    parts = [project["requires-python"], project["dependencies"]]
    parts += [project["optional-dependencies"][name] for name in EXTRAS] + [groups[name] for name in GROUPS]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def lock(options):
    """One lock for every supported Python and system, with hashes, and without the address of any server."""
    stop_at_problems(["folder can be written", "venv and pip"])
    with one_at_a_time():
        try:
            get_uv()
            command = [uv_program(), "pip", "compile", "--universal", "--python-version", "3.11"]
            command += ["--generate-hashes", "--no-annotate"]
            command += ["--custom-compile-command", f"python3 run.py lock  (from {requirements_digest()})"]
            command += ["--extra=" + name for name in EXTRAS] + ["--group=" + name for name in GROUPS]
            command += [PYPROJECT.name, "--output-file", LOCK.name]
            step("choosing versions", [*command, *options])
        except StepFailed as failure:
            sys.exit(str(failure))
    print(f"requirements.lock names {len(locked())} packages. The next command installs them.")


def doctor(options):
    """Check everything; 1 if there is a problem, otherwise 0."""
    problems = count_problems()
    if not problems and not is_ready():
        print(f"The packages are not installed yet: {ME} lab, or test, installs them.")
    return 1 if problems else 0


COMMANDS = {"lab": lab, "test": test, "notebooks": notebooks, "bench": bench, "lock": lock, "doctor": doctor}


def main(words):
    if not words or words[0] in ("help", "-h", "--help"):
        print(__doc__)
        return 0
    name, options = words[0], words[1:]
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, list(COMMANDS), n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        print(__doc__)
        print(f"There is no command named {name}.{hint}", file=sys.stderr)
        return 2
    if name != "doctor":
        stop_at_problems(["Python version"])
    return COMMANDS[name](options)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. Give the same command again: it goes on from here.")
