"""The drawings of the notebooks that take more than a few lines: a module a chapter, arrays to a picture."""
