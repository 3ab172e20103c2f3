"""Poolings that have no int8 form in the micro-controller runtime, and why."""

from __future__ import annotations

from torch import nn

from sapool.layers import DeformableSelfAttentivePool2d, LpPool2d

UNSUPPORTED: dict[type[nn.Module], str] = {
    DeformableSelfAttentivePool2d: "the runtime has no operator that samples a map at computed positions",
    LpPool2d: "the runtime has no POW, and the quotient by the window's maximum rounds to a division by zero in int8",
}


def why_unsupported(model: nn.Module) -> str | None:
    """Return one line that names the first pooling of ``model`` that can't be exported and the reason, or None."""
    for name, module in model.named_modules():
        for kind, reason in UNSUPPORTED.items():
            if isinstance(module, kind):
                return f"{type(module).__name__} {name!r} has no int8 form for TensorFlow Lite Micro: {reason}"
    return None
