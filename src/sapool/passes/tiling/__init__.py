"""Running parts of a ``.tflite`` tile by tile, so that their full-resolution maps never exist.

regions: the arithmetic of receptive fields. local_operators, segments: what can be tiled. body, loop, unrolled, shared:
how it is written. costs, choose: which segments, and how many tiles.
"""
