from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from benchmarks.literal import LiteralPool
from torch import Tensor, nn

import sapool
from sapool.networks.authors import authors_pool, from_authors
from tests.layers.oracle import randomize

VECTORS = Path(__file__).parents[2] / "data" / "authors_vectors"
TOKENS = ("nlp", "nlpnoexp", "nlpnosigmoid", "nlpnope", "nlpnobn1", "nlpnobn2")


def run(pool: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return output and input gradient, by the vectors' upstream gradient."""
    x = x.clone().requires_grad_()
    y = pool(x)
    y.backward(torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y))
    assert x.grad is not None
    return y.detach(), x.grad


@pytest.mark.parametrize("name", sorted(path.stem for path in VECTORS.glob("*.npz")))
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_their_samples_are_reproduced(name: str, mode: str) -> None:
    with np.load(VECTORS / f"{name}.npz") as file:
        held = dict(file)
    if f"y_{mode}" not in held:
        pytest.skip("random in training: there is no sample")
    meta = json.loads(str(held["meta"]))
    state = {k.removeprefix("sd/"): torch.from_numpy(held[k]) for k in held if k.startswith("sd/")}
    pool = from_authors(
        state,
        pool=meta["pool"],
        kernel_size=meta["kernel_size"],
        stride=meta["stride"],
        num_heads=meta["num_heads"],
        window_norm=meta["window_norm"],
    ).train(mode == "train")
    y, grad = run(pool, torch.from_numpy(held["x"]))
    np.testing.assert_allclose(y.numpy(), held[f"y_{mode}"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(grad.numpy(), held[f"grad_x_{mode}"], atol=1e-5, rtol=0)


CASES = [
    # channels, width, stride, patch, heads, normalised, size
    (8, 8, 2, 1, 2, True, (8, 12)),
    (8, 8, 2, 1, 4, False, (9, 7)),  # odd map: the last row and column are dropped
    (6, 8, 2, 1, 4, True, (8, 10)),  # heads that don't divide C
    (8, 2, 2, 1, 2, True, (8, 8)),  # ratio 1/4
    (8, 8, 4, 2, 2, True, (12, 16)),
    (8, 8, 2, 2, 2, False, (9, 11)),  # p does not divide the map: floor and stretch
    (8, 8, 2, 4, 2, False, (13, 10)),
    (8, 8, 3, 2, 2, True, (11, 14)),
    (8, 8, 2, 1, 2, True, (21, 20)),  # more tokens than a key cap would leave
]


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("training", [False, True])
def test_their_formulas_are_reproduced(token: str, case: tuple[Any, ...], training: bool) -> None:
    channels, width, stride, patch, heads, window_norm, size = case
    literal = LiteralPool(token, channels, width, stride, patch, heads, window_norm)
    randomize(literal)
    pool = from_authors(
        {f"logit.pool_weight.{k}": v for k, v in literal.state_dict().items()},
        pool=token,
        kernel_size=stride,
        num_heads=heads,
        window_norm=window_norm,
    ).train(training)
    x = torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(0))
    expected, expected_grad = run(literal.train(training), x)
    y, grad = run(pool, x)
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(grad, expected_grad, atol=1e-5, rtol=1e-5)


def test_a_form_that_collapses_is_built_with_a_warning() -> None:
    literal = LiteralPool("nlp", 4, 4, 2, 2, 2, window_norm=True)
    with pytest.warns(sapool.CollapseWarning, match="average pooling with dead parameters"):
        pool = from_authors(literal.state_dict(), pool="nlp", kernel_size=2)
    x = torch.randn(2, 4, 8, 8)
    torch.testing.assert_close(pool.eval()(x), F.avg_pool2d(x, 2), atol=1e-6, rtol=1e-5)


def test_weights_are_copied() -> None:
    literal = LiteralPool("nlp", 4, 4, 2, 1, 2, window_norm=True)
    pool: Any = from_authors(literal.state_dict(), pool="nlp", kernel_size=2)
    with torch.no_grad():
        pool.attention.query.weight.zero_()
    assert literal.multihead_attn.in_proj_weight.abs().max() > 0


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"pool": "nlpnopee"}, "pool can't be 'nlpnopee': did you mean nlpnope"),
        ({"pool": "dfmnlp"}, "sampler is shifted"),
        ({"num_heads": 3}, "num_heads must divide the embedding width 4, got 3"),
        ({"num_heads": 0}, "num_heads must divide"),
        ({"pool": "lip"}, r"no 'lip' layer's: logit\.0\.weight is missing"),
        ({"pool": "nlpnobn2"}, r"no 'nlpnobn2' layer's: unknown: restore_norm\.bias"),
        ({"pool": "attnpool"}, r"no 'attnpool' layer's: missing: reduce"),
    ],
)
def test_weights_of_another_layer_are_refused(kwargs: dict[str, Any], said: str) -> None:
    state = LiteralPool("nlp", 4, 4, 2, 1, 2, window_norm=True).state_dict()
    with pytest.raises(ValueError, match=said):
        from_authors(state, kernel_size=2, **({"pool": "nlp"} | kwargs))


def test_an_unknown_token_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown pooling token 'nlq'"):
        authors_pool("nlq", 4, 2)
