from __future__ import annotations

import copy
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from sapool.layers import (
    CollapseWarning,
    SelfAttentivePool1d,
    SelfAttentivePool2d,
)
from tests.layers.oracle import literal_pool, literal_weight, plain_norms, randomize, weighted_loops


def make(
    *args: Any, size: tuple[int, int] = (12, 12), batch: int = 2, seed: int = 0, **kwargs: Any
) -> tuple[SelfAttentivePool2d, Tensor]:
    torch.manual_seed(seed)
    pool = SelfAttentivePool2d(*args, **kwargs)
    randomize(pool, seed)
    return pool, torch.randn(batch, args[0], *size)


CASES = [
    # kernel, patch, normalised, heads, size
    (2, 1, True, 2, (8, 10)),
    (2, 1, False, 1, (9, 7)),
    (2, 2, False, 2, (12, 12)),
    (2, 4, False, 2, (8, 16)),
    (4, 2, True, 4, (12, 8)),
    (4, 2, False, 2, (14, 14)),
    (3, 2, True, 2, (12, 12)),
    (6, 2, True, 2, (12, 18)),
    (2, 3, True, 2, (12, 12)),
]


@pytest.mark.parametrize(("kernel", "patch", "norm", "heads", "size"), CASES)
@pytest.mark.parametrize("training", [False, True])
def test_equals_the_literal_formula(
    kernel: int, patch: int, norm: bool, heads: int, size: tuple[int, int], training: bool
) -> None:
    pool, x = make(8, kernel, size=size, patch_size=patch, window_norm=norm, num_heads=heads)
    if any(side % patch for side in size):
        pytest.fail("the literal formula is only defined where the patch divides the map")
    pool.train(training)
    norms = plain_norms(pool)
    expected = literal_pool(pool, x, norms)
    torch.testing.assert_close(pool(x), expected, atol=1e-5, rtol=1e-5)
    # In training the statistics must be those of the full-resolution form, the unbiased variance included.
    for own, plain in zip((pool.embed_norm, pool.restore_norm), norms, strict=True):
        assert own is not None
        assert own.state_dict().keys() == plain.state_dict().keys()
        for key, value in plain.state_dict().items():
            torch.testing.assert_close(own.state_dict()[key], value, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "kwargs",
    [
        {"gate": "exp"},
        {"gate": "sigmoid"},
        {"gain": 12.0},
        {"embed_norm": False},
        {"restore_norm": False},
        {"embed_norm": False, "restore_norm": False, "position": None, "gate": "exp"},
        {"embedding": "separable"},
    ],
)
@pytest.mark.parametrize("window", [{"window_norm": True, "patch_size": 1}, {"window_norm": False, "patch_size": 4}])
def test_every_choice_equals_its_formula(kwargs: dict[str, Any], window: dict[str, Any], training: bool) -> None:
    pool, x = make(8, 2, size=(8, 12), **window, **kwargs)
    pool, x = pool.double().train(training), x.double()
    torch.testing.assert_close(pool(x), literal_pool(pool, x, plain_norms(pool)), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("restoration", ["bilinear", "pixel_shuffle"])
@pytest.mark.parametrize(
    ("kernel", "patch", "normalised"), [(2, 2, True), (2, 4, False), (4, 2, True), ((2, 3), (4, 3), True)]
)
def test_restorations_that_vary_inside_a_patch(
    restoration: str, kernel: Any, patch: Any, normalised: bool, training: bool
) -> None:
    pool, x = make(6, kernel, size=(8, 12), patch_size=patch, window_norm=normalised, restoration=restoration)
    pool.train(training)
    torch.testing.assert_close(pool(x), literal_pool(pool, x, plain_norms(pool)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("restoration", ["bilinear", "pixel_shuffle"])
def test_restorations_on_a_map_the_patch_does_not_divide(restoration: str) -> None:
    pool, x = make(4, 2, size=(7, 9), patch_size=4, window_norm=True, restoration=restoration)
    weight = literal_weight(pool.eval(), F.pad(x, (0, 3, 0, 1)), plain_norms(pool))[:, :, :7, :9]
    expected = weighted_loops(x, weight, (2, 2), (2, 2), normalize=True)
    torch.testing.assert_close(pool(x), expected, atol=1e-5, rtol=1e-5)


def test_logits_far_beyond_exp_still_average() -> None:
    """Weights that overflow or vanish everywhere in a window must not become 0 / 0."""
    for gate in ("exp", "sigmoid"):
        pool, x = make(4, 2, patch_size=1, window_norm=True, gate=gate)
        assert pool.restore_norm is not None
        nn.init.constant_(pool.restore_norm.weight, 500.0)
        pooled = pool.eval()(x)
        assert torch.isfinite(pooled).all()
        assert (pooled <= F.max_pool2d(x, 2) + 1e-5).all()
        assert (pooled >= -F.max_pool2d(-x, 2) - 1e-5).all()


@pytest.mark.parametrize("kwargs", [{"patch_size": 1}, {"restoration": "bilinear"}, {"patch_size": 1, "gain": 12.0}])
@pytest.mark.parametrize("window", [(2, 2, 0), (3, 2, 0), ((4, 2), (2, 2), 0)])
def test_it_can_start_exactly_as_average_pooling(kwargs: dict[str, Any], window: tuple[Any, Any, Any]) -> None:
    for restore_norm in (True, False):
        pool = SelfAttentivePool2d(4, *window, window_norm=True, init="average", restore_norm=restore_norm, **kwargs)
        x = torch.randn(2, 4, 9, 8)
        for mode in (True, False):
            torch.testing.assert_close(pool.train(mode)(x), F.avg_pool2d(x, *window), atol=1e-6, rtol=1e-6)


def test_borders_follow_count_include_pad() -> None:
    """Un-normalised and with equal weights a window is a multiple of nn.AvgPool2d's; normalised, it sees no zeros."""
    x = torch.rand(1, 4, 7, 7)
    for counts in (True, False):
        pool = SelfAttentivePool2d(4, 3, 2, 1, init="average", count_include_pad=counts).eval()
        expected = nn.AvgPool2d(3, 2, 1, count_include_pad=counts)(x) * math.exp(0.5)
        torch.testing.assert_close(pool(x), expected, atol=1e-6, rtol=1e-5)
        normal = SelfAttentivePool2d(4, 3, 2, 1, patch_size=1, window_norm=True, init="average").eval()
        torch.testing.assert_close(normal(x), nn.AvgPool2d(3, 2, 1, count_include_pad=False)(x), atol=1e-6, rtol=1e-5)


def test_a_sequence_is_pooled_as_a_map_of_one_row() -> None:
    torch.manual_seed(0)
    pool = SelfAttentivePool1d(4, 3, 2, 1, patch_size=2)
    x = torch.randn(2, 4, 21)
    assert pool(x).shape == nn.AvgPool1d(3, 2, 1)(x).shape
    torch.testing.assert_close(pool.eval()(x), SelfAttentivePool2d.forward(pool, x.unsqueeze(2)).squeeze(2))
    with pytest.raises(ValueError, match=r"x must be \(N, 4, L\), got \(2, 4, 1, 21\)"):
        pool(x.unsqueeze(2))


def test_stretched_border_follows_the_authors_rule() -> None:
    """A map that the patch does not divide: floor tokens, nearest stretch over the whole map."""
    pool, x = make(4, 2, size=(9, 11), patch_size=2, window_norm=False, border="stretch")
    for training in (False, True):
        pool.train(training)
        weight = literal_weight(pool, x, plain_norms(pool))
        expected = weighted_loops(x, weight, (2, 2), (2, 2), normalize=False)
        torch.testing.assert_close(pool(x), expected, atol=1e-5, rtol=1e-5)


def test_padded_border_attends_to_every_pixel() -> None:
    pool, x = make(4, 2, size=(7, 5), patch_size=4)
    pool.eval()
    x.requires_grad_()
    tokens = pool._tokens(pool._embed(x))
    assert tokens.shape[2:] == (2, 2)
    tokens.sum().backward()
    assert x.grad is not None
    assert x.grad[:, :, -1, :].abs().sum() > 0
    assert x.grad[:, :, :, -1].abs().sum() > 0
    padded = F.pad(x.detach(), (0, 3, 0, 1))
    weight = literal_weight(pool, padded, plain_norms(pool))[:, :, :7, :5]
    expected = weighted_loops(x.detach(), weight, (2, 2), (2, 2), normalize=False)
    torch.testing.assert_close(pool(x.detach()), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("patch", "kernel"), [(2, 2), (4, 2), (6, 3)])
def test_a_collapsing_configuration_is_average_pooling_and_is_refused(patch: int, kernel: int) -> None:
    with pytest.raises(ValueError, match=r"average pooling.*patch_size smaller than the stride, or window_norm=False"):
        SelfAttentivePool2d(4, kernel, patch_size=patch, window_norm=True)
    # The reason, measured: with the same weights the literal formula is the average.
    pool, x = make(4, kernel, patch_size=patch, window_norm=False)
    pool.eval()
    weight = literal_weight(pool, x, plain_norms(pool))
    literal = weighted_loops(x, weight, (kernel, kernel), (kernel, kernel), normalize=True)
    torch.testing.assert_close(literal, F.avg_pool2d(x, kernel), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("kernel", "stride", "patch"), [(2, 4, 4), (2, 4, 2), (1, 2, 1), ((2, 2), (2, 2), (4, 2))])
def test_windows_that_never_leave_a_patch_collapse_too(kernel: Any, stride: Any, patch: Any) -> None:
    with pytest.raises(ValueError, match="average pooling"):
        SelfAttentivePool2d(4, kernel, stride, patch_size=patch, window_norm=True)


def test_half_precision_divides_without_overflow() -> None:
    pool = SelfAttentivePool2d(4, 2, patch_size=1, window_norm=True).eval().half()
    assert torch.equal(pool(torch.full((1, 4, 4, 4), 40000.0).half()), torch.full((1, 4, 2, 2), 40000.0).half())


@pytest.mark.parametrize("kwargs", [{"window_norm": True, "patch_size": 1}, {"patch_size": 3, "window_norm": True}, {}])
def test_configurations_that_do_not_collapse_differ_from_average_pooling(kwargs: dict[str, Any]) -> None:
    pool, x = make(4, 2, **kwargs)
    # In training mode: the BatchNorm brings the weights' variation to full scale, as a trained layer's would be.
    assert (pool.train()(x) - F.avg_pool2d(x, 2)).abs().max() > 1e-2


def test_uncapped_keys_change_nothing_below_the_cap() -> None:
    pool, x = make(4, 2, patch_size=2, max_keys=256)
    other = copy.deepcopy(pool)
    other.attention.max_keys = None
    torch.testing.assert_close(pool.eval()(x), other.eval()(x), atol=0, rtol=0)


def test_odd_embedding_width_gives_the_columns_the_smaller_half() -> None:
    pool, x = make(5, 2, num_heads=1, patch_size=2)
    assert pool.position is not None
    assert pool.position.column.shape[1] == 2
    assert pool.position.row.shape[1] == 3
    assert pool(x).shape == (2, 5, 6, 6)


def test_position_can_be_left_out() -> None:
    pool, x = make(4, 2, position=None)
    assert pool.position is None
    torch.testing.assert_close(pool.eval()(x), literal_pool(pool, x, plain_norms(pool)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "kwargs", [{"patch_size": 1, "window_norm": True}, {"patch_size": 2}, {"max_keys": 4, "patch_size": 1}]
)
def test_gradients_are_right(kwargs: dict[str, Any], training: bool) -> None:
    torch.manual_seed(0)
    pool = SelfAttentivePool2d(2, 2, num_heads=1, position_size=4, **kwargs).double()
    randomize(pool)
    pool.train(training)
    x = torch.randn(2, 2, 4, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(pool, (x,), fast_mode=True)


@pytest.mark.parametrize("kwargs", [{"patch_size": 1, "window_norm": True}, {"patch_size": 2}, {"patch_size": 4}])
def test_every_weight_gets_a_gradient(kwargs: dict[str, Any]) -> None:
    pool, x = make(4, 2, **kwargs)
    (pool(x) * torch.randn(2, 4, 6, 6)).sum().backward()
    for name, parameter in pool.named_parameters():
        assert parameter.grad is not None
        # The soft-max cancels the key's bias, a BatchNorm the bias before it.
        if not name.endswith("bias"):
            assert parameter.grad.abs().max() > 0, name


def test_one_sample_never_depends_on_the_others_in_eval() -> None:
    pool, x = make(4, 2, batch=3)
    pool.eval()
    torch.testing.assert_close(pool(x)[1:2], pool(x[1:2]), atol=1e-6, rtol=1e-6)


def test_output_does_not_depend_on_memory_layout() -> None:
    pool, x = make(4, 2)
    pool.eval()
    expected = pool(x)
    strided = torch.randn(2, 4, 12, 24)[..., ::2]
    torch.testing.assert_close(pool(x.to(memory_format=torch.channels_last)), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(pool(strided), pool(strided.contiguous()), atol=1e-6, rtol=1e-5)


def test_half_precision_stays_finite_and_near() -> None:
    pool, x = make(4, 2, patch_size=1, window_norm=True)
    pool.eval()
    near = pool.bfloat16()(x.bfloat16()).float()
    assert torch.isfinite(near).all()
    torch.testing.assert_close(near, pool.float()(x), atol=3e-2, rtol=3e-2)


def test_state_dict_deepcopy_and_torch_export() -> None:
    pool, x = make(4, 2, patch_size=4)
    pool.eval()
    other = SelfAttentivePool2d(4, 2, patch_size=4)
    other.load_state_dict(pool.state_dict())
    torch.testing.assert_close(other.eval()(x), pool(x), atol=0, rtol=0)
    torch.testing.assert_close(copy.deepcopy(pool)(x), pool(x), atol=0, rtol=0)
    exported = torch.export.export(pool, (x,)).module()
    torch.testing.assert_close(exported(x), pool(x), atol=1e-6, rtol=1e-6)


def test_one_token_in_training_is_a_clear_error() -> None:
    pool, _ = make(4, 2, patch_size=2)
    with pytest.raises(ValueError, match="more than one value a channel"):
        pool.train()(torch.randn(1, 4, 2, 2))
    assert pool.eval()(torch.randn(1, 4, 2, 2)).shape == (1, 4, 1, 1)


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"in_channels": 0}, "in_channels must be at least 1, got 0"),
        ({"kernel_size": 0}, "kernel_size must be at least 1, got 0"),
        ({"patch_size": 0}, "patch_size must be at least 1, got 0"),
        ({"kernel_size": 2.0}, r"kernel_size must be an int or a pair of ints, got 2\.0"),
        ({"kernel_size": (2, 2, 2)}, "kernel_size must be an int or a pair of ints"),
        ({"patch_size": "x"}, "patch_size must be an int or a pair of ints, got 'x'"),
        ({"max_keys": 2.5}, r"max_keys must be an int, got 2\.5"),
        ({"embed_ratio": math.nan}, "embed_ratio must be positive, got nan"),
        ({"gain": 100.0}, "gain must be over 0 and at most 80, got 100"),
        ({"gain": 2.0, "gate": "exp"}, "gain must be 1 with gate='exp'"),
        ({"gate": "relu"}, "gate must be one of"),
        ({"embedding": "sparse"}, "embedding must be one of"),
        ({"init": "zero"}, "init must be one of"),
        ({"num_heads": 0}, "num_heads must be at least 1, got 0"),
        ({"max_keys": 0}, "max_keys must be at least 1, got 0"),
        ({"embed_ratio": 0.0}, "embed_ratio must be positive, got 0.0"),
        ({"padding": 2}, "padding must be 0 to kernel_size / 2, got 2"),
        ({"position": "sine"}, r"position must be one of \('learned', None\), got 'sine'"),
        ({"restoration": "cubic"}, "restoration must be one of"),
        ({"border": "crop"}, "border must be one of"),
    ],
)
def test_bad_arguments_name_the_rule_and_the_value(kwargs: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {"in_channels": 4, "kernel_size": 2} | kwargs
    with pytest.raises(ValueError, match=said):
        SelfAttentivePool2d(**given)


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (4, 8, 8), (2, 4, 1, 8)])
def test_bad_maps_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="SelfAttentivePool2d: "):
        SelfAttentivePool2d(4, 2)(torch.randn(*shape))


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "ceil"), [(3, 2, 1, False), (2, 2, 0, True), (3, 1, 1, False), (5, 3, 2, True)]
)
@pytest.mark.parametrize("size", [(9, 12), (7, 8)])
def test_output_is_as_large_as_average_poolings(
    kernel: int, stride: int, padding: int, ceil: bool, size: tuple[int, int]
) -> None:
    pool, x = make(4, kernel, stride, padding, ceil, size=size, patch_size=1, window_norm=True)
    expected = nn.AvgPool2d(kernel, stride, padding, ceil)(x)
    assert pool(x).shape == expected.shape


