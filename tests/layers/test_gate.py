from __future__ import annotations

import math

import pytest
import torch

from sapool.layers.gate import LARGEST_GAIN, Gate, WeightGate

LOGITS = (-3.0, -0.5, 0.0, 2.0)


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


@pytest.mark.parametrize(
    ("kind", "gain", "expected"),
    [
        ("exp_sigmoid", 1.0, [math.exp(sigmoid(z)) for z in LOGITS]),
        ("exp_sigmoid", 4.0, [math.exp(4 * sigmoid(z)) for z in LOGITS]),
        ("exp", 1.0, [math.exp(z) for z in LOGITS]),
        ("sigmoid", 1.0, [sigmoid(z) for z in LOGITS]),
    ],
)
def test_the_weight_is_the_formula(kind: Gate, gain: float, expected: list[float]) -> None:
    gate, z = WeightGate(kind, gain), torch.tensor(LOGITS, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(gate(z), torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0)
    torch.testing.assert_close(gate.log_weight(z).exp(), gate(z), rtol=1e-12, atol=0)
    assert torch.autograd.gradcheck(gate, z)
    assert kind in repr(gate)


def test_the_logarithm_of_a_sigmoid_stays_finite_where_its_weight_is_zero() -> None:
    gate, z = WeightGate("sigmoid"), torch.tensor(-200.0)
    assert gate(z) == 0
    assert gate.log_weight(z) == -200


def test_the_largest_gain_is_the_last_whose_weights_float32_holds() -> None:
    gate = WeightGate("exp_sigmoid", LARGEST_GAIN)
    assert torch.isfinite(gate(torch.tensor(100.0)))
    assert not torch.isfinite(WeightGate("exp_sigmoid", LARGEST_GAIN + 10)(torch.tensor(100.0)))
