"""Models to quantize, each in a folder: its graph, weights and data, how they were made, source, licence."""
