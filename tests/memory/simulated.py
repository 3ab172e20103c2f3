"""A naive machine that runs an :class:`Graph` in a planned arena and notices every byte that was overwritten.

Values are tokens: whoever makes a byte gives it a number of its own, and every reader checks the numbers it reads.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sapool.memory.aliasing import IN_PLACE, VIEWS
from sapool.memory.lifetimes import buffers_of
from sapool.tflite import Graph, Operator
from tests.graphs import make_operator, make_tensor

Tokens = NDArray[np.int64]


class Machine:
    def __init__(self, graph: Graph, offsets: Sequence[int]) -> None:
        self.graph, self.fresh = graph, itertools.count(1)
        buffers = buffers_of(graph)
        self.at = {b.tensor: offset for b, offset in zip(buffers, offsets, strict=True) if b.tensor >= 0}
        self.scratch = [(b, offset) for b, offset in zip(buffers, offsets, strict=True) if b.tensor < 0]
        size = max(offset + b.size for b, offset in zip(buffers, offsets, strict=True))
        self.memory: Tokens = np.zeros(size, np.int64)
        self.expected: dict[int, Tokens] = {}

    def new(self, count: int) -> Tokens:
        return np.fromiter(itertools.islice(self.fresh, count), np.int64, count)

    def place(self, tensor: int) -> slice:
        return slice(self.at[tensor], self.at[tensor] + self.graph.tensors[tensor].bytes)

    def check(self, tensor: int) -> None:
        if tensor in self.at:
            np.testing.assert_array_equal(self.memory[self.place(tensor)], self.expected[tensor])

    def run(self) -> None:
        for tensor in self.graph.inputs:
            self.expected[tensor] = self.memory[self.place(tensor)] = self.new(self.graph.tensors[tensor].bytes)
        for place, operator in enumerate(self.graph.operators):
            for buffer, offset in self.scratch:
                if buffer.operator == place:
                    self.memory[offset : offset + buffer.size] = self.new(buffer.size)
            for tensor in operator.inputs:
                self.check(tensor)
            self.step(operator)
        for tensor in self.graph.outputs:
            self.check(tensor)

    def step(self, operator: Operator) -> None:
        made = operator.outputs[0]
        if operator.kind in VIEWS:
            self.copy(operator.inputs[0], self.at[made])
            self.expected[made] = self.expected[operator.inputs[0]].copy()
        elif operator.kind == "CONCATENATION":
            self.join(operator)
        elif operator.kind in IN_PLACE:
            self.by_element(operator)
        else:  # a kernel of any other kind may write everything before it reads the last of its inputs
            self.expected[made] = self.memory[self.place(made)] = self.new(self.graph.tensors[made].bytes)
            for tensor in operator.inputs:
                self.check(tensor)

    def copy(self, tensor: int, to: int) -> None:
        for i in range(self.graph.tensors[tensor].bytes):
            self.memory[to + i] = self.memory[self.at[tensor] + i]

    def join(self, operator: Operator) -> None:
        made = operator.outputs[0]
        shape = self.graph.tensors[made].shape
        shapes = [self.graph.tensors[t].shape for t in operator.inputs]
        axis = next(a for a in range(len(shape)) if sum(s[a] for s in shapes) == shape[a] != shapes[0][a])
        self.expected[made] = np.concatenate(
            [self.expected[t].reshape(s) for t, s in zip(operator.inputs, shapes, strict=True)], axis
        ).ravel()
        to = self.at[made]
        for outer in range(math.prod(shape[:axis])):
            for tensor, sides in zip(operator.inputs, shapes, strict=True):
                size = math.prod(sides[axis:])
                for i in range(size):
                    self.memory[to + i] = self.memory[self.at[tensor] + outer * size + i]
                to += size

    def by_element(self, operator: Operator) -> None:
        made = operator.outputs[0]
        count = self.graph.tensors[made].bytes
        self.expected[made] = self.new(count)
        for i in range(count):
            for tensor in operator.inputs:
                if tensor in self.at:
                    j = i % self.graph.tensors[tensor].bytes  # a broadcast of the last sides
                    assert self.memory[self.at[tensor] + j] == self.expected[tensor][j]
            self.memory[self.at[made] + i] = self.expected[made][i]


def random_graph(seed: int, length: int = 14) -> Graph:
    """Operators of many kinds on tensors of a few shapes, whatever fits."""
    dice = random.Random(seed)
    tensors = [make_tensor("x", (1, 4, 4, 4)), make_tensor("constant", (1, 1, 1, 4), constant=True)]
    operators: list[Operator] = []

    def made(kind: str, inputs: Sequence[int], shape: tuple[int, ...]) -> None:
        tensors.append(make_tensor(str(len(tensors)), shape))
        operators.append(make_operator(kind, tuple(inputs), (len(tensors) - 1,)))

    for _ in range(length):
        known = [i for i in range(len(tensors)) if i != 1]
        one = dice.choice(known[-5:])
        shape = tensors[one].shape
        alike = [i for i in known if tensors[i].shape == shape]
        choice = dice.randrange(8)
        if choice == 0:
            made("CONV_2D", (one,), dice.choice(((1, 4, 4, 4), (1, 2, 4, 4), (1, 4, 4, 8))))
        elif choice == 1:
            made(dice.choice(("RELU", "SOFTMAX", "LOGISTIC")), (one,), shape)
        elif choice in (2, 3):
            made(dice.choice(("ADD", "MUL")), dice.choice(((one, dice.choice(alike)), (one, 1), (one, one))), shape)
        elif choice == 4:
            made(dice.choice(VIEWS), (one,), (shape[0], shape[2], shape[1], shape[3]))
        elif choice == 5:
            axis = dice.choice((1, 2, 3))
            parts = [one, *dice.choices(alike, k=dice.randint(1, 2))]
            made("CONCATENATION", parts, (*shape[:axis], shape[axis] * len(parts), *shape[axis + 1 :]))
        elif choice == 6:
            made("MEAN", (one,), (1, 1, 1, shape[3]))
        else:
            made("MAX_POOL_2D", (one,), (1, 1, 2, 16))
    unread = set(range(2, len(tensors))) - {t for op in operators for t in op.inputs}
    return Graph(tuple(tensors), tuple(operators), (0,), tuple(sorted(unread)))
