from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sapool.training import Hardware, TrainConfig
from sapool.training.classifier import Classifier
from sapool.training.distillation import distillation_loss
from tests.training.tiny import CLASSES, network

IMAGES, LABELS = torch.rand(6, 3, 8, 8), torch.tensor([0, 1, 2, 3, 0, 1])


def test_the_loss_is_cross_entropy_with_smoothing() -> None:
    model = network().eval()
    step = Classifier(model, TrainConfig(label_smoothing=0.2), 10, CLASSES).training_step((IMAGES, LABELS), 0)
    torch.testing.assert_close(step, F.cross_entropy(model(IMAGES), LABELS, label_smoothing=0.2))


def test_a_teachers_share_of_the_loss_is_its_weight() -> None:
    model, teacher = network().eval(), network(channels=6).eval()
    config = TrainConfig(distill_weight=0.3, distill_temperature=4.0)
    step = Classifier(model, config, 10, CLASSES, teacher=teacher).training_step((IMAGES, LABELS), 0)
    own, taught = F.cross_entropy(model(IMAGES), LABELS), distillation_loss(model(IMAGES), teacher(IMAGES), 4.0)
    torch.testing.assert_close(step, 0.7 * own + 0.3 * taught)


@pytest.mark.parametrize(
    "alphas", [{"mixup_alpha": 0.5}, {"cutmix_alpha": 0.5}, {"mixup_alpha": 0.5, "cutmix_alpha": 1.0}]
)
def test_mixed_labels_sum_to_one(alphas: dict[str, float]) -> None:
    module = Classifier(nn.Identity(), TrainConfig(**alphas), 10, CLASSES)  # type: ignore[arg-type]
    assert module._mix is not None
    images, labels = module._mix(IMAGES, LABELS)
    assert images.shape == IMAGES.shape
    assert labels.shape == (6, CLASSES)
    torch.testing.assert_close(labels.sum(1), torch.ones(6))


def test_images_come_in_the_networks_memory_format() -> None:
    for channels_last in (True, False):
        module = Classifier(nn.Identity(), TrainConfig(), 10, hardware=Hardware(channels_last=channels_last))
        images, labels = module.on_after_batch_transfer((IMAGES, LABELS), 0)
        form = torch.channels_last if channels_last else torch.contiguous_format
        assert images.is_contiguous(memory_format=form)
        assert torch.equal(images, IMAGES)
        assert labels is LABELS
