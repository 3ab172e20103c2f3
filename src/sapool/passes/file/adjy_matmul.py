"""Matrix products of two activations as BATCH_MATMUL with adjY, on the ``.tflite`` itself.

The converter writes ``x w^T`` of two computed tensors as FULLY_CONNECTED. TFLM and LiteRT round that kernel differently
(one step in 0.2 % of the values, which a steep soft-max behind it turns into tens of steps), but agree to the bit on
BATCH_MATMUL; and with adjY = True TFLM keeps no transposed copy of the right-hand side. Exact: the same sum.
"""

from __future__ import annotations

from typing import Any

from sapool.tflite.file import is_constant, operator_names, schema


def use_adjy_matmul(model: Any) -> int:
    """Rewrite every FULLY_CONNECTED whose weights are computed in ``model`` (a ``ModelT``); returns how many."""
    fb = schema()
    graph = model.subgraphs[0]
    dynamic = [
        op
        for name, op in zip(operator_names(model), graph.operators, strict=True)
        if name == "FULLY_CONNECTED" and not is_constant(model, op.inputs[1]) and _is_plain(op)
    ]
    if dynamic:
        code = fb.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = fb.BuiltinOperator.BATCH_MATMUL
        code.version = 4  # the first that takes int8 with adjY
        model.operatorCodes.append(code)
    for op in dynamic:
        options = fb.BatchMatMulOptionsT()
        options.adjX, options.adjY = False, True
        op.opcodeIndex, op.inputs = len(model.operatorCodes) - 1, list(op.inputs[:2])
        op.builtinOptionsType, op.builtinOptions = fb.BuiltinOptions.BatchMatMulOptions, options
    return len(dynamic)


def _is_plain(op: Any) -> bool:
    """Whether a FULLY_CONNECTED has no bias and no fused activation, which BATCH_MATMUL lacks."""
    without_bias = len(op.inputs) < 3 or op.inputs[2] < 0
    return without_bias and op.builtinOptions.fusedActivationFunction == 0
