"""What the converter does to its own operators: norms folded, constants folded, activations fused."""

from __future__ import annotations

import math
from collections import Counter

from sapool.predict.lowering.builder import Builder, Draft

_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_FUSABLE = (*_CONVOLUTIONS, "ADD", "SUB", "MUL", "DIV", "AVERAGE_POOL_2D", "MAX_POOL_2D", "CONCATENATION")
# Their output has the scale of their input.
_FIXED_SCALE = ("SLICE", "STRIDED_SLICE", "RESHAPE", "TRANSPOSE", "MAX_POOL_2D", "PAD", "RESIZE_NEAREST_NEIGHBOR")
_ACTIVATIONS = {"RELU": 1, "RELU_N1_TO_1": 2, "RELU6": 3}  # the schema's numbers


def fuse(b: Builder, outputs: list[int]) -> None:
    """Fold and fuse the gathered operators in place; ``outputs`` are the places that leave the network."""
    b.prune(outputs)
    _fold_constants(b, outputs)
    _write_out_norms(b)
    _fuse_activations(b, outputs)
    _drop_reshapes(b, outputs)
    _turn_in_products(b, outputs)
    _join_turns(b, outputs)
    _requantize_joined(b)


def _uses(b: Builder, outputs: list[int]) -> Counter[int]:
    return Counter([place for draft in b.operators for place in draft.inputs] + outputs)


def _absorb(draft: Draft, into: Draft, producers: dict[int, Draft]) -> None:
    """Let ``into`` write what ``draft`` wrote."""
    into.outputs = draft.outputs
    producers[draft.outputs[0]] = into
    draft.kind = ""


def _takes_more(source: Draft, uses: Counter[int]) -> bool:
    """Whether an operator has one reader and no activation of its own yet."""
    return uses[source.outputs[0]] == 1 and not source.options["fusedActivationFunction"]


def _clean(b: Builder) -> None:
    b.operators = [draft for draft in b.operators if draft.kind]


def _fold_constants(b: Builder, outputs: list[int]) -> None:
    """A norm, or a product or sum with one constant a channel, right behind a convolution goes into its weights."""
    uses, producers = _uses(b, outputs), dict[int, Draft]()
    for draft in b.operators:
        source = producers.get(draft.inputs[0])
        foldable = draft.kind == "NORM" or (draft.kind in ("MUL", "ADD", "SUB") and _scales_channels(b, draft))
        if foldable and source is not None and source.kind in _CONVOLUTIONS and _takes_more(source, uses):
            _absorb(draft, source, producers)
            continue
        for place in draft.outputs:
            producers[place] = draft
    _clean(b)


def _scales_channels(b: Builder, draft: Draft) -> bool:
    other = b.tensors[draft.inputs[1]]
    return other.constant is not None and math.prod(other.shape) in (1, b.tensors[draft.outputs[0]].shape[-1])


def _write_out_norms(b: Builder) -> None:
    """A norm that nothing takes in is four operators: minus the mean, over the deviation, times weight, plus bias."""
    written: list[Draft] = []
    for draft in b.operators:
        if draft.kind != "NORM":
            written.append(draft)
            continue
        place, constant = draft.inputs
        for kind in ("SUB", "MUL", "MUL", "ADD"):
            b.tensors.append(b.tensors[constant])
            factor = len(b.tensors) - 1
            b.tensors.append(b.tensors[draft.outputs[0]])
            made = draft.outputs[0] if kind == "ADD" else len(b.tensors) - 1
            written.append(Draft(kind, [place, factor], [made], {"fusedActivationFunction": 0}, draft.module))
            place = made
    b.operators = written


def _fuse_activations(b: Builder, outputs: list[int]) -> None:
    uses, producers = _uses(b, outputs), dict[int, Draft]()
    for draft in b.operators:
        source = producers.get(draft.inputs[0]) if draft.kind in _ACTIVATIONS else None
        if source is not None and source.kind in _FUSABLE and _takes_more(source, uses):
            source.options["fusedActivationFunction"] = _ACTIVATIONS[draft.kind]
            _absorb(draft, source, producers)
            continue
        for place in draft.outputs:
            producers[place] = draft
    _clean(b)


