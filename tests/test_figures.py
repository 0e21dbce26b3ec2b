"""qtutor/tutorial/figures: every drawing is one that its chapter shows, where stored outputs are compared."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_each_drawing_is_shown_by_its_chapter():
    for path in sorted((ROOT / "qtutor" / "tutorial" / "figures").glob("chapter*.py")):
        (notebook,) = (ROOT / "notebooks").glob(f"{path.stem.removeprefix('chapter')}_*.ipynb")
        calls = set(re.findall(r"figures\.(\w+)\(", notebook.read_text(encoding="utf-8")))
        defined = {
            node.name
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
        }
        assert defined == calls, path.name
