"""Self-attentive pooling: Chen, Datta, Kundu, Beerel, WACV 2023 (arXiv 2209.07659).

Letters in shapes: N batch, C channels, H W map, p patch side, E embedding width, h w token map (h = ceil(H / p)).
"""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from sapool.base.tflm_limits import MOST_KEYS
from sapool.layers.attention import LearnedPosition2d, PatchBatchNorm2d, TokenAttention, embedding_width
from sapool.layers.context import AttendedContext
from sapool.layers.cpu.banded import pool_in_bands, worth_bands
from sapool.layers.cpu.embedding import embed_and_average
from sapool.layers.cpu.tiles import convolve_tiles
from sapool.layers.gate import LARGEST_GAIN, Gate, WeightGate
from sapool.layers.soft import WindowSoftmax
from sapool.layers.weighted import (
    WeightedWindow,
    crop,
    reduce_before_weighting,
    spread_weight,
    weighted_average,
)
from sapool.layers.window import Pair, WindowPool2d, as_pair, at_least_float, eager_in_training

Restoration = Literal["nearest", "bilinear", "pixel_shuffle"]
Combine = Literal["weight", "context", "both"]


class CollapseWarning(UserWarning):
    """A layer was built whose weights cancel: it is average pooling whatever its parameters."""


class SelfAttentivePool2d(WindowPool2d):
    """Pool a map with one weight per channel and patch, computed by self-attention over all patches.

    ``w = exp(sigmoid(BN(Conv1x1(MHA(ReLU(BN(Conv_p(x))) + position)))))``, constant inside a patch, and
    ``y = avg(x w)``, or ``avg(x w) / avg(w)`` when window-normalised (WACV 2023, section 3). Computed at patch
    resolution wherever that is exact: see :mod:`sapool.layers.weighted`.

    Args:
        in_channels: C.
        kernel_size: pooling window, in pixels.
        stride: step of the window, in pixels; default ``kernel_size``.
        padding: zeros around the map, in pixels. A normalised window does not see them.
        ceil_mode: as in ``nn.AvgPool2d``.
        patch_size: p, in pixels; default: the stride.
        num_heads: attention heads.
        embed_ratio: r in E = max(1, round(r C / heads)) heads.
        window_norm: divide by the window's average weight. Off by default, because with a patch as large as the
            stride a normalised weight cancels.
        max_keys: average keys and values down to at most this many; ``None`` keeps all.
        position: ``"learned"`` or ``None``.
        position_size: entries of the position tables, in tokens; a longer map interpolates them.
        restoration: how the logits reach the pixels: ``"nearest"`` (one weight a patch, the paper's), ``"bilinear"``
            (interpolated), or ``"pixel_shuffle"`` (a 1x1 convolution to C p^2 channels: one weight a pixel).
        border: ``"pad"`` pads the map up to a multiple of p, so that every pixel is attended to; ``"stretch"`` drops
            the remainder and stretches the weights over the map, as the authors' code does.
        gate: logit to weight: ``"exp_sigmoid"`` exp(gain sigmoid(z)), ``"exp"`` exp(z), ``"sigmoid"`` sigmoid(z).
        gain: bound of the logit of ``"exp_sigmoid"``: the largest weight is e^gain times the smallest. The paper's is
            1, which lets one pixel take at most 0.475 of a 2x2 window; LIP's is 12.
        embedding: ``"dense"``, a p x p convolution, or ``"separable"``, a depthwise p x p and a 1x1 convolution.
        embed_norm: whether a BatchNorm follows the embedding.
        restore_norm: whether a BatchNorm follows the restoration's convolution.
        count_include_pad: whether zeros around the map count in an un-normalised average, as in ``nn.AvgPool2d``.
        init: ``"average"``: weights start equal, so that a normalised pool starts as average pooling (an un-normalised
            one as a multiple of it); or ``"random"``, the paper's.
        combine: what the attention is for: ``"weight"``, the paper's, weights every window; ``"context"`` leaves the
            window a plain average and adds what was attended to, mapped to C channels (:mod:`sapool.layers.context`);
            ``"both"`` adds it to the weighted window. The added context starts at zero. With ``"context"`` there is no
            weight: what concerns it (normalisation, restoration, gate, gain, ``init``) has no effect.
        allow_collapse: build a configuration whose weights cancel, with a :class:`CollapseWarning`.

    Raises:
        ValueError: a value out of its range, or a configuration that is average pooling whatever its parameters
            (window-normalised, no padding, one weight a patch, and no window reaches over the edge of a patch).
    """

    window: WeightedWindow
    restore: nn.Conv2d  # absent with combine="context"

    def __init__(
        self,
        in_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        ceil_mode: bool = False,
        *,
        patch_size: int | Pair | None = None,
        num_heads: int = 2,
        embed_ratio: float = 1.0,
        window_norm: bool = False,
        max_keys: int | None = MOST_KEYS,
        position: Literal["learned"] | None = "learned",
        position_size: int = 64,
        restoration: Restoration = "nearest",
        border: Literal["pad", "stretch"] = "pad",
        gate: Gate = "exp_sigmoid",
        gain: float = 1.0,
        embedding: Literal["dense", "separable"] = "dense",
        embed_norm: bool = True,
        restore_norm: bool = True,
        count_include_pad: bool = True,
        init: Literal["random", "average"] = "average",
        combine: Combine = "weight",
        allow_collapse: bool = False,
    ) -> None:
        super().__init__(in_channels, kernel_size, stride, padding, ceil_mode)
        self.patch_size = self.window.stride if patch_size is None else as_pair(patch_size, "patch_size")
        self.num_heads, self.restoration, self.border = num_heads, restoration, border
        self.gate, self.gain, self.combine = gate, gain, combine
        self._check(embed_ratio, max_keys, position, position_size, embedding, init)
        base, weighs = self.window, combine != "context"
        self.window = WeightedWindow(
            *(base.kernel_size, base.stride, base.padding, base.ceil_mode, self._grain),
            normalize=window_norm and weighs,
            count_include_pad=count_include_pad,
        )
        self._check_collapse(allow_collapse)
        embed_dim = embedding_width(in_channels, num_heads, embed_ratio)
        self.embed = _embedding(in_channels, embed_dim, self.patch_size, embedding)
        self.embed_norm = PatchBatchNorm2d(embed_dim) if embed_norm else None
        self.position = LearnedPosition2d(embed_dim, position_size) if position == "learned" else None
        self.attention = TokenAttention(embed_dim, num_heads, max_keys)
        self.restore_norm, self.softmax, self.context = None, None, None
        self.weigh = WeightGate(gate, gain)
        if weighs:
            out_channels = in_channels * (math.prod(self.patch_size) if restoration == "pixel_shuffle" else 1)
            self.restore = nn.Conv2d(embed_dim, out_channels, 1)
            self.restore_norm = PatchBatchNorm2d(out_channels) if restore_norm else None
            self.softmax = WindowSoftmax(gain if gate == "exp_sigmoid" else None) if self._uses_softmax() else None
            if init == "average":
                self._start_as_average()
        if combine != "weight":
            self.context = AttendedContext(embed_dim, in_channels, replace(self.window, patch_size=self.patch_size))

    @classmethod
    def paper(
        cls, in_channels: int, kernel_size: int | Pair, stride: int | Pair | None = None, **kwargs: Any
    ) -> SelfAttentivePool2d:
        """Build the paper's own form: p = 1, window-normalised, every key kept, tables of 256, authors' border rule.

        Takes the class's arguments; a keyword given here wins over the paper's value.
        """
        own: dict[str, Any] = {"patch_size": 1, "window_norm": True, "max_keys": None, "position_size": 256}
        return cls(in_channels, kernel_size, stride, **(own | {"border": "stretch", "init": "random"} | kwargs))

    def _check(
        self,
        embed_ratio: float,
        max_keys: int | None,
        position: object,
        position_size: int,
        embedding: object,
        init: object,
    ) -> None:
        self.check_at_least_one(
            num_heads=self.num_heads,
            patch_size=min(self.patch_size),
            max_keys=1 if max_keys is None else max_keys,
            position_size=position_size,
        )
        if not 0 < embed_ratio < math.inf:
            raise ValueError(f"{self.label}: embed_ratio must be positive, got {embed_ratio}")
        self.check_choice("position", position, ("learned", None))
        self.check_choice("restoration", self.restoration, ("nearest", "bilinear", "pixel_shuffle"))
        self.check_choice("border", self.border, ("pad", "stretch"))
        self.check_choice("gate", self.gate, ("exp_sigmoid", "exp", "sigmoid"))
        self.check_choice("embedding", embedding, ("dense", "separable"))
        self.check_choice("init", init, ("random", "average"))
        self.check_choice("combine", self.combine, ("weight", "context", "both"))
        if not 0 < self.gain <= LARGEST_GAIN:
            raise ValueError(f"{self.label}: gain must be over 0 and at most {LARGEST_GAIN:g}, got {self.gain}")
        if self.gain != 1 and self.gate != "exp_sigmoid":
            raise ValueError(f"{self.label}: gain must be 1 with gate={self.gate!r}, which has none, got {self.gain}")

    def _check_collapse(self, allowed: bool) -> None:
        if not self.window.collapses:
            return
        said = (
            f"{self.label}: with patch_size {self.patch_size}, kernel_size {self.window.kernel_size}, stride "
            f"{self.window.stride} and window_norm=True the weight is constant in every window and cancels: this is "
            "average pooling with dead parameters. Use a patch_size smaller than the stride, or window_norm=False, or "
            "a restoration that varies inside a patch"
        )
        if not allowed:
            raise ValueError(said)
        warnings.warn(said, CollapseWarning, stacklevel=3)

    @property
    def _grain(self) -> Pair:
        """The patch inside which weights are constant: one pixel where they vary, and are kept at full resolution."""
        return self.patch_size if self.restoration == "nearest" else (1, 1)

    @property
    def pads_count(self) -> bool:  # type: ignore[override]
        """Whether zeros around the map count in a window's average."""
        return self.window.count_include_pad and not self.window.normalize

    def _uses_softmax(self) -> bool:
        """Whether weights reach beyond (1, e), so that a window is better normalised as a soft-max of its logits."""
        return self.window.normalize and not (self.gate == "exp_sigmoid" and self.gain == 1)

    def _start_as_average(self) -> None:
        last = self.restore if self.restore_norm is None else self.restore_norm
        nn.init.zeros_(last.weight)
        if last.bias is not None:
            nn.init.zeros_(last.bias)

    def pad_to_patches(self, x: Tensor) -> Tensor:
        """Append zeros to ``x`` (N, C, H, W) below and to the right, up to whole patches."""
        short = [-size % p for size, p in zip(x.shape[2:], self.patch_size, strict=True)]
        return F.pad(x, (0, short[1], 0, short[0])) if any(short) else x

    def _tokens(self, embedded: Tensor, rows: tuple[int, slice] | None = None) -> Tensor:
        """Normalise embedded patches (N, E, h, w) and tell them where they are.

        ``rows`` is (height, rows) of the whole token map where ``embedded`` is only a part of it.
        """
        tokens = F.relu(embedded if self.embed_norm is None else self.embed_norm(embedded))
        if self.position is None:
            return tokens
        if rows is not None:
            return tokens + self.position(rows[0], tokens.shape[3], rows[1])
        return tokens + self.position(tokens.shape[2], tokens.shape[3])

    def _reduce_and_embed(self, x: Tensor, window: WeightedWindow) -> tuple[Tensor, Tensor]:
        """Return ``x`` as reduced as it can be before its weight is known, and its embedded patches (N, E, h, w)."""
        if self.combine == "context":
            reduced = window.average(x, window.count_include_pad)
        elif window.reduction is not None and (both := embed_and_average(self.embed, x, window.reduction)):
            return both[1], both[0]
        else:
            reduced = reduce_before_weighting(x, window)
        return reduced, self._embed(x)

    def _embed(self, x: Tensor) -> Tensor:
        return convolve_tiles(self.embed, self.pad_to_patches(x) if self.border == "pad" else x)

    def _restore(self, attended: Tensor, repeats: int = 1) -> Tensor:
        logit = convolve_tiles(self.restore, attended)
        norm: nn.Module | None = self.restore_norm
        if isinstance(norm, PatchBatchNorm2d):
            logit = norm(logit, repeats)
        elif norm is not None:  # a SyncBatchNorm or a frozen norm in its place
            logit = norm(logit)
        return at_least_float(logit)  # exp overflows half from 11.09 on

    def _logit(self, attended: Tensor, size: Pair, stretch: bool) -> Tensor:
        """Restore channels: (N, E, h, w) -> (N, C, h, w), or -> (N, C, *size) where weights are at full resolution."""
        if self.restoration == "nearest":
            if stretch:
                # Stretched tokens cover unequal numbers of pixels, so the batch statistics need the full map.
                return self._restore(F.interpolate(attended, size=size, mode="nearest"))
            return self._restore(attended, math.prod(self.patch_size))
        logit = self._restore(attended)
        p, q = self.patch_size
        full = size if stretch else (logit.shape[2] * p, logit.shape[3] * q)
        if self.restoration == "bilinear":
            return crop(F.interpolate(logit, size=full, mode="bilinear", align_corners=False), size)
        logit = _shuffle(logit, self.patch_size)
        return crop(F.interpolate(logit, size=full, mode="nearest") if stretch else logit, size)

    @eager_in_training
    def forward(self, x: Tensor) -> Tensor:
        """Pool ``x``.

        Args:
            x: (N, C, H, W).

        Returns:
            (N, C, Ho, Wo), as large as ``nn.AvgPool2d(kernel_size, stride, padding, ceil_mode)`` makes it.

        Raises:
            ValueError: a map smaller than the window (or, with ``border="stretch"``, than one patch); in training, a
                batch with a single token.
        """
        self.check_map(x)
        if self.runs_in_bands(x):
            return pool_in_bands(x, self.attention, self.patch_size, self.window, self._band_tokens, self._pool_band)
        size = (x.shape[2], x.shape[3])
        stretch = self.border == "stretch" and any(n % p for n, p in zip(size, self.patch_size, strict=True))
        window = replace(self.window, patch_size=(1, 1)) if stretch else self.window
        # Reduced first: on a micro-controller x can then die before the attention runs.
        reduced, embedded = self._reduce_and_embed(x, window)
        attended = self.attention(self._tokens(embedded))
        weighs = self.combine != "context"
        pooled = self._average(reduced, self._logit(attended, size, stretch), window) if weighs else reduced
        return pooled if self.context is None else pooled + self.context(attended, size, stretch)

    def runs_in_bands(self, x: Tensor) -> bool:
        """Whether ``x`` (N, C, H, W) is pooled band after band of its rows: see :mod:`sapool.layers.cpu.banded`."""
        window = self.window
        if not window.is_tiling or window.form == "general" or self.restoration != "nearest" or self.border != "pad":
            return False
        stock = type(self.attention) is TokenAttention and type(self.position) in (LearnedPosition2d, type(None))
        plain = stock and self.combine == "weight"
        return plain and worth_bands(self, x, self.patch_size, self.attention.query.in_features)

    def _band_tokens(self, band: Tensor, height: int, rows: slice) -> Tensor:
        """Return tokens ``rows`` of ``height``, (N, E, rows, w), from their pixels."""
        return self._tokens(self.embed(self.pad_to_patches(band)), (height, rows))

    def _pool_band(self, band: Tensor, attended: Tensor) -> Tensor:
        return self._average(reduce_before_weighting(band, self.window), self._restore(attended), self.window)

    def _average(self, reduced: Tensor, logit: Tensor, window: WeightedWindow) -> Tensor:
        if self.softmax is None:
            return weighted_average(reduced, self.weigh(logit), window)
        logits = spread_weight(self.weigh.log_weight(logit), window, (reduced.shape[2], reduced.shape[3]))
        return self.softmax(reduced, logits, window.on_reduced)

    def check_map(self, x: Tensor) -> None:
        """Raise a ValueError unless ``x`` is (N, C, H, W) and holds a window, and a patch where none is padded."""
        super().check_map(x)
        if self.border == "stretch" and any(n < p for n, p in zip(x.shape[2:], self.patch_size, strict=True)):
            raise ValueError(
                f"{self.label}: with border='stretch' the map must be at least as large as the patch "
                f"{self.patch_size}, got {tuple(x.shape[2:])}"
            )

    def extra_repr(self) -> str:
        """Return the window, the patch and every choice that is not the default, for ``print(module)``."""
        shown = [
            super().extra_repr(),
            f"patch_size={self.patch_size}, window_norm={self.window.normalize}, max_keys={self.attention.max_keys}",
        ]
        usual = {"restoration": "nearest", "border": "pad", "gate": "exp_sigmoid", "gain": 1.0, "combine": "weight"}
        shown += [f"{k}={getattr(self, k)!r}" for k, default in usual.items() if getattr(self, k) != default]
        return ", ".join(shown)


