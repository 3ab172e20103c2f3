"""Detectors on the smallest backbone."""

from __future__ import annotations

from typing import Any

from sapool.detection import make_detector, plan_backbone
from sapool.networks.load import load_model


def tiny(kind: str, strides: tuple[int, ...] | None = None, size: Any = 128, **kwargs: Any) -> Any:
    backbone = load_model("sapool:tiny", 3)
    plan = None if strides is None else plan_backbone(backbone, 128, "self_attentive", strides)
    small = {"fpn_channels": 16} if kind in ("fasterrcnn", "retinanet") else {}
    return make_detector(kind, backbone, 3, image_size=size, plan=plan, **small, **kwargs)
