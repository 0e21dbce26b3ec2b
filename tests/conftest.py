"""Settings for every test."""

import os

# Several processes test at a time, and start kernels: the threads of their BLAS would wait for one another.
# NumPy looks when it is imported, so this stands before every other import.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

# A slow or busy computer is no bug: no time limit for one example. And each run tries the same examples,
# so that a failure in CI is there again on the next computer.
settings.register_profile("qtutor", deadline=None, derandomize=True)
settings.load_profile("qtutor")


def pytest_addoption(parser):
    """Options of tests/conformance; pytest reads them here, before it looks into folders."""
    options = parser.getgroup("conformance with real engines")
    options.addoption("--vectors", metavar="DIR", help="check the recorded cases of this folder, not of ours")
    options.addoption("--live", action="store_true", help="compare with the engines that are installed here")


def pytest_ignore_collect(collection_path, config):
    """The comparison with installed engines is asked for, by --live: it is no part of the test command."""
    # not in a conftest.py of that folder: pytest imports all modules for their doctests, and none twice
    if collection_path.name == "test_live.py" and not config.getoption("live"):
        return True
    return None


def pytest_terminal_summary(terminalreporter):
    """Print what tests measured: a parallel run shows no test's own output, but carries its properties."""
    conformance = {}
    for report in terminalreporter.stats.get("passed", []) + terminalreporter.stats.get("failed", []):
        for name, measured in report.user_properties if report.when == "call" else []:
            if name == "conformance":  # {file: [cases passed, cases, elements equal, elements]}
                for file, counts in measured.items():
                    sums = conformance.get(file, [0, 0, 0, 0])
                    conformance[file] = [a + b for a, b in zip(sums, counts, strict=True)]
            elif report.passed:
                terminalreporter.write_line(f"{name}: {measured}")
    for file, (passed, cases, equal, elements) in sorted(conformance.items()):
        terminalreporter.write_line(
            f"{file + ':':<32} cases passed {passed}/{cases}, elements equal {equal}/{elements}"
        )
