#!/usr/bin/env python3
"""Everything you can do with this repository. It needs Python 3.11 or newer and nothing else.

    python3 run.py lab                open the tutorial in JupyterLab (options go to JupyterLab)
    python3 run.py test               run the whole test suite (options go to pytest)
    python3 run.py notebooks 02 03    run these notebooks anew and store their outputs (no name: all)
    python3 run.py bench              measure the speed and memory of the core
    python3 run.py lock               choose the packages' versions anew (options go to uv: --upgrade)
    python3 run.py doctor             name what is wrong here, and the cure

The first command that needs packages installs exactly those that requirements.lock names, into the
folder .venv, by an installer in the folder .uv. Your other packages stay as they are. In your home
folder the programs keep their usual files: downloads (uv, 700 MB, the next clone uses them too;
".uv/env/bin/uv cache clean" frees them), the index of fonts (Matplotlib), a history (IPython), and
settings (JupyterLab). To start again from nothing, delete the folders .venv and .uv. On Windows,
write py instead of python3.
"""

# How to read this file: the commands are at the end, the checks of doctor above them, the
# installation at the top. An old Python must be able to read it too, or it could not say that it
# is too old: no syntax or import at the top that Python 3.6 lacks.

import contextlib
import errno
import hashlib
import json
import os
import pathlib
import re
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

OLDEST, NEWEST = (3, 11), (3, 15)
KERNEL_NEEDS = "ipykernel.kernelapp, ipywidgets, jupyterlab, matplotlib, numpy, qtutor"
EXTRAS, GROUPS = ["notebooks", "onnx"], ["test", "build"]  # the parts of pyproject.toml in the lock

# Variables of yours that would lead Python, pip or uv elsewhere: to other packages, into another
# folder, to no installation at all. Those that say where packages come from are kept.
MISLEADING = re.compile(
    "VIRTUAL_ENV$|PYTHON|(PIP|UV)_(?!.*(INDEX|LINKS|PROXY|HOST|CERT|TLS|KEYRING|CREDENTIALS|CONFIG_FILE"
    "|CACHE|HTTP|TIMEOUT|RETRIES|FEATURE))"
)

# What a program says when it fails, and what helps. The first that fits counts.
CURES = {
    "No space left|Disk quota|not enough space": "Free some space: .venv takes 600 MB, the downloads in your"
    " home folder 700 MB.",
    "ensurepip|No module named '?venv": "sudo apt install python{}.{}-venv (Debian and Ubuntu package it"
    " separately)".format(*sys.version_info),
    "(?i)certificate": "Your network shows a certificate of its own. If this system knows it, set"
    " UV_SYSTEM_CERTS=1; if not, set SSL_CERT_FILE and PIP_CERT to the file that your administrator has.",
    "(?i)hash mismatch": "The package index offers another file than the one that was locked. See that no"
    " variable and no settings file of uv names a wrong index.",
    "(?i)connection|connect error|dns error|timed out|tunnel": "Connect to the internet; behind a proxy, set"
    " HTTPS_PROXY. Once installed, no network is needed.",
    "Permission denied|Access is denied|Read-only file": "Let your user write and run programs there, or"
    " clone the repository into a folder of your own.",
    "does not run: .*No such file": "pip installed it elsewhere: remove target, prefix, root and dry-run from"
    " its settings (pip config list).",
}

