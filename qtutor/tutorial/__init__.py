"""The instruments of the notebooks: exercises that check themselves, explorers, and plots.

A chapter takes what it needs in one line: `from qtutor.tutorial import check, explorers, plots`.
"""

from qtutor.tutorial.exercises import check

__all__ = ["check"]
