"""Settings for every test."""

from hypothesis import settings

# A slow or busy computer is no bug: no time limit for one example. And each run tries the same examples,
# so that a failure in CI is there again on the next computer.
settings.register_profile("qtutor", deadline=None, derandomize=True)
settings.load_profile("qtutor")


def pytest_terminal_summary(terminalreporter):
    """Print what tests measured: a parallel run shows no test's own output, but carries its properties."""
    for report in terminalreporter.stats.get("passed", []):
        for name, measured in report.user_properties:
            if report.when == "call":
                terminalreporter.write_line(f"{name}: {measured}")