def test_weights_lie_between_one_and_e() -> None:
    pool, x = make(4, 2)
    weight = pool.weigh(pool._logit(pool.attention(pool._tokens(pool._embed(x))), (12, 12), stretch=False))
    assert weight.min() > 1
    assert weight.max() < math.e


def test_a_collapsing_layer_can_be_had_with_a_warning() -> None:
    with pytest.warns(CollapseWarning, match="average pooling with dead parameters"):
        pool = SelfAttentivePool2d(4, 2, patch_size=2, window_norm=True, allow_collapse=True)
    x = torch.randn(2, 4, 8, 8)
    torch.testing.assert_close(pool(x), F.avg_pool2d(x, 2), atol=1e-6, rtol=1e-5)


def _scores_saved(pool: nn.Module, x: Tensor, tokens: int) -> int:
    """Count the tensors with tokens x tokens entries that autograd keeps."""
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):  # type: ignore[func-returns-value]
        pool(x)
    return sum(size >= tokens * tokens for size in kept)


def test_no_score_matrix_is_saved_for_the_gradient() -> None:
    x = torch.randn(1, 8, 20, 20, requires_grad=True)
    assert _scores_saved(SelfAttentivePool2d(8, 2, patch_size=1, window_norm=True, max_keys=None), x, 400) == 0


