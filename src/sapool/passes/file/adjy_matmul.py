"""Matrix products of two activations as BATCH_MATMUL with adjY, on the file itself.

The converter writes ``x w^T`` of two computed tensors as FULLY_CONNECTED. TFLM and LiteRT round that kernel differently
(one step in 0.2 % of the values, which a steep soft-max behind it turns into tens of steps), but agree to the bit on
BATCH_MATMUL; and with adjY = True TFLM keeps no transposed copy of the right-hand side. Exact: the same sum.
"""

from __future__ import annotations

from sapool.tflite import Graph, Operator, Options

_VERSION = 4  # the first that takes int8 with adjY


def use_adjy_matmul(graph: Graph) -> int:
    """Rewrite every FULLY_CONNECTED whose weights are computed; returns how many."""
    changed = 0
    for place, op in graph.of_kind("FULLY_CONNECTED"):
        if not graph.is_constant(op.inputs[1]) and _has_product_only(op):
            options = Options.of("BATCH_MATMUL", adjX=False, adjY=True, asymmetricQuantizeInputs=False)
            graph.change_operator(place, kind="BATCH_MATMUL", inputs=op.inputs[:2], options=options, version=_VERSION)
            changed += 1
    return changed


def _has_product_only(op: Operator) -> bool:
    """Whether a FULLY_CONNECTED has no bias and no fused activation, which BATCH_MATMUL lacks."""
    without_bias = len(op.inputs) < 3 or op.inputs[2] < 0
    return without_bias and op.options.activation == "NONE"
