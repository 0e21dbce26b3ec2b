"""Explorers: pictures with sliders, one for each chapter (an instrument of every notebook).

Each function returns an explorer; as the last line of a cell, it shows it.  The pictures are drawn by
pure functions (draw_number_line and so on), and all that they show is computed by qtutor's core.
"""

from qtutor.tutorial.explorers.chapter00 import digit_explorer
from qtutor.tutorial.explorers.chapter01 import number_line
from qtutor.tutorial.explorers.chapter02 import zero_point_explorer
from qtutor.tutorial.explorers.chapter03 import clip_explorer
from qtutor.tutorial.explorers.chapter04 import error_explorer
from qtutor.tutorial.explorers.chapter05 import matmul_explorer
from qtutor.tutorial.explorers.chapter06 import requantize_explorer
from qtutor.tutorial.explorers.chapter07 import cnn_explorer

__all__ = [
    "clip_explorer",
    "cnn_explorer",
    "digit_explorer",
    "error_explorer",
    "matmul_explorer",
    "number_line",
    "requantize_explorer",
    "zero_point_explorer",
]