class SelfAttentivePool1d(SelfAttentivePool2d):
    """:class:`SelfAttentivePool2d` of a sequence: (N, C, L) -> (N, C, Lo), as large as ``nn.AvgPool1d`` makes it.

    Takes the same arguments, each a single int.
    """

    def __init__(
        self,
        in_channels: int,
        kernel_size: int,
        stride: int | None = None,
        padding: int = 0,
        ceil_mode: bool = False,
        *,
        patch_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        step = kernel_size if stride is None else stride
        patch = step if patch_size is None else patch_size
        super().__init__(
            in_channels, (1, kernel_size), (1, step), (0, padding), ceil_mode, patch_size=(1, patch), **kwargs
        )

    def forward(self, x: Tensor) -> Tensor:
        """Pool ``x`` (N, C, L) to (N, C, Lo)."""
        if x.dim() != 3 or x.shape[1] != self.in_channels:
            raise ValueError(f"{self.label}: x must be (N, {self.in_channels}, L), got {tuple(x.shape)}")
        return super().forward(x.unsqueeze(2)).squeeze(2)


def _embedding(in_channels: int, embed_dim: int, patch: Pair, kind: str) -> nn.Module:
    if kind == "dense":
        return nn.Conv2d(in_channels, embed_dim, patch, patch)
    depthwise = nn.Conv2d(in_channels, in_channels, patch, patch, groups=in_channels, bias=False)
    return nn.Sequential(depthwise, nn.Conv2d(in_channels, embed_dim, 1))


def _shuffle(x: Tensor, patch: Pair) -> Tensor:
    """``nn.PixelShuffle`` for patches that need not be square: (N, C p q, h, w) -> (N, C, h p, w q)."""
    p, q = patch
    if p == q:
        return F.pixel_shuffle(x, p)
    n, c, h, w = x.shape
    return x.view(n, c // (p * q), p, q, h, w).permute(0, 1, 4, 2, 5, 3).reshape(n, c // (p * q), h * p, w * q)
