"""Damaging files: any byte, and the schema's objects one at a time."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from sapool.tflite.file import pack, parse

_NUMBERS = (-(2**31), -1000, -1, 0, 1, 2, 3, 7, 255, 100_000, 2**31 - 1)


def mutated_bytes(data: bytes, dice: random.Random) -> bytes:
    """One to eight bytes changed, or some left out, doubled or cut off."""
    raw = bytearray(data)
    for _ in range(dice.randint(1, 8)):
        at = dice.randrange(len(raw))
        way = dice.randrange(5)
        if way == 0:
            del raw[at : at + dice.randint(1, 16)]
        elif way == 1:
            raw[at:at] = raw[at : at + dice.randint(1, 16)]
        elif way == 2 and dice.random() < 0.2:
            del raw[at:]
        else:
            raw[at] = dice.choice((0, 1, 127, 128, 255, dice.randrange(256)))
        if len(raw) < 16:
            break
    return bytes(raw)


def mutated_model(data: bytes, dice: random.Random) -> bytes:
    """One to three fields of the schema's objects with another value that the format can hold."""
    while True:
        model = parse(data)
        for _ in range(dice.randint(1, 3)):
            _mutate(dice.choice(_objects(model)), dice)
        try:
            return pack(model)
        except (TypeError, AttributeError, ValueError, OverflowError):
            continue


def _objects(model: Any) -> list[Any]:
    found = [model, *(model.operatorCodes or ()), *(model.metadata or ()), *(model.signatureDefs or ())]
    for graph in model.subgraphs or ():
        found += [graph] * 3 + list(graph.tensors or ()) + list(graph.operators or ()) * 3
        found += [tensor.quantization for tensor in graph.tensors or () if tensor.quantization is not None]
        found += [op.builtinOptions for op in graph.operators or () if op.builtinOptions is not None]
    return found


def _mutate(one: Any, dice: random.Random) -> None:
    names = [name for name in vars(one) if name != "data" and not name.endswith("Type")]
    if not names:
        return
    name = dice.choice(names)
    value = getattr(one, name)
    if isinstance(value, bool):
        setattr(one, name, not value)
    elif isinstance(value, int):
        setattr(one, name, max(-128, min(dice.choice(_NUMBERS), 127)) if "Code" in name else dice.choice(_NUMBERS))
    elif isinstance(value, float):
        setattr(one, name, dice.choice((0.0, -1.0, float("nan"), float("inf"))))
    elif isinstance(value, np.ndarray):
        setattr(one, name, _changed(value, dice))
    elif isinstance(value, list):
        setattr(one, name, dice.choice((None, [], value[:-1], value[::-1], [*value, *value])))
    elif value is not None:
        setattr(one, name, None)


def _changed(values: Any, dice: random.Random) -> Any:
    way = dice.randrange(4)
    if way == 0 or not len(values):
        return None if dice.random() < 0.5 else values[:0]
    if way == 1:
        return np.concatenate([values, values[:1]])
    if way == 2:
        return values[:-1]
    changed = values.copy()
    changed[dice.randrange(len(values))] = dice.choice((-1, 0, 1, 2, 3, 5, 1000))
    return changed