# The tutorial asks nothing of any other computer: no news, no update check, no extension catalogue.
# Open tabs are kept apart from those of your other JupyterLab projects.
JUPYTER_FILES = {
    "share/jupyter/lab/settings/overrides.json": {
        "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
        # notebooks/questions.md is a page to read, not to edit
        "@jupyterlab/docmanager-extension:plugin": {"defaultViewers": {"markdown": "Markdown Preview"}},
        # a chapter that was run and saved shows its explorers' last picture when it is opened again
        "@jupyter-widgets/jupyterlab-manager:plugin": {"saveState": True},
    },
    # A notebook keeps what its kernel says of its language. The version of Python would make each notebook
    # that somebody only opens a changed one.
    "etc/ipython/ipython_kernel_config.json": {
        "IPKernelApp": {"exec_lines": ["get_ipython().kernel.language_info.pop('version')"]}
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
    # MISLEADING drops PYTHONDONTWRITEBYTECODE, too: without compiled files each kernel that starts
    # compiles hundreds of modules again, which takes 2 s, every time.
    variables = {name: value for name, value in os.environ.items() if not MISLEADING.match(name)}
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
    return LOCK.exists() and PYPROJECT.exists() and recorded() == made_from()


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
    except OSError as error:
        return error.errno not in (errno.EAGAIN, errno.EACCES)  # others: this disk knows no locks
    return True


def uv_program():
    """Where uv is, or would be."""
    return TOOL / "env" / BIN / ("uv.exe" if WINDOWS else "uv")


def has_uv():
    """Whether the pinned uv is there and runs."""
    try:
        command = [str(uv_program()), "--version"]
        answer = subprocess.run(command, stdout=subprocess.PIPE, env=child_environment())
    except OSError:
        return False
    return answer.stdout.decode().split()[1:2] == [UV.split("==")[1]]


def get_uv():
    """Install uv, a fast installer, into a folder of its own, unless it is there."""
    if has_uv():
        return
    folder = TOOL / "env"
    step("preparing a folder for the installer", [sys.executable, "-m", "venv", "--clear", folder])
    step("fetching the installer, " + UV, [folder / BIN / "python", "-m", "pip", "install", UV])
    if not has_uv():
        raise StepFailed("    The installer does not run: " + complaint_of([uv_program(), "--version"]))


def locked():
    """Every package that the lock names with its version, over all systems and Pythons."""
    words = [line.split(" ")[0] for line in LOCK.read_text(encoding="utf-8").splitlines()]
    return [word for word in words if "==" in word]


def install():
    """Make .venv, or bring it up to date. Does nothing when it is."""
    if is_ready():
        return
    stop_at_problems(["requirements.lock"])
    with installing():
        if is_ready():  # another command has just made it
            return
        before, now = recorded(), made_from()
        start = time.monotonic()
        print("Installing the packages of requirements.lock into .venv", flush=True)
        with contextlib.suppress(FileNotFoundError):
            STAMP.unlink()
        get_uv()
        uv = uv_program()
        if (before.get("python"), before.get("folder")) != (now["python"], now["folder"]):
            step("making .venv", [uv, "venv", "--clear", "--python", sys.executable, ENVIRONMENT])
        sync = [uv, "pip", "sync", "--python", PYTHON, "--require-hashes", LOCK]
        step(f"fetching and installing {len(locked())} packages", sync)
        link = [uv, "pip", "install", "--python", PYTHON, "--offline", "--no-deps", "--no-build-isolation"]
        step("linking qtutor itself", [*link, "--editable", "."])
        for name, content in JUPYTER_FILES.items():
            path = ENVIRONMENT / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        STAMP.write_text(json.dumps(now), encoding="utf-8")
        print(f"Ready after {round(time.monotonic() - start)} s.\n", flush=True)


@contextlib.contextmanager
def installing():
    """Alone, and when a step fails, end with what was said last and with its cure."""
    try:
        with one_at_a_time():
            yield
    except (StepFailed, OSError) as failure:
        print(failure, flush=True)
        cure = next((cure for said, cure in CURES.items() if re.search(said, str(failure))), None)
        if cure is None and is_untried():
            cure = "A package may not run on this Python yet. " + cure_of_python()
        cure = cure or "None is known here; the lines above say what went wrong."
        sys.exit(f"Cure: {cure}\nThen give the same command again: it goes on from here.")


# ---------------------------------------------------------------------------------------------
# Checks. Each returns None when all is well, otherwise (the problem, its cure).
# ---------------------------------------------------------------------------------------------


def check_python(version=tuple(sys.version_info[:3])):
    if version[:2] >= OLDEST:
        return None
    return "This is Python {}.{}.{}; qtutor needs 3.11 or newer.".format(*version), cure_of_python()


def is_untried():
    return sys.version_info[:2] > NEWEST


def cure_of_python():
    """The newest of the Pythons that were tried, if this computer has one."""
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        command = ["py", f"-3.{minor}"] if WINDOWS else [f"python3.{minor}"]
        if complaint_of([*command, "--version"]) is None:  # under pyenv a name may be there and not run
            return "You have a right one: {} run.py lab".format(" ".join(command))
    return "Install Python 3.14, then: {} run.py lab".format("py -3.14" if WINDOWS else "python3.14")


def check_folder():
    for folder in (ROOT, NOTEBOOKS, TOOL, ENVIRONMENT):
        try:
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


def check_lock():
    restore = "git checkout requirements.lock pyproject.toml"
    for file in (LOCK, PYPROJECT):
        if not file.exists():
            return f"{file.name} is missing.", restore
    if requirements_digest() in LOCK.read_text(encoding="utf-8"):
        return None
    return (
        "requirements.lock is stale: the requirements in pyproject.toml are not those that it was made from.",
        f"{ME} lock (if you did not change pyproject.toml: {restore})",
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
    try:
        answer = subprocess.run(
            [str(part) for part in command],
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
        )
    except subprocess.TimeoutExpired:
        return "no answer in 60 s"
    except OSError as error:
        return str(error)
    if answer.returncode == 0:
        return None
    return (answer.stdout.decode("utf-8", "replace").strip().splitlines() or ["it said nothing"])[-1].strip()


CHECKS = {
    "Python version": check_python,
    "folder can be written": check_folder,
    "home folder": check_home,
    "requirements.lock": check_lock,
    "kernel": check_kernel,
}


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
    there = sorted(NOTEBOOKS.glob("*.ipynb"))
    paths = []
    for name in names or [""]:
        found = [path for path in there if path.name.startswith(pathlib.Path(name).name)]
        if not found:
            sys.exit("No notebook is named {}. There are: {}".format(name, ", ".join(p.stem for p in there)))
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
    with installing():
        get_uv()
        command = [uv_program(), "pip", "compile", "--universal", "--python-version", "3.11"]
        command += ["--generate-hashes", "--no-annotate"]
        command += ["--custom-compile-command", f"python3 run.py lock  (from {requirements_digest()})"]
        command += ["--extra=" + name for name in EXTRAS] + ["--group=" + name for name in GROUPS]
        command += [PYPROJECT.name, "--output-file=" + LOCK.name]
        step("choosing versions", [*command, *options])
    print(f"requirements.lock names {len(locked())} packages. The next command installs them.")


def doctor(options):
    """Check everything; 1 if there is a problem, otherwise 0."""
    problems = 0
    for name, check in CHECKS.items():
        found = check()
        print("  {:8} {}".format("PROBLEM" if found else "ok", name), flush=True)
        if found:
            problems += 1
            print("           {}\n           Cure: {}".format(*found), flush=True)
            if check is check_python:
                break  # the other checks need a supported Python
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
        print(__doc__)
        print(f"There is no command named {name}.", file=sys.stderr)
        return 2
    if is_untried():
        this = "Python {}.{}".format(*sys.version_info)
        print(f"{this} is untried; qtutor was tried on 3.11 to 3.15.", flush=True)
    if name != "doctor":
        stop_at_problems(["Python version", "folder can be written", "home folder"])
    return COMMANDS[name](options)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. Give the same command again: it goes on from here.")