def _drop_reshapes(b: Builder, outputs: list[int]) -> None:
    """A RESHAPE behind a MEAN, or in front of FULLY_CONNECTED, goes if it only drops sides of one."""
    uses, producers = _uses(b, outputs), dict[int, Draft]()
    readers = {place: draft for draft in b.operators for place in draft.inputs}
    for draft in b.operators:
        source = producers.get(draft.inputs[0])
        if draft.kind == "RESHAPE" and source is not None and _only_drops_ones(b, draft):
            reader = readers.get(draft.outputs[0])
            if source.kind == "MEAN" and uses[draft.inputs[0]] == 1:
                source.options["keepDims"] = False
                _absorb(draft, source, producers)
                continue
            if reader is not None and reader.kind == "FULLY_CONNECTED" and uses[draft.outputs[0]] == 1:
                reader.inputs[0] = draft.inputs[0]
                draft.kind = ""
                continue
        for place in draft.outputs:
            producers[place] = draft
    _clean(b)


def _turn_in_products(b: Builder, outputs: list[int]) -> None:
    """A right-hand side that was transposed is read by rows instead."""
    producers = {place: draft for draft in b.operators for place in draft.outputs}
    for draft in list(b.operators):
        source = producers.get(draft.inputs[1]) if draft.kind == "BATCH_MATMUL" else None
        if source is not None and source.kind == "TRANSPOSE":
            before, after = (b.tensors[place].shape for place in (source.inputs[0], source.outputs[0]))
            if len(before) == 3 and before[0] == after[0]:
                draft.inputs[1], draft.options["adjY"] = source.inputs[0], True
    b.prune(outputs)


def _join_turns(b: Builder, outputs: list[int]) -> None:
    """One TRANSPOSE right behind another that nothing else reads is one TRANSPOSE."""
    uses, producers = _uses(b, outputs), dict[int, Draft]()
    for draft in b.operators:
        source = producers.get(draft.inputs[0]) if draft.kind == "TRANSPOSE" else None
        if source is not None and source.kind == "TRANSPOSE" and uses[draft.inputs[0]] == 1:
            first, second = (b.tensors[one.inputs[1]].integers for one in (source, draft))
            source.inputs[1] = b.numbers([first[axis] for axis in second])
            _absorb(draft, source, producers)
            continue
        for place in draft.outputs:
            producers[place] = draft
    _clean(b)


def _only_drops_ones(b: Builder, draft: Draft) -> bool:
    before, after = (b.tensors[place].shape for place in (draft.inputs[0], draft.outputs[0]))
    return [n for n in before if n > 1] == [n for n in after if n > 1] and before[-1:] == after[-1:]


def _requantize_joined(b: Builder) -> None:
    """What is joined must have one scale: an input that others read, too, is requantised first.

    So is one whose operator can't choose its scale. Whether an input really is depends on the ranges met in
    calibration; this takes the larger case, and one copy for all that join it.
    """
    uses, written = Counter(place for draft in b.operators for place in draft.inputs), list[Draft]()
    producers = {place: draft.kind for draft in b.operators for place in draft.outputs}
    copies: dict[int, int] = {}
    for draft in b.operators:
        for i, place in enumerate(draft.inputs if draft.kind == "CONCATENATION" else []):
            if uses[place] > 1 or producers.get(place) in _FIXED_SCALE:
                if place not in copies:
                    b.tensors.append(b.tensors[place])
                    copies[place] = len(b.tensors) - 1
                    written.append(Draft("QUANTIZE", [place], [copies[place]], {}, draft.module))
                draft.inputs[i] = copies[place]
        written.append(draft)
    b.operators = written
