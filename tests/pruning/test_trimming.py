from __future__ import annotations

from typing import Any

import torch

from sapool.layers import create_pool
from sapool.pruning.pools import trim_pool
from sapool.pruning.trimming import Trimmer


def test_the_strongest_embeddings_stay() -> None:
    pool: Any = create_pool("self_attentive", 8, 2, num_heads=2, position=None)
    with torch.no_grad():
        pool.embed.weight.mul_(torch.tensor([1.0, 9, 1, 9, 9, 1, 9, 1]).view(-1, 1, 1, 1))
    strong = pool.embed.weight[[1, 3, 4, 6]].detach()
    trim_pool(Trimmer(lambda *_: None), pool, [0, 1, 2, 3])
    torch.testing.assert_close(pool.embed.weight, strong[:, :4])
