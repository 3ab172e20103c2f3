"""Learning from a teacher's softened answers: Hinton, Vinyals and Dean 2015 (arXiv 1503.02531)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def distillation_loss(scores: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """Return T^2 KL(teacher / T || student / T), averaged over the batch.

    The factor T^2 keeps the gradient's size independent of the temperature, as in the paper.

    Args:
        scores: the student's class scores (N, classes).
        taught: the teacher's (N, classes).
        temperature: T; 1 compares the plain probabilities.
    """
    student = F.log_softmax(scores.float() / temperature, 1)
    teacher = F.log_softmax(taught.float() / temperature, 1)
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2


class Teacher:
    """A trained network that is asked and never changed; not a Module, so that no checkpoint or average holds it."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network.eval()
        self._device: torch.device | None = None

    def __deepcopy__(self, memo: object) -> Teacher:
        """A copy of the student's run still asks the same teacher."""
        return self

    def __call__(self, images: Tensor) -> Tensor:
        """Return its scores (N, classes) of images (N, C, H, W), on the images' device, without a gradient."""
        if images.device != self._device:
            self.network.to(images.device)
            self._device = images.device
        with torch.no_grad():
            return self.network(images)