class _Largest(TorchDispatchMode):
    """Remembers the largest tensor that any operator made."""

    numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, Tensor):
                self.numel = max(self.numel, tensor.numel())
        return out


@pytest.mark.parametrize("embedding", ["dense", "separable"])
def test_nothing_larger_than_the_map_is_made(embedding: Any) -> None:
    x = torch.randn(2, 32, 112, 112)
    for max_keys in (None, 256):
        pool = SelfAttentivePool2d(32, 4, patch_size=4, max_keys=max_keys, embedding=embedding)
        with _Largest() as seen, torch.no_grad():
            pool(x)
        assert seen.numel <= x.numel()


def dynamic_size(pool: nn.Module, x: Tensor, tokens: tuple[int, int], patch: int) -> Tensor:
    rows, columns = (torch.export.Dim(n, min=tokens[0], max=tokens[1]) for n in ("rows", "columns"))
    shapes = ({0: torch.export.Dim("batch", min=1, max=8), 2: patch * rows, 3: patch * columns},)
    return torch.export.export(pool, (x,), dynamic_shapes=shapes).module()  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("kwargs", "tokens"),
    [
        ({"patch_size": 4}, (2, 16)),
        ({"patch_size": 2, "window_norm": True}, (2, 16)),
        ({"patch_size": 4, "max_keys": None}, (2, 40)),
    ],
)
def test_torch_export_takes_any_size_the_patch_divides(kwargs: dict[str, Any], tokens: tuple[int, int]) -> None:
    pool, x = make(4, 4, size=(24, 32), **kwargs)
    exported: Any = dynamic_size(pool.eval(), x, tokens, kwargs["patch_size"])
    other = torch.randn(3, 4, 16, 28)
    torch.testing.assert_close(exported(other), pool(other), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kwargs", [{}, {"patch_size": 1, "window_norm": True}, {"patch_size": 1, "max_keys": 16}])
def test_onnx_gives_the_same_numbers(kwargs: dict[str, Any], tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pool, x = make(4, 2, **kwargs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        torch.onnx.export(pool.eval(), (x,), tmp_path / "pool.onnx", dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "pool.onnx")
    (got,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    np.testing.assert_allclose(got, pool(x).detach().numpy(), atol=1e-5, rtol=1e-5)


def test_others_may_look_at_its_parts_and_replace_its_norms() -> None:
    """Hooks see what they were given, backward hooks work, and other norms take the place of BatchNorms."""
    pool, x = make(8, 2, patch_size=1, window_norm=True)
    kept: list[Tensor] = []
    assert pool.embed_norm is not None
    assert pool.restore_norm is not None
    pool.restore_norm.register_forward_hook(lambda m, i, out: kept.append(out))
    pool.embed_norm.register_full_backward_hook(lambda m, i, o: None)
    pool(x).sum().backward()
    with torch.no_grad():
        pool.eval()(x)
    assert kept[-1].min() < 0  # still logits, not weights
    frozen = nn.SyncBatchNorm.convert_sync_batchnorm(make(8, 2)[0]).eval()
    torch.testing.assert_close(frozen(x), make(8, 2)[0].eval()(x))


def test_a_projection_that_is_no_plain_layer_is_called() -> None:
    pool, x = make(8, 2)
    expected = pool.eval()(x)
    seen: list[Tensor] = []
    pool.attention.project.register_forward_hook(lambda m, i, out: seen.append(out))
    torch.testing.assert_close(pool(x), expected)
    assert len(seen) == 1
