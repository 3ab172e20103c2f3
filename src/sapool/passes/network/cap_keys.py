"""At most 256 keys: int8 soft-max has steps of 1/256.

With more near-uniform keys than that every weight rounds to zero or one step, rows no longer sum to one, and the
interpreter may abort. Above the cap this is a different function (keys and values are averaged over windows first), so
a pool that is changed here is named in a warning; at or below it nothing happens.
"""

from __future__ import annotations

import warnings

from torch import Tensor, nn

from sapool.base.tflm_limits import MOST_KEYS
from sapool.layers import TokenAttention
from sapool.passes.network._modules import modules_of, record_inputs


def cap_keys(model: nn.Module, images: Tensor) -> int:
    """Cap the keys of every attention that would see more than 256; returns how many."""
    inputs = record_inputs(model, images, TokenAttention)
    changed = 0
    for name, attention in modules_of(model, TokenAttention):
        tokens = max((shape[2] * shape[3] for (shape,) in inputs.get(name, [])), default=0)
        if tokens > MOST_KEYS and (attention.max_keys is None or attention.max_keys > MOST_KEYS):
            warnings.warn(
                f"{name} attends to {tokens} keys; int8 soft-max can bear {MOST_KEYS}, so its keys are averaged down "
                f"for export, which changes its outputs: train with max_keys={MOST_KEYS} instead",
                stacklevel=2,
            )
            attention.max_keys = MOST_KEYS
            changed += 1
    return changed
