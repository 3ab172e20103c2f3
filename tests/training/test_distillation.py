from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from sapool.training import TrainConfig, train
from sapool.training.distillation import Teacher, distillation_loss
from tests.training.tiny import blobs, network


def test_it_is_the_divergence_of_the_softened_answers() -> None:
    scores, taught, temperature = [[1.0, -2.0, 0.5]], [[3.0, 0.0, 1.0]], 4.0
    soft = [[math.exp(v / temperature) for v in row[0]] for row in (scores, taught)]
    student, teacher = ([v / sum(row) for v in row] for row in soft)
    expected = temperature**2 * sum(t * math.log(t / s) for s, t in zip(student, teacher, strict=True))
    found = distillation_loss(torch.tensor(scores), torch.tensor(taught), temperature)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    assert float(distillation_loss(torch.tensor(taught), torch.tensor(taught), 2.0)) == pytest.approx(0, abs=1e-6)


def test_the_gradient_keeps_its_size_at_any_temperature() -> None:
    taught = torch.tensor([[0.3, -0.1, 0.2]])
    sizes = []
    for temperature in (50.0, 100.0):
        scores = torch.zeros(1, 3, requires_grad=True)
        distillation_loss(scores, taught, temperature).backward()
        assert scores.grad is not None
        sizes.append(float(scores.grad.norm()))
    assert sizes[0] == pytest.approx(sizes[1], rel=0.01)


def test_the_teacher_answers_in_eval_mode_without_a_gradient() -> None:
    network_ = network(dropout=0.5).train()
    teacher = Teacher(network_)
    images = torch.rand(4, 3, 8, 8)
    first, second = teacher(images), teacher(images)
    assert torch.equal(first, second)
    assert not first.requires_grad


def test_a_student_of_soft_answers_alone_comes_near_its_teacher(tmp_path: Path) -> None:
    data = blobs(epochs=8)
    config = TrainConfig(epochs=8, batch_size=10, learning_rate=0.05)
    teacher = network()
    taught = train(teacher, data, config, tmp_path / "teacher")
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    student = network()
    only = TrainConfig(epochs=8, batch_size=10, learning_rate=0.05, distill_weight=1.0, distill_temperature=1.0)
    record = train(student, data, only, tmp_path / "student", teacher=teacher)
    assert all(torch.equal(value, teacher.state_dict()[name]) for name, value in before.items())
    images = torch.stack([data.test[i][0] for i in range(37)])
    agreed = (student(images).argmax(1) == teacher(images).argmax(1)).float().mean()
    assert taught.test_accuracy > 0.8
    assert agreed > 0.8
    assert record.test_accuracy > 0.7
