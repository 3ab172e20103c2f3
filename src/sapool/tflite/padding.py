"""TensorFlow's two rules of padding, and how PyTorch's padding is said in them."""

from __future__ import annotations

from dataclasses import dataclass

Pair = tuple[int, int]
SAME, VALID = 0, 1  # the schema's numbers


def same_padding_before(size: int, kernel: int, stride: int, dilation: int = 1) -> int:
    """Return how much TensorFlow's SAME rule pads in front of a side."""
    return max((-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size, 0) // 2


def folded_kernel(size: Pair, kernel: Pair, stride: Pair, padding: Pair) -> Pair | None:
    """Return the kernel that needs no PAD operator where a strided, padded convolution would need one.

    With k' = s + 2p, SAME pads p in front, so a kernel of k' whose last rows and columns are zero is the same
    convolution. None where no PAD is needed, or where SAME would make the output larger.
    """
    if max(stride) == 1 or max(padding) == 0 or not needs_pad(size, kernel, stride, padding):
        return None
    larger = []
    for n, k, s, p in zip(size, kernel, stride, padding, strict=True):
        side = s + 2 * p
        sizes = {(n + 2 * p - k) // s + 1, (n + 2 * p - side) // s + 1, -(-n // s)}
        if side < k or len(sizes) > 1 or same_padding_before(n, side, s) != p:
            return None
        larger.append(side)
    return larger[0], larger[1]


def needs_pad(size: Pair, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1)) -> bool:
    """Whether neither SAME nor VALID pads as PyTorch does."""
    return tensorflow_padding(size, kernel, stride, padding, dilation) is None


def tensorflow_padding(size: Pair, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1)) -> int | None:
    """Return SAME or VALID where it pads as PyTorch does, else None."""
    if max(padding) == 0:
        return VALID
    for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True):
        reach = d * (k - 1) + 1
        if same_padding_before(n, k, s, d) != p or (n + 2 * p - reach) // s + 1 != -(-n // s):
            return None
    return SAME


@dataclass(frozen=True)
class WindowFacts:
    """Kernel, stride, padding and dilation of a convolution or pool, each (rows, columns)."""

    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    ceil_mode: bool = False
    same: bool = False  # padding follows the stride: TensorFlow's own rule

    def output_size(self, size: Pair) -> Pair:
        """Return (rows, columns) behind the window."""
        rows, columns = (self._side(size[i], i) for i in (0, 1))
        return rows, columns

    def _side(self, n: int, i: int) -> int:
        k, s, p = self.dilation[i] * (self.kernel[i] - 1) + 1, self.stride[i], self.padding[i]
        if self.same:
            return -(-n // s)
        if not self.ceil_mode:
            return (n + 2 * p - k) // s + 1
        count = -(-(n + 2 * p - k) // s) + 1
        return count - 1 if (count - 1) * s >= n + p else count
