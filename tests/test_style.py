"""One look for all files, notebooks included; mypy on the package; no misspelt word.

Each tool is set up in pyproject.toml. To repair what can be repaired: ruff check --fix, ruff format.
"""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROSE_AND_CODE = {".py", ".md", ".ipynb", ".toml", ".yml", ".svg", ".txt"}


def files():
    """Every file with words in it, save what tools leave behind (.venv, caches, builds)."""
    made = {"__pycache__", "build", "dist"}
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        hidden = any(part.startswith(".") and part not in {".github", ".ci"} for part in parts[:-1])
        if not hidden and not made.intersection(parts) and path.suffix in PROSE_AND_CODE:
            yield path


@pytest.mark.parametrize(
    "tool",
    [
        ["ruff", "check"],
        ["ruff", "format", "--check"],
        ["mypy"],
        ["codespell_lib", *[str(path) for path in files()]],
    ],
    ids=["ruff check", "ruff format", "mypy", "codespell"],
)
def test_style(tool):
    answer = subprocess.run(
        [sys.executable, "-m", *tool], cwd=ROOT, capture_output=True, text=True, encoding="utf-8"
    )
    assert answer.returncode == 0, f"{' '.join(tool[:2])} objects:\n{answer.stdout}{answer.stderr}"
