"""Running the large maps of a network tile by tile, on the file itself, so that they never exist whole.

Exact to the bit: every tile runs the same kernels on the same numbers, see :mod:`sapool.passes.tiling`. The overlaps of
tiles are computed twice, and the loops' variables are copied onto themselves at every tile.
"""

from __future__ import annotations

from sapool.passes.tiling.choose import FORMS, Form, choose_tiling
from sapool.tflite import Graph


def tile_prefix(graph: Graph, *, most_extra_macs: float = 0.2, form: Form = "loop") -> int:
    """Tile what helps most in a main graph, mostly its first operators.

    Args:
        graph: changed in place; with several graphs or a memory plan of its own it is left alone.
        most_extra_macs: extra multiply-accumulates allowed, as a fraction of the network's.
        form: ``"loop"``, or ``"unrolled"`` where the runtime has no WHILE or DYNAMIC_UPDATE_SLICE.

    Returns:
        How many runs of operators were tiled, 0 if none helps.
    """
    choice = choose_tiling(graph, most_extra_macs=most_extra_macs, form=form)
    if choice is None:
        return 0
    FORMS[form](graph, choice.grids)
    return len(choice.grids)
